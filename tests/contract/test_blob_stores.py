"""What every blob store must do: one winner a name, whole blobs or none, seen by all at once.

For a new kind of store, give `conftest.url` one more parameter.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from zstream.errors import ConnectorError, InvariantBroken
from zstream.stores.registry import open_store

RACERS = 4
RACES = 40

RACER = """
import sys
from zstream.stores.registry import open_store
store, me = open_store(sys.argv[1]), sys.argv[2]
print("there", flush=True)
sys.stdin.readline()
won = [n for n in range(1, 41) if store.create(f"race/{n % 4}/{n}", f"{me}:{n}".encode() * 500)]
print(" ".join(map(str, won)))
"""

WRITER = """
import sys
from zstream.stores.registry import open_store
store = open_store(sys.argv[1])
for n in range(1000):
    print(n, flush=True)
    (store.put if n % 2 else store.create)(f"torn/{n}", bytes([n % 251]) * 8_000_000)
"""


def test_of_racing_processes_exactly_one_wins_each_name(url: str) -> None:
    """Four processes create the same forty names in four folders; the winner's bytes stand."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, url, str(racer)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for racer in range(RACERS)
    ]
    for racer in racers:  # each has opened the store and waits
        assert racer.stdout is not None
        assert racer.stdout.readline() == "there\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    winners: dict[int, int] = {}
    for index, racer in enumerate(racers):
        out, _ = racer.communicate(timeout=60)
        assert racer.returncode == 0
        for number in map(int, out.split()):
            assert number not in winners, f"{number} was won twice"
            winners[number] = index
    assert sorted(winners) == list(range(1, RACES + 1))
    store = open_store(url)
    for number, winner in winners.items():
        assert store.read(f"race/{number % 4}/{number}") == f"{winner}:{number}".encode() * 500


def test_racing_threads_of_one_process_are_racers_too(url: str) -> None:
    """The log's thread and the checkpoints' thread use one store: one winner, all puts there."""
    store = open_store(url)
    won: list[int] = []
    start = threading.Barrier(6)

    def work(me: int) -> None:
        start.wait()
        for n in range(10):
            if store.create(f"ctl/{n}", str(me).encode()):
                won.append(n)
            store.put(f"parts/{n}/{me}", str(me).encode())

    threads = [threading.Thread(target=work, args=(me,)) for me in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(won) == list(range(10))
    assert store.names("parts") == sorted(f"parts/{n}/{me}" for n in range(10) for me in range(6))


def test_a_taken_name_is_refused_and_keeps_its_bytes(url: str) -> None:
    """The second create of a name says False and changes nothing, from another object too."""
    assert open_store(url).create("ctl/7", b"first")
    again = open_store(url)
    assert not again.create("ctl/7", b"second")
    assert again.read("ctl/7") == b"first"
    again.put("parts/7", b"put")
    assert not again.create("parts/7", b"created")
    assert again.read("parts/7") == b"put"


def test_what_was_written_is_seen_by_everybody_at_once(url: str) -> None:
    """Each of thirty writes is read and listed by another object before the next begins."""
    writer, reader = open_store(url), open_store(url)
    for n in range(30):
        name = f"ctl/{n:03}"
        assert reader.read(name) is None
        (writer.create if n % 2 else writer.put)(name, str(n).encode())
        assert reader.read(name) == str(n).encode()
        assert reader.names("ctl")[-1] == name
        assert len(reader.names("ctl")) == n + 1


def test_putting_the_same_bytes_again_is_harmless(url: str) -> None:
    """After an answer that was lost, for a blob that is there or not."""
    store = open_store(url)
    for _ in range(3):
        store.put("parts/r1/e7/8231.part", b"part")
        assert store.read("parts/r1/e7/8231.part") == b"part"
    assert store.names() == ["parts/r1/e7/8231.part"]


def test_slashes_make_folders(url: str) -> None:
    """A listing is of one folder and all below it; r1 is not r11; "" is everything, ascending."""
    store = open_store(url)
    names = ["ctl/09", "ctl/10", "parts/r1/e1/5.part", "parts/r1/e2/5.part", "parts/r11/e1/5.part"]
    for name in reversed(names):
        store.put(name, name.encode())
    store.put("top", b"")
    assert store.names() == [*names, "top"]
    assert store.names("ctl") == names[:2]
    assert store.names("parts/r1") == names[2:4]
    assert store.names("parts/r1/e2") == names[3:4]
    assert store.names("parts/r") == []
    assert store.names("none/such") == []
    assert store.read("parts/r1") is None


def test_a_long_listing_is_whole(url: str) -> None:
    """More names than a bucket tells in one answer."""
    store = open_store(url)
    names = [f"many/{n:04}" for n in range(1_003)]
    for name in names:
        store.put(name, b"x")
    assert store.names("many") == names


def test_a_deleted_blob_is_gone_and_its_folder_can_be_used_again(url: str) -> None:
    """Neither read nor listed; deleting nothing is harmless; its neighbours stay."""
    store, other = open_store(url), open_store(url)
    for name in ("parts/e1/1", "parts/e1/2", "parts/e2/1"):
        store.put(name, b"x")
    store.delete("parts/e1/1")
    assert other.names() == ["parts/e1/2", "parts/e2/1"]
    assert other.read("parts/e1/1") is None
    store.delete("parts/e1/2")
    store.delete("parts/e1/2")
    store.delete("none/such")
    assert other.names() == ["parts/e2/1"]
    assert other.create("parts/e1/3", b"new")
    assert store.create("parts/e1/4", b"new")
    assert store.names("parts/e1") == ["parts/e1/3", "parts/e1/4"]


@pytest.mark.parametrize("size", [0, 1, 20_000_000])
def test_any_size_comes_back_as_it_was(url: str, size: int) -> None:
    """Nothing at all, and twenty megabytes, by either way of writing."""
    store, payload = open_store(url), random.Random(size).randbytes(size)
    assert store.create("created", payload)
    store.put("put", payload)
    assert store.read("created") == payload
    assert store.read("put") == payload
    assert not store.create("created", b"")


def test_a_writer_that_is_killed_leaves_whole_blobs_or_none(url: str) -> None:
    """SIGKILL in the middle of the sixth large write: what is listed is whole."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True
    )
    try:
        assert writer.stdout is not None
        while writer.stdout.readline() != "5\n":
            assert writer.poll() is None
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
    store = open_store(url)
    found = store.names()
    assert {f"torn/{n}" for n in range(5)} <= set(found)
    for name in found:
        n = int(name.removeprefix("torn/"))
        assert store.read(name) == bytes([n % 251]) * 8_000_000


@pytest.mark.parametrize(
    "name", ["", "/x", "x/", "a//b", ".", "..", "../x", "a/../b", ".hidden", "a/.b", "a b", "a\n"]
)
def test_a_name_that_leads_elsewhere_is_refused(url: str, name: str) -> None:
    """Whatever is done with it."""
    store = open_store(url)
    uses: list[Callable[[str], object]] = [
        store.read,
        store.delete,
        lambda name: store.put(name, b""),
        lambda name: store.create(name, b""),
    ]
    for use in uses:
        with pytest.raises(InvariantBroken, match="cannot name a blob"):
            use(name)
    if name:
        with pytest.raises(InvariantBroken, match="cannot name a blob"):
            store.names(name)


def test_opening_tries_the_store_out_and_leaves_nothing(url: str) -> None:
    """The probe's blobs are gone afterwards."""
    assert open_store(url).names() == []
    assert open_store(url).read("probe") is None


# ---------------------------------------------------------------- buckets that cannot be used


def test_a_bucket_that_ignores_the_precondition_is_refused(forgetful: str) -> None:
    """A server that overwrites although it was told If-None-Match: found at start."""
    with pytest.raises(ConnectorError) as refusal:
        open_store(forgetful)
    assert str(refusal.value) == (
        f"the store {forgetful} lets a name be created twice, so two leaders could both win. "
        "It needs a store that creates a name only if it is absent (If-None-Match)."
    )


def test_a_bucket_that_is_not_there_is_said(bucket: str) -> None:
    """The name of the bucket is wrong."""
    elsewhere = "s3://no-such-bucket/prefix"
    with pytest.raises(ConnectorError, match=f"^the store {elsewhere} cannot be used: there is no"):
        open_store(elsewhere)


def test_a_bucket_that_goes_away_is_an_error_and_not_an_empty_store(bucket: str) -> None:
    """Nobody won and nothing is known: OSError from every operation."""
    from zstream.stores.objects import ObjectStore

    store = ObjectStore("s3://no-such-bucket/prefix")
    for use in (
        lambda: store.create("x", b""),
        lambda: store.put("x", b""),
        lambda: store.read("x"),
        lambda: store.names(),
    ):
        with pytest.raises(OSError):
            use()


def test_a_server_that_does_not_answer_is_said(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens at the endpoint."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ConnectorError) as refusal:
        open_store(bucket)
    assert str(refusal.value) == (
        f"the store {bucket} cannot be used: nothing answers at http://127.0.0.1:9 (error sending "
        "request). It needs a bucket in which this worker may create, read, list and delete."
    )


def test_a_bucket_that_refuses_this_worker_is_said(
    guarded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is not one that the server knows."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stranger")
    with pytest.raises(ConnectorError, match="cannot be used: it refuses this worker: "):
        open_store(guarded)
