"""What goes wrong in a newcomer's first hour, as processes: each is told in its sentence, ends as
it should, and nothing else notices."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.live import (
    VOTES,
    Live,
    Outlet,
    connect,
    framed,
    free_address,
    until,
    votes_of,
)

FUSSY = """
from zstream import LengthPrefix, TcpSink, TcpSource, Topology, source

def decode(payload):
    return payload[:8], payload[8:]

def tally(total, record):
    name, votes = record
    if votes == b"bad!":
        raise ValueError("bad vote")
    return total + 1, b"%s => %d\\n" % (name, total + 1)

votes = source("votes", TcpSource(LengthPrefix(), decode))
totals = votes.key_by(lambda record: record[0]).stateful_map(tally, int)
topology = Topology("fussy", totals.sink("totals", TcpSink(bytes)), on_error=ON_ERROR)
"""


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """One worker that is up, of the votes topology."""
    with Outlet() as outlet, Live(tmp_path, outlet.address) as cluster:
        cluster.start()
        yield cluster
        assert cluster.status().worker_names[0] == "w0", "the cluster has noticed"


def test_a_name_that_is_taken(live: Live) -> None:
    """By a member, whose control address is told."""
    [joiner] = live.join(1, name="w0")
    assert joiner.ends() == 1
    assert joiner.last_line == (
        f"zworker: the name w0 is taken in cluster votes by the worker at {live.control}. "
        "Choose another --name."
    )


def test_a_name_that_is_taken_by_one_that_waits(live: Live) -> None:
    """Two joiners of one name: the second is refused once the first has been heard again, and
    the batch waits on for another."""
    [first] = live.join(1, batch=2, name="twin")
    first.says("waiting for 1 more worker (here: twin)")
    [second] = live.join(1, batch=2, name="twin")
    assert second.ends() == 1
    assert "the name twin is taken in cluster votes by the worker at" in second.last_line
    live.join(1, batch=2)
    first.says("grow-2 by ")


def test_another_worker_count_than_the_batch_that_waits(live: Live) -> None:
    """It is refused; the batch waits on, and grows when it is complete."""
    [first] = live.join(1, batch=2)
    first.says("waiting for 1 more worker (here: w1)")
    [other] = live.join(1, batch=3)
    assert other.ends() == 1
    assert other.last_line == (
        "zworker: w2 asks for a batch of 3, but the batch that is waiting is of 2 (w1 is there). "
        "All joiners must give the same --worker-count. The batch waits on."
    )
    live.join(1, batch=2)
    first.says("grow-2 by w1, w3: ")


def test_a_batch_that_stays_incomplete(live: Live) -> None:
    """After its deadline both that came are refused alike; the same batch comes again, whole."""
    early = live.join(1, "--join-deadline", "3", batch=3)
    early[0].says("waiting for 2 more workers")
    early += live.join(1, "--join-deadline", "3", batch=3)
    assert [joiner.ends() for joiner in early] == [1, 1]
    for joiner in early:
        assert joiner.last_line == (
            "zworker: after 3 s only 2 of 3 joiners came (w1, w2). Nothing was changed. "
            "Start all three again, or raise --join-deadline."
        )
    live.grow(3)


def test_another_topology(live: Live, tmp_path: Path) -> None:
    """The same name and another operator: the difference is told with both lines."""
    changed = tmp_path / "votes.py"
    text = VOTES.read_text()
    assert ".stateful_map(tally, int)" in text
    changed.write_text(text.replace(".stateful_map(tally, int)", ".stateful_flat_map(tally, int)"))
    joiner = live.worker("--join", live.control, application=changed)
    assert joiner.ends() == 1
    assert re.fullmatch(
        r"zworker: w1 runs topology votes \w{8}, the cluster \w{8}: operator tally is a "
        r"stateful_map there \(votes\.py:\d+\) and a stateful_flat_map here \(votes\.py:\d+\)\. "
        r"Start it from the same code\.",
        joiner.last_line,
    ), joiner.last_line


def test_nobody_at_the_join_address(tmp_path: Path) -> None:
    """It says every ten seconds that it waits, and gives up at the deadline."""
    with Live(tmp_path, free_address()) as live:
        nobody = free_address()
        [joiner] = live.join(1, "--join-deadline", "12", at=nobody)
        joiner.says(f"waiting: nobody answers at {nobody} yet")
        assert not joiner.is_over
        assert joiner.ends() == 1
        assert joiner.last_line == (
            f"zworker: nobody answered at {nobody} for 12 s: connection refused. --join wants the "
            "control address of a running worker, not its external or data address."
        )


def test_joining_at_the_wrong_channel_of_a_worker(live: Live) -> None:
    """The external address is ZeroMQ too, and no control address: the deadline tells."""
    [joiner] = live.join(1, "--join-deadline", "2", at=live.external)
    assert joiner.ends() == 1
    assert joiner.last_line == (
        f"zworker: nobody answered at {live.external} for 2 s: it takes the connection, but does "
        "not answer as a worker's control address. --join wants the control address of a running "
        "worker, not its external or data address."
    )


def test_joining_at_a_source(live: Live) -> None:
    """A source of the cluster itself says nothing by itself; it goes on to read records."""
    [joiner] = live.join(1, at=live.sources["votes"])
    assert joiner.ends() == 1
    assert joiner.last_line == (
        f"zworker: what answers at {live.sources['votes']} is not a zworker's control address "
        "(it looks like a source)."
    )
    with connect(live.sources["votes"]) as sender:
        sender.sendall(votes_of([b"any_name"]))
        until(lambda: live.status().workers[0].records_in == 1, live.status)


def test_a_join_before_the_cluster_is_there(tmp_path: Path) -> None:
    """The joiner comes first, and is let in when the cluster is up."""
    with Outlet() as outlet, Live(tmp_path, outlet.address) as live:
        [joiner] = live.join(1, name="early")
        first = live.initializer(2)
        joiner.says("turn")
        live.worker("--control", live.control, name="w1")
        first.says("is up: 2 workers")
        joiner.says("grow-2 by early: ")
        live.shut_down()


def test_not_all_came_to_start(tmp_path: Path) -> None:
    """w0 waits for two more and says what to type; they come, and it is up."""
    with Live(tmp_path, free_address()) as live:
        first = live.initializer(3)
        first.says(f"waiting for 2 more workers: zworker ... --control {live.control} --name NAME")
        live.worker("--control", live.control)
        live.worker("--control", live.control)
        first.says("is up: 3 workers")
        live.shut_down()


def test_nobody_listens_where_a_sink_sends(tmp_path: Path) -> None:
    """It is said, in the log and in the status, and records wait until somebody does."""
    with Outlet() as outlet:
        address = outlet.address
    with Live(tmp_path, address) as live:
        live.start()
        says = (
            f"sink totals: nobody listens at {address}; trying again, records wait "
            f"(data_receiver --listen {address})."
        )
        live.workers["w0"].says(says)
        until(lambda: says in live.status().workers[0].waits_for, live.status)
        with connect(live.sources["votes"]) as sender:
            sender.sendall(votes_of([b"any_name"]))
        until(lambda: live.status().workers[0].records_in == 1, live.status)
        receiver = live.tool("data_receiver", "--listen", address, "--count", "7")
        live.workers["x"] = receiver
        receiver.says("any_name => 1")


def test_a_function_that_raises(tmp_path: Path) -> None:
    """On the worker that does not read the source: one line that says where, a dead letter in its
    file, one more in the status; the others go on. The same again is only counted."""
    application = tmp_path / "fussy.py"
    application.write_text(FUSSY.replace("ON_ERROR", '"dead_letter"'))
    with Outlet() as outlet, Live(tmp_path, outlet.address, application) as live:
        live.start(2)
        names = [b"name%04d" % number for number in range(20)]
        with connect(live.sources["votes"]) as sender:
            sender.sendall(framed(name + b"good" for name in names))
            sender.sendall(framed(name + b"bad!" for name in names))
            sender.sendall(framed(name + b"good" for name in names))
            outlet.take(40)
        until(lambda: live.status().dead_letters == 20, live.status)
        file = tmp_path / "dead-letters.jsonl"  # written when their checkpoint is decided
        until(lambda: file.exists() and file.read_text().count("\n") == 20, live.status)
        letters = [json.loads(line) for line in file.read_text().splitlines()]
        assert all("bad vote" in json.dumps(letter) for letter in letters)
        for worker in live.workers.values():
            assert worker.log.count("raised ValueError: bad vote") == 1
            assert re.search(
                r"tally \(fussy\.py:\d+\) raised ValueError: bad vote, key b'name\d{4}', record "
                r".*, at fussy\.py:\d+; dead letter 1, dead-letters\.jsonl\. The same again is "
                r"only counted\.",
                worker.log,
            ), worker.log
        code, out, _ = live.run("cluster_status", "--external", live.external, "--dead-letters")
        assert code == 0 and "bad vote" in out
        live.shut_down()


def test_a_function_that_raises_with_stop(tmp_path: Path) -> None:
    """The same line, and the worker stops with 1."""
    application = tmp_path / "fussy.py"
    application.write_text(FUSSY.replace("ON_ERROR", '"stop"'))
    with Outlet() as outlet, Live(tmp_path, outlet.address, application) as live:
        live.start()
        with connect(live.sources["votes"]) as sender:
            sender.sendall(framed([b"any_namegood", b"any_namebad!"]))
            assert live.workers["w0"].ends() == 1
        assert "raised ValueError: bad vote, key b'any_name'" in live.workers["w0"].log
        assert live.workers["w0"].last_line == 'zworker: stopped by on_error="stop".'


def test_ports_that_are_in_use(live: Live) -> None:
    """A second cluster on the same ports is refused in one sentence and leaves nothing behind."""
    stores = list(live.folder.glob("zstream-*"))
    again = live.initializer()
    assert again.ends() == 1
    assert again.log == (
        f"zworker: cannot listen on {live.control}: the port is in use by another process. "
        "Choose another with --control HOST:PORT.\n"
    )
    assert list(live.folder.glob("zstream-*")) == stores
