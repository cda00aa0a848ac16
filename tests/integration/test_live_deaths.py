"""Workers that are killed or fall asleep while others come and go: the rescale is undone or has
failed, and no total is lost. Leaders that leave, and that wake up too late."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from examples.traffic import Traffic
from tests.integration.live import (
    Live,
    Outlet,
    Process,
    connect,
    drained,
    goes_on,
    names_of,
    until,
    votes_of,
)

KEYS = names_of(2_000)


def test_a_joiner_killed_while_its_batch_waits(tmp_path: Path) -> None:
    """w1 waits for its batch and is killed. Another w1 and w2 come and are a batch: the dead one
    is not counted, and its name is free again."""
    with (
        Traffic(names_of(100), 1_000) as traffic,
        Live(tmp_path, traffic.address, joiner_silent_ms=1_500) as live,
    ):
        live.start()
        traffic.start(live.sources["votes"])
        goes_on(traffic, 300)
        [dead] = live.join(1, batch=2)
        dead.says("waiting for 1 more worker (here: w1)")
        dead.kill()
        [again] = live.join(1, batch=2, name="w1")
        again.says("waiting for 1 more worker (here: w1)")
        [other] = live.join(1, batch=2)
        for joiner in (again, other):
            joiner.says("grow-2 by ")
        assert live.status().worker_count == 3
        goes_on(traffic, 300)
        drained(traffic)
        live.shut_down()


def test_a_joiner_killed_before_the_first_wave(tmp_path: Path) -> None:
    """The grow is open and one of two joiners dies in CONNECT: the batch is undone, the other
    joiner is told so and ends with 1, no record is lost, and the next batch grows the cluster."""
    with (
        Traffic(names_of(100), 1_000) as traffic,
        Live(tmp_path, traffic.address, joiner_silent_ms=50_000, dead_after_ms=3_000) as live,
    ):
        live.start(2)
        traffic.start(live.sources["votes"])
        goes_on(traffic, 300)
        stopped, other = live.join_stopped()
        stopped.kill()
        assert other.ends() == 1
        assert other.last_line == (
            f"zworker: grow-2 was undone: {stopped.name} died in CONNECT. The cluster has "
            "2 workers, generation 1; nothing was lost."
        )
        status = live.status()
        assert (status.worker_names, status.generation) == (["w0", "w1"], 1)
        live.grow(2)
        goes_on(traffic, 300)
        drained(traffic)
        live.shut_down()


class Tally:
    """Votes of one each, sent in rounds, and the totals that came for them."""

    def __init__(self, live: Live, outlet: Outlet) -> None:
        self._live = live
        self._outlet = outlet
        self._votes = 0

    def vote(self) -> None:
        """One vote for each key; each total must be one above the one before."""
        with connect(self._live.sources["votes"]) as sender:
            sender.sendall(votes_of(KEYS))
            lines = self._outlet.take(len(KEYS))
        self._votes += 1
        assert sorted(lines) == [b"%s => %d" % (key, self._votes) for key in KEYS]

    def vote_and_keep(self) -> None:
        """The same, and wait until it is in a checkpoint: TCP cannot be asked for it again."""
        self.vote()
        self._live.checkpointed()


@contextmanager
def tallied(folder: Path, **settings: object) -> Iterator[tuple[Live, Tally]]:
    """A cluster, and a tally of the votes that go through it."""
    with Outlet() as outlet, Live(folder, outlet.address, **settings) as live:
        yield live, Tally(live, outlet)


def waves_begun(live: Live) -> int:
    """Of the rescale under way."""
    under_way = live.status().rescale
    return int(under_way["wave"]) if under_way else 0


def test_a_joiner_killed_in_a_wave(tmp_path: Path) -> None:
    """Waves of a few key groups; the joiner is stopped in the midst of them, so that the grow
    stands still, and killed. The cluster goes on from its checkpoint without it, says so, and no
    total is lost. A later join moves everything, unharmed."""
    with tallied(tmp_path, wave_groups_max=4, dead_after_ms=3_000) as (live, tally):
        live.start(2)
        tally.vote()
        tally.vote_and_keep()
        [joiner] = live.join(1)
        until(lambda: waves_begun(live) >= 10, live.status)
        joiner.signal(signal.SIGSTOP)
        until(lambda: live.status().worker_count == 3, live.status)
        joiner.kill()
        live.workers["w0"].says("grow-2 failed: w2 died, and the rest went on from a checkpoint.")
        last = live.status().last_rescale
        assert last is not None and last["outcome"] == "failed"
        assert live.status().worker_names == ["w0", "w1"]
        tally.vote()
        live.join(1)[0].says("grow-3 by w3: ")
        tally.vote()
        assert live.shrink(1).left == ["w3"]
        tally.vote()
        live.shut_down()


def test_a_leaver_killed_in_a_wave(tmp_path: Path) -> None:
    """It is killed in the midst of its own shrink: the shrink has failed, the tool says so and
    ends with 1, and no total is lost."""
    with tallied(tmp_path, wave_groups_max=4, dead_after_ms=3_000) as (live, tally):
        live.start(2)
        tally.vote()
        tally.vote_and_keep()
        shrink = live.tool("cluster_shrinker", "--external", live.external, "--workers", "w1")
        until(lambda: waves_begun(live) >= 10, live.status)
        live.workers["w1"].kill()
        assert shrink.ends() == 1
        assert "shrink-2 failed: w1 died, and the rest went on from a checkpoint." in shrink.log
        assert live.status().worker_names == ["w0"]
        tally.vote()
        tally.vote()
        live.shut_down()


def let_another_lead(live: Live) -> Process:
    """w0 leads and is stopped for longer than its lease; it wakes up. Who leads now."""
    status = live.status()
    assert status.leader == "w0"
    heir = live.workers[status.worker_names[1]]
    live.workers["w0"].signal(signal.SIGSTOP)
    heir.says("leads the cluster (term 2)")
    live.workers["w0"].signal(signal.SIGCONT)
    until(lambda: live.status().leader == heir.name, live.status)
    return heir


def test_the_leader_sleeps_wakes_and_the_next_one_leaves(tmp_path: Path) -> None:
    """w0 leads, is stopped and replaced, wakes up, does no harm and follows. Then the new leader
    leaves: it hands over and ends with 0. All of it exact."""
    with (
        Traffic(names_of(100), 1_000) as traffic,
        Live(tmp_path, traffic.address, dead_after_ms=50_000) as live,
    ):
        live.start(3)
        traffic.start(live.sources["votes"])
        goes_on(traffic, 300)
        heir = let_another_lead(live)
        goes_on(traffic, 500)
        live.grow(1)
        goes_on(traffic, 500)
        assert live.shrink(workers=[heir.name]).left == [heir.name]
        until(lambda: live.status().leader in live.status().worker_names, live.status)
        assert heir.name not in live.status().worker_names
        goes_on(traffic, 500)
        live.shrink(2)
        goes_on(traffic, 300)
        drained(traffic)
        live.shut_down()


def test_a_leader_that_wakes_after_it_was_taken_for_dead(tmp_path: Path) -> None:
    """A leader is stopped until the others have removed it. It wakes up, reads that it is no
    member any more, says so and ends with 1; the totals of the others go on as they were."""
    with tallied(tmp_path, dead_after_ms=3_000) as (live, tally):
        live.start(3)
        tally.vote()
        heir = let_another_lead(live)
        tally.vote_and_keep()
        heir.signal(signal.SIGSTOP)
        live.workers["w0"].says(f"{heir.name} died: not heard for 3.0 s. ")
        tally.vote()
        heir.signal(signal.SIGCONT)
        assert heir.ends() == 1
        assert "the cluster goes on without this worker" in heir.last_line
        tally.vote()
        assert heir.name not in live.status().worker_names
        live.shut_down()
