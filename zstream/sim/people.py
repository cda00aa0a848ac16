"""What people do to a cluster that they had better not: at any time, to whoever is there."""

from __future__ import annotations

from zstream.sim.cluster import SimulatedCluster
from zstream.sim.node import SimulatedWorker

STARTED_MAX = 3  # workers that somebody starts at one time


class People:
    """Each `act` is one mistake of somebody, or one thing that is nobody's fault."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._chance = cluster.kernel.chance
        self._number = 0

    def act(self) -> None:
        if self._cluster.alive:
            self._chance.choice(
                [
                    self._start_it_twice,
                    self._start_too_many,
                    self._join_by_a_name_that_was,
                    self._join_who_has_not_joined,
                    self._join_each_other,
                    self._join_with_another_count,
                    self._signal,
                    self._end_who_waits,
                    self._shrink_several,
                ]
            )()

    def _start_it_twice(self) -> None:
        """Another cluster in the same store, perhaps under the same name."""
        self._note("starts it twice")
        first = self._some().member.name if self._chance.random() < 0.5 else self._name()
        count = self._chance.randint(1, STARTED_MAX)
        twin = self._cluster.start_one(first, "initializer", "", count)
        for _ in range(1, count):
            self._cluster.start_one(self._name(), "starter", twin.member.control, count)

    def _start_too_many(self) -> None:
        self._note("starts too many")
        for _ in range(self._chance.randint(1, STARTED_MAX)):
            self._cluster.start_one(self._name(), "starter", self._some().member.control, 1)

    def _join_by_a_name_that_was(self) -> None:
        name = self._chance.choice(self._cluster.workers).member.name
        self._note("joins as", name)
        self._cluster.start_one(name, "joiner", self._some().member.control, 1)

    def _join_who_has_not_joined(self) -> None:
        """Who is asked may be on its way in itself, or gone."""
        via = self._chance.choice(self._cluster.workers)
        self._note("joins via", via.label)
        self._cluster.start_one(self._name(), "joiner", via.member.control, 1)

    def _join_each_other(self) -> None:
        self._note("has two join each other")
        one = self._cluster.start_one(self._name(), "joiner", self._cluster.next_control(1), 1)
        self._cluster.start_one(self._name(), "joiner", one.member.control, 1)

    def _join_with_another_count(self) -> None:
        self._note("joins with another count")
        count = self._chance.randint(1, STARTED_MAX)
        self._cluster.start_one(self._name(), "joiner", self._some().member.control, count)

    def _signal(self) -> None:
        worker = self._some()
        self._note("signals", worker.label)
        worker.signal()

    def _end_who_waits(self) -> None:
        """A worker on its way in dies."""
        waiting = [w for w in self._cluster.alive if not w.driver.agent.generation]
        if waiting:
            self._chance.choice(waiting).crash()

    def _shrink_several(self) -> None:
        names = sorted({worker.member.name for worker in self._cluster.alive})
        count = self._chance.randint(1, len(names))
        self._cluster.shrink(names=self._chance.sample(names, count))

    def _some(self) -> SimulatedWorker:
        return self._chance.choice(self._cluster.alive)

    def _name(self) -> str:
        self._number += 1
        return f"p{self._number}"

    def _note(self, *what: object) -> None:
        self._cluster.kernel.note("sim", "somebody", *what)
