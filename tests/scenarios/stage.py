"""A stage for the control core alone: agents on a perfect network, a log in memory, virtual time.

The dataflow is played: links stand as soon as both ends were told to open them; a generation is
installed, a part durable and a manifest committed at once, unless a worker is told to `stall`. So
a transcript shows decisions only. Epochs are a minute apart unless something asks for one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from itertools import count

from zstream.config import Config
from zstream.control.agent import Agent
from zstream.control.events import (
    AnswerClient,
    ClientAsked,
    CommitEpoch,
    ConnectPeers,
    CopySavepoint,
    CutEpoch,
    DisconnectPeers,
    Effect,
    Event,
    LeaveAsked,
    LocalChanged,
    LogAnswered,
    MessageReceived,
    OpenStore,
    Recover,
    SavepointCopied,
    Say,
    SendMessage,
    Stop,
    StoreOpened,
    SubmitLog,
    SwitchGeneration,
    TimePassed,
)
from zstream.control.invariants import broken
from zstream.control.joining import Start
from zstream.control.requests import Software
from zstream.control.state import ClusterState, Kept, apply, effective
from zstream.model.ids import (
    Epoch,
    Generation,
    Incarnation,
    KeyGroup,
    LogNumber,
    RequestId,
    Run,
    WorkerName,
)
from zstream.model.membership import Member
from zstream.model.records import (
    Base,
    EpochAbandoned,
    EpochOpened,
    GenerationOpened,
    LogRecord,
    Manifest,
    RescaleClosed,
    RescaleOpened,
    ShutdownClosed,
    ShutdownOpened,
    TermOpened,
)
from zstream.model.savepoint import Savepoint
from zstream.ports.log import perform
from zstream.wire.codec import decode_record
from zstream.wire.messages import (
    Answer,
    ClientRequest,
    SavepointRequest,
    ShrinkRequest,
    ShutdownRequest,
    WaveCosts,
    WorkerLoad,
    WorkerStatistics,
)

STEP = 0.01  # seconds of virtual time between two rounds
NO_FIGURES = WorkerStatistics(0, 0, 0.0, 0.0, 0, 0, 0.0, 0, 0, 0.0, 0, ())


class MemoryLog:
    """A `LogStore` that never fails."""

    def __init__(self) -> None:
        self.blobs: dict[LogNumber, bytes] = {}

    def create(self, number: LogNumber, payload: bytes) -> bool:
        return self.blobs.setdefault(number, payload) is payload

    def read_from(self, number: LogNumber) -> list[tuple[LogNumber, bytes]]:
        return sorted(item for item in self.blobs.items() if item[0] >= number)

    def delete_below(self, number: LogNumber) -> None:
        for old in [n for n in self.blobs if n < number]:
            del self.blobs[old]


@dataclass
class Actor:
    """One worker on the stage."""

    agent: Agent
    inbox: deque[Event] = field(default_factory=deque)
    linked: set[Incarnation] = field(default_factory=set)
    run: Run = Run(1)
    generation: Generation = Generation(0)
    groups: int = 0
    cut: Epoch = Epoch(0)
    committed: Epoch = Epoch(0)
    damaged: set[int] = field(default_factory=set)  # epochs of which it cannot read the parts
    restored: Epoch = Epoch(0)
    readable: bool = False  # it could read the source
    stalled: bool = False  # its dataflow does not install what comes
    late: bool = False  # it does not store its part
    full: bool = False  # it has records under way
    slow: bool = False  # what it shall copy to a savepoint is not copied
    refused: bool = False  # it cannot be copied
    cut_off: bool = False  # hears and reaches nobody, but the store
    dead: bool = False
    busy: float = 0.0  # the part of its time


class Stage:
    """Actors by name, and what they did, as lines."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self.config = Config(
            join_deadline_ms=20_000, checkpoint_interval_ms=60_000, savepoint_deadline_ms=10_000
        )
        self._log = MemoryLog()
        self._written = 0
        self._folded = ClusterState()
        self._actors: dict[str, Actor] = {}
        self._draw = count(1)
        self._told: dict[RequestId, str] = {}
        self.savepoints: dict[str, Savepoint] = {}

    # ---- what a transcript can do

    def start(self, name: str, role: str, join: str = "", workers: int = 1, **odd: str) -> None:
        """A process is started. odd: fingerprint= or version=, to be refused by; at=, the name of
        a dead one that had the same addresses. join: a name, or an address.
        """
        number = len(self._actors) + 1
        host = f"h{number}"
        if "at" in odd:
            host = self._actors[odd["at"]].agent.me.control.partition(":")[0]
        member = Member(
            WorkerName(name), Incarnation(number), f"{host}:1", f"{host}:2", f"{host}:3"
        )
        software = Software(
            "votes",
            odd.get("fingerprint", "f00d"),
            (("operator tally", odd.get("kind", "stateful_map"), f"{name}.py:16"),),
            odd.get("version", "1.0"),
        )
        start = Start(
            role=role,
            join=self._actors[join].agent.me.control if join in self._actors else join,
            stateful=((odd.get("state", "tally"), odd.get("was", ""), f"{name}.py:16"),),
            fresh=bool(odd.get("fresh")),
            savepoint=self.savepoints[odd["save"]].manifest if "save" in odd else None,
            leave_state=tuple(filter(None, [odd.get("leave", "")])),
            worker_count=workers,
            sources={"votes": False},
            pinned=(),
            key_groups=12,
        )
        agent = Agent(self.config, member, software, start, lambda: next(self._draw), self.now)
        old = self._actors.get(name)
        if old is not None and not old.dead:
            name = f"{name}'"
        if old is not None and old.dead:
            self._actors[f"{name} that was ({number})"] = self._actors.pop(name)
        self._actors[name] = Actor(agent, readable="readable" in odd or role == "initializer")
        if role == "initializer":
            self._actors[name].inbox.append(StoreOpened("log"))

    def empty_store(self) -> None:
        """From here on all is kept in another store."""
        self._log, self._written, self._folded = MemoryLog(), 0, ClusterState()

    def actor(self, name: str) -> Actor:
        return self._actors[name]

    def ask(self, request: ClientRequest, via: str) -> None:
        """A tool asks a worker, once."""
        self._actors[via].inbox.append(ClientAsked(b"tool", request))

    def signal(self, name: str) -> None:
        self._actors[name].inbox.append(LeaveAsked("stopped by a signal"))

    def advance(self, seconds: float) -> None:
        """Let time pass; everything that comes due happens."""
        until = self.now + seconds
        while self.now < until - STEP / 2:
            self.now += STEP
            for actor in list(self._actors.values()):
                self._round(actor)

    # ---- inside

    def _round(self, actor: Actor) -> None:
        if actor.dead:
            return
        agent = actor.agent
        actor.inbox.append(self._local(actor))
        if agent.next_timer() <= self.now:
            actor.inbox.append(TimePassed())
        while actor.inbox and not actor.dead:
            for effect in agent.handle(actor.inbox.popleft(), self.now):
                self._perform(actor, effect)
        for address, envelope in agent.pulse(int(self.now / STEP), ""):
            self._deliver(actor, address, MessageReceived(envelope))

    def _perform(self, actor: Actor, effect: Effect) -> None:
        name = next(name for name, other in self._actors.items() if other is actor)
        if isinstance(effect, SendMessage):
            self._deliver(actor, effect.address, MessageReceived(effect.envelope))
        elif isinstance(effect, SubmitLog):
            actor.inbox.append(LogAnswered(perform(self._log, effect.operation)))
            self._show_log()
        elif isinstance(effect, OpenStore):
            actor.inbox.append(StoreOpened(effect.path))
        elif isinstance(effect, ConnectPeers):
            actor.run = max(actor.run, effect.run)
            actor.linked.update(peer.incarnation for peer in effect.peers)
        elif isinstance(effect, DisconnectPeers):
            actor.linked.difference_update(effect.peers)
        elif isinstance(effect, CutEpoch):
            if effect.opened.run == actor.run:
                actor.cut = effect.opened.epoch
        elif isinstance(effect, CommitEpoch):
            actor.committed = effect.manifest.epoch
        elif isinstance(effect, CopySavepoint):
            self._copy(actor, effect)
        elif isinstance(effect, SwitchGeneration | Recover):
            if isinstance(effect, Recover):
                restore = effect.opened.restore
                actor.run, actor.cut = effect.opened.run, Epoch(0)
                actor.committed = actor.restored = restore.epoch if restore else Epoch(0)
                others = {m.incarnation for m in effect.opened.table.members}
                actor.linked.update(others - {actor.agent.me.incarnation})
            table = effect.opened.table
            actor.generation = table.generation
            actor.groups = len(table.groups_of(actor.agent.me.incarnation))
        elif isinstance(effect, Say):
            self.lines.append(f"  {name}: {effect.text}")
        elif isinstance(effect, Stop):
            actor.dead = True
            self.lines.append(f"  {name} stops with {effect.code}: {effect.says}")
        elif isinstance(effect, AnswerClient):
            self._show_answer(effect.answer)

    def _copy(self, actor: Actor, effect: CopySavepoint) -> None:
        """At once; a place keeps the first savepoint that comes to it."""
        name, epoch = actor.agent.me.name, effect.savepoint.manifest.epoch
        self.lines.append(f"  {name} copies epoch {epoch} to {effect.to}")
        request = effect.savepoint.request
        if actor.refused:
            actor.inbox.append(SavepointCopied(request, None, "no space left there."))
        elif not actor.slow:
            there = self.savepoints.setdefault(effect.to, replace(effect.savepoint, parts=1))
            actor.inbox.append(SavepointCopied(request, there, ""))

    def _deliver(self, sender: Actor, address: str, event: Event) -> None:
        for other in self._actors.values():
            reached = not (other.dead or other.cut_off or sender.cut_off)
            if other.agent.me.control == address and reached:
                other.inbox.append(event)

    def _local(self, actor: Actor) -> LocalChanged:
        agent = actor.agent
        me = agent.me.incarnation
        connected = tuple(
            other.agent.me.incarnation
            for other in self._actors.values()
            if other.agent.me.incarnation in actor.linked and me in other.linked and not other.dead
        )
        owned = [] if actor.generation == 0 else agent.state.table.groups_of(me)
        return LocalChanged(
            connected=connected,
            run=actor.run,
            generation=actor.generation,
            installed=not actor.stalled,
            settled=True,
            empty=not (actor.stalled or actor.full),
            sent=0,
            applied=0,
            ended=False,
            pressure="",
            sizes=tuple((KeyGroup(group), 100) for group in owned) if agent.planning else (),
            costs=WaveCosts(actor.generation, 0, ()),
            durable=Epoch(0) if actor.late else actor.cut,
            oldest=actor.cut,
            committed=actor.committed,
            damaged="part x is damaged." if actor.restored in actor.damaged else "",
            readable=("votes",) if actor.readable else (),
            load=self._load(actor, owned),
            statistics=NO_FIGURES,
            newest_dead_letters=(),
        )

    def _load(self, actor: Actor, owned: list[KeyGroup]) -> WorkerLoad:
        """All that keeps it busy are records of peers, as many for each key group."""
        shares = tuple((group, 1 / len(owned)) for group in owned)
        return WorkerLoad(actor.busy, actor.busy, actor.busy, actor.busy, shares, 0.0)

    def _show_log(self) -> None:
        for number in sorted(self._log.blobs):
            if number > self._written:
                self._written = number
                record = decode_record(self._log.blobs[number])
                self._check(number, record)
                self.lines.append(f"  log {number}: {told(record)}")

    def _check(self, number: LogNumber, record: LogRecord) -> None:
        """Fold as every reader does, and hold it against the invariants."""
        before = self._folded
        if effective(before, record):
            self._folded = apply(before, number, record, Kept(64, 2))
            assert not broken(before, record, self._folded)

    def _show_answer(self, answer: Answer) -> None:
        text = f"{answer.state}: {answer.says} {answer.do}".strip()
        if self._told.get(answer.request) != text:
            self._told[answer.request] = text
            self.lines.append(f"  {answer.request} {text}")


def told(record: LogRecord) -> str:
    """One record in one line."""
    if isinstance(record, TermOpened):
        begins = f", begins {record.begins}" if record.begins else ""
        return f"term {record.term} of {record.name} ({record.cause}{begins})"
    if isinstance(record, RescaleOpened):
        who = ",".join(m.name for m in (*record.joiners, *record.leavers))
        return f"{record.id} opened: {who}"
    if isinstance(record, GenerationOpened):
        table = record.table
        owned = " ".join(f"{m.name}:{len(table.groups_of(m.incarnation))}" for m in table.members)
        wave = f" wave {record.wave} of {record.waves}" if record.wave else ""
        begins = f" begins run {record.run}" if record.recovers else ""
        if record.restore is not None and record.recovers:
            begins += f" from epoch {record.restore.epoch}"
        return f"generation {table.generation}: {owned}{wave}{begins}"
    if isinstance(record, EpochOpened):
        return f"epoch {record.epoch} opened"
    if isinstance(record, Manifest):
        return f"manifest {record.epoch}, {len(record.authors)} parts"
    if isinstance(record, EpochAbandoned):
        return f"epoch {record.epoch} abandoned: {record.cause}"
    if isinstance(record, RescaleClosed):
        return f"{record.id} {record.outcome}"
    if isinstance(record, ShutdownOpened):
        return "shutdown opened"
    if isinstance(record, ShutdownClosed):
        return f"shutdown closed, drained {record.drained}"
    if isinstance(record, Base):
        return "base"
    return "renewed"


def shrink(request: str, workers: str = "", number: int = 0) -> ShrinkRequest:
    names = tuple(filter(None, workers.split(",")))
    return ShrinkRequest(RequestId(request), names, number, "cluster_shrinker")


def shutdown(request: str) -> ShutdownRequest:
    return ShutdownRequest(RequestId(request), "cluster_shutdown")


def savepoint(request: str, to: str) -> SavepointRequest:
    return SavepointRequest(RequestId(request), to, 1_700_000_000)
