"""What goes into the control core (events, past tense) and what comes out (effects, imperative).

Effects are performed in order. Each says why it is there in the record, message or text it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zstream.model.ids import Epoch, Generation, Incarnation, KeyGroup, RequestId, Run
from zstream.model.membership import Member
from zstream.model.records import EpochAbandoned, EpochOpened, GenerationOpened, Manifest
from zstream.model.savepoint import Savepoint
from zstream.ports.log import LogAnswer, LogOperation
from zstream.wire.messages import (
    Answer,
    ClientRequest,
    Envelope,
    WaveCosts,
    WorkerLoad,
    WorkerStatistics,
)

# ---------------------------------------------------------------- events


@dataclass(frozen=True)
class MessageReceived:
    envelope: Envelope


@dataclass(frozen=True)
class ClientAsked:
    client: bytes
    request: ClientRequest


@dataclass(frozen=True)
class LogAnswered:
    answer: LogAnswer


@dataclass(frozen=True)
class GenerationSeen:
    """A peer's marker brought a generation before the leader's word did."""

    opened: GenerationOpened


@dataclass(frozen=True)
class LeaveAsked:
    """A signal to this worker: it shall leave the cluster if it may."""

    cause: str


@dataclass(frozen=True)
class TimePassed:
    """`next_timer` is reached."""


@dataclass(frozen=True)
class LocalChanged:
    """How this worker's dataflow stands; see zstream.wire.messages.Report for the fields."""

    connected: tuple[Incarnation, ...]
    run: Run
    generation: Generation
    installed: bool
    settled: bool
    empty: bool
    sent: int
    applied: int
    ended: bool
    pressure: str
    sizes: tuple[tuple[KeyGroup, int], ...]
    costs: WaveCosts | None
    durable: Epoch
    oldest: Epoch
    committed: Epoch
    damaged: str
    readable: tuple[str, ...]
    load: WorkerLoad
    statistics: WorkerStatistics
    newest_dead_letters: tuple[bytes, ...]


@dataclass(frozen=True)
class SavepointCopied:
    """A copy has ended. savepoint: as it stands in its place; None when it failed."""

    request: RequestId
    savepoint: Savepoint | None
    failed: str


@dataclass(frozen=True)
class StoreOpened:
    """The control log's store can be reached from here; path is how others name it."""

    path: str


Event = (
    MessageReceived
    | ClientAsked
    | LogAnswered
    | GenerationSeen
    | LeaveAsked
    | TimePassed
    | LocalChanged
    | SavepointCopied
    | StoreOpened
)

# ---------------------------------------------------------------- effects


@dataclass(frozen=True)
class SendMessage:
    address: str
    envelope: Envelope


@dataclass(frozen=True)
class AnswerClient:
    client: bytes
    answer: Answer


@dataclass(frozen=True)
class SubmitLog:
    operation: LogOperation


@dataclass(frozen=True)
class OpenStore:
    path: str


@dataclass(frozen=True)
class ConnectPeers:
    """Open links of this run with these; those that are open already stay as they are."""

    run: Run
    peers: tuple[Member, ...]


@dataclass(frozen=True)
class DisconnectPeers:
    peers: tuple[Incarnation, ...]
    cause: str


@dataclass(frozen=True)
class SwitchGeneration:
    opened: GenerationOpened


@dataclass(frozen=True)
class Recover:
    """Drop all, read what `opened.restore` names, and go on in its run."""

    opened: GenerationOpened


@dataclass(frozen=True)
class CutEpoch:
    opened: EpochOpened


@dataclass(frozen=True)
class CommitEpoch:
    manifest: Manifest


@dataclass(frozen=True)
class AbandonEpoch:
    abandoned: EpochAbandoned


@dataclass(frozen=True)
class CleanParts:
    """Parts of epochs below this one are needed no more; that stands in the log."""

    below: Epoch


@dataclass(frozen=True)
class CopySavepoint:
    """Copy it to the store at `to`, as long as the leader wants it; answer with SavepointCopied."""

    savepoint: Savepoint
    to: str


@dataclass(frozen=True)
class Say:
    level: str
    event: str
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stop:
    code: int
    says: str


Effect = (
    SendMessage
    | AnswerClient
    | SubmitLog
    | OpenStore
    | ConnectPeers
    | DisconnectPeers
    | SwitchGeneration
    | Recover
    | CutEpoch
    | CommitEpoch
    | AbandonEpoch
    | CleanParts
    | CopySavepoint
    | Say
    | Stop
)
