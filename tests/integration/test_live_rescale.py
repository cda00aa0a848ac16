"""Grow and shrink under a steady stream, in every order: each vote gives its output once."""

from __future__ import annotations

import json
import signal
from itertools import pairwise
from pathlib import Path

from examples.traffic import Traffic
from tests.integration.live import Live, drained, goes_on, names_of, until
from zstream.model.keys import KeyGroups

# Every ordered pair of grow 1, grow 4, shrink 1 and shrink 4 stands once side by side; a cluster
# that begins with one worker never gets below one nor above nine.
WALK = (1, 1, 4, 1, -1, 1, -4, 4, -1, -1, -4, -1, 4, 4, -4, -4, 1)


def test_every_pair_of_grow_and_shrink(tmp_path: Path) -> None:
    """Four senders, 400 keys: one cluster lives through all sixteen ordered pairs. Every other
    shrink takes the oldest that may leave, by name, instead of the youngest, by count."""
    assert len(set(pairwise(WALK))) == 16
    with (
        Traffic(names_of(400), 3_000, senders=4) as traffic,
        Live(tmp_path, traffic.address) as live,
    ):
        live.start()
        traffic.start(live.sources["votes"])
        goes_on(traffic, 500)
        size = 1
        for number, change in enumerate(WALK):
            size += change
            if change > 0:
                live.grow(change)
            elif number % 2:
                live.shrink(-change)
            else:
                live.shrink(workers=live.cluster.eligible()[:-change])
            status = live.status()
            assert status.worker_count == size
            assert sum(worker.key_groups for worker in status.workers) == status.key_groups
            goes_on(traffic, 300)
        verdict = drained(traffic)
        assert verdict.keys == 400
        live.shut_down()


def test_ten_workers(tmp_path: Path) -> None:
    """Two workers grow by eight and shrink by eight; the key groups are spread within one."""
    with (
        Traffic(names_of(300), 2_000, senders=2) as traffic,
        Live(tmp_path, traffic.address) as live,
    ):
        live.start(2)
        traffic.start(live.sources["votes"])
        goes_on(traffic, 500)
        live.grow(8)
        shares = [worker.key_groups for worker in live.status().workers]
        assert len(shares) == 10 and max(shares) - min(shares) <= 1
        goes_on(traffic, 1_000)
        left = live.shrink(8)
        assert len(left.left) == 8
        goes_on(traffic, 1_000)
        drained(traffic)
        live.shut_down()


def test_requests_that_overlap_wait_their_turn(tmp_path: Path) -> None:
    """While a grow stands still, because one of its joiners is stopped, two shrinks and a further
    batch are asked for over different workers. Each says that it waits; a bad request is refused
    at once and one with a short timeout gives up. Then the joiner goes on, and all end well."""
    still = {"joiner_silent_ms": 50_000, "dead_after_ms": 50_000, "connect_deadline_ms": 50_000}
    with (
        Traffic(names_of(200), 2_000, senders=2) as traffic,
        Live(tmp_path, traffic.address, **still) as live,
    ):
        live.start(3)
        traffic.start(live.sources["votes"])
        goes_on(traffic, 500)
        at = {worker.name: ("--external", worker.external) for worker in live.status().workers}
        stopped, _ = live.join_stopped()
        by_name = live.tool("cluster_shrinker", *at["w1"], "--workers", "w2")
        by_name.says("grow-2 is under way; shrink-3 waits its turn.")
        by_count = live.tool("cluster_shrinker", *at["w2"], "--count", "1", "--json")
        again = ("--count", "1", "--timeout", "1")
        code, says, _ = live.run("cluster_shrinker", *at["w0"], *again)
        assert code == 3 and "waits its turn" in says
        code, _, says = live.run("cluster_shrinker", *at["w1"], "--workers", "w1,w9")
        assert code == 1 and "There is no worker w9" in says
        batch = live.join(2, at=live.workers["w1"].control)
        for joiner in batch:
            joiner.says("waits its turn")
        stopped.signal(signal.SIGCONT)
        assert by_name.ends() == 0, by_name.log
        assert "Shrinking by 1 workers!" in by_name.out and "shrink-3: w2 left" in by_name.out
        assert by_count.ends() == 0, by_count.log
        assert json.loads(by_count.out)["outcome"] == "done"
        for joiner in batch:
            joiner.says("grow-6 by ")
        outcomes = [(r["id"].partition("-")[0], r["outcome"]) for r in live.cluster.rescales()]
        kinds = ["start", "grow", "shrink", "shrink", "shrink", "grow"]
        assert outcomes == [(kind, "done") for kind in kinds]
        assert live.status().worker_count == 3 + 2 - 3 + 2
        goes_on(traffic, 500)
        drained(traffic)
        live.shut_down()


HEAVY = """
import hashlib, struct
from dataclasses import dataclass
from zstream import LengthPrefix, TcpSink, TcpSource, Topology, source

@dataclass
class Heavy:
    total: int = 0
    ballast: bytes = b""

def ballast_of(name):
    return hashlib.shake_128(name).digest(100_000)

def decode(payload):
    return struct.unpack(">8sI", payload)

def tally(heavy, vote):
    name, votes = vote
    if heavy.total == 0:
        heavy.ballast = ballast_of(name)
    elif heavy.ballast != ballast_of(name):
        raise ValueError("the state is another one")
    heavy.total += votes
    return heavy, b"%s => %d\\n" % (name, heavy.total)

votes = source("votes", TcpSource(LengthPrefix(), decode))
totals = votes.key_by(lambda vote: vote[0]).stateful_map(tally, Heavy)
topology = Topology("heavy", totals.sink("totals", TcpSink(bytes)))
"""


def test_fifty_megabytes_of_state_move(tmp_path: Path) -> None:
    """A thousand keys with 100 kB each: half of them, 50 MB, move in a grow and the same 50 MB in
    the shrink after it. Each record checks that its key's state is the one that it was."""
    application = tmp_path / "heavy.py"
    application.write_text(HEAVY)
    with (
        Traffic(names_of(1000), 1_000, senders=2) as traffic,
        Live(tmp_path, traffic.address, application) as live,
    ):
        live.start()
        traffic.start(live.sources["votes"])
        goes_on(traffic, 2_000)
        until(lambda: (live.status().workers[0].state_bytes or 0) > 99_000_000, live.status)
        live.grow(1)
        until(lambda: (live.status().workers[1].state_bytes or 0) > 45_000_000, live.status)
        goes_on(traffic, 1_000)
        live.shrink(1)
        assert [r["outcome"] for r in live.cluster.rescales()] == ["done"] * 3
        goes_on(traffic, 1_000)
        assert drained(traffic).keys == 1000
        assert live.status().dead_letters == 0
        live.shut_down()


SLOW = """
import struct
from zstream import LengthPrefix, TcpSink, TcpSource, Topology, source

def decode(payload):
    return struct.unpack(">8sI", payload)

def tally(total, vote):
    name, votes = vote
    for _ in range(20_000):
        pass
    total += votes
    return total, b"%s => %d\\n" % (name, total)

votes = source("votes", TcpSource(LengthPrefix(), decode))
totals = votes.key_by(lambda vote: vote[0]).stateful_map(tally, int)
topology = Topology("slow", totals.sink("totals", TcpSink(bytes)))
"""


def test_key_groups_move_to_who_has_nothing_to_do(tmp_path: Path) -> None:
    """All keys that come are of one worker's key groups, and are more work than it can do. They
    move to the other one until both have theirs, and each vote gives its output once."""
    application = tmp_path / "slow.py"
    application.write_text(SLOW)
    groups = KeyGroups(1024)
    of_one = [name for name in names_of(100) if groups.of([name])[0] % 2 == 0]
    with (
        Traffic(of_one, 5_000) as traffic,
        Live(tmp_path, traffic.address, application, balance_gain_percent=10) as live,
    ):
        live.start(2)
        assert [worker.key_groups for worker in live.status().workers] == [512, 512]
        traffic.start(live.sources["votes"])
        until(lambda: all((w.keys or 0) > 10 for w in live.status().workers), live.cluster.rescales)
        balances = [r for r in live.cluster.rescales() if r["id"].startswith("balance")]
        assert {balance["outcome"] for balance in balances} == {"done"}
        goes_on(traffic, 500)
        drained(traffic)
        live.shut_down()
