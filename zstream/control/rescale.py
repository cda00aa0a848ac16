"""One rescale, from its opening in the log to its end. Start, grow, shrink and balance are one
protocol.

    CONNECT  joiners open links with everyone and each other     -> all connected -> PLAN
             deadline, or anybody dies                           -> undone
    PLAN     members report the size of each key group they own  -> all known -> WAVE
             anybody dies                                        -> undone
    WAVE     a generation is appended; every member switches, ships, installs, settles
             all have                                            -> next WAVE, or LEAVE, or done
             somebody dies: a recovery without the dead           -> PLAN for those who are left
    LEAVE    leavers own nothing; each empties its outboxes, and one more epoch commits its output
             all empty and committed: a generation without them  -> done

No wave is begun while an epoch is open; see leader and epochs.

The step is a function of the log's state and the members' newest reports, so a new leader that
knows only these goes on where the last one stopped. What is kept here in memory (plan, times,
costs) is for balance and telling, never for safety.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

from zstream.config import Config
from zstream.control.balance import BALANCE, relieved, work_of
from zstream.control.epochs import between_waves
from zstream.control.placement import Move, balanced, in_turn, moves, next_wave
from zstream.control.reports import Seen
from zstream.control.requests import names, plural
from zstream.control.state import ClusterState
from zstream.errors import InvariantBroken
from zstream.model.ids import Epoch, Generation, Incarnation, KeyGroup, Run
from zstream.model.membership import Member, Placement, RoutingTable
from zstream.model.records import GenerationOpened, LogRecord, RescaleClosed, RescaleOpened

CONNECT = "CONNECT"
PLAN = "PLAN"
WAVE = "WAVE"
LEAVE = "LEAVE"
FIRST_WAVE_GROUPS = 8  # the next ones are as large as the pauses of the one before allow
WAVE_GROWTH = (0.25, 2.0)  # from one wave to the next, at most


@dataclass(frozen=True)
class FirstPlacement:
    """What a start places: which sources are read by every starting worker, and pinned steps.

    stateful: the names of all stateful operators, for manifests.
    """

    topology: str
    sources: Mapping[str, bool]  # source -> parallel
    pinned: tuple[str, ...]
    key_groups: int
    stateful: tuple[str, ...]


class Rescale:
    """The rescale that stands open in the log, as the leader sees it."""

    def __init__(
        self,
        opened: RescaleOpened,
        config: Config,
        first: FirstPlacement,
        draw: Callable[[], int],
        now: float,
    ) -> None:
        self.opened = opened
        self.phase = CONNECT
        self._config = config
        self._first = first
        self._draw = draw
        self._began = now
        self._leaving = {member.incarnation for member in opened.leavers}
        self._plan: list[Move] | None = None  # what is still to be moved, in this order
        self._sizes: dict[KeyGroup, int] = {}
        self._wave_moved = 0  # key groups, by the newest wave
        self._wave_groups = min(FIRST_WAVE_GROUPS, config.wave_groups_max)
        self._counted = Generation(0)  # newest generation whose costs are in the sums
        self._moved = 0
        self._held = 0
        self._pauses: list[float] = []
        self._timeline: list[tuple[str, float]] = []
        self._emptied: Epoch | None = None  # the newest epoch when the leavers had become empty

    @property
    def planning(self) -> bool:
        """Whether members shall report the sizes of their key groups."""
        return self.phase == PLAN and self._plan is None

    def wants_epoch(self, state: ClusterState) -> bool:
        """Whether this waits for one more epoch."""
        return self._emptied is not None and state.committed <= self._emptied

    def next_timer(self) -> float | None:
        return (
            self._began + self._config.connect_deadline_ms / 1000
            if (self.phase == CONNECT)
            else None
        )

    def recovered(self) -> None:
        """A recovery was appended: plan anew for who is left."""
        self._plan = None
        self._emptied = None

    def cut_short(self) -> None:
        """Somebody waits for the end of this balance: what has not moved yet stays."""
        if self.opened.kind == BALANCE and self._plan is not None:
            self._plan = []

    def appended(self, opened: GenerationOpened, now: float) -> None:
        """A generation of this rescale stands in the log: its wave is under way. Not before: a
        leader that dies with a wave which it only meant to open leaves nothing behind."""
        if self.phase != LEAVE:
            self.phase = WAVE
        if self._plan is not None and opened.wave:
            left = [move for move in self._plan if opened.table.owner(move.group) != move.target]
            self._wave_moved = len(self._plan) - len(left)
            self._moved += self._wave_moved
            self._plan = left
            self._mark(f"wave {opened.wave}", now)

    def step(
        self, state: ClusterState, reports: Mapping[Incarnation, Seen], now: float
    ) -> LogRecord | None:
        """The next record to append, or None where members must get on first."""
        if state.open is None or state.open.id != self.opened.id:
            raise InvariantBroken(f"rescale {self.opened.id} is not the one in the log")
        if not state.begun:
            return self._prepare(state, reports, now)
        table = state.table
        if not between_waves(state, reports):
            return None
        if all(member.incarnation in self._leaving for member in table.members):
            return self._nobody_left(state, now)
        self._count_costs(table, reports, now)
        if self._plan is None:
            return self._plan_step(state, reports, now)
        if self._plan:
            return self._next_wave(state)
        return self._finish(state, reports, now)

    def undone(self, state: ClusterState, why: str, now: float) -> RescaleClosed:
        """The end of a rescale that has changed nothing yet."""
        count = plural(len(state.table.members), "worker")
        says = (
            f"{self.opened.id} was undone: {why}. The cluster has {count}, "
            f"generation {state.table.generation}; nothing was lost."
        )
        return self._closed(state, "undone", says, (), (), now)

    def _nobody_left(self, state: ClusterState, now: float) -> RescaleClosed:
        """All who were to stay have died: who was to leave stays."""
        here = names([member.name for member in state.table.members])
        says = f"{self.opened.id} failed: {names(state.died)} died, so {here} cannot leave."
        return self._closed(state, "failed", says, (), (), now)

    # ---- before the first wave

    def _prepare(
        self, state: ClusterState, reports: Mapping[Incarnation, Seen], now: float
    ) -> LogRecord | None:
        apart = self._apart(state, reports)
        if apart:
            if now - self._began < self._config.connect_deadline_ms / 1000:
                return None
            seconds = self._config.connect_deadline_ms // 1000
            return self.undone(state, f"{apart} for {seconds} s", now)
        if self.phase == CONNECT:
            self._mark("connected", now)
        if state.generation is None:
            return self._first_generation(state)
        return self._plan_step(state, reports, now)

    def _apart(self, state: ClusterState, reports: Mapping[Incarnation, Seen]) -> str:
        """Which two do not have a link with each other yet, as a clause, or ""."""
        for one in state.people:
            seen = reports.get(one.incarnation)
            if seen is None:
                return f"{one.name} at {one.control} did not report"
            for other in state.people:
                if other is not one and other.incarnation not in seen.report.connected:
                    return f"{one.name} and {other.name} ({other.data}) did not reach each other"
        return ""

    def _first_generation(self, state: ClusterState) -> GenerationOpened:
        members = self.opened.joiners
        incarnations = tuple(member.incarnation for member in members)
        count = self._first.key_groups
        unbalanced = [incarnations[group % len(incarnations)] for group in range(count)]
        everyone = tuple(member.name for member in members)
        placement = Placement(
            sources={
                source: everyone if parallel else everyone[:1]
                for source, parallel in self._first.sources.items()
            },
            pinned=dict.fromkeys(self._first.pinned, everyone[0]),
        )
        number = Generation(state.newest + 1)
        table = self._table(number, members, balanced(unbalanced, incarnations))
        self._plan = []
        opened = self._generation(state, table, placement, 0, 0)
        if state.manifest is None and not state.newest:
            return opened  # nothing ever was
        run = Run(opened.run + 1)  # the links by which the members met are of the run before
        return replace(opened, run=run, recovers=True, restore=state.manifest)

    # ---- plan and waves

    def _plan_step(
        self, state: ClusterState, reports: Mapping[Incarnation, Seen], now: float
    ) -> LogRecord | None:
        self.phase = PLAN
        sizes = self._sizes_told(state, reports)
        if sizes is None:
            return None
        owners = state.table.owner_of_each()
        leaving = self._leaving
        stayers = [m.incarnation for m in state.people if m.incarnation not in leaving]
        if self.opened.kind == BALANCE:
            target = relieved(state.table, work_of(state, reports)).owners
        else:
            target = balanced(owners, stayers)
        self._plan, self._sizes = in_turn(moves(owners, target)), sizes
        self._mark("planned", now)
        if self._plan or ((self.opened.joiners or leaving) and not state.begun):
            return self._next_wave(state)  # where nothing moves it says who is a member
        return self._finish(state, reports, now)

    def _sizes_told(
        self, state: ClusterState, reports: Mapping[Incarnation, Seen]
    ) -> dict[KeyGroup, int] | None:
        """Bytes of state by key group, or None while an owner has not reported them."""
        sizes: dict[KeyGroup, int] = {}
        for member in state.table.members:
            owned = state.table.groups_of(member.incarnation)
            seen = reports.get(member.incarnation)
            if owned and (seen is None or not seen.report.sizes):
                return None
            if seen is not None:
                sizes.update(seen.report.sizes)
        return sizes

    def _next_wave(self, state: ClusterState) -> GenerationOpened:
        left, config = self._plan, self._config
        if left is None:
            raise InvariantBroken(f"{self.opened.id} has no plan")
        wave = next_wave(left, self._sizes, config.wave_bytes_max, self._wave_groups)
        before = state.table
        owners = before.owner_of_each()
        for move in wave:
            if owners[move.group] != move.origin:
                raise InvariantBroken(f"wave moves group {move.group} from who does not own it")
            owners[move.group] = move.target
        members = (
            before.members
            + tuple(j for j in self.opened.joiners if before.member(j.incarnation) is None)
            if not state.begun
            else before.members
        )
        table = self._table(Generation(before.generation + 1), members, owners)
        number = 1 + (state.generation.wave if state.begun and state.generation else 0)
        more = ceil((len(left) - len(wave)) / max(1, len(wave)))  # of this size
        return self._generation(state, table, state.placement, number, number + more)

    def _table(
        self, generation: Generation, members: tuple[Member, ...], owners: Sequence[Incarnation]
    ) -> RoutingTable:
        index = {member.incarnation: place for place, member in enumerate(members)}
        return RoutingTable(
            generation,
            members,
            tuple(index[owner] for owner in owners),
            tuple(place for inc, place in index.items() if inc not in self._leaving),
        )

    def _generation(
        self, state: ClusterState, table: RoutingTable, placement: Placement, wave: int, waves: int
    ) -> GenerationOpened:
        return GenerationOpened(
            term=state.term,
            nonce=self._draw(),
            run=state.link_run,
            table=table,
            placement=placement,
            rescale=self.opened.id,
            wave=wave,
            waves=waves,
            recovers=False,
            restore=state.generation.restore if state.generation else None,
            cause=self.opened.cause,
            manifest=state.committed,
        )

    def _count_costs(
        self, table: RoutingTable, reports: Mapping[Incarnation, Seen], now: float
    ) -> None:
        if self._counted >= table.generation:
            return
        self._counted = table.generation
        pauses: list[float] = []
        for member in table.members:
            costs = reports[member.incarnation].report.costs
            if costs is not None and costs.generation == table.generation:
                self._held += costs.records_held
                pauses.extend(pause for _, pause in costs.pauses)
        self._pauses += pauses
        self._mark(f"generation {table.generation} installed", now)
        if pauses and self._wave_moved:
            self._wave_groups = groups_after(self._wave_moved, pauses, self._config)

    # ---- the end

    def _finish(
        self, state: ClusterState, reports: Mapping[Incarnation, Seen], now: float
    ) -> LogRecord | None:
        table = state.table
        leaving = [m for m in table.members if m.incarnation in self._leaving]
        if leaving:
            self.phase = LEAVE
            if any(table.groups_of(member.incarnation) for member in leaving):
                self._plan = None  # a wave that was planned was never appended
                return None
            if not all(reports[m.incarnation].report.empty for m in leaving):
                return None
            if self._emptied is None:
                self._mark("leavers empty", now)
                self._emptied = state.epochs
            if self.wants_epoch(state) or any(
                reports[m.incarnation].report.committed < state.committed for m in leaving
            ):
                return None
            self._mark("leavers' output committed", now)
            gone = {member.incarnation for member in leaving}
            members = tuple(m for m in table.members if m.incarnation not in gone)
            owners = table.owner_of_each()
            without = self._table(Generation(table.generation + 1), members, owners)
            return self._generation(state, without, state.placement, 0, 0)
        return self._end(state, now)

    def _end(self, state: ClusterState, now: float) -> RescaleClosed:
        table = state.table
        count = len(table.members)
        here = {member.incarnation for member in table.members}
        joined = tuple(j.name for j in self.opened.joiners if j.incarnation in here)
        left = tuple(m.name for m in self.opened.leavers if m.name not in state.died)
        if self.opened.kind == "start":
            says = (
                f"cluster `{self._first.topology}` is up: {plural(count, 'worker')}, "
                f"{len(table.owners):,} key groups"
            )
            if state.generation is not None and state.generation.restore is not None:
                says += f"; it goes on from epoch {state.generation.restore.epoch}"
            return self._closed(state, "done", says, joined, (), now)
        slowest = f"slowest waited {max(self._pauses):.0f} ms; " if self._pauses else ""
        seconds = now - self._began
        what = f"{plural(self._moved, 'key group')} moved in {seconds:.2f} s, {slowest}"
        who = f" by {names(joined)}" if joined else ""
        gone = f" {names(left)} left:" if left else ""
        if not state.died:
            says = f"{self.opened.id}{who}:{gone} {what}{plural(count, 'worker')}"
            return self._closed(state, "done", says, joined, left, now)
        says = (
            f"{self.opened.id} failed: {names(state.died)} died, "
            "and the rest went on from a checkpoint. "
            f"{names(joined) + ' joined. ' if joined else ''}"
            f"{names(left) + ' left. ' if left else ''}"
            f"The cluster has {plural(count, 'worker')}, generation {table.generation}."
        )
        return self._closed(state, "failed", says, joined, left, now)

    def _closed(
        self,
        state: ClusterState,
        outcome: str,
        says: str,
        joined: tuple[str, ...],
        left: tuple[str, ...],
        now: float,
    ) -> RescaleClosed:
        self._mark(outcome, now)
        return RescaleClosed(
            term=state.term,
            nonce=self._draw(),
            id=self.opened.id,
            kind=self.opened.kind,
            cause=self.opened.cause,
            outcome=outcome,
            says=says,
            requests=self.opened.requests,
            joined=joined,
            left=left,
            key_groups_moved=self._moved,
            seconds=now - self._began,
            slowest_key_group_ms=max(self._pauses, default=0.0),
            records_held=self._held,
            pauses_ms=tuple(self._pauses),
            timeline=tuple(self._timeline),
        )

    def _mark(self, what: str, now: float) -> None:
        self._timeline.append((what, now - self._began))


def groups_after(groups: int, pauses_ms: Sequence[float], config: Config) -> int:
    """How many key groups the next wave may move, after one of so many that paused for so long.

    What all of them waited for is the protocol, which takes as long for one; the rest was each
    other's state, and may be half as much, lest a rescale under full load takes hundreds of waves.
    """
    shortest = min(pauses_ms)
    wanted = max(config.wave_spread_ms, shortest / 2)
    least, most = WAVE_GROWTH
    growth = min(max(least, wanted / max(max(pauses_ms) - shortest, 1.0)), most)
    return min(max(1, int(groups * growth)), config.wave_groups_max)
