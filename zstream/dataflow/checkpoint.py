"""One worker's part of each epoch: cut, write a slice at a time, keep until the manifest.

  1. CUT       positions, prepared output and changes are frozen, the barrier goes down every link
  2. IN FLIGHT what comes on a link before its barrier was under way at the cut: kept as it came
  3. WRITE     frozen changes become blocks, a bounded number of bytes a turn; key groups that no
               part holds yet, and a few in turn, are written whole
  4. PART      all barriers are in, all is written: the part is there, for the driver to store
  5. DECIDED   with the manifest the changes are forgotten; without one they are put back

An epoch whose outcome this worker does not learn before the next one, or before a wave, counts for
it as abandoned: to write a change twice is harmless, to miss one is not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from zstream.config import Config
from zstream.dataflow.operators.stateful import StatefulMap
from zstream.dataflow.peer import Peer
from zstream.dataflow.writing import Slice
from zstream.errors import CannotTravel, InvariantBroken, WireError
from zstream.model.ids import Epoch, Incarnation, KeyGroup, Run
from zstream.wire.parts import (
    History,
    Part,
    PartName,
    PartWriter,
    Span,
    Way,
    covered,
    decode_names,
    encode_names,
)
from zstream.wire.values import Registry

FIRST_GUESS_BYTES = 4096  # of a row, before the first one was written: the first slice is short

Moving = tuple[int, int, list[Any]]  # base, last and names of a key group on its way


class _Open:
    """An epoch between its cut and its outcome."""

    def __init__(
        self,
        writer: PartWriter,
        live: frozenset[int],
        bases: frozenset[int],
        awaited: frozenset[Incarnation],
        positions: Mapping[str, Any],
    ) -> None:
        self.writer = writer
        self.epoch = writer.name.epoch
        self.live = live
        self.bases = bases
        self.awaited = awaited  # members whose barriers must come
        self.positions = positions
        self.changed: set[int] = set()  # key groups of which rows were written
        self.history = History({}, ())  # when it is in a manifest; known with the part
        self.part: bytes | None = None


class Checkpoint:
    """What of this worker is in which part, and the part that is being made.

    One for each run. newest: no barrier up to this epoch makes a cut any more.
    """

    def __init__(
        self,
        me: Incarnation,
        run: Run,
        config: Config,
        registry: Registry,
        key_groups: int,
        peers: Mapping[Incarnation, Peer],
        operators: Mapping[str, StatefulMap],
        ways: Sequence[Way],
    ) -> None:
        """ways: of the plan; whoever goes on with a part may have another one."""
        self.newest = Epoch(0)
        self._me = me
        self._run = run
        self._config = config
        self._registry = registry
        self._key_groups = key_groups
        self._peers = peers
        self._operators = operators
        self._ways = ways
        self._open: _Open | None = None
        self._spans: dict[int, Span] = {}  # a key group that is not here is in no part yet
        self._names: set[PartName] = set()
        self._told_early: dict[Epoch, dict[str, list[Any]]] = {}  # outputs, by epoch
        self._prepared: dict[str, list[Any]] = {}  # since the last manifest
        self._row_bytes: dict[str, float] = {}

    @property
    def open_epoch(self) -> Epoch:
        """The epoch that is cut here and not decided; 0 for none."""
        return self._open.epoch if self._open else Epoch(0)

    # ------------------------------------------------------------ cut

    def cut(
        self,
        epoch: Epoch,
        live: Iterable[int],
        members: Iterable[Incarnation],
        positions: Mapping[str, Any],
        prepared: Mapping[str, Any],
    ) -> None:
        """Freeze. live: the key groups here; members: those of the routing table.

        prepared: what a sink calls its output since the cut before, or None for none.
        """
        self.put_back()
        self.newest = epoch
        groups = frozenset(live)
        bases = frozenset(group for group in groups if self._is_due(group, epoch))
        for operator in self._operators.values():
            operator.state.freeze(bases)
        for sink, output in prepared.items():
            if output is not None:
                self._prepared.setdefault(sink, []).append(output)
        name = PartName(self._run, epoch, self._me)
        operators = list(self._operators)
        writer = PartWriter(name, self._registry, self._key_groups, operators, self._ways)
        awaited = frozenset(members) - {self._me}
        self._open = _Open(writer, groups, bases, awaited, dict(positions))

    def _is_due(self, group: int, epoch: Epoch) -> bool:
        """Whether the group is to be written whole: for the first time, or in turn, so that its
        state is not spread over ever more parts.
        """
        span = self._spans.get(group)
        if span is None:
            return True
        cycle = self._config.part_cycle_epochs
        return span.base != span.last and group % cycle == epoch % cycle

    def keep_in_flight(self, peer: Peer, body: bytes) -> None:
        """A batch came. It belongs to the part if its sender had not cut yet when it sent it."""
        opened = self._open
        if (
            opened is not None
            and opened.part is None
            and peer.barrier < opened.epoch
            and peer.incarnation in opened.awaited
        ):
            opened.writer.add_in_flight(body)

    # ------------------------------------------------------------ write

    def is_pending(self) -> bool:
        """Whether `write` has something to do."""
        return any(operator.state.is_pending for operator in self._operators.values())

    def write(self) -> None:
        """One slice of what is frozen; or what is in a manifest by now is let go."""
        opened, budget = self._open, self._config.part_slice_bytes
        if opened is None:
            for operator in self._operators.values():
                operator.state.release(self._config.batch_records_max)
            return
        for name, operator in self._operators.items():
            writing = operator.state.writing
            while writing is not None and writing.is_pending and budget > 0:
                rows = writing.take(self._rows_of(name, budget))
                if not rows.keys:
                    return  # all of these are new since the cut: that took time, too
                budget -= self._write(opened, name, operator, rows)

    def _write(self, opened: _Open, name: str, operator: StatefulMap, rows: Slice) -> int:
        groups, counts, keys, states = rows
        opened.changed.update(groups)
        try:
            size = opened.writer.add_states(name, groups, keys, states, counts)
        except CannotTravel:
            sound = operator.state.travelling(keys, states, operator.refuse_state)
            size = opened.writer.add_states(name, groups, keys, sound, counts)
        self._row_bytes[name] = max(1.0, size / len(keys))
        return size

    def _rows_of(self, name: str, budget: int) -> int:
        fitting = int(budget / self._row_bytes.get(name, FIRST_GUESS_BYTES))
        return max(1, min(fitting, self._config.batch_records_max))

    # ------------------------------------------------------------ part and outcome

    def part(self, epoch: Epoch) -> bytes | None:
        """The part of this epoch when nothing is missing; the same bytes each time."""
        opened = self._open
        if opened is None or opened.epoch != epoch:
            return None
        if opened.part is None and not self.is_pending() and self._barriers_are_in(opened):
            opened.history = self._history_with(opened)
            opened.part = opened.writer.finish(opened.history, opened.positions, self._prepared)
        return opened.part

    def _barriers_are_in(self, opened: _Open) -> bool:
        peers = (self._peers.get(member) for member in opened.awaited)
        return all(peer is not None and peer.barrier >= opened.epoch for peer in peers)

    def _history_with(self, opened: _Open) -> History:
        spans = {group: span for group, span in self._spans.items() if group in opened.live}
        if foreign := opened.changed - opened.live:
            raise InvariantBroken(f"worker {self._me} wrote key groups {sorted(foreign)} of others")
        for group in opened.changed - opened.bases:
            spans[group] = Span(spans[group].base, opened.epoch)
        spans.update(dict.fromkeys(opened.bases, Span(opened.epoch, opened.epoch)))
        return History(spans, covered({*self._names, opened.writer.name}, spans.values()))

    def oldest(self, epoch: Epoch) -> Epoch:
        """The lowest epoch of a part that this one's history names. Its part is there."""
        opened = self._finished(epoch)
        if opened is None:
            raise InvariantBroken(f"epoch {epoch} is not open on worker {self._me}")
        return min((name.epoch for name in opened.history.names), default=epoch)

    def manifest_appended(self, epoch: Epoch) -> dict[str, list[Any]]:
        """What is in this epoch's part is safe; returns the prepared output that is in it.

        Of another epoch than the open one: ignored.
        """
        if epoch in self._told_early:
            return self._told_early.pop(epoch)
        opened = self._finished(epoch)
        if opened is None:
            return {}
        self._spans = dict(opened.history.spans)
        self._names = set(opened.history.names)
        prepared, self._prepared = self._prepared, {}
        for operator in self._operators.values():
            operator.state.confirm()
        self._open = None
        return prepared

    def _finished(self, epoch: Epoch) -> _Open | None:
        """The epoch, if it is open. Raises InvariantBroken as long as it has no part."""
        opened = self._open
        if opened is None or opened.epoch != epoch:
            return None
        if opened.part is None:
            raise InvariantBroken(f"epoch {epoch} has a manifest, and no part of worker {self._me}")
        return opened

    def abandon(self, epoch: Epoch) -> None:
        """There will be no manifest of this epoch; its barriers make no cut any more."""
        self.newest = max(self.newest, epoch)
        if self._open is not None and self._open.epoch <= epoch:
            self.put_back()

    def decide(self, manifest: Epoch) -> None:
        """The newest epoch that has a manifest is this one: so the open one has one, or none."""
        epoch = self.open_epoch
        if epoch and epoch <= manifest:
            self._told_early[epoch] = self.manifest_appended(epoch)
        else:
            self.put_back()
        self.newest = max(self.newest, manifest)  # a joiner may see the barrier after this

    def put_back(self) -> None:
        """The open epoch, if there is one, counts for nothing here."""
        if self._open is None:
            return
        for operator in self._operators.values():
            operator.state.put_back()
        for group in self._open.bases:
            self._spans.pop(group, None)  # its changes are not known one by one
        self._open = None

    # ------------------------------------------------------------ key groups that come and go

    def leave(self, group: KeyGroup) -> Moving | None:
        """What the new holder must know of the group's parts; None if it is in none."""
        span = self._spans.pop(group, None)
        if span is None:
            return None
        return span.base, span.last, encode_names(covered(self._names, [span]))

    def arrive(self, group: KeyGroup, moving: Any) -> None:
        """Take over what `leave` gave. Raises WireError where it is not that."""
        if moving is None:
            return
        try:
            base, last, names = moving
            self._names.update(decode_names(names))
            self._spans[group] = Span(Epoch(base), Epoch(last))
        except (TypeError, ValueError) as error:
            raise WireError(f"the parts of key group {group} cannot be read: {error}") from error

    def load(
        self,
        manifest: Collection[Part],
        parts: Iterable[Part],
        groups: set[int],
        was: Mapping[str, str],
    ) -> None:
        """Take over the states of these key groups from parts.

        manifest: all parts of one manifest; parts: these, and those that `parts_needed` names.
        was: what an operator was called before it was renamed, by the name that it has now. State
        of operators that are no more is passed over.
        Raises InvariantBroken where one is missing, WireError where one cannot be read.
        """
        spans = {g: span for p in manifest for g, span in p.history.spans.items() if g in groups}
        if manifest and spans.keys() != groups:
            raise InvariantBroken(f"no part holds key groups {sorted(groups - spans.keys())}")
        by_name = {part.name: part for part in parts}
        self._spans = spans
        self._names = {name for part in manifest for name in part.history.names_of(groups)}
        if missing := self._names - by_name.keys():
            raise InvariantBroken(f"part {min(missing).blob()} was not read")
        self.newest = max((part.name.epoch for part in manifest), default=Epoch(0))
        for operator in self._operators.values():
            operator.state.track()
        for name in sorted(self._names, key=lambda name: name.epoch):
            held = {group for group, span in spans.items() if span.covers(name)}
            operator_of = self._operator_of(by_name[name].operators, was)
            for called, rows_of, keys, states in by_name[name].rows(self._registry, held):
                if called in operator_of:
                    operator_of[called].state.put(rows_of, keys, states)
        if any(set(by_name[name].operators) != self._operators.keys() for name in self._names):
            self._spans = {}  # so all is written whole, and no part with old names stays in use

    def _operator_of(
        self, operators: Collection[str], was: Mapping[str, str]
    ) -> dict[str, StatefulMap]:
        """Whose state a part has under a name. operators: all that it was written with. One that
        it does not know goes on with what it has under the name before.
        """
        before = {was[name]: self._operators[name] for name in was if name not in operators}
        return {**self._operators, **before}
