"""What must hold, whatever happened: the invariants of the protocols, checked from outside.

While a simulation runs, `watch` is called after every turn of a worker: terms and generations only
rise, a generation has one table, and in a run a key group is live in one place. At its end `judge`
looks at how every worker ended, at what every tool was told, and at what the sinks got: as if
nothing had ever happened. The first that is wrong is raised as InvariantBroken.

- Of each partition the records up to a place are in, each once, in order; all of them, if anybody
  read it at the end. That place is the position in the last manifest.
- Each key had one state, which saw every record of its ways, in order, once.
- Output came in the order of epochs; what a key gave in one of them, in that of its ticks. What is
  sent at once came at least once.
- Exactly what a step refused is among the dead letters.

Where a part of a manifest has rotted, the manifest before it is taken, and that is said: what had
been committed in between may come again, and what had been acknowledged may be lost. Where none
can be read, the cluster stops and says so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from zstream.errors import InvariantBroken
from zstream.model.ids import Incarnation
from zstream.model.membership import RoutingTable
from zstream.sim.cluster import SimulatedCluster
from zstream.sim.node import SimulatedWorker
from zstream.sim.numbered import (
    ECHOES,
    ONES,
    SINGLES,
    TWOS,
    Applied,
    Numbered,
    is_refused,
)
from zstream.sim.outside import Emitted
from zstream.sim.truth import Truth

Key = Callable[[Numbered], object]


class Oracle:
    """Watches one simulated cluster that runs the numbered topology."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self.truth = Truth(cluster)
        self._cluster = cluster
        self._seen: dict[Incarnation, tuple[int, int]] = {}
        self._tables: dict[int, RoutingTable] = {}  # by generation, as workers switched to them
        self._held: dict[Incarnation, tuple[int, int, frozenset[int]]] = {}

    @property
    def generations(self) -> int:
        """How many generations were switched to."""
        return len(self._tables)

    # ------------------------------------------------------------ during the run

    def watch(self, worker: SimulatedWorker) -> None:
        """After a turn: nothing of this worker has gone back, and it holds only what is its own."""
        state = worker.driver.agent.state
        self._check_copies(worker)
        now = (state.term, state.newest)
        before = self._seen.get(worker.member.incarnation, (0, 0))
        if now == before:
            return
        if now[0] < before[0] or now[1] < before[1]:
            raise InvariantBroken(f"{worker.label} went back from {before} to {now}")
        self._seen[worker.member.incarnation] = (now[0], now[1])
        if state.generation is not None:
            table = state.table
            if self._tables.setdefault(table.generation, table) != table:
                raise InvariantBroken(f"there are two tables of generation {table.generation}")

    def nobody_is_broken(self) -> None:
        """Raise what ended a worker that was not killed."""
        for worker in self._cluster.workers:
            if worker.crash_cause.startswith("broken"):
                raise InvariantBroken(f"{worker.label} {worker.crash_cause}")

    def _check_copies(self, worker: SimulatedWorker) -> None:
        """What is live here is live nowhere else, and a switch found every link open."""
        dataflow, me = worker.driver.dataflow, worker.member.incarnation
        now = (dataflow.run, dataflow.progress().generation, dataflow.key_groups)
        before = self._held.get(me, (0, 0, frozenset()))
        if now == before:
            return
        self._held[me] = now
        opened = self.truth.state.generation
        table = self.truth.state.table
        is_newest = now[1] == table.generation and table.member(me) is not None
        if is_newest and now[1] != before[1] and opened is not None and not opened.recovers:
            unknown = {m.incarnation for m in table.members} - {me, *dataflow.connected()}
            if unknown:
                raise InvariantBroken(f"{worker.label} routes to {unknown}: no hello was heard")
        for other in self._cluster.alive:
            others = other.driver.dataflow
            if other is worker or others.run != dataflow.run:
                continue
            if twice := dataflow.key_groups & others.key_groups:
                raise InvariantBroken(
                    f"key groups {sorted(twice)} are live on {worker.label} and {other.label}"
                )

    # ------------------------------------------------------------ at the end

    def judge(self, *, deaths_allowed: bool) -> None:
        """Everything has ended: was it right?"""
        cluster = self._cluster
        members = {m.incarnation for table in self._tables.values() for m in table.members}
        self.nobody_is_broken()
        for worker in cluster.workers:
            if worker.alive:
                raise InvariantBroken(f"{worker.label} never ended")
            failed = worker.exit is not None and worker.exit.code != 0
            if failed and worker.member.incarnation in members and not deaths_allowed:
                raise InvariantBroken(f"{worker.label} ended with: {worker.exit}")
        for asked in cluster.asked.values():
            end = asked.of.exit if asked.of else None  # who failed or was killed knew no outcome
            is_owed = end is not None and end.code == 0 and not asked.is_given_up
            if asked.final is None and is_owed:
                raise InvariantBroken(f"{asked.request} was never answered finally")
        if self.truth.counts["recoveries"] and not deaths_allowed:
            raise InvariantBroken("nobody was killed, and there was a recovery")
        stopped = self.truth.state.stopped
        if stopped is not None and "cannot go on" in stopped.says and self.truth.is_rotten:
            self._judge_stopped_by_rot()
            return
        if stopped is None or not stopped.drained:
            raise InvariantBroken(f"the cluster was not drained: {stopped}")
        self._judge_positions()
        if self.truth.rolled_back:
            self._judge_after_rot()
        else:
            self._judge_records()

    def is_whole(self) -> bool:
        """Whether what somebody read at the end was read to its end."""
        return not self._unread()

    def _judge_positions(self) -> None:
        for source, names in self.truth.state.placement.sources.items():
            if not names and not self._cluster.plan.sources[source].parallel:
                raise InvariantBroken(f"nobody reads {source}")
        if unread := self._unread():
            raise InvariantBroken(f"{len(unread)} records were not read to the end: {unread[:2]}")

    def _unread(self) -> list[Numbered]:
        """Records of partitions that are read at the end which are in no manifest."""
        placed = self.truth.state.placement.sources
        scripts = [self._cluster.script(source, n) for source in placed for n in placed[source]]
        return [
            record
            for script in scripts
            for record in script.records[self._position(script.partition) :]
        ]

    def _position(self, partition: str) -> int:
        manifest = self.truth.state.manifest
        positions = self.truth.decided[manifest.epoch].positions if manifest else {}
        return positions.get(partition, 0)

    def _records(self) -> list[Numbered]:
        """What must have come through: each partition's up to its position."""
        return [
            record
            for script in self._cluster.scripts.values()
            for record in script.records[: self._position(script.partition)]
        ]

    def _judge_records(self) -> None:
        given = self._records()
        ones, twos, singles = (self._got(sink) for sink in (ONES, TWOS, SINGLES))
        _each_once(ONES, given, ones)
        _each_once(TWOS, given, twos)
        _each_once(SINGLES, [record for record in given if not is_refused(record)], singles)
        letters = [emitted.record.record for emitted in self._cluster.letters.emitted]
        refused = [record for record in given if is_refused(record)]
        _each_once("dead letters", refused, letters)
        self._judge_echoes(given, twice_is_wrong=not self.truth.counts["recoveries"])
        _in_order(ONES, ones, lambda r: r.first, lambda r: r.partition)
        _in_order(TWOS, twos, lambda r: r.second, lambda r: (r.partition, r.first))
        _in_epochs(ONES, self._cluster.outlet(ONES).emitted, lambda r: r.first)
        _in_epochs(TWOS, self._cluster.outlet(TWOS).emitted, lambda r: r.second)
        _rising(SINGLES, singles)

    def _judge_echoes(self, given: list[Numbered], *, twice_is_wrong: bool) -> None:
        echoes = Counter(applied.record for applied in self._got(ECHOES))
        _nothing_invented(ECHOES, self._all(), echoes)
        _nothing_lost(ECHOES, given, echoes)
        if twice_is_wrong:
            _nothing_twice(ECHOES, echoes)

    def _judge_after_rot(self) -> None:
        """Output may have come again; what was acknowledged and forgotten may be lost."""
        forgetful = {s.partition for s in self._cluster.scripts.values() if s.forgets}
        given = [record for record in self._records() if record.partition not in forgetful]
        for sink in (ONES, TWOS, ECHOES):
            got = Counter(applied.record for applied in self._got(sink))
            _nothing_invented(sink, self._all(), got)
            _nothing_lost(sink, given, got)

    def _judge_stopped_by_rot(self) -> None:
        """The cluster has stopped and said why; what it has shown until then is right."""
        if self.truth.rolled_back:
            return
        for sink in (ONES, TWOS, SINGLES):
            got = Counter(applied.record for applied in self._got(sink))
            _nothing_twice(sink, got)
            _nothing_invented(sink, self._all(), got)

    def _got(self, sink: str) -> list[Applied]:
        return [emitted.record for emitted in self._cluster.outlet(sink).emitted]

    def _all(self) -> list[Numbered]:
        return [record for script in self._cluster.scripts.values() for record in script.records]


def _each_once(what: str, must: Iterable[Numbered], got: Iterable[Applied]) -> None:
    counted = Counter(applied.record for applied in got)
    _nothing_twice(what, counted)
    _nothing_lost(what, must, counted)
    _nothing_invented(what, must, counted)


def _nothing_twice(what: str, got: Counter[Numbered]) -> None:
    twice = [record for record, times in got.items() if times > 1]
    if twice:
        raise InvariantBroken(f"{what}: {len(twice)} records came twice, as {min(twice)}")


def _nothing_invented(what: str, given: Iterable[Numbered], got: Counter[Numbered]) -> None:
    invented = got.keys() - set(given)
    if invented:
        raise InvariantBroken(f"{what}: {len(invented)} nobody gave, as {min(invented)}")


def _nothing_lost(what: str, must: Iterable[Numbered], got: Counter[Numbered]) -> None:
    lost = [record for record in must if record not in got]
    if lost:
        raise InvariantBroken(f"{what}: {len(lost)} records are lost, as {min(lost)}")


def _in_order(what: str, got: list[Applied], key_of: Key, way_of: Key) -> None:
    """Each key had one state that saw each way's records in order."""
    by_key: dict[object, list[Applied]] = defaultdict(list)
    for applied in got:
        by_key[key_of(applied.record)].append(applied)
    for key, all_of_key in by_key.items():
        all_of_key.sort(key=lambda applied: applied.place)
        counts = [applied.place for applied in all_of_key]
        if counts != list(range(1, len(counts) + 1)):
            raise InvariantBroken(f"{what}: key {key} had more than one copy: {counts}")
        last: dict[object, int] = {}
        for applied in all_of_key:
            way = way_of(applied.record)
            if not applied.before == last.get(way, 0) < applied.record.number:
                raise InvariantBroken(f"{what}: {applied} came behind {last.get(way, 0)}")
            last[way] = applied.record.number


def _in_epochs(what: str, got: list[Emitted], key_of: Key) -> None:
    """What a key gave in one epoch was all given before what it gives in the next; and where two
    workers gave it, the tick tells which was later.
    """
    newest: dict[object, Emitted] = {}
    for emitted in sorted(got, key=lambda emitted: emitted.record.place):
        key = key_of(emitted.record.record)
        last = newest.setdefault(key, emitted)
        if emitted.epoch < last.epoch:
            raise InvariantBroken(f"{what}: {emitted} is in an epoch before {last.epoch}")
        higher = emitted.author != last.author
        if emitted.epoch == last.epoch and emitted.tick < last.tick + higher:
            raise InvariantBroken(f"{what}: key {key} has tick {emitted.tick} after {last}")
        newest[key] = emitted


def _rising(what: str, got: list[Applied]) -> None:
    """One worker's output, in the order in which it went out."""
    last: dict[tuple[str, int], int] = {}
    for applied in got:
        way = (applied.record.partition, applied.record.first)
        if applied.record.number < last.get(way, 0):
            raise InvariantBroken(f"{what}: {applied} went out behind {last[way]}")
        last[way] = applied.record.number
