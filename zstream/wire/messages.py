"""Control messages between workers, and between the tools and a worker.

All are idempotent, and every wait on one is repeated until answered, so the control lane may
lose, delay, double and reorder them. Between workers each travels in an `Envelope`; a worker
refuses an envelope with a lower term than the highest it has seen.
"""

from __future__ import annotations

from dataclasses import dataclass

from zstream.model.ids import (
    Epoch,
    FrameNumber,
    Generation,
    Incarnation,
    KeyGroup,
    LogNumber,
    RequestId,
    Run,
    Term,
    WorkerName,
)
from zstream.model.membership import Member

PROTOCOL_VERSION = 1

# ---------------------------------------------------------------- between workers


@dataclass(frozen=True)
class Pulse:
    """Sign of life, sent from beside the loop: members to the leader, the leader to all.

    turns: how often the loop has gone round, and `operator` whose user code it is in: while
    pulses come and turns stand still, that code holds the loop, and the worker is busy, not dead.
    is_leader: renews the lease. tail: the newest log number the sender knows.
    """

    name: WorkerName
    is_leader: bool
    tail: LogNumber
    turns: int
    operator: str


@dataclass(frozen=True)
class WaveCosts:
    """What the waves of a generation have cost on one worker so far."""

    generation: Generation
    records_held: int
    pauses: tuple[tuple[KeyGroup, float], ...]  # milliseconds, one for each group installed here


@dataclass(frozen=True)
class WorkerLoad:
    """What keeps one worker busy, lately.

    busy: the part of the time in which its loop had something to do, 0 to 1; with_peers: the part
    in which that was what came from other workers.
    keyed: records that came by key, a second; from_peers: those of them that other workers sent.
    heaviest: key groups with the largest shares of these records, from a sample; others: the share
    of all others together. Nothing and 0 where no record came.
    """

    busy: float
    with_peers: float
    keyed: float
    from_peers: float
    heaviest: tuple[tuple[KeyGroup, float], ...]
    others: float


NO_LOAD = WorkerLoad(0.0, 0.0, 0.0, 0.0, (), 0.0)


@dataclass(frozen=True)
class WorkerStatistics:
    """One worker's figures, as the status tool shows them."""

    keys: int
    state_bytes: int
    records_in_per_second: float
    records_out_per_second: float
    records_in: int
    records_out: int
    busy_ratio: float
    dead_letters: int
    late_records: int
    oldest_ms: float
    records_lost: int  # that a source gave, and after a recovery cannot give again
    waits_for: tuple[str, ...]  # "sink totals: nobody listens at 127.0.0.1:7002", and the like


@dataclass(frozen=True)
class Report:
    """Where a member stands, all of it, each time: the leader decides from the newest one.

    connected: incarnations with which hello went both ways on every lane.
    installed: nothing is waiting to be shipped or installed up to `generation`.
    settled: all that was sent up to then is settled at its receivers.
    empty: no record is under way here: outboxes settled, holds, sinks and sources empty.
    sent, applied: data frames ever sent to peers / applied from peers, for the drain.
    ended: every source placed here has reached its end.
    sizes: bytes of state by key group owned here, only while the leader plans; else empty.
    durable: the newest epoch of `run` whose part from here is durable; oldest: the lowest epoch
    of a part that is needed for it.
    committed: all output that manifests up to this epoch name, and this worker is to commit, is.
    damaged: why the manifest that `run` begins with cannot be read here, or "".
    readable: sources that can be read here, were they placed here.
    """

    name: WorkerName
    run: Run
    generation: Generation
    connected: tuple[Incarnation, ...]
    installed: bool
    settled: bool
    empty: bool
    draining: bool
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
    newest_dead_letters: tuple[bytes, ...]  # each by `zstream.wire.codec.encode_plain`


@dataclass(frozen=True)
class LogTail:
    """Log records from `first` on, as they stand in the log; the leader sends them to members."""

    first: LogNumber
    records: tuple[bytes, ...]
    planning: bool  # reports shall carry sizes
    store: str  # where the control log is


@dataclass(frozen=True)
class LogRequest:
    """I know the log below `first`; send the rest."""

    first: LogNumber


@dataclass(frozen=True)
class HandOver:
    """The leader leaves: the receiver shall append a term now."""

    tail: LogNumber


@dataclass(frozen=True)
class LeaderQuery:
    """A candidate asks: do you hear the leader?"""

    tail: LogNumber


@dataclass(frozen=True)
class LeaderHeard:
    """Yes: heard so many milliseconds ago, and so far goes the log as I know it."""

    heard_ms_ago: int
    tail: LogNumber


@dataclass(frozen=True)
class LinkAck:
    """From the receiver of a link: cumulative numbers, and the credit in bytes."""

    lane: int
    received: FrameNumber
    settled: FrameNumber
    window_bytes: int
    resend: bool  # there is a gap behind `received`: send again from there


@dataclass(frozen=True)
class LinkSent:
    """From the sender of a link: the last number sent, so that a lost last frame leaves no gap; and
    up to which it knows frames to be settled, so that a lost acknowledgement is told again."""

    lane: int
    last: FrameNumber
    settled: FrameNumber


@dataclass(frozen=True)
class LinkReport:
    """Flow control and liveness of the links between two workers, in both directions."""

    run: Run
    to: Incarnation
    acks: tuple[LinkAck, ...]
    sent: tuple[LinkSent, ...]
    pressure: str  # "" or what is at its limit here: sources stop on all workers


@dataclass(frozen=True)
class JoinRequest:
    """kind "start": one of the workers a cluster starts with; "join": one of a joining batch."""

    request: RequestId
    kind: str
    member: Member
    topology: str
    fingerprint: str
    outline: tuple[tuple[str, str, str], ...]  # (operator, kind, where) to name a difference by
    version: str
    protocol: int
    worker_count: int
    deadline_ms: int


@dataclass(frozen=True)
class JoinReply:
    """state: "waiting" or "refused". Acceptance comes as a LogTail that names the joiner."""

    request: RequestId
    state: str
    code: str
    says: str
    do: str
    cluster: str
    store: str


# ---------------------------------------------------------------- from the tools


@dataclass(frozen=True)
class ShrinkRequest:
    """workers: names, or count: so many. One of the two is empty (count 0)."""

    request: RequestId
    workers: tuple[str, ...]
    count: int
    cause: str


@dataclass(frozen=True)
class ShutdownRequest:
    """Drain and stop the whole cluster."""

    request: RequestId
    cause: str


@dataclass(frozen=True)
class StatusRequest:
    """what: "status", "eligible", "rescales" or "dead_letters"."""

    request: RequestId
    what: str


@dataclass(frozen=True)
class SavepointRequest:
    """Copy a checkpoint, made from now on, to another store.

    to: that store's URL. asked_at: whole seconds since 1970, UTC, by the asker's clock.
    """

    request: RequestId
    to: str
    asked_at: int


@dataclass(frozen=True)
class Answer:
    """Where a request stands.

    state: "waiting" (its turn has not come), "running", "done", "refused", "undone", "failed".
    says: the sentence. code, do: for refusals. data: a JSON-able mapping, msgpack-encoded by
    `zstream.wire.codec.encode_plain`.
    """

    request: RequestId
    state: str
    code: str
    says: str
    do: str
    data: bytes


ClientRequest = ShrinkRequest | ShutdownRequest | StatusRequest | SavepointRequest


@dataclass(frozen=True)
class Forwarded:
    """A request on its way to the leader; `via` is where its answer goes back to."""

    via: str  # control address of the worker that was asked, "" where the asker is a worker
    client: bytes  # the asker's identity at that worker
    request: JoinRequest | ShrinkRequest | ShutdownRequest | StatusRequest | SavepointRequest


@dataclass(frozen=True)
class ForwardedAnswer:
    """The leader's answer on its way back to a tool."""

    client: bytes
    answer: Answer


WorkerMessage = (
    Pulse
    | Report
    | LogTail
    | LogRequest
    | HandOver
    | LeaderQuery
    | LeaderHeard
    | LinkReport
    | JoinRequest
    | JoinReply
    | Forwarded
    | ForwardedAnswer
)


@dataclass(frozen=True)
class Envelope:
    """What every control message between workers carries."""

    sender: Incarnation
    address: str  # the sender's control address, for the answer
    cluster: str  # topology name and cluster id; "" from a joiner that knows neither
    term: Term
    generation: Generation
    message: WorkerMessage
