"""Workers that are killed, fall asleep, or die all at once while records flow: nothing is lost.

A file that grows is counted by key into a FileSink. Whatever happens meanwhile, at the end there
is one output for each line, and of each key every count once (see live_files).
"""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.integration.live import Live, connect, names_of, until, votes_of
from tests.integration.live_files import Counted
from zstream.client import Cluster
from zstream.model.keys import KeyGroups

IN_WAVES = {"wave_groups_max": 4}  # so that a rescale takes a while


@pytest.mark.parametrize("dead", [["w1"], ["w0"], ["w1", "w3"], ["w0", "w2", "w3"]], ids=",".join)
def test_some_are_killed(tmp_path: Path, dead: list[str]) -> None:
    """One of four, the leader (which reads the source), two at once, three with the leader: those
    who are left say that they died, go on, and every count comes once."""
    with Counted(tmp_path) as counted, Live(tmp_path, "", **counted.how) as live:
        live.start(4)
        counted.goes_on(1_000)
        live.kill(*dead)
        left = [name for name in live.workers if name not in dead]
        for name in left:
            live.workers[name].says(" died: not heard for ")
        counted.goes_on(2_000)
        until(lambda: sorted(live.status().worker_names) == left, live.status)
        counted.check()
        live.shut_down()
        counted.check()


def test_the_leader_again_and_again(tmp_path: Path) -> None:
    """It is killed as soon as records flow, until one worker is left; that one grows again."""
    with Counted(tmp_path) as counted, Live(tmp_path, "", **counted.how) as live:
        live.start(3)
        for _ in range(2):
            counted.goes_on(500)
            leader = live.status().leader
            live.kill(leader)
            live.says(f"{leader} died: not heard for ")
        counted.goes_on(500)
        [last] = live.status().worker_names
        [joiner] = live.join(1, at=live.workers[last].control)
        joiner.says("grow-2 by w3: ")
        counted.goes_on(500)
        live.kill(last)
        joiner.says(f"{last} died: not heard for ")
        counted.goes_on(500)
        counted.check()
        live.shut_down()


@pytest.mark.parametrize("name", ["w0", "w1"])
def test_one_that_slept_too_long(tmp_path: Path, name: str) -> None:
    """The leader, or a member, is stopped until the others go on without it. It wakes up, reads
    that in the log, says so and ends with 1, and has done no harm."""
    with Counted(tmp_path) as counted, Live(tmp_path, "", **counted.how) as live:
        live.start(3)
        counted.goes_on(1_000)
        zombie = live.workers[name]
        zombie.signal(signal.SIGSTOP)
        live.workers["w2"].says(f"{name} died: not heard for ")
        counted.goes_on(1_000)
        zombie.signal(signal.SIGCONT)
        assert zombie.ends() == 1
        assert re.fullmatch(
            r"zworker: the cluster goes on without this worker since generation 2: "
            rf"{name} died: not heard for \d\.\d s\. \d+ key groups to those who stay\. "
            r"All goes on from epoch \d+\.",
            zombie.last_line,
        ), zombie.last_line
        counted.goes_on(1_000)
        counted.check()
        live.shut_down()
        counted.check()


def await_another_leader(cluster: Cluster, name: str) -> None:
    until(lambda: cluster.status().leader != name, cluster.status)


def test_one_that_slept_for_a_moment(tmp_path: Path) -> None:
    """Each in turn is stopped for less than it takes to be taken for dead: nobody is."""
    with (
        Counted(tmp_path) as counted,
        Live(tmp_path, "", **counted.how, dead_after_ms=50_000) as live,
    ):
        live.start(3)
        for name in ("w1", "w0", "w2"):
            counted.goes_on(500)
            live.workers[name].signal(signal.SIGSTOP)
            others = [worker for worker in live.workers.values() if worker.name != name]
            await_another_leader(live.through(others[0]), name)
            live.workers[name].signal(signal.SIGCONT)
        counted.goes_on(1_000)
        assert live.status().generation == 1
        counted.check()
        live.shut_down()


def test_a_dead_worker_is_started_again_at_once(tmp_path: Path) -> None:
    """Under its name: it takes the place of the dead one, with its key groups, and the others
    need not wait until that is taken for dead. No rescale."""
    with (
        Counted(tmp_path) as counted,
        Live(tmp_path, "", **counted.how, dead_after_ms=50_000) as live,
    ):
        live.start(3)
        counted.goes_on(1_000)
        live.kill("w1")
        [again] = live.join(1, name="w1")
        again.says("w1 is a member; if it has died, this worker takes its place")
        live.workers["w0"].says("Another worker has come under the name w1. All goes on from")
        counted.goes_on(1_000)
        status = live.status()
        assert sorted(status.worker_names) == ["w0", "w1", "w2"]
        shares = [worker.key_groups for worker in status.workers]
        assert max(shares) - min(shares) <= 1
        assert [rescale["id"] for rescale in live.cluster.rescales()] == ["start-1"]
        counted.check()
        live.shut_down()


def test_a_joiner_is_killed_in_a_wave(tmp_path: Path) -> None:
    """The grow has failed, and the next one moves everything."""
    with Counted(tmp_path) as counted, Live(tmp_path, "", **counted.how, **IN_WAVES) as live:
        live.start(2)
        counted.goes_on(1_000)
        live.join(1)
        until(lambda: live.phase() == "WAVE", live.status)
        live.kill("w2")
        live.workers["w0"].says("grow-2 failed: w2 died, and the rest went on from a checkpoint.")
        counted.goes_on(1_000)
        live.grow(1)
        counted.goes_on(1_000)
        counted.check()
        live.shut_down()


def test_a_member_is_killed_while_others_join(tmp_path: Path) -> None:
    """In a wave: the two joiners are in all the same, and every count comes once."""
    with Counted(tmp_path) as counted, Live(tmp_path, "", **counted.how, **IN_WAVES) as live:
        live.start(3)
        counted.goes_on(1_000)
        live.join(2)
        until(lambda: live.phase() == "WAVE", live.status)
        live.kill("w1")
        live.workers["w0"].says("w1 died: not heard for ")
        until(lambda: live.status().rescale is None, live.status)
        counted.goes_on(1_000)
        assert sorted(live.status().worker_names) == ["w0", "w2", "w3", "w4"]
        counted.check()
        live.shut_down()


@pytest.mark.parametrize("dead", ["w0", "w1", "w2"])
def test_a_death_in_a_shrink(tmp_path: Path, dead: str) -> None:
    """w1 leaves, and in the midst of it the leader, the leaver itself, or another one dies: who
    was to leave is gone, and the shrink is said to have failed, whoever saw the death."""
    with Counted(tmp_path) as counted, Live(tmp_path, "", **counted.how, **IN_WAVES) as live:
        live.start(3)
        counted.goes_on(1_000)
        through = live.workers["w2" if dead == "w0" else "w0"]
        shrink = live.tool("cluster_shrinker", "--external", through.external, "--workers", "w1")
        until(lambda: live.phase() == "WAVE", live.status)
        live.kill(dead)
        assert shrink.ends() == 1
        failed = f"shrink-2 failed: {dead} died, and the rest went on from a checkpoint."
        assert failed in shrink.log
        assert live.workers["w1"].ends() == (-signal.SIGKILL if dead == "w1" else 0)
        counted.goes_on(1_000)
        assert sorted(live.status().worker_names) == sorted({"w0", "w1", "w2"} - {"w1", dead})
        counted.check()
        live.shut_down()


def test_all_are_killed_and_others_go_on(tmp_path: Path) -> None:
    """Three are killed, and started again on the same store as two, and these as five: the totals
    are those of one cluster that never died."""
    store = (tmp_path / "store").as_uri()
    with Counted(tmp_path) as counted, Live(tmp_path, "", **counted.how, store=store) as live:
        for count in (3, 2, 5):
            live.start(count)
            counted.goes_on(1_500)
            assert live.status().worker_count == count
            if count != 5:
                live.kill()
        counted.check()
        live.shut_down()
        counted.check()


def test_a_shutdown_and_a_new_beginning(tmp_path: Path) -> None:
    """A cluster that was shut down has a checkpoint of its end: another one, of another size,
    goes on where it was. With --fresh the next one begins from nothing."""
    store = str(tmp_path / "store")
    with Counted(tmp_path) as counted, Live(tmp_path, "", **counted.how, store=store) as live:
        live.start(1)
        counted.goes_on(1_000)
        live.shut_down()
        there = counted.committed()
        live.start(2)
        live.workers["w1"].says("goes on from epoch")
        counted.goes_on(1_000)
        counted.check()
        live.shut_down()
        assert counted.committed() > there
        live.start(1, "--fresh")
        all_of_it = 2 * counted.committed()
        until(lambda: counted.committed() == all_of_it, counted.committed)
        live.shut_down()


def test_a_store_that_is_in_use(tmp_path: Path) -> None:
    """Who starts a cluster on the store of one that is alive is sent to its leader, and that one
    does not notice."""
    store = str(tmp_path / "store")
    with (
        Counted(tmp_path) as counted,
        Live(tmp_path, "", **counted.how, store=store) as live,
        Live(tmp_path, "", **counted.how, store=store) as other,
    ):
        live.start(2)
        counted.goes_on(500)
        refused = other.initializer()
        assert refused.ends() == 1
        assert re.fullmatch(
            r"zworker: the store \S+/store belongs to cluster counted-[0-9a-f]+, which is running "
            rf"\(leader w0 at {live.control}\)\. To add this worker to it: --join {live.control}\. "
            r"To start another one: another --store\.",
            refused.last_line,
        ), refused.last_line
        counted.goes_on(500)
        assert (live.status().term, live.status().generation) == (1, 1)
        counted.check()
        live.shut_down()


def test_dead_letters_come_once(tmp_path: Path) -> None:
    """Every seventh line of a key is refused while a member and the leader are killed: each such
    line is in the file of dead letters once, and the others are counted."""
    refuse = ["if number % 7 == 0:", '    raise ValueError("seven")']
    with Counted(tmp_path, more=refuse) as counted, Live(tmp_path, "", **counted.how) as live:
        live.start(4)
        for name in ("w2", "w0"):
            counted.goes_on(1_000)
            live.kill(name)
            live.says(f"{name} died: not heard for ")
        counted.goes_on(1_000)
        counted.stop()
        refused = [line for line in counted.expected if line[1] % 7 == 0]
        counted.check(left_out=refused)
        live.shut_down()
    file = tmp_path / "dead-letters.jsonl"
    letters = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({(each["epoch"], each["author"], each["number"]) for each in letters}) == len(
        letters
    )
    assert Counter(each["record"] for each in letters) == Counter(map(repr, refused))


def key_of(worker: int, workers: int) -> str:
    """A key that the first generation gives to this one of so many workers."""
    groups = KeyGroups(1024)
    keys = (f"key{number:03d}" for number in range(200))
    return next(key for key in keys if groups.of([key])[0] % workers == worker)


@pytest.mark.parametrize("number", [0, 1])
def test_busy_is_not_dead(tmp_path: Path, number: int) -> None:
    """The tally of one key sleeps for three times as long as a worker may be silent, on the
    leader or on the other one: it is said, with the operator's name, and nobody dies."""
    nap = [f"if (key, number) == ({key_of(number, 2)!r}, 3):", "    import time; time.sleep(4.5)"]
    limits = {"dead_after_ms": 1_500, "busy_after_ms": 500}
    with (
        Counted(tmp_path, more=nap) as counted,
        Live(tmp_path, "", **counted.how, **limits) as live,
    ):
        live.start(2)
        counted.goes_on(500)
        says = f"w{number} is busy, not dead: tally holds its loop for "
        live.workers[f"w{1 - number}"].says(says)
        counted.goes_on(2_000)
        status = live.status()
        assert (status.generation, status.worker_names) == (1, ["w0", "w1"])
        assert "died" not in live.said()
        counted.check()
        live.shut_down()


VOTES_TO_FILES = """
import struct
from zstream import FileSink, LengthPrefix, TcpSource, Topology, source

def tally(total, vote):
    return total + 1, b"%s %d\\n" % (vote[:8], total + 1)

def topology(arguments):
    votes = source("votes", TcpSource(LengthPrefix())).key_by(lambda vote: vote[:8])
    counts = votes.stateful_map(tally, int)
    return Topology("votes", counts.sink("counts", FileSink(arguments[0], bytes)))
"""


class Voting:
    """Votes over TCP into files; what is lost is lost, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self._out = folder / "counts"
        application = folder / "to_files.py"
        application.write_text(VOTES_TO_FILES)
        self.how: dict[str, Any] = {"application": application, "arguments": [str(self._out)]}
        self.sent = 0
        self._names = names_of(100)

    def vote(self, sender: socket.socket, rounds: int) -> None:
        """So many votes for each name, at a steady pace."""
        for _ in range(rounds):
            sender.sendall(votes_of(self._names))
            self.sent += len(self._names)
            time.sleep(0.01)

    def counts(self) -> dict[bytes, list[int]]:
        """By name, in any order."""
        counts: dict[bytes, list[int]] = {}
        for file in self._out.glob("[0-9]*"):
            for line in file.read_bytes().splitlines():
                name, count = line.split()
                counts.setdefault(name, []).append(int(count))
        return counts

    def committed(self) -> int:
        return sum(map(len, self.counts().values()))

    def check(self, outputs: int) -> None:
        """So many, and of each name every count once, up to the last one."""
        assert self.committed() == outputs
        for counts in self.counts().values():
            assert sorted(counts) == list(range(1, len(counts) + 1))


def test_what_comes_over_tcp_and_is_lost_is_counted(tmp_path: Path) -> None:
    """A member dies while votes come over TCP. Those that came after the checkpoint are lost, and
    the worker that reads them says how many: so many are missing in the end, and no more."""
    voting = Voting(tmp_path)
    with Live(tmp_path, "", **voting.how) as live:
        live.start(2)
        with connect(live.sources["votes"]) as sender:
            voting.vote(sender, 100)
            until(voting.committed)
            voting.vote(sender, 10)
            live.kill("w1")
            while "All goes on from epoch" not in live.workers["w0"].log:
                voting.vote(sender, 1)
            voting.vote(sender, 100)
        [said] = re.findall(
            r"source votes: ([\d,]+) records came after the last checkpoint, and whoever sent them "
            r"cannot be asked for them again: they are lost",
            live.workers["w0"].log,
        )
        lost = int(said.replace(",", ""))
        until(lambda: live.status().records_lost == lost, live.status)
        left = voting.sent - lost
        assert left < voting.sent
        until(lambda: voting.committed() >= left, voting.committed)
        live.shut_down()
    voting.check(left)


def test_a_tcp_source_moves(tmp_path: Path) -> None:
    """The worker that listens is killed: another one listens at the same address, goes on from the
    counts of the checkpoint, and all that is sent to it then is counted."""
    voting = Voting(tmp_path)
    with Live(tmp_path, "", **voting.how) as live:
        live.start(2)
        with connect(live.sources["votes"]) as sender:
            voting.vote(sender, 100)
            until(voting.committed)
            live.kill("w0")
        live.workers["w1"].says("source votes is read here now")
        there = voting.committed()
        before = voting.sent
        with connect(live.sources["votes"]) as sender:
            voting.vote(sender, 50)
        wanted = there + voting.sent - before
        until(lambda: voting.committed() >= wanted, voting.committed)
        live.shut_down()
    voting.check(wanted)
