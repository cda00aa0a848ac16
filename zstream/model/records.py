"""What stands in the control log. A decision is appended before anyone acts on it (I4).

Every record carries its author's term and a nonce; readers pass over a record with a lower term
than one before it. Written by *create if absent*, one winner a number.
"""

from __future__ import annotations

from dataclasses import dataclass

from zstream.model.ids import (
    Epoch,
    Generation,
    Incarnation,
    LogNumber,
    RequestId,
    RescaleId,
    Run,
    Term,
)
from zstream.model.membership import Member, Placement, RoutingTable

END_OF_INPUT = RequestId("end-of-input")  # of the shutdown that nobody asked for


@dataclass(frozen=True)
class EpochOpened:
    """Every member cuts. Epochs rise over all runs."""

    term: Term
    nonce: int
    run: Run
    epoch: Epoch


@dataclass(frozen=True)
class Manifest:
    """All parts of an epoch are durable: sinks commit, sources acknowledge, changes are forgotten.

    authors: whose parts these are; each part's name is made of run, epoch and author.
    oldest: the lowest epoch of a part that is needed to read this one. What is below that of all
    kept manifests may be deleted.
    operators: the stateful ones, by name; key_groups: how many. Both must fit who goes on with it.
    committed: of a savepoint: all output that its parts hold was shown by the cluster that took
    it, so who begins from it does not show it again, perhaps to somebody else.
    """

    term: Term
    nonce: int
    run: Run
    epoch: Epoch
    authors: tuple[Incarnation, ...]
    oldest: Epoch
    operators: tuple[str, ...]
    key_groups: int
    committed: bool = False


@dataclass(frozen=True)
class EpochAbandoned:
    """The epoch that is open has no manifest; what changed in it belongs to the next one."""

    term: Term
    nonce: int
    run: Run
    epoch: Epoch
    cause: str


@dataclass(frozen=True)
class TermOpened:
    """A leadership begins; its author is the leader until a newer one stands in the log.

    begins: "" within a cluster's life; "resume" when the whole cluster had ended and starts again
    from its newest manifest, "fresh" when it starts again from nothing: the members that stand in
    the log are gone. savepoint: the manifest that a fresh start begins from, if it has one.
    """

    term: Term
    nonce: int
    author: Incarnation
    name: str
    control: str  # the author's control address
    cluster: str  # the cluster's id, the same in all of its terms
    cause: str
    begins: str
    savepoint: Manifest | None


@dataclass(frozen=True)
class Renewed:
    """Says only that the author is alive, while a member does not hear it (see election)."""

    term: Term
    nonce: int


@dataclass(frozen=True)
class RescaleOpened:
    """A start, grow, shrink or balance has its id from now on, and so have its requests."""

    term: Term
    nonce: int
    id: RescaleId
    kind: str  # "start" | "grow" | "shrink" | "balance"
    cause: str
    requests: tuple[RequestId, ...]
    joiners: tuple[Member, ...]
    leavers: tuple[Member, ...]
    says: str  # what the asker is told at once, such as "Shrinking by 2 workers!"


@dataclass(frozen=True)
class GenerationOpened:
    """The next routing table. All switch to it; moves are the difference to the one before.

    recovers: it begins a run: all members drop links and state and begin again from `restore`,
    the manifest that holds what they own; None for nothing at all. Later generations of the run
    say in `restore` where it began.
    manifest: the newest epoch that has one. Who hears of this by a marker, before the log's word,
    learns what became of its own newest part.
    wave, waves: which wave of its rescale this is (1-based); 0 of 0 for a recovery and for the
    generation that lets the leavers go.
    """

    term: Term
    nonce: int
    run: Run
    table: RoutingTable
    placement: Placement
    rescale: RescaleId
    wave: int
    waves: int
    recovers: bool
    restore: Manifest | None
    cause: str
    manifest: Epoch = Epoch(0)


@dataclass(frozen=True)
class WaveTimes:
    """What one wave cost. Pauses are milliseconds, one for each key group moved."""

    moved: int
    seconds: float
    records_held: int
    pauses_ms: tuple[float, ...]


@dataclass(frozen=True)
class RescaleClosed:
    """How a rescale ended: "done", "undone" (nothing changed) or "failed" (and says why)."""

    term: Term
    nonce: int
    id: RescaleId
    kind: str
    cause: str
    outcome: str
    says: str
    requests: tuple[RequestId, ...]
    joined: tuple[str, ...]
    left: tuple[str, ...]
    key_groups_moved: int
    seconds: float
    slowest_key_group_ms: float
    records_held: int
    pauses_ms: tuple[float, ...]
    timeline: tuple[tuple[str, float], ...]  # (what, seconds since it was opened)


@dataclass(frozen=True)
class ShutdownOpened:
    """The whole cluster drains and stops. epoch: the highest number of one that was opened when
    sources may still have been read; each that is opened later has their last positions.
    """

    term: Term
    nonce: int
    request: RequestId
    cause: str
    epoch: Epoch


@dataclass(frozen=True)
class ShutdownClosed:
    """Everything in flight is out; every worker exits with 0."""

    term: Term
    nonce: int
    request: RequestId
    drained: bool  # False: `says` tells what was still under way, or was not read again
    says: str


@dataclass(frozen=True)
class Base:
    """The log's whole state in one record. Readers start at the newest; only below is cleaned."""

    term: Term
    nonce: int
    number: LogNumber
    leader: Incarnation
    leader_name: str
    leader_at: str  # its control address
    cluster: str
    run: Run
    rescales: int  # how many were ever opened: the number in the next rescale's id
    generation: GenerationOpened | None
    newest: Generation  # the highest number of a generation there ever was
    epochs: Epoch  # the highest number of an epoch there ever was
    epoch: EpochOpened | None  # the one that is open
    manifests: tuple[Manifest, ...]  # those that are kept, ascending
    open: RescaleOpened | None
    closed: tuple[RescaleClosed, ...]
    died: tuple[str, ...]  # in the rescale that is open, since it changed the table
    shutdown: ShutdownOpened | None
    back_to: Epoch | None  # sources went back in the shutdown, and are not read again
    stopped: ShutdownClosed | None


LogRecord = (
    TermOpened
    | Renewed
    | RescaleOpened
    | GenerationOpened
    | EpochOpened
    | Manifest
    | EpochAbandoned
    | RescaleClosed
    | ShutdownOpened
    | ShutdownClosed
    | Base
)
