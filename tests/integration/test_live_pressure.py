"""Nothing grows without a limit: a receiver that does not read, and records of 100 MB."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.integration.live import Live, Outlet, connect, framed, names_of, until
from zstream.model.keys import KeyGroups

MB = 1_000_000
PADDING = b"." * 50_000

PADDED = """
from zstream import LengthPrefix, TcpSink, TcpSource, Topology, source

def decode(payload):
    return payload[:8], payload[8:]

def number(count, record):
    name, padding = record
    return count + 1, b"%s %d %s\\n" % (name, count + 1, padding)

votes = source("votes", TcpSource(LengthPrefix(), decode))
numbered = votes.key_by(lambda record: record[0]).stateful_map(number, int)
topology = Topology("padded", numbered.sink("out", TcpSink(bytes)))
"""

LARGE = """
import hashlib
from zstream import LengthPrefix, TcpSink, TcpSource, Topology, source

def decode(payload):
    return payload[:8], payload[8:]

def keep_largest(kept, record):
    name, body = record
    kept = max(kept, body, key=len)
    return kept, b"%s %s\\n" % (name, hashlib.sha256(kept).hexdigest().encode())

votes = source("votes", TcpSource(LengthPrefix(max_bytes=200_000_000), decode))
largest = votes.key_by(lambda record: record[0]).stateful_map(keep_largest, bytes)
topology = Topology("large", largest.sink("out", TcpSink(bytes)))
"""


def application(folder: Path, text: str) -> Path:
    path = folder / "application.py"
    path.write_text(text)
    return path


def settles(figure: Callable[[], int], seconds: float) -> int:
    """Wait until a figure has not changed for so long; returns it."""
    newest, since = figure(), time.monotonic()

    def is_still() -> bool:
        nonlocal newest, since
        if (now := figure()) != newest:
            newest, since = now, time.monotonic()
        return time.monotonic() - since > seconds

    until(is_still, lambda: f"{newest} and still changing")
    return newest


def checked(line: bytes) -> bytes:
    """A line of the padded topology without its padding."""
    name, number, padding = line.split(b" ")
    assert padding == PADDING
    return name + b" " + number


def test_a_receiver_that_stops_reading_stops_the_sender(tmp_path: Path) -> None:
    """400 MB go to two workers, but their receiver does not read: less than half of it is taken
    in before the sender stands still, and no worker holds more than 120 MB. The cluster answers
    and a third worker joins meanwhile. Then the receiver reads, and everything comes, once."""
    names = names_of(100)
    each = 80
    sent = 0

    def send(address: str) -> None:
        nonlocal sent
        with connect(address) as sender:
            for _ in range(each):
                for name in names:
                    sender.sendall(framed([name + PADDING]))
                    sent += 1

    with (
        Outlet(checked) as outlet,
        Live(tmp_path, outlet.address, application(tmp_path, PADDED)) as live,
    ):
        live.start(2)
        outlet.reading.clear()
        sending = threading.Thread(target=send, args=(live.sources["votes"],), daemon=True)
        sending.start()
        stood_at = settles(lambda: sent, 2.0)
        assert 0 < stood_at < each * len(names) / 2
        held = {worker.name: worker.memory() // MB for worker in live.workers.values()}
        assert max(held.values()) < 120, held
        live.join(1)
        until(lambda: live.status().worker_count == 3, live.status)
        outlet.reading.set()
        came = outlet.take(each * len(names))
        sending.join()
        assert sorted(came) == sorted(b"%s %d" % (n, i + 1) for n in names for i in range(each))
        until(lambda: live.status().rescale is None, live.status)
        live.shut_down()


def names_elsewhere(count: int) -> list[bytes]:
    """Names whose key groups the second of two starting workers owns."""
    groups = KeyGroups(1024)
    return [name for name in names_of(10 * count) if groups.of([name])[0] % 2][:count]


def test_a_record_and_a_state_of_100_mb(tmp_path: Path) -> None:
    """A record of 100 MB goes from the source's worker to the other one, and is its key's state;
    that goes back when the other one leaves, and out again to a joiner."""
    [name] = names_elsewhere(1)
    body = hashlib.shake_128(b"large").digest(1000) * 100_000
    digest = name + b" " + hashlib.sha256(body).hexdigest().encode()
    with Outlet() as outlet, Live(tmp_path, outlet.address, application(tmp_path, LARGE)) as live:
        live.start(2)
        with connect(live.sources["votes"]) as sender:
            sender.sendall(framed([name + body]))
            assert outlet.take(1) == [digest]
            live.shrink(1)
            sender.sendall(framed([name]))
            assert outlet.take(1) == [digest]
            live.grow(1)
            sender.sendall(framed([name]))
            assert outlet.take(1) == [digest]
        assert live.status().dead_letters == 0
        live.shut_down()


def test_a_record_above_the_limit_is_a_dead_letter_that_names_it(tmp_path: Path) -> None:
    """With a limit of 1 MB a record below it passes and one above does not; its neighbours do."""
    below, above, after = names_elsewhere(3)
    megabyte = 1 << 20
    with (
        Outlet() as outlet,
        Live(
            tmp_path, outlet.address, application(tmp_path, LARGE), record_bytes_max=megabyte
        ) as live,
    ):
        live.start(2)
        sizes = {below: megabyte - 1_000, above: megabyte + 1_000, after: 10}
        with connect(live.sources["votes"]) as sender:
            sender.sendall(framed(name + bytes(size) for name, size in sizes.items()))
            names = {line.split(b" ")[0] for line in outlet.take(2)}
        assert names == {below, after}
        until(lambda: live.status().dead_letters == 1, live.status)
        assert "record_bytes_max" in live.workers["w0"].log
        file = tmp_path / "dead-letters.jsonl"  # written when its checkpoint is decided
        until(lambda: file.exists() and "record_bytes_max" in file.read_text(), live.status)
        live.shut_down()


def test_a_length_that_no_record_may_have(tmp_path: Path) -> None:
    """What looks like a frame of more than the source allows is said and hung up on; another
    connection goes on."""
    with Outlet() as outlet, Live(tmp_path, outlet.address, application(tmp_path, PADDED)) as live:
        live.start()
        with connect(live.sources["votes"]) as rubbish, connect(live.sources["votes"]) as sender:
            rubbish.sendall(b"\xff\xff\xff\xff....")
            with suppress(ConnectionResetError):
                assert rubbish.recv(1) == b""
            sender.sendall(framed([b"any_name" + PADDING]))
            assert len(outlet.take(1)[0]) > len(PADDING)
        live.workers["w0"].says(
            "source votes: a frame says that it has 4,294,967,295 bytes, the most is 16,777,216."
        )
        live.shut_down()
