"""The cluster as the control log tells it: a fold over its records, the same on every worker."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

from zstream.model.ids import Epoch, Generation, Incarnation, KeyGroup, LogNumber, Run, Term
from zstream.model.membership import EMPTY_TABLE, NOTHING_PLACED, Member, Placement, RoutingTable
from zstream.model.records import (
    END_OF_INPUT,
    Base,
    EpochAbandoned,
    EpochOpened,
    GenerationOpened,
    LogRecord,
    Manifest,
    Renewed,
    RescaleClosed,
    RescaleOpened,
    ShutdownClosed,
    ShutdownOpened,
    TermOpened,
)


@dataclass(frozen=True)
class Kept:
    """How much of the past is remembered: ended rescales, and manifests to go back to."""

    outcomes: int
    manifests: int


@dataclass(frozen=True)
class ClusterState:
    """All that is decided. `tail` is the newest number folded, 0 before the first."""

    tail: LogNumber = LogNumber(0)
    base: LogNumber = LogNumber(0)
    term: Term = Term(0)
    leader: Incarnation = Incarnation(0)
    leader_name: str = ""
    leader_at: str = ""  # its control address
    cluster: str = ""
    run: Run = Run(0)
    rescales: int = 0
    generation: GenerationOpened | None = None
    moving: tuple[tuple[KeyGroup, Incarnation], ...] = ()  # by the newest wave, and from whom
    newest: Generation = Generation(0)  # the highest number of a generation there ever was
    epochs: Epoch = Epoch(0)  # the highest number of an epoch there ever was
    epoch: EpochOpened | None = None  # the one that is open
    manifests: tuple[Manifest, ...] = ()  # those that are kept, ascending
    open: RescaleOpened | None = None
    closed: tuple[RescaleClosed, ...] = ()
    died: tuple[str, ...] = ()  # in the rescale that is open, since it changed the table
    shutdown: ShutdownOpened | None = None
    back_to: Epoch | None = None  # sources went back in the shutdown, and are not read again
    stopped: ShutdownClosed | None = None

    @property
    def table(self) -> RoutingTable:
        return self.generation.table if self.generation else EMPTY_TABLE

    @property
    def placement(self) -> Placement:
        return self.generation.placement if self.generation else NOTHING_PLACED

    @property
    def manifest(self) -> Manifest | None:
        """The newest: what a recovery goes back to."""
        return self.manifests[-1] if self.manifests else None

    @property
    def committed(self) -> Epoch:
        """The epoch of the newest manifest, 0 before the first."""
        return self.manifests[-1].epoch if self.manifests else Epoch(0)

    @property
    def oldest(self) -> Epoch:
        """Parts of epochs below this one are in no kept manifest."""
        return min((manifest.oldest for manifest in self.manifests), default=Epoch(0))

    @property
    def link_run(self) -> Run:
        """The run whose links are open now; before the first generation, those to connect by."""
        return self.run if self.generation else Run(self.run + 1)

    @property
    def begun(self) -> bool:
        """Whether the rescale under way has changed the table: it cannot be undone any more."""
        return (
            self.open is not None
            and self.generation is not None
            and self.generation.rescale == self.open.id
        )

    @cached_property
    def people(self) -> tuple[Member, ...]:
        """Members, and the joiners of a rescale that has not begun: all that must be alive."""
        joiners = self.open.joiners if self.open and not self.begun else ()
        members = self.table.members
        known = {member.incarnation for member in members}
        return members + tuple(j for j in joiners if j.incarnation not in known)

    def is_known(self, incarnation: Incarnation) -> bool:
        """Whether it takes part, or leads a start in which nobody does yet."""
        return incarnation == self.leader or self.person(incarnation) is not None

    def person(self, incarnation: Incarnation) -> Member | None:
        return next((m for m in self.people if m.incarnation == incarnation), None)


def apply(state: ClusterState, number: LogNumber, record: LogRecord, kept: Kept) -> ClusterState:
    """The state after one more record, which is `effective`."""
    state = replace(state, tail=number)
    if isinstance(record, Base):
        return _from_base(number, record)
    if isinstance(record, TermOpened):
        return _led(state, record)
    if isinstance(record, Renewed):
        return state
    if isinstance(record, GenerationOpened):
        return _routed(state, record)
    if isinstance(record, EpochOpened):
        return replace(state, epoch=record, epochs=record.epoch)
    if isinstance(record, Manifest):
        manifests = (*state.manifests, record)[-kept.manifests :]
        return replace(state, epoch=None, manifests=manifests)
    if isinstance(record, EpochAbandoned):
        return replace(state, epoch=None)
    if isinstance(record, RescaleOpened):
        return replace(state, open=record, rescales=state.rescales + 1, died=())
    if isinstance(record, RescaleClosed):
        closed = (*state.closed, record)[-kept.outcomes :]
        return replace(state, moving=(), open=None, closed=closed)
    if isinstance(record, ShutdownOpened):
        return replace(state, shutdown=record, back_to=None)
    return replace(state, stopped=record)


def _led(state: ClusterState, record: TermOpened) -> ClusterState:
    """A new leader. One that begins anew finds no members, only what they have left behind."""
    state = replace(
        state,
        term=record.term,
        leader=record.author,
        leader_name=record.name,
        leader_at=record.control,
        cluster=state.cluster or record.cluster,
    )
    if not record.begins:
        return state
    manifests = state.manifests if record.begins == "resume" else ()
    if record.savepoint is not None:
        manifests = (record.savepoint,)
    return replace(
        state,
        generation=None,
        moving=(),
        epochs=max([state.epochs, *(manifest.epoch for manifest in manifests)]),
        run=max([state.run, *(manifest.run for manifest in manifests)]),
        epoch=None,
        manifests=manifests,
        open=None,
        shutdown=None,
        back_to=None,
        stopped=None,
    )


def _routed(state: ClusterState, opened: GenerationOpened) -> ClusterState:
    """The next generation; with a higher run it is a recovery, and what came after the manifest
    that it goes back to never was."""
    state = replace(state, newest=opened.table.generation)
    if not opened.recovers:
        state = replace(state, run=opened.run)
        return replace(state, generation=opened, moving=_moving(state, opened))
    back_to = opened.restore.epoch if opened.restore else Epoch(0)
    ends, behind = state.shutdown, state.back_to
    if ends is not None and ends.request == END_OF_INPUT:
        ends = None  # the sources go back, so they have not ended any more
    elif ends is not None and back_to <= ends.epoch:
        behind = back_to if behind is None else min(behind, back_to)
    here = {member.name for member in opened.table.members}
    died = tuple(m.name for m in state.table.members if state.begun and m.name not in here)
    return replace(
        state,
        generation=opened,
        run=opened.run,
        moving=(),
        epoch=None,
        died=state.died + died,
        shutdown=ends,
        back_to=behind,
        manifests=tuple(m for m in state.manifests if m.epoch <= back_to),
    )


def _moving(
    state: ClusterState, opened: GenerationOpened
) -> tuple[tuple[KeyGroup, Incarnation], ...]:
    """What is on its way once this generation is open: all before it is installed."""
    old, new = state.table, opened.table
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


_IN_BASE = [
    field.name for field in fields(Base) if field.name in {f.name for f in fields(ClusterState)}
]


def as_base(state: ClusterState, number: LogNumber, nonce: int) -> Base:
    """The whole state in one record, to stand at `number`."""
    return Base(nonce=nonce, number=number, **{name: getattr(state, name) for name in _IN_BASE})


def _from_base(number: LogNumber, base: Base) -> ClusterState:
    state = {name: getattr(base, name) for name in _IN_BASE}
    return ClusterState(tail=number, base=number, **state)
