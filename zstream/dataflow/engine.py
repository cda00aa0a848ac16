"""One worker's dataflow: batches and frames in, batches and frames out. The only class of this
room that others call.

Pure: time comes as an argument (`now`, monotonic seconds), bytes go out when they are asked for.
A turn is: `receive` and `feed` as there is something, then `flush`, then `next_frame` for each
ready peer and `link_reports`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zstream.config import Config
from zstream.dataflow.chain import Compiler
from zstream.dataflow.checkpoint import Checkpoint
from zstream.dataflow.errors import Gauge, OperatorErrors, Refuse
from zstream.dataflow.exchange import Exchange
from zstream.dataflow.links import DATA, LANES, SNAPSHOTS
from zstream.dataflow.loads import Loads
from zstream.dataflow.migration import Migration, Progress
from zstream.dataflow.peer import Peer
from zstream.dataflow.recovery import names_before, records_in_flight
from zstream.dataflow.ways import ways_of
from zstream.errors import InvariantBroken, WireError
from zstream.model.batch import Batch
from zstream.model.ids import EntryId, Epoch, Incarnation, KeyGroup, Run
from zstream.model.keys import KeyGroups
from zstream.model.records import GenerationOpened, LogRecord
from zstream.ports.connectors import Tick
from zstream.topology.errors_policy import ErrorPolicy
from zstream.topology.node import Node
from zstream.topology.per_worker import PerWorker
from zstream.topology.plan import Entry, Plan
from zstream.wire.codec import decode_record, encode_record
from zstream.wire.frames import (
    BatchCodec,
    Frame,
    FrameKind,
    decode_barrier,
    decode_frame,
    decode_snapshot,
    encode_barrier,
)
from zstream.wire.messages import LinkReport, WaveCosts
from zstream.wire.parts import Part, PartName
from zstream.wire.values import Registry

FIRST_RUN = Run(1)  # a later one begins with a recovery

AtCut = Callable[[Epoch], tuple[Mapping[str, Any], Mapping[str, Any]]]


class Dataflow:
    """Applies records, routes them, moves key groups, and makes this worker's parts of checkpoints.

    emit: gets a sink's name and its encoded records. refuse: gets dead letters. on_error: the
    policy of operators without one of their own. raw_sinks, raw_sources: names whose encode and
    decode functions are left out.

    at_cut: called at each cut, whoever asks for it, with its epoch; gives the positions of the
    sources that are read here, by name, and what each sink calls its output since the cut before,
    None for none. Both are made of msgpack types. What a sink prepared is kept until a manifest.

    moved: called when a key group was shipped or installed here, before anything is applied to it
    there; see zstream.ports.connectors.Writer.

    run: names links and parts; set by `begin` and `restore`. loads: of what came by key.
    """

    def __init__(
        self,
        plan: Plan,
        registry: Registry,
        config: Config,
        me: Incarnation,
        *,
        emit: Callable[[str, list[Any]], None],
        refuse: Refuse,
        on_error: ErrorPolicy = "dead_letter",
        raw_sinks: frozenset[str] = frozenset(),
        raw_sources: frozenset[str] = frozenset(),
        at_cut: AtCut = lambda epoch: ({}, {}),
        moved: Callable[[Tick], None] = lambda tick: None,
    ) -> None:
        self.run = FIRST_RUN
        self._me = me
        self._config = config
        self._plan = plan
        self._registry = registry
        self._emit_to = emit
        self._at_cut = at_cut
        self._moved = moved
        self._gauge = Gauge()
        self._refuse = refuse
        self._on_error = on_error
        self._errors: dict[Node, OperatorErrors] = {}
        self._peers: dict[Incarnation, Peer] = {}
        self._entries: dict[EntryId, Entry] = {entry.id: entry for entry in plan.entries}
        self._codec = BatchCodec(registry)
        self._groups = KeyGroups(plan.key_groups)
        self.loads = Loads(self._groups)
        self._exchange = Exchange(
            me,
            config,
            self._groups,
            self._codec,
            self._peers,
            self._errors_of_entries(),
            self._apply_own,
        )
        self._chains = Compiler(
            plan,
            registry,
            self._groups,
            lambda group: self._migration.is_here(group),
            self._exchange,
            self._errors_of,
            self._emit,
            raw_sinks,
            raw_sources,
        ).compile()
        self._checkpoint = self._new_checkpoint()
        self._migration = self._new_migration()
        self._switched: list[GenerationOpened] = []
        self._cuts: list[Epoch] = []
        self._needs = _needs_of(plan)
        self._sampled_at = float("-inf")
        self.records_in = 0
        self.records_out = 0
        self.late_records = 0
        self.state_bytes = 0  # about; taken each status_interval_ms
        self.frames_dropped = 0  # of links that are not open, doubled or too early

    # ------------------------------------------------------------ life

    def open(self) -> None:
        """Make what `needs=` names. Raises what the person's function raises."""
        for need in self._needs:
            need.open()

    def close(self) -> None:
        """Close what `open` made."""
        for need in self._needs:
            need.shut()

    # ------------------------------------------------------------ links

    def open_link(self, peer: Incarnation) -> None:
        """Both lanes, both directions; hello is queued. Opening twice is harmless."""
        if peer not in self._peers:
            opened = self._migration.opened
            hello = b"" if opened is None else encode_record(opened)
            self._peers[peer] = Peer(self._me, peer, self.run, self._config, hello)

    def close_link(self, peer: Incarnation) -> None:
        """Forget the peer: what is under way to it is lost, and nothing of it is awaited."""
        self._exchange.forget(peer)
        self._peers.pop(peer, None)

    def connected(self) -> tuple[Incarnation, ...]:
        """Peers with which hello went both ways on both lanes."""
        return tuple(name for name, peer in self._peers.items() if peer.is_connected())

    def ready_peers(self) -> list[Incarnation]:
        """Peers for which there is a frame and credit to send it."""
        return [name for name, peer in self._peers.items() if peer.next_frame() is not None]

    def next_frame(self, peer: Incarnation, now: float) -> bytes | None:
        """What to send this peer next, if credit allows; `frame_sent` says that it is out."""
        link = self._peers.get(peer)
        return None if link is None else link.next_frame()

    def frame_sent(self, peer: Incarnation) -> None:
        """What `next_frame` gave was taken by the network. Nothing may be done between the two."""
        self._peers[peer].frame_sent()

    def on_link_report(self, sender: Incarnation, report: LinkReport, now: float) -> None:
        """Acknowledgements and last numbers; of another link than the open one: ignored."""
        peer = self._peers.get(sender)
        if peer is not None and report.to == self._me and report.run == self.run:
            peer.on_report(report, now)

    def link_reports(
        self, now: float, heartbeat: bool, pressure: str = ""
    ) -> list[tuple[Incarnation, LinkReport]]:
        """Those that are due, or with `heartbeat` all. pressure: what is at its limit here."""
        return [
            (name, peer.report(now, pressure))
            for name, peer in self._peers.items()
            if heartbeat or peer.report_at() <= now
        ]

    # ------------------------------------------------------------ records

    def feed(self, source: str, records: list[Any]) -> None:
        """Undecoded records of a source that is placed here, in order.

        Before the first generation of a run they are dropped: `restore` has the source sought.
        """
        if not self._migration.table.generation:
            return
        self.records_in += len(records)
        push, limit = self._chains.sources[source], self._config.batch_records_max
        for start in range(0, len(records), limit):
            push(Batch(records[start : start + limit]))
        self._gauge.running = ""

    def receive(self, data: bytes, now: float) -> None:
        """One frame of a peer. Raises WireError for what is none.

        Frames of links that are not open are dropped: what they carried is sent again when the
        first report about the link asks for it. On an open link none is refused for its generation.
        """
        frame = decode_frame(data)
        peer = self._peers.get(frame.sender)
        is_ours = frame.receiver == self._me and frame.run == self.run and frame.lane in LANES
        if peer is None or not is_ours or not peer.is_next(frame.lane, frame.number):
            self.frames_dropped += 1
            return
        self._take(frame, peer, len(data), now)
        peer.settle(frame.lane, len(data), now)
        self._gauge.running = ""

    def flush(self, now: float) -> None:
        """End of a turn: what waited is applied, what is being filled becomes frames, what may be
        shipped is.
        """
        self._migration.drain(now)
        self._exchange.cut()
        self._migration.ship()
        self._checkpoint.write()
        self._gauge.running = ""
        for peer in self._peers.values():
            peer.watch(now)
        if now - self._sampled_at >= self._config.status_interval_ms / 1000:
            self._sampled_at = now
            self.state_bytes = sum(
                operator.state.bytes_of_all() for operator in self._chains.stateful.values()
            )

    def next_timer(self, now: float) -> float:
        """When to come back at the latest: `now` where there is more to do at once, or inf."""
        if self.is_moving or self._checkpoint.is_pending():
            return now
        times = [peer.report_at() for peer in self._peers.values()]
        return max(now, min(times, default=float("inf")))

    # ------------------------------------------------------------ generations

    def switch(self, opened: GenerationOpened, now: float) -> None:
        """Route by this generation from here on, and say so on every link, in order with the data.

        At the leader's word or at a peer's marker, whichever comes first; an older or equal
        generation, or one of another run, changes nothing. What was being filled was routed by the
        table before, so it goes first.
        """
        if opened.run != self.run or opened.table.generation <= self._migration.table.generation:
            return
        self._exchange.cut()
        self._checkpoint.decide(opened.manifest)  # no wave starts while an epoch is open
        self._migration.switch(opened, now)
        self._exchange.install(opened.table, opened.placement)
        marker = encode_record(opened)
        for peer in self._peers.values():
            peer.push(FrameKind.GENERATION, marker)

    def take_switched(self) -> list[GenerationOpened]:
        """Generations that came by a peer's marker, not yet taken; for the agent to learn of."""
        switched, self._switched = self._switched, []
        return switched

    def progress(self) -> Progress:
        """How far this worker is with its newest generation."""
        return self._migration.progress()

    def costs(self) -> WaveCosts | None:
        """What the newest generation that moved key groups from or to here has cost so far."""
        return self._migration.costs()

    def sizes(self) -> tuple[tuple[KeyGroup, int], ...]:
        """About how many bytes of state each key group has that is live here."""
        operators = self._chains.stateful.values()
        return tuple(
            (
                KeyGroup(group),
                sum(operator.state.bytes_of(KeyGroup(group)) for operator in operators),
            )
            for group in sorted(self._migration.live)
        )

    def states(self, operator: str) -> Mapping[Any, Any]:
        """Keys and states of a stateful operator, those that are here. Raises KeyError."""
        return self._chains.stateful[operator].state.states()

    def rehearse(self) -> None:
        """Snapshot and install every key group in its place, as if it had moved: for tests.

        Not while an epoch is open, for then none moves.
        """
        if self._checkpoint.open_epoch:
            return
        for operator in self._chains.stateful.values():
            for group in operator.state.groups():
                is_tracked = operator.state.is_tracked
                rows, changed = operator.state.take(group, operator.refuse_state)
                operator.state.install(group, rows, changed if is_tracked else None)

    # ------------------------------------------------------------ epochs

    def cut(self, run: Run, epoch: Epoch, now: float) -> bool:
        """Close the epoch here, between two batches, and say so on every link; whether it did.

        At the leader's word or at a peer's barrier, whichever comes first; of another run, or for
        an epoch not above the newest one, it changes nothing. Nor does it in the midst of a wave:
        no epoch is opened then, so this one was abandoned.
        """
        if run != self.run or epoch <= self._checkpoint.newest:
            return False
        table = self._migration.table
        if table.member(self._me) is None or not self._migration.is_installed():
            self._checkpoint.abandon(epoch)
            return False
        self._exchange.cut()
        positions, prepared = self._at_cut(epoch)
        members = [member.incarnation for member in table.members]
        self._checkpoint.cut(epoch, self._migration.live, members, positions, prepared)
        barrier = encode_barrier(epoch)
        for peer in self._peers.values():
            peer.push(FrameKind.BARRIER, barrier)
        return True

    def take_cuts(self) -> list[Epoch]:
        """Epochs cut at a peer's barrier, not yet taken; for the agent to learn of."""
        cuts, self._cuts = self._cuts, []
        return cuts

    def part(self, epoch: Epoch) -> bytes | None:
        """This worker's part of an epoch of this run, to be stored under the name that `part_name`
        gives; None as long as something is missing, and when the epoch is not open here.
        """
        return self._checkpoint.part(epoch)

    def part_name(self, epoch: Epoch) -> PartName:
        """What this worker's part of an epoch of this run is called."""
        return PartName(self.run, epoch, self._me)

    def oldest(self, epoch: Epoch) -> Epoch:
        """The lowest epoch of a part that is needed for this one. Raises InvariantBroken where
        `part` gives none.
        """
        return self._checkpoint.oldest(epoch)

    def manifest_appended(self, epoch: Epoch) -> Mapping[str, list[Any]]:
        """The manifest of this epoch of this run stands in the control log.

        Returns what is to be committed now, by sink: what each prepared since the manifest before,
        in the order of epochs. Nothing where the epoch is not open here: it is with the next one.
        """
        return self._checkpoint.manifest_appended(epoch)

    def abandon(self, epoch: Epoch) -> None:
        """This epoch of this run will have no manifest; that stands in the control log."""
        self._checkpoint.abandon(epoch)

    def begin(self, run: Run) -> None:
        """Drop links, state, and all that is under way: what comes next is of this run.

        For a joiner, before it opens links; and for who is to `restore` the run, as soon as that
        is known. Until then there is no generation and no link may be opened: frames of peers that
        were faster are dropped, and sent again when it is.
        """
        self._peers.clear()
        self._exchange.clear()
        for operator in self._chains.stateful.values():
            operator.state.clear()
        self.run = run
        self._checkpoint = self._new_checkpoint()
        self._migration = self._new_migration()
        self._switched.clear()
        self._cuts.clear()

    def restore(
        self, run: Run, opened: GenerationOpened, parts: Mapping[PartName, Part], now: float
    ) -> int:
        """A recovery: begin the run with this table and what a manifest holds.

        parts: all of the manifest, and those that `wire.parts.parts_needed` names for the key
        groups owned here; nothing where there was no manifest yet. The manifest's are those of the
        highest epoch. Links are opened to all members. Records that were in flight are applied
        here and now, so sinks must be open: their output belongs to the new run. Positions stand
        in the parts. Of an older run, or done already: ignored.
        Returns how many records in flight are dropped: this topology has nothing any more that
        they would have come to. Raises WireError for parts that cannot be gone on with.
        """
        if run < self.run or (run == self.run and self._migration.table.generation):
            return 0
        if run == self.run and self._peers:
            raise InvariantBroken(f"a link of run {run} was opened before the run was restored")
        self.begin(run)
        self._migration.restore(opened)
        self._exchange.install(opened.table, opened.placement)
        for member in opened.table.members:
            if member.incarnation != self._me:
                self.open_link(member.incarnation)
        newest = max((name.epoch for name in parts), default=0)
        manifest = [part for name, part in parts.items() if name.epoch == newest]
        self._checkpoint.load(
            manifest,
            parts.values(),
            set(opened.table.groups_of(self._me)),
            names_before(self._plan),
        )
        in_flight, dropped = records_in_flight(
            manifest, self._plan, self._codec, self._groups, opened, self._me
        )
        for entry, batch in in_flight:
            self._apply(entry, batch)
        self._gauge.running = ""
        return dropped

    # ------------------------------------------------------------ figures

    def pressure(self) -> str:
        """What is at its limit here, so that sources must stop on all workers, or ""."""
        if self._migration.hold_bytes >= self._config.hold_bytes_max:
            return "hold queue"
        waiting = sum(peer.send[DATA].outbox_bytes for peer in self._peers.values())
        return "outboxes" if waiting >= self._config.outbox_bytes_max else ""

    def is_full(self, share: float) -> bool:
        """Whether this share of a window waits for a peer: sources stop here, and nowhere else."""
        return any(peer.send[DATA].is_full(share) for peer in self._peers.values())

    @property
    def is_moving(self) -> bool:
        """Whether a key group only waits for this worker's turn to go or to be live: then sources
        give way, as each batch that is read makes its records wait longer.
        """
        return self._migration.is_busy()

    def empty(self) -> bool:
        """Whether no record and no state is under way from here or waits here."""
        progress = self._migration.progress()
        return (
            self._exchange.is_empty()
            and (progress.installed or not progress.generation)
            and all(peer.is_settled() for peer in self._peers.values())
        )

    @property
    def frames_sent(self) -> int:
        """BATCH frames for peers whose links are open now, on their way or applied."""
        return sum(peer.batches_sent for peer in self._peers.values())

    @property
    def frames_applied(self) -> int:
        """BATCH frames of peers whose links are open now."""
        return sum(peer.batches_applied for peer in self._peers.values())

    @property
    def running(self) -> str:
        """The operator in whose user code the loop is, or ""; may be read beside the loop."""
        return self._gauge.running

    @property
    def dead_letters(self) -> int:
        return self._gauge.dead_letters

    def oldest_ms(self, now: float) -> float:
        """About how long the oldest record has been under way to a peer, or on hold here."""
        waits = [peer.waiting_for(now) for peer in self._peers.values()]
        return max(0.0, self._migration.waited(now), *waits) * 1000

    @property
    def key_groups(self) -> frozenset[int]:
        """Key groups that are live here: this worker and no other applies records to them."""
        return frozenset(self._migration.live)

    @property
    def keys(self) -> int:
        """Keys with state, over all stateful operators."""
        return sum(len(operator.state) for operator in self._chains.stateful.values())

    # ------------------------------------------------------------ inside

    def _take(self, frame: Frame, peer: Peer, size: int, now: float) -> None:
        """Decode and do what the next frame of a link asks for. What is damaged raises WireError
        before anything is done.
        """
        kind, body = frame.kind, frame.body
        if kind is FrameKind.HELLO and body:
            kind = FrameKind.GENERATION  # its sender had switched before the link was opened
        if kind is FrameKind.BATCH and frame.lane == DATA:
            self._on_batch(peer, body, size)
        elif kind is FrameKind.SNAPSHOT and frame.lane == SNAPSHOTS:
            self._migration.on_chunk(decode_snapshot(body))
        elif kind is FrameKind.GENERATION and frame.lane == DATA:
            self._on_marker(peer, decode_record(body), now)
        elif kind is FrameKind.BARRIER and frame.lane == DATA:
            self._on_barrier(peer, decode_barrier(body), now)
        elif kind is not FrameKind.HELLO:
            raise WireError(f"a {kind.name} frame has no meaning on lane {frame.lane}")

    def _on_batch(self, peer: Peer, body: bytes, size: int) -> None:
        number, batch = self._codec.decode(body)
        entry = self._entries.get(number)
        if entry is None or entry.route == "source":
            raise WireError(f"a batch for entry {number}, where nothing comes in from a peer")
        if entry.route == "keyed" and batch.keys is None:
            raise WireError(f"a batch without keys for entry {number}, which is by key")
        peer.batches_applied += 1
        self._checkpoint.keep_in_flight(peer, body)
        self._admit(entry, batch, size / max(1, len(batch)), from_peer=True)

    def _on_marker(self, peer: Peer, opened: LogRecord, now: float) -> None:
        if not isinstance(opened, GenerationOpened):
            raise WireError(f"a generation marker that carries a {type(opened).__name__}")
        if opened.table.generation > self._migration.table.generation:
            self.switch(opened, now)
            self._switched.append(opened)
        peer.marker = max(peer.marker, opened.table.generation)

    def _on_barrier(self, peer: Peer, epoch: Epoch, now: float) -> None:
        if self.cut(self.run, epoch, now):
            self._cuts.append(epoch)
        peer.barrier = max(peer.barrier, epoch)

    def _apply_own(self, entry: Entry, batch: Batch) -> None:
        self._admit(entry, batch, self._exchange.record_bytes(entry.id), from_peer=False)

    def _admit(self, entry: Entry, batch: Batch, record_bytes: float, *, from_peer: bool) -> None:
        """Apply what may be applied here now; the rest waits for its key group."""
        admitted: Batch | None = batch
        if entry.route == "keyed":
            self.loads.note(batch.keys or [], from_peer)
            admitted = self._migration.admit(entry, batch, record_bytes)
        if admitted is not None:
            self._apply(entry, admitted)

    def _apply(self, entry: Entry, batch: Batch) -> None:
        """Run a batch through its stage."""
        self._chains.entries[entry.id](batch)

    def _emit(self, sink: str, records: list[Any]) -> None:
        self.records_out += len(records)
        self._emit_to(sink, records)

    def _new_checkpoint(self) -> Checkpoint:
        return Checkpoint(
            self._me,
            self.run,
            self._config,
            self._registry,
            self._plan.key_groups,
            self._peers,
            self._chains.stateful,
            ways_of(self._plan),
        )

    def _new_migration(self) -> Migration:
        return Migration(
            self._me,
            self._config,
            self._registry,
            self._groups,
            self._peers,
            self._chains.stateful,
            self._checkpoint,
            self._apply,
            self._moved,
        )

    def _errors_of(self, node: Node) -> OperatorErrors:
        """One policy and count for each operator, whoever asks."""
        if node not in self._errors:
            self._errors[node] = OperatorErrors(node, self._on_error, self._refuse, self._gauge)
        return self._errors[node]

    def _errors_of_entries(self) -> dict[EntryId, OperatorErrors]:
        """Who is blamed for a record that cannot be sent: the operator before the exchange."""
        return {
            edge.entry: self._errors_of(step.node)
            for step in self._plan.steps
            for port in step.outputs
            for edge in port
            if edge.entry is not None
        }


def _needs_of(plan: Plan) -> list[PerWorker[Any]]:
    """What the functions of a plan need, each once."""
    needs: dict[int, PerWorker[Any]] = {}
    for step in plan.steps:
        for need in step.node.options.get("needs", ()):
            needs[id(need)] = need
    return list(needs.values())
