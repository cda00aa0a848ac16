"""What must hold, whatever happened: the invariants of the protocols, checked from outside.

While a simulation runs, `watch` is called after every turn of a worker: terms and generations only
rise, and a generation has one table. At its end `judge` looks at what the sinks got, at how every
worker ended, and at what every tool was told. The first that is wrong is raised as
InvariantBroken.

A key group is *touched* when a worker that died owned it in some generation. Stage 1 of zstream
does not bring back what died, so touched keys may lose records and begin anew; they may never
double or reorder any, and all other keys lose nothing.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

from zstream.control.invariants import broken
from zstream.control.state import ClusterState, apply, effective
from zstream.errors import InvariantBroken
from zstream.model.ids import Incarnation, KeyGroup, LogNumber
from zstream.model.keys import KeyGroups
from zstream.model.membership import RoutingTable
from zstream.model.records import GenerationOpened, LogRecord, RescaleOpened, TermOpened
from zstream.sim.cluster import SimulatedCluster
from zstream.sim.node import SimulatedWorker
from zstream.sim.numbered import ONES, SINGLES, TWOS, Applied, Numbered
from zstream.wire.codec import decode_record

OUTCOMES_KEPT = 64


class Oracle:
    """Watches one simulated cluster that runs the numbered topology."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._groups = KeyGroups(cluster.plan.key_groups)
        self._seen: dict[Incarnation, tuple[int, int]] = {}
        self._tables: dict[int, RoutingTable] = {}  # by generation, as workers switched to them
        self._pinned_on: set[str] = set()
        self._held: dict[Incarnation, tuple[int, frozenset[int]]] = {}
        self._folded = ClusterState()

    # ------------------------------------------------------------ during the run

    def watch(self, worker: SimulatedWorker) -> None:
        """After a turn: nothing of this worker has gone back, and it holds only what is its own."""
        state = worker.driver.agent.state
        self._check_copies(worker)
        now = (state.term, state.table.generation)
        before = self._seen.get(worker.member.incarnation, (0, 0))
        if now == before:
            return
        if now[0] < before[0] or now[1] < before[1]:
            raise InvariantBroken(f"{worker.label} went back from {before} to {now}")
        self._seen[worker.member.incarnation] = (now[0], now[1])
        if self._tables.setdefault(now[1], state.table) != state.table:
            raise InvariantBroken(f"there are two tables of generation {now[1]}")
        self._pinned_on.update(state.placement.pinned.values())

    def _check_copies(self, worker: SimulatedWorker) -> None:
        """What is live here is live nowhere else, and a switch found every link open."""
        dataflow, me = worker.driver.dataflow, worker.member.incarnation
        live, generation = dataflow.key_groups, dataflow.progress().generation
        if self._held.get(me) == (generation, live):
            return
        before = self._held.get(me, (0, live))[0]
        self._held[me] = (generation, live)
        table = self.true_state().table
        if generation != before and generation == table.generation and table.member(me):
            unknown = {m.incarnation for m in table.members} - {me, *dataflow.connected()}
            if unknown:
                raise InvariantBroken(f"{worker.label} routes to {unknown}: no hello was heard")
        for other in self._cluster.alive:
            who = other.member.incarnation
            if who == me or not table.member(who) or not table.member(me):
                continue
            if twice := live & other.driver.dataflow.key_groups:
                raise InvariantBroken(
                    f"key groups {sorted(twice)} are live on {worker.label} and {other.label}"
                )

    @property
    def generations(self) -> int:
        """How many generations were switched to."""
        return len(self._tables)

    # ------------------------------------------------------------ the truth

    def true_state(self) -> ClusterState:
        """What the control log says now, folded from its very first record."""
        history = self._cluster.world.disk.history
        while self._folded.tail + 1 in history:
            number = LogNumber(self._folded.tail + 1)
            record = decode_record(history[number])
            if isinstance(record, TermOpened) and record.author == self._folded.leader:
                raise InvariantBroken(f"{record.name} opened a term over its own")
            if effective(self._folded, record):
                before = self._folded
                self._folded = apply(before, number, record, OUTCOMES_KEPT)
                if what := broken(before, record, self._folded):
                    raise InvariantBroken(what)
            else:
                self._folded = replace(self._folded, tail=number)
        return self._folded

    def log_story(self) -> str:
        """The control log, a line a record."""
        history = self._cluster.world.disk.history
        return "\n".join(
            f"  log {number:3} {_told(decode_record(history[number]))}"
            for number in sorted(history)
        )

    # ------------------------------------------------------------ at the end

    def judge(self, *, deaths_allowed: bool) -> None:
        """Everything has ended: was it right?"""
        cluster = self._cluster
        for worker in cluster.workers:
            if worker.crash_cause.startswith("broken"):
                raise InvariantBroken(f"{worker.label} {worker.crash_cause}")
            if worker.alive:
                raise InvariantBroken(f"{worker.label} never ended")
            if worker.letters:
                raise InvariantBroken(f"{worker.label} has dead letters: {worker.letters[0]}")
        survived = any(worker.exit and worker.exit.code == 0 for worker in cluster.workers)
        for asked in cluster.asked.values():
            if asked.final is None and survived:
                raise InvariantBroken(f"{asked.request} was never answered finally")
        dead = self._dead()
        if dead and not deaths_allowed:
            raise InvariantBroken(f"nobody was killed, but these ended as dead: {dead}")
        self._judge_records(dead)

    def _dead(self) -> dict[Incarnation, str]:
        """Members that crashed, ended with another code than 0, or were removed with key groups."""
        members = {m.incarnation for table in self._tables.values() for m in table.members}
        removed = self._removed()
        dead = {}
        for worker in self._cluster.workers:
            who = worker.member.incarnation
            if who in members:
                if worker.crash_cause:
                    dead[who] = f"{worker.label}: {worker.crash_cause}"
                elif worker.exit is not None and worker.exit.code != 0:
                    dead[who] = f"{worker.label}: {worker.exit.says}"
                elif who in removed:
                    dead[who] = f"{worker.label}: removed while it owned key groups"
        return dead

    def _removed(self) -> set[Incarnation]:
        """Members of a generation that are not in the next although they owned something."""
        removed: set[Incarnation] = set()
        numbers = sorted(self._tables)
        for before, after in itertools.pairwise(numbers):
            old, new = self._tables[before], self._tables[after]
            removed.update(
                member.incarnation
                for member in old.members
                if new.member(member.incarnation) is None and old.groups_of(member.incarnation)
            )
        return removed

    def _judge_records(self, dead: dict[Incarnation, str]) -> None:
        touched = self._touched(dead)
        dead_names = {
            worker.member.name
            for worker in self._cluster.workers
            if worker.member.incarnation in dead
        }
        given: list[Numbered] = []
        certain: list[Numbered] = []  # the worker that read them lives
        for (_, name), script in sorted(self._cluster.world.scripts.items()):
            given.extend(script.given)
            if name not in dead_names:
                certain.extend(script.given)
        pinned_safe = not (self._pinned_on & dead_names)

        def one_safe(record: Numbered) -> bool:
            return self._group(record.first) not in touched

        def two_safe(record: Numbered) -> bool:
            return one_safe(record) and self._group(record.second) not in touched

        ones, twos, singles = (self._got(sink) for sink in (ONES, TWOS, SINGLES))
        for sink, got, safe in (
            (ONES, ones, one_safe),
            (TWOS, twos, two_safe),
            (SINGLES, singles, lambda record: pinned_safe and one_safe(record)),
        ):
            must = [record for record in certain if safe(record)]
            _each_once(sink, given, must, [applied.record for applied in got])
        _in_order(ONES, ones, lambda r: (r.first,), lambda r: (r.partition,), one_safe)
        _in_order(TWOS, twos, lambda r: (r.second,), lambda r: (r.partition, r.first), two_safe)
        if not dead:
            _rising(SINGLES, singles)

    def _got(self, sink: str) -> list[Applied]:
        return [emitted.record for emitted in self._cluster.outlet(sink).emitted]

    def _group(self, key: int) -> KeyGroup:
        return KeyGroup(self._groups[key])

    def _touched(self, dead: dict[Incarnation, str]) -> set[KeyGroup]:
        return {
            group
            for table in self._tables.values()
            for incarnation in dead
            for group in table.groups_of(incarnation)
        }


def _each_once(
    sink: str, given: Iterable[Numbered], must: Iterable[Numbered], got: Iterable[Numbered]
) -> None:
    counted = Counter(got)
    twice = [record for record, times in counted.items() if times > 1]
    if twice:
        raise InvariantBroken(f"{sink}: {len(twice)} records came twice, as {min(twice)}")
    invented = counted.keys() - set(given)
    if invented:
        raise InvariantBroken(f"{sink}: {len(invented)} nobody gave, as {min(invented)}")
    lost = [record for record in must if record not in counted]
    if lost:
        raise InvariantBroken(f"{sink}: {len(lost)} records are lost, as {min(lost)}")


def _in_order(
    sink: str,
    got: list[Applied],
    key_of: Callable[[Numbered], tuple[int, ...]],
    way_of: Callable[[Numbered], tuple[object, ...]],
    safe: Callable[[Numbered], bool],
) -> None:
    """Each key had one state that saw each way's records in order."""
    by_key: dict[tuple[int, ...], list[Applied]] = defaultdict(list)
    for applied in got:
        by_key[key_of(applied.record)].append(applied)
    for key, all_of_key in by_key.items():
        for applied in all_of_key:
            if applied.before >= applied.record.number:
                raise InvariantBroken(f"{sink}: {applied} was applied out of order")
        if not all(safe(applied.record) for applied in all_of_key):
            continue
        counts = sorted(applied.place for applied in all_of_key)
        if counts != list(range(1, len(counts) + 1)):
            raise InvariantBroken(f"{sink}: key {key} had more than one copy: {counts}")
        last: dict[tuple[object, ...], int] = {}
        for applied in sorted(all_of_key, key=lambda applied: applied.place):
            way = way_of(applied.record)
            if applied.before != last.get(way, 0):
                raise InvariantBroken(f"{sink}: {applied} came behind {last.get(way, 0)}")
            last[way] = applied.record.number


def _rising(sink: str, got: list[Applied]) -> None:
    """One worker's output, in the order in which it went out."""
    last: dict[tuple[str, int], int] = {}
    for applied in got:
        way = (applied.record.partition, applied.record.first)
        if applied.record.number < last.get(way, 0):
            raise InvariantBroken(f"{sink}: {applied} went out behind {last[way]}")
        last[way] = applied.record.number


def _told(record: LogRecord) -> str:
    """A log record in a line, for a story."""
    if isinstance(record, GenerationOpened):
        table = record.table
        owners = "".join(str(owner) for owner in table.owners)
        members = " ".join(member.name for member in table.members)
        return (
            f"t{record.term} generation {table.generation} [{members}] {owners} "
            f"wave {record.wave}/{record.waves} {record.rescale} fresh {list(record.fresh)} "
            f"{record.cause}"
        )
    if isinstance(record, TermOpened):
        return f"t{record.term} opened by {record.name}: {record.cause}"
    if isinstance(record, RescaleOpened):
        joiners = [member.name for member in record.joiners]
        return f"t{record.term} {record.id} opened {joiners} {record.leavers} {record.cause}"
    return f"t{record.term} {type(record).__name__} {getattr(record, 'says', '')}"
