"""Schedules that are told step by step, for what chance comes to too rarely."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zstream.config import Config
from zstream.sim.cluster import SimulatedCluster
from zstream.sim.numbered import ONES, RIGHT, Numbered, first_key, stage_one
from zstream.sim.schedules import QUICK
from zstream.sim.truth import Truth
from zstream.topology.specs import Sink, Source
from zstream.topology.stream import source
from zstream.topology.topology import TopologyValue


class Told:
    """A cluster whose only source is read by each worker that it starts with."""

    def __init__(self, seed: int = 1) -> None:
        given = source(RIGHT, Source[Numbered](parallel=True))
        counted = given.key_by(first_key).stateful_map(stage_one, dict)
        topology = TopologyValue("told", counted.sink(ONES, Sink()), key_groups=8)
        self.cluster = SimulatedCluster(seed, topology.plan, topology.registry, Config())
        self.cluster.config = QUICK
        self.truth = Truth(self.cluster)

    def push(self, worker: str, count: int) -> None:
        script = self.cluster.script(RIGHT, worker)
        self.truth.follow(script)
        first = len(script.records) + 1
        script.push(
            Numbered(script.partition, number, number % 3, 0)
            for number in range(first, first + count)
        )

    def until(self, what: Callable[[], bool], seconds: float = 10.0) -> None:
        deadline = self.cluster.kernel.now + seconds
        while not what():
            assert self.cluster.kernel.now < deadline, self.cluster.kernel.story()
            self.cluster.run(0.02)

    def members(self) -> list[str]:
        """As the log says; empty while a rescale is under way."""
        state = self.truth.state
        return [] if state.open else [member.name for member in state.table.members]

    def decided(self) -> dict[str, int]:
        """Positions in the newest manifest."""
        manifest = self.truth.state.manifest
        return dict(self.truth.decided[manifest.epoch].positions) if manifest else {}


def test_somebody_keeps_the_position_of_a_reader_that_died() -> None:
    """Who was there when it died knows it, and who joined later does not. So one of the former
    stays: the last of them may not leave.
    """
    told = Told()
    cluster = told.cluster
    cluster.start(1)
    told.push("w0", 10)
    told.until(lambda: told.decided() == {"right@w0": 10})
    cluster.join(["j0"])
    told.until(lambda: told.members() == ["w0", "j0"])
    cluster.workers[0].crash()
    told.until(lambda: told.members() == ["j0"])
    cluster.join(["j1"])
    told.until(lambda: told.members() == ["j0", "j1"])
    asked = cluster.shrink(names=["j0"])
    told.until(lambda: asked.final is not None)
    assert asked.final is not None and "j0 stays: somebody must stay" in asked.final.says
    cluster.shrink(count=9)
    told.until(lambda: told.members() == ["j0"])
    after = told.truth.state.epochs
    told.until(lambda: told.truth.state.committed > after)
    assert told.decided() == {"right@w0": 10}
    cluster.shutdown()
    told.until(lambda: not cluster.alive)
    cluster.restart(1)
    told.push("w0", 5)
    told.until(lambda: told.decided() == {"right@w0": 15})
    assert [emitted.record.record.number for emitted in cluster.outlet(ONES).emitted] == [
        *range(1, 16)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_of_two_that_begin_at_one_time_one_is_refused(seed: int) -> None:
    """Both may find the store empty; the log lets one of them win, and the other one says who."""
    told = Told(seed)
    pair = [told.cluster.start(2)[0] for _ in range(2)]
    told.until(lambda: not all(worker.alive for worker in pair), 1.0)
    [left] = [worker for worker in pair if worker.alive]
    [gone] = [worker for worker in pair if not worker.alive]
    assert gone.exit is not None and gone.exit.code == 1
    assert f"w0 at {left.member.control}" in gone.exit.says


def test_a_worker_too_many_comes_to_a_start() -> None:
    """While it is under way, of one worker: it goes on, and the other one is told how to join."""
    told = Told()
    first = told.cluster.start(1)[0]
    told.until(lambda: told.truth.state.open is not None)
    other = told.cluster.start_one("w1", "starter", first.member.control, 1)
    told.until(lambda: not other.alive, 2.0)
    assert told.members() == ["w0"] and first.alive
    assert other.exit is not None
    assert other.exit.says == (
        "the cluster told is up already, with 1 worker. "
        "To let w1 join it, use --join instead of --control."
    )
