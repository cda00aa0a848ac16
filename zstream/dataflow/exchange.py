"""Splitting batches over the workers: by key group, to one place, or in turn.

What is for this worker is applied at once, in the same call: there is no queue to itself that a
marker could overtake. What is for a peer joins the batch that is being filled for it, one for each
entry, and becomes a frame when it is large enough or the turn ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zstream.config import Config
from zstream.dataflow.columns import rows
from zstream.dataflow.errors import OperatorErrors
from zstream.dataflow.peer import Peer
from zstream.errors import InvariantBroken, LimitExceeded
from zstream.model.batch import Batch
from zstream.model.ids import EntryId, Incarnation
from zstream.model.keys import KeyGroups
from zstream.model.membership import EMPTY_TABLE, NOTHING_PLACED, Placement, RoutingTable
from zstream.topology.plan import Entry
from zstream.wire.frames import BatchCodec, FrameKind

FIRST_GUESS_BYTES = 64  # of a record, before the first one was encoded

Shape = tuple[bool, bool]  # which of keys and times there are


def shape_of(batch: Batch) -> Shape:
    return batch.keys is not None, batch.times is not None


class Filling:
    """Columns being filled, all batches of one shape."""

    __slots__ = ("keys", "shape", "times", "values")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.values: list[Any] = []
        self.keys: list[Any] = []
        self.times: list[float] = []

    def extend(self, batch: Batch) -> None:
        self.values += batch.values
        self.keys += batch.keys or ()
        self.times += batch.times or ()

    def batch(self) -> Batch:
        """What was filled in; the filling is not to be used after."""
        with_keys, with_times = self.shape
        return Batch(
            self.values, self.keys if with_keys else None, self.times if with_times else None
        )


class Exchange:
    """All exchanges of one worker, under one routing table.

    apply: gets what this worker has for itself. errors: by entry, who is blamed for a record that
    cannot be sent.
    """

    def __init__(
        self,
        me: Incarnation,
        config: Config,
        groups: KeyGroups,
        codec: BatchCodec,
        peers: Mapping[Incarnation, Peer],
        errors: Mapping[EntryId, OperatorErrors],
        apply: Callable[[Entry, Batch], None],
    ) -> None:
        self._me = me
        self._config = config
        self._groups = groups
        self._codec = codec
        self._peers = peers
        self._errors = errors
        self._apply = apply
        self._table: RoutingTable = EMPTY_TABLE
        self._placement: Placement = NOTHING_PLACED
        self._turns: dict[EntryId, int] = {}
        self._record_bytes: dict[EntryId, float] = {}
        self._fillings: dict[tuple[Incarnation, EntryId, Shape], Filling] = {}

    def install(self, table: RoutingTable, placement: Placement) -> None:
        """Route by this table from here on; what was routed before has been cut."""
        self._table = table
        self._placement = placement

    def push_keyed(self, entry: Entry, batch: Batch) -> None:
        """Each record to the owner of its key group. One loop: it costs the same for any number
        of workers, where picking the rows of one worker after the other does not.
        """
        members, owners = self._table.members, self._table.owners
        if len(members) == 1 and members[0].incarnation == self._me:
            self._apply(entry, batch)
            return
        keys = batch.keys
        assert keys is not None, "an exchange by key gets keys"
        groups = self._groups.of(keys)
        shape = shape_of(batch)
        own = Filling(shape)
        fillings = [
            own
            if member.incarnation == self._me
            else self._filling(member.incarnation, entry, shape)
            for member in members
        ]
        columns = [(filling.values.append, filling.keys.append) for filling in fillings]
        for value, key, group in zip(batch.values, keys, groups, strict=True):
            add_value, add_key = columns[owners[group]]
            add_value(value)
            add_key(key)
        if batch.times is not None:
            for time, group in zip(batch.times, groups, strict=True):
                fillings[owners[group]].times.append(time)
        for member, filling in zip(members, fillings, strict=True):
            if filling is not own:
                self._cut_when_full(member.incarnation, entry, filling)
        if own.values:
            self._apply(entry, own.batch())

    def push_pinned(self, entry: Entry, batch: Batch) -> None:
        """The whole batch to the worker where the step is placed."""
        member = self._table.named(self._placement.pinned[entry.name])
        if member is None:
            raise InvariantBroken(f"step {entry.name} is placed on a worker that is no member")
        self._push_whole(member.incarnation, entry, batch)

    def push_balanced(self, entry: Entry, batch: Batch) -> None:
        """Batches in turn to all that take balanced work."""
        spread = self._table.spread
        turn = self._turns.get(entry.id, 0)
        self._turns[entry.id] = turn + 1
        member = self._table.members[spread[turn % len(spread)]]
        self._push_whole(member.incarnation, entry, batch)

    def cut(self) -> None:
        """Everything that is being filled becomes frames, numbered on its link."""
        fillings, self._fillings = self._fillings, {}
        for (peer, entry, _), filling in fillings.items():
            if filling.values:
                self._send(peer, entry, filling.batch())

    def forget(self, peer: Incarnation) -> None:
        """The link is closed: what is being filled for it goes with it."""
        for name in [name for name in self._fillings if name[0] == peer]:
            del self._fillings[name]

    def clear(self) -> None:
        """A run ended: its table and what was being filled are gone."""
        self.install(EMPTY_TABLE, NOTHING_PLACED)
        self._fillings.clear()
        self._turns.clear()

    def is_empty(self) -> bool:
        return not any(filling.values for filling in self._fillings.values())

    def record_bytes(self, entry: EntryId) -> float:
        """About how many bytes a record of this entry has."""
        return self._record_bytes.get(entry, FIRST_GUESS_BYTES)

    def _push_whole(self, to: Incarnation, entry: Entry, batch: Batch) -> None:
        if to == self._me:
            self._apply(entry, batch)
            return
        filling = self._filling(to, entry, shape_of(batch))
        filling.extend(batch)
        self._cut_when_full(to, entry, filling)

    def _filling(self, peer: Incarnation, entry: Entry, shape: Shape) -> Filling:
        name = (peer, entry.id, shape)
        filling = self._fillings.get(name)
        if filling is None:
            filling = self._fillings[name] = Filling(shape)
        return filling

    def _cut_when_full(self, peer: Incarnation, entry: Entry, filling: Filling) -> None:
        if len(filling.values) >= self._records_of_a_frame(entry.id):
            del self._fillings[(peer, entry.id, filling.shape)]
            self._send(peer, entry.id, filling.batch())

    def _records_of_a_frame(self, entry: EntryId) -> int:
        fitting = int(self._config.frame_bytes_target / self.record_bytes(entry))
        return max(1, min(fitting, self._config.batch_records_max))

    def _send(self, to: Incarnation, entry: EntryId, batch: Batch) -> None:
        peer = self._peers.get(to)
        if peer is None:
            raise InvariantBroken(f"records for worker {to}, to which no link is open")
        start = 0
        while start < len(batch):
            stop = start + self._records_of_a_frame(entry)
            self._send_part(peer, entry, rows(batch, start, stop))
            start = stop

    def _send_part(self, peer: Peer, entry: EntryId, batch: Batch) -> None:
        """One frame; or two halves where that fails, until the record to blame stands alone.

        A frame of several records fits the smallest window.
        """
        record_max, error = self._config.record_bytes_max, None
        frame_max = min(self._config.link_window_bytes_min, record_max)
        try:
            body = self._codec.encode(entry, batch)
        except Exception as raised:
            error = raised
        else:
            self._record_bytes[entry] = max(1.0, len(body) / len(batch))
            if len(body) <= (frame_max if len(batch) > 1 else record_max):
                peer.push(FrameKind.BATCH, body)
                return
        if len(batch) > 1:
            half = len(batch) // 2
            self._send_part(peer, entry, rows(batch, 0, half))
            self._send_part(peer, entry, rows(batch, half, len(batch)))
            return
        if error is None:
            error = LimitExceeded("record_bytes_max", f"the record takes {len(body):,} bytes")
        key = None if batch.keys is None else batch.keys[0]
        self._errors[entry].failed(error, key, batch.values[0])
