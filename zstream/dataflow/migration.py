"""Moving key groups between workers while records flow: switch, ship, hold, install.

Origin of a group, by the generation that moves it:
  1. SWITCH   routes by the new table and sends its marker down every link
  2. MARKERS  goes on applying what others routed by the old table, until their markers are in
  3. SETTLE   until all it sent before then is settled: else the target's output would overtake it
  4. SHIP     snapshots the group, forgets it, sends the chunks on the snapshot lane

Target:
  1. SWITCH   puts the group on hold: its records wait in the order in which they came
  2. INSTALL  takes over the snapshot when its last chunk is there
  3. DRAIN    applies what waited, a bounded number of records at a time; what comes in the
              meantime waits behind it; then the group is live

A death in between ends the run: a recovery begins another one, and nothing of this is left.

Output for a group that moved comes from two workers. The *tick* says which came later: a snapshot
carries that of its origin, and its target goes on with a higher one. Before it shipped a group the
origin wrote for it at no higher tick, and the target only after it has installed it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from zstream.config import Config
from zstream.dataflow.checkpoint import Checkpoint
from zstream.dataflow.columns import chosen, rows
from zstream.dataflow.exchange import Filling, shape_of
from zstream.dataflow.links import DATA
from zstream.dataflow.operators.stateful import StatefulMap
from zstream.dataflow.peer import Peer
from zstream.errors import InvariantBroken, WireError
from zstream.model.batch import Batch
from zstream.model.ids import Generation, Incarnation, KeyGroup
from zstream.model.keys import KeyGroups
from zstream.model.membership import EMPTY_TABLE, RoutingTable
from zstream.model.records import GenerationOpened
from zstream.ports.connectors import Tick
from zstream.topology.plan import Entry
from zstream.wire.frames import FrameKind, SnapshotChunk, encode_snapshot
from zstream.wire.messages import WaveCosts
from zstream.wire.values import Registry

FIRST_GENERATION = Generation(1)  # of a cluster's life: nobody had a state before it


class Progress(NamedTuple):
    """How far this worker is with its newest generation.

    installed: nothing is to be shipped or installed. settled: all that was sent until then is.
    """

    generation: Generation
    installed: bool
    settled: bool


class _Waiting(NamedTuple):
    """Records of a group on hold that came one after the other at one entry."""

    entry: Entry
    filling: Filling
    record_bytes: float


class _Hold:
    """One key group between this worker's switch and the end of its drain."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.chunks: list[bytes] = []
        self.installed = False
        self.waiting: deque[_Waiting] = deque()


class _Outgoing:
    """The groups that one generation moves away from here, and what has to come first."""

    def __init__(
        self,
        generation: Generation,
        awaited: frozenset[Incarnation],
        targets: dict[KeyGroup, Incarnation],
    ) -> None:
        self.generation = generation
        self.awaited = awaited  # members of the table before: their markers
        self.targets = targets
        self.sent: dict[Incarnation, int] | None = None  # to be settled; known with the markers


class Migration:
    """Which key groups are live here, on hold here, or on their way from here."""

    def __init__(
        self,
        me: Incarnation,
        config: Config,
        registry: Registry,
        groups: KeyGroups,
        peers: Mapping[Incarnation, Peer],
        operators: Mapping[str, StatefulMap],
        checkpoint: Checkpoint,
        apply: Callable[[Entry, Batch], None],
        moved: Callable[[Tick], None],
    ) -> None:
        self.opened: GenerationOpened | None = None
        self.table: RoutingTable = EMPTY_TABLE
        self.tick = Tick(0, 0)  # of what is written now
        self.live: set[int] = set()
        self.hold_bytes = 0.0
        self._me = me
        self._config = config
        self._registry = registry
        self._groups = groups
        self._peers = peers
        self._operators = operators
        self._checkpoint = checkpoint
        self._apply = apply
        self._moved = moved
        self._holds: dict[KeyGroup, _Hold] = {}
        self._outgoing: list[_Outgoing] = []
        self._sent: dict[Incarnation, int] | None = None  # until all was installed; to be settled
        self._costs_of = Generation(0)  # the generation that pauses and held records belong to
        self._pauses: list[tuple[KeyGroup, float]] = []
        self._held = 0  # records that came to wait in this generation
        self._newly_held = 0  # since the last `drain`

    # ------------------------------------------------------------ switch

    def switch(self, opened: GenerationOpened, now: float) -> None:
        """Install the table; put on hold what moves in; note what has to be shipped."""
        old, new = self.table, opened.table
        self.opened, self.table = opened, new
        self._sent = None
        arriving, leaving = self._moves(old, new)
        if new.generation == FIRST_GENERATION:
            self.tick = Tick(opened.nonce, 0)
            self.live.update(arriving)
            return
        if arriving or leaving:
            self._costs_of, self._held, self._pauses = new.generation, 0, []
        for group in arriving:
            self._holds[group] = _Hold(now)
        if leaving:
            awaited = frozenset(m.incarnation for m in old.members) - {self._me}
            self._outgoing.append(_Outgoing(new.generation, awaited, dict(leaving)))

    def restore(self, opened: GenerationOpened) -> None:
        """A run begins with this table: what is owned is live, with what a checkpoint had of it."""
        self.opened, self.table = opened, opened.table
        self.tick = Tick(opened.nonce, 0)
        self.live.update(opened.table.groups_of(self._me))

    def _moves(
        self, old: RoutingTable, new: RoutingTable
    ) -> tuple[list[KeyGroup], list[tuple[KeyGroup, Incarnation]]]:
        """Groups that come here and (group, target) that go.

        A joiner learns the table before from the hellos; should it not, then all that it owns
        comes to it.
        """
        if not old.members:
            return new.groups_of(self._me), []
        before = [member.incarnation for member in old.members]
        after = [member.incarnation for member in new.members]
        arriving: list[KeyGroup] = []
        leaving: list[tuple[KeyGroup, Incarnation]] = []
        for number, owner in enumerate(old.owners):
            group, origin, target = KeyGroup(number), before[owner], after[new.owners[number]]
            if origin == target:
                continue
            if target == self._me:
                arriving.append(group)
            elif origin == self._me:
                if group in self._holds:
                    raise InvariantBroken(f"key group {group} moves on before it was installed")
                leaving.append((group, target))
        return arriving, leaving

    # ------------------------------------------------------------ hold

    def is_here(self, group: int) -> bool:
        """Whether records of this key group may come here."""
        return group in self.live or group in self._holds

    def admit(self, entry: Entry, batch: Batch, record_bytes: float) -> Batch | None:
        """The rows whose key groups are live here, or None; those of groups on hold wait.

        Where none is on hold nobody looks: what is sent here is of what is owned here.
        """
        if not self._holds:
            return batch
        groups = self._groups.of(batch.keys or ())
        if self.live.issuperset(groups):
            return batch
        for row, group in enumerate(groups):
            if group not in self.live:
                self._wait(entry, rows(batch, row, row + 1), KeyGroup(group), record_bytes)
        live = chosen(batch, [group in self.live for group in groups])
        return live if live.values else None

    def _wait(self, entry: Entry, batch: Batch, group: KeyGroup, record_bytes: float) -> None:
        hold = self._holds.get(group)
        if hold is None:
            raise InvariantBroken(
                f"worker {self._me} at generation {self.table.generation} got a record of key "
                f"group {group}, which it neither holds nor owns"
            )
        shape = shape_of(batch)
        last = hold.waiting[-1] if hold.waiting else None
        if (
            last is None
            or last.entry is not entry
            or last.filling.shape != shape
            or len(last.filling.values) >= self._config.batch_records_max
        ):
            last = _Waiting(entry, Filling(shape), record_bytes)
            hold.waiting.append(last)
        last.filling.extend(batch)
        self.hold_bytes += last.record_bytes
        self._held += 1
        self._newly_held += 1

    # ------------------------------------------------------------ install

    def on_chunk(self, chunk: SnapshotChunk) -> None:
        """A piece of a snapshot. The origin's marker was settled here before it was sent."""
        generation, group, index, last, payload = chunk
        if generation > self.table.generation:
            raise InvariantBroken(f"key group {group} came before generation {generation}")
        hold = self._holds.get(group)
        if hold is None or index != len(hold.chunks):
            raise InvariantBroken(f"key group {group}: chunk {index} is out of order")
        hold.chunks.append(payload)
        if last:
            self._install(group, b"".join(hold.chunks))
            hold.chunks.clear()
            hold.installed = True

    def _install(self, group: KeyGroup, snapshot: bytes) -> None:
        (run, number), parts, states = self._unpacked(group, snapshot)
        self._checkpoint.arrive(group, parts)
        for name, (rows_of_group, changed) in states.items():
            keys = None if parts is None else self._registry.unpack_column(changed)
            self._operators[name].state.install(group, rows_of_group, keys)
        self.tick = max(self.tick, Tick(run, number + 1))
        self._moved(self.tick)

    def _unpacked(self, group: KeyGroup, snapshot: bytes) -> tuple[Any, Any, dict[str, Any]]:
        whole = self._registry.unpack(snapshot)
        if not isinstance(whole, tuple) or len(whole) != 3 or not isinstance(whole[2], dict):
            raise WireError(f"the snapshot of key group {group} cannot be read")
        tick, parts, states = whole
        if not states.keys() <= self._operators.keys():
            raise WireError(f"the snapshot of key group {group} is of another topology")
        return tick, parts, states

    def drain(self, now: float) -> None:
        """Apply records that waited for what is installed now: a batch, and twice what has come to
        wait since the last time, so that it comes to an end however fast more comes.
        """
        budget = self._config.batch_records_max + 2 * self._newly_held
        self._newly_held = 0
        for group in [group for group, hold in self._holds.items() if hold.installed]:
            hold = self._holds[group]
            while hold.waiting and budget > 0:
                waiting = hold.waiting.popleft()
                batch = waiting.filling.batch()
                budget -= len(batch)
                self.hold_bytes -= waiting.record_bytes * len(batch)
                self._apply(waiting.entry, batch)
            if hold.waiting:
                return
            del self._holds[group]
            self.live.add(group)
            self._pauses.append((group, (now - hold.since) * 1000))

    # ------------------------------------------------------------ ship

    def ship(self) -> None:
        """Ship what may go, a bounded number of bytes. Called when all fillings are cut, so that
        the newest frame on each link is behind everything that was applied before.
        """
        budget = self._config.part_slice_bytes
        for outgoing in self._outgoing:
            if outgoing.sent is None and self._markers_are_in(
                outgoing.generation, outgoing.awaited
            ):
                outgoing.sent = self._newest_frames()
            if outgoing.sent is not None and self._are_settled(outgoing.sent):
                while outgoing.targets and budget > 0:
                    group, target = outgoing.targets.popitem()
                    budget -= self._ship(outgoing.generation, group, target)
        self._outgoing = [outgoing for outgoing in self._outgoing if outgoing.targets]
        if self._sent is None and self.is_installed():
            self._sent = self._newest_frames()

    def _markers_are_in(self, generation: Generation, awaited: frozenset[Incarnation]) -> bool:
        """A marker speaks for all generations before it, too."""
        peers = (self._peers.get(member) for member in awaited)
        return all(peer is not None and peer.marker >= generation for peer in peers)

    def _newest_frames(self) -> dict[Incarnation, int]:
        """Of the links to members: a leaver that was let go settles nothing any more."""
        return {
            name: peer.send[DATA].pushed
            for name, peer in self._peers.items()
            if self.table.member(name) is not None
        }

    def _are_settled(self, sent: Mapping[Incarnation, int]) -> bool:
        for name, number in sent.items():
            peer = self._peers.get(name)
            if peer is None or peer.send[DATA].settled < number:
                return False
        return True

    def _ship(self, generation: Generation, group: KeyGroup, target: Incarnation) -> int:
        """Snapshot, forget, send; return how many bytes. What has changed since the last manifest
        goes along: from now on it is the target that writes it.
        """
        self._moved(self.tick)
        parts = self._checkpoint.leave(group)
        states = {}
        for name, operator in self._operators.items():
            rows, changed = operator.state.take(group, operator.refuse_state)
            states[name] = rows, self._registry.pack_column(changed)
        self.live.discard(group)
        snapshot = self._registry.pack((tuple(self.tick), parts, states))
        size, step = len(snapshot), self._config.snapshot_chunk_bytes
        for index, start in enumerate(range(0, size, step)):
            last = start + step >= size
            piece = snapshot[start : start + step]
            body = encode_snapshot(generation, group, index, last, piece)
            self._peers[target].push(FrameKind.SNAPSHOT, body)
        return size

    # ------------------------------------------------------------ figures

    def progress(self) -> Progress:
        settled = self._sent is not None and self._are_settled(self._sent)
        return Progress(self.table.generation, self.is_installed(), settled)

    def costs(self) -> WaveCosts | None:
        """What the newest generation that moved something from or to here has cost so far."""
        if not self._costs_of:
            return None
        return WaveCosts(self._costs_of, self._held, tuple(self._pauses))

    def waited(self, now: float) -> float:
        """Seconds that the oldest key group on hold has waited."""
        return max((now - hold.since for hold in self._holds.values()), default=0.0)

    def is_busy(self) -> bool:
        """Whether `drain` or `ship` has work that waits for nothing but its turn."""
        return any(hold.installed for hold in self._holds.values()) or any(
            outgoing.sent is not None and self._are_settled(outgoing.sent)
            for outgoing in self._outgoing
        )

    def is_installed(self) -> bool:
        """Whether no key group is on its way to or from here."""
        return not self._holds and not self._outgoing
