"""Cutting batches: every column of a batch is cut the same way, or its rows no longer match.

Nothing here changes a batch; what is cut off is a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, compress, repeat
from typing import Any

from zstream.model.batch import Batch


def with_values(batch: Batch, values: list[Any]) -> Batch:
    """The batch with other values, row by row."""
    return Batch(values, batch.keys, batch.times)


def kept(batch: Batch, failed: list[int]) -> Batch:
    """The batch without the rows that failed."""
    if not failed:
        return batch
    flags = [True] * len(batch)
    for row in failed:
        flags[row] = False
    return chosen(batch, flags)


def chosen(batch: Batch, flags: Sequence[Any]) -> Batch:
    """The rows whose flag is true."""
    return Batch(
        list(compress(batch.values, flags)),
        None if batch.keys is None else list(compress(batch.keys, flags)),
        None if batch.times is None else list(compress(batch.times, flags)),
    )


def rows(batch: Batch, start: int, stop: int) -> Batch:
    """The rows from `start` up to `stop`."""
    if start == 0 and stop >= len(batch):
        return batch
    return Batch(
        batch.values[start:stop],
        None if batch.keys is None else batch.keys[start:stop],
        None if batch.times is None else batch.times[start:stop],
    )


def spread(batch: Batch, parts: list[list[Any]]) -> Batch:
    """One row for each item of each part; key and time are those of the row it came from."""
    counts = list(map(len, parts))

    def widened(column: Sequence[Any] | None) -> list[Any] | None:
        return None if column is None else list(chain.from_iterable(map(repeat, column, counts)))

    return Batch(
        list(chain.from_iterable(parts)),
        widened(batch.keys),
        widened(batch.times),
    )
