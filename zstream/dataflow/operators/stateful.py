"""Operators with state by key: a step from (state, value) to (state, output).

Only what the step returns counts as state; None drops it. State may be changed in place and
returned, but then a step that changes it and raises leaves it changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from zstream.dataflow.columns import kept, spread, with_values
from zstream.dataflow.errors import OperatorErrors, shown
from zstream.dataflow.keyed_state import KeyedState
from zstream.errors import CannotTravel, InvariantBroken, TopologyError
from zstream.model.batch import Batch
from zstream.wire.values import Registry

CONTAINERS = (list, dict, set, frozenset, tuple)  # of which an empty one proves nothing

Push = Callable[[Batch], None]


class StatefulMap:
    """One output for each record."""

    _shape = "(state, output)"
    _convert: Callable[[Any], Any] | None = None  # what is done with an output at once

    def __init__(
        self,
        step: Callable[[Any, Any], Any],
        initial: Callable[[], Any] | None,
        state: KeyedState,
        registry: Registry,
        errors: OperatorErrors,
        push: Push,
    ) -> None:
        self.state = state
        self._step = step
        self._initial = initial or _no_state
        self._registry = registry
        self._errors = errors
        self._push = push
        self._travelled: set[type] = {type(None)}  # types of states that were packed once

    def on_batch(self, batch: Batch) -> None:
        keys = batch.keys
        assert keys is not None, "a stateful operator stands on a keyed stream"
        self._errors.begin()
        self.state.touch(keys, self.refuse_state)
        outputs: list[Any] = []
        failed: list[int] = []
        rows = self._rows(keys, batch.values)
        while True:
            try:
                self._apply(rows, outputs)
                break
            except InvariantBroken:
                raise
            except Exception as error:
                row = len(outputs) + len(failed)
                self.state.failed(keys[row])
                last = self._retried(keys[row], batch.values[row], outputs, error)
                if last is not None:
                    self._errors.failed(last, keys[row], batch.values[row])
                    failed.append(row)
        self.state.place()
        if outputs:
            self._push(self._joined(kept(batch, failed), outputs))

    def refuse_state(self, error: CannotTravel, key: Any, state: Any) -> None:
        """A state that shall move and cannot: its key goes on without it, and that is said."""
        self._errors.failed(self._cannot_travel(error), key, state)

    def _rows(self, keys: Sequence[Any], values: Sequence[Any]) -> Iterator[tuple[Any, Any, Any]]:
        """(key, state, value); each state is looked up when its row is taken, not before."""
        return zip(keys, map(self.state.current.get, keys), values, strict=True)

    def _apply(self, rows: Iterator[tuple[Any, Any, Any]], outputs: list[Any]) -> None:
        """Take rows off the iterator until it is empty or user code raises."""
        step, initial, convert = self._step, self._initial, self._convert
        current, recent, notes = self.state.current, self.state.recent, self.state.notes
        append, is_new = outputs.append, self.state.new.append
        kind_of, pair = type, tuple  # names of this function are found faster than those of Python
        kind: type | None = None  # of the state before, if states of this type may stay unseen
        for key, before, value in rows:
            result = step(initial() if before is None else before, value)
            if kind_of(result) is not pair and not isinstance(result, tuple):
                raise self._no_pair(result)
            try:
                state, output = result
            except ValueError:
                raise self._no_pair(result) from None
            if convert is not None:
                output = convert(output)
            if kind_of(state) is kind:
                current[key] = state
                if notes:
                    recent[key] = state
                if before is None:
                    is_new(key)
            else:
                kind = self._look_at(key, before, state)
            append(output)

    def _look_at(self, key: Any, before: Any, state: Any) -> type | None:
        """Take over a state that is not like the last one: its key goes, or its type is another
        one. Returns the type where any of its states would do.
        """
        kind = type(state)
        if kind not in self._travelled:
            self._check_travels(state)
        if state is None:
            if before is not None:
                self.state.forget(key)
            return None
        self.state.set(key, state)
        if before is None:
            self.state.new.append(key)
        return kind if kind in self._travelled else None

    def _retried(
        self, key: Any, value: Any, outputs: list[Any], error: Exception
    ) -> Exception | None:
        """None when a further call went well, or the last error."""
        for _ in range(self._errors.retries):
            try:
                self._apply(self._rows((key,), (value,)), outputs)
                return None
            except Exception as raised:
                error = raised
        return error

    def _joined(self, batch: Batch, outputs: list[Any]) -> Batch:
        return with_values(batch, outputs)

    def _check_travels(self, state: Any) -> None:
        """Pack the first state of a type: what cannot move is refused now, not at a rescale."""
        self.state.note(type(state))
        try:
            self._registry.pack(state)
        except CannotTravel as error:
            raise self._cannot_travel(error) from error
        if state or not isinstance(state, CONTAINERS):
            self._travelled.add(type(state))

    def _cannot_travel(self, error: CannotTravel) -> CannotTravel:
        name, where = self._errors.operator, self._errors.where
        return CannotTravel(f"state of {name} ({where}): {error}", operator=name, where=where)

    def _no_pair(self, result: Any) -> TopologyError:
        name, where = self._errors.operator, self._errors.where
        return TopologyError(
            f"{self._errors.kind} {name} ({where}) must return {self._shape}; "
            f"it returned {type(result).__name__} {shown(result)}.",
            operator=name,
            where=where,
        )


class StatefulFlatMap(StatefulMap):
    """Any number of outputs for each record; state and outputs are taken together or not at all."""

    _shape = "(state, outputs)"
    _convert = list

    def _joined(self, batch: Batch, outputs: list[Any]) -> Batch:
        return spread(batch, outputs)


def _no_state() -> None:
    """Without `initial` a step gets None for a new key."""
