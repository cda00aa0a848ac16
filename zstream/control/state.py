"""The cluster as the control log tells it: a fold over its records, the same on every worker."""

from __future__ import annotations

from dataclasses import dataclass, replace

from zstream.model.ids import Incarnation, KeyGroup, LogNumber, Run, Term
from zstream.model.membership import EMPTY_TABLE, NOTHING_PLACED, Member, Placement, RoutingTable
from zstream.model.records import (
    Base,
    GenerationOpened,
    LogRecord,
    Renewed,
    RescaleClosed,
    RescaleOpened,
    ShutdownClosed,
    ShutdownOpened,
    TermOpened,
)


@dataclass(frozen=True)
class ClusterState:
    """All that is decided. `tail` is the newest number folded, 0 before the first."""

    tail: LogNumber = LogNumber(0)
    base: LogNumber = LogNumber(0)
    term: Term = Term(0)
    leader: Incarnation = Incarnation(0)
    leader_name: str = ""
    cluster: str = ""
    run: Run = Run(1)
    rescales: int = 0
    generation: GenerationOpened | None = None
    moving: tuple[tuple[KeyGroup, Incarnation], ...] = ()  # by the newest wave, and from whom
    open: RescaleOpened | None = None
    closed: tuple[RescaleClosed, ...] = ()
    shutdown: ShutdownOpened | None = None
    stopped: ShutdownClosed | None = None

    @property
    def table(self) -> RoutingTable:
        return self.generation.table if self.generation else EMPTY_TABLE

    @property
    def placement(self) -> Placement:
        return self.generation.placement if self.generation else NOTHING_PLACED

    @property
    def begun(self) -> bool:
        """Whether the rescale under way has changed the table: it cannot be undone any more."""
        return (
            self.open is not None
            and self.generation is not None
            and self.generation.rescale == self.open.id
        )

    @property
    def people(self) -> tuple[Member, ...]:
        """Members, and the joiners of a rescale that has not begun: all that must be alive."""
        joiners = self.open.joiners if self.open and not self.begun else ()
        members = self.table.members
        known = {member.incarnation for member in members}
        return members + tuple(j for j in joiners if j.incarnation not in known)

    def person(self, incarnation: Incarnation) -> Member | None:
        return next((m for m in self.people if m.incarnation == incarnation), None)


def apply(
    state: ClusterState, number: LogNumber, record: LogRecord, outcomes_kept: int
) -> ClusterState:
    """The state after one more record, which is `effective`."""
    state = replace(state, tail=number)
    if isinstance(record, Base):
        return _from_base(number, record)
    if isinstance(record, TermOpened):
        return replace(
            state,
            term=record.term,
            leader=record.author,
            leader_name=record.name,
            cluster=state.cluster or record.cluster,
        )
    if isinstance(record, Renewed):
        return state
    if isinstance(record, RescaleOpened):
        return replace(state, open=record, rescales=state.rescales + 1)
    if isinstance(record, GenerationOpened):
        return replace(state, generation=record, moving=_moving(state, record), run=record.run)
    if isinstance(record, RescaleClosed):
        closed = (*state.closed, record)[-outcomes_kept:]
        return replace(state, moving=(), open=None, closed=closed)
    if isinstance(record, ShutdownOpened):
        return replace(state, shutdown=record)
    return replace(state, stopped=record)


def _moving(
    state: ClusterState, opened: GenerationOpened
) -> tuple[tuple[KeyGroup, Incarnation], ...]:
    """What is on its way once this generation is open. A wave begins when all before it is
    installed; a removal may come in the midst of one, and lets the rest of it go on."""
    old, new = state.table, opened.table
    if not opened.wave:
        return tuple((group, origin) for group, origin in state.moving if group not in opened.fresh)
    return tuple(
        (KeyGroup(number), old.members[place].incarnation)
        for number, place in enumerate(old.owners)
        if old.members[place].incarnation != new.owner(KeyGroup(number))
    )


def effective(state: ClusterState, record: LogRecord) -> bool:
    """Whether readers heed this record, were it the next one: a lower term is passed over."""
    if isinstance(record, TermOpened):
        return record.term > state.term
    return record.term == state.term


def as_base(state: ClusterState, number: LogNumber, nonce: int) -> Base:
    """The whole state in one record, to stand at `number`."""
    return Base(
        term=state.term,
        nonce=nonce,
        number=number,
        leader=state.leader,
        leader_name=state.leader_name,
        cluster=state.cluster,
        run=state.run,
        rescales=state.rescales,
        generation=state.generation,
        moving=state.moving,
        open=state.open,
        closed=state.closed,
        shutdown=state.shutdown,
        stopped=state.stopped,
    )


def _from_base(number: LogNumber, base: Base) -> ClusterState:
    return ClusterState(
        tail=number,
        base=number,
        term=base.term,
        leader=base.leader,
        leader_name=base.leader_name,
        cluster=base.cluster,
        run=base.run,
        rescales=base.rescales,
        generation=base.generation,
        moving=base.moving,
        open=base.open,
        closed=base.closed,
        shutdown=base.shutdown,
        stopped=base.stopped,
    )
