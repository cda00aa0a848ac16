"""Operators without state: a batch in, a batch out, its columns kept in line.

Each class takes a whole batch in `on_batch`, calls the person's function for the column in one C
loop (`call_each`), and pushes what comes out. Columns of a batch are replaced, never changed in
place.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import not_, truth
from typing import Any

from zstream.dataflow.columns import chosen, kept, rows, spread, with_values
from zstream.dataflow.errors import OperatorErrors, call_each
from zstream.errors import TopologyError
from zstream.model.batch import Batch
from zstream.model.keys import KEY_TYPES, KeyGroups, key_bytes
from zstream.wire.columns import kinds_in

Push = Callable[[Batch], None]
Function = Callable[..., Any]


class Map:
    """One result for each record; keys and event times stay."""

    def __init__(self, function: Function, errors: OperatorErrors, push: Push) -> None:
        self._function = function
        self._errors = errors
        self._push = push

    def on_batch(self, batch: Batch) -> None:
        results, failed = call_each(self._function, batch, self._errors)
        if results:
            self._push(with_values(kept(batch, failed), results))


class MapItems:
    """As Map; the function gets the key, too."""

    def __init__(self, function: Function, errors: OperatorErrors, push: Push) -> None:
        self._function = function
        self._errors = errors
        self._push = push

    def on_batch(self, batch: Batch) -> None:
        assert batch.keys is not None, "map_items stands on a keyed stream"
        columns = (batch.keys, batch.values)
        results, failed = call_each(self._function, batch, self._errors, columns)
        if results:
            self._push(with_values(kept(batch, failed), results))


class Items:
    """Puts the key beside the value."""

    def __init__(self, push: Push) -> None:
        self._push = push

    def on_batch(self, batch: Batch) -> None:
        assert batch.keys is not None, "items stands on a keyed stream"
        self._push(with_values(batch, list(zip(batch.keys, batch.values, strict=True))))


class Values:
    """Drops the key."""

    def __init__(self, push: Push) -> None:
        self._push = push

    def on_batch(self, batch: Batch) -> None:
        self._push(Batch(batch.values, times=batch.times))


class Filter:
    """Keeps the records for which the function is true."""

    def __init__(self, keep: Function, errors: OperatorErrors, push: Push) -> None:
        self._keep = keep
        self._errors = errors
        self._push = push

    def on_batch(self, batch: Batch) -> None:
        flags, failed = call_each(self._keep, batch, self._errors, then=truth)
        if any(flags):
            left = kept(batch, failed)
            self._push(left if all(flags) else chosen(left, flags))


class Branch:
    """Port 0 gets the records for which the test is true, port 1 the rest.

    meets: both ports come together again before an exchange, where records must not overtake each
    other: then each stretch of records that go the same way is pushed by itself, in order.
    Elsewhere nobody can see the order between the ports, and each gets one batch.
    """

    def __init__(
        self,
        test: Function,
        errors: OperatorErrors,
        push_passed: Push,
        push_rest: Push,
        *,
        meets: bool,
    ) -> None:
        self._test = test
        self._errors = errors
        self._push_passed = push_passed
        self._push_rest = push_rest
        self._meets = meets

    def on_batch(self, batch: Batch) -> None:
        flags, failed = call_each(self._test, batch, self._errors, then=truth)
        left = kept(batch, failed)
        if self._meets:
            self._push_in_order(left, flags)
            return
        if any(flags):
            self._push_passed(chosen(left, flags))
        if not all(flags):
            self._push_rest(chosen(left, list(map(not_, flags))))

    def _push_in_order(self, batch: Batch, flags: list[bool]) -> None:
        start = 0
        while start < len(flags):
            way = flags[start]
            stop = start + 1
            while stop < len(flags) and flags[stop] is way:
                stop += 1
            (self._push_passed if way else self._push_rest)(rows(batch, start, stop))
            start = stop


class FlatMap:
    """Any number of results for each record, all or none: a generator that raises half way has
    given nothing.
    """

    def __init__(self, function: Function, errors: OperatorErrors, push: Push) -> None:
        self._function = function
        self._errors = errors
        self._push = push

    def on_batch(self, batch: Batch) -> None:
        parts, failed = call_each(self._function, batch, self._errors, then=list)
        out = spread(kept(batch, failed), parts)
        if out.values:
            self._push(out)


class Peek:
    """Shows each record to a function and passes on those it did not fail for, as they are."""

    def __init__(self, function: Function, errors: OperatorErrors, push: Push) -> None:
        self._function = function
        self._errors = errors
        self._push = push

    def on_batch(self, batch: Batch) -> None:
        _, failed = call_each(self._function, batch, self._errors)
        left = kept(batch, failed)
        if left.values:
            self._push(left)


class MapBatches:
    """One call for up to `max_records` records; it must give as many results, in their order.

    Where a call fails, all its records have failed: nobody knows which one it was.
    """

    def __init__(
        self,
        function: Callable[[list[Any]], Any],
        max_records: int | None,
        errors: OperatorErrors,
        push: Push,
    ) -> None:
        self._function = function
        self._max_records = max_records
        self._errors = errors
        self._push = push

    def on_batch(self, batch: Batch) -> None:
        size = self._max_records or len(batch)
        for start in range(0, len(batch), size):
            part = rows(batch, start, start + size)
            results = self._call(part)
            if results is not None:
                self._push(with_values(part, results))

    def _call(self, part: Batch) -> list[Any] | None:
        self._errors.begin()
        error: Exception
        for _ in range(1 + self._errors.retries):
            try:
                results = list(self._function(list(part.values)))
                if len(results) == len(part):
                    return results
                error = self._wrong_length(len(part), len(results))
            except Exception as raised:
                error = raised
        for row, value in enumerate(part.values):
            self._errors.failed(error, None if part.keys is None else part.keys[row], value)
        return None

    def _wrong_length(self, given: int, returned: int) -> TopologyError:
        name, where = self._errors.operator, self._errors.where
        return TopologyError(
            f"map_batches {name} ({where}) must return as many results as it gets records; "
            f"it got {given} and returned {returned}.",
            operator=name,
            where=where,
        )


class KeyBy:
    """Gives each record a key; a function of None keeps the keys there are.

    What cannot be a key (a float, a list) fails like a function that raised.
    """

    def __init__(
        self, function: Function | None, groups: KeyGroups, errors: OperatorErrors, push: Push
    ) -> None:
        self._function = function
        self._groups = groups
        self._errors = errors
        self._push = push
        self._types: set[type] = set()  # of keys that were accepted

    def on_batch(self, batch: Batch) -> None:
        if self._function is not None:
            keys, failed = call_each(self._function, batch, self._errors)
            left = kept(batch, failed)
            batch = Batch(left.values, keys, left.times)
        kinds = kinds_in(batch.keys or [])
        if not kinds <= KEY_TYPES and not self._are_known(batch.keys or [], kinds):
            _, failed = call_each(self._check, batch, self._errors, (batch.keys or (),))
            batch = kept(batch, failed)
        if batch.values:
            self._push(batch)

    def _are_known(self, keys: list[Any], kinds: set[type]) -> bool:
        """Whether all have key groups. Types count, because 1.0 == 1: for a key that nobody saw
        before a float would have the key group of the int that it equals.
        """
        if not kinds <= self._types:
            return False
        try:
            self._groups.of(keys)
        except Exception:  # which one it is, and what is wrong, is seen key by key
            return False
        return True

    def _check(self, key: Any) -> None:
        key_bytes(key)
        self._groups.of((key,))  # its __hash__ may be the user's code
        self._types.add(type(key))


class SinkEncode:
    """The end of a chain: encodes, checks what came of it, and hands it to the sink."""

    def __init__(
        self, encode: Function | None, errors: OperatorErrors, emit: Callable[[list[Any]], None]
    ) -> None:
        self._encode = encode
        self._errors = errors
        self._emit = emit

    def on_batch(self, batch: Batch) -> None:
        if self._encode is None:
            self._emit(batch.values)
            return
        encoded, _ = call_each(self._encode, batch, self._errors, then=self._checked)
        if encoded:
            self._emit(encoded)

    def _checked(self, encoded: Any) -> bytes | str:
        if isinstance(encoded, (bytes, str)):
            return encoded
        name, where = self._errors.operator, self._errors.where
        raise TopologyError(
            f"the encode function of sink {name} ({where}) must return bytes or str; "
            f"it returned {type(encoded).__name__}.",
            operator=name,
            where=where,
        )
