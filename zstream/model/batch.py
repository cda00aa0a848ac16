"""The unit that travels: a batch of records as columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Batch:
    """Columns of equal length. `values` is always there.

    keys: the user's keys, or None on a stream without key.
    times: event times in float seconds since 1970, or None; room kept for windows and joins.

    Whoever holds a batch owns its lists until it passes the batch on, and never after.
    """

    values: list[Any]
    keys: list[Any] | None = None
    times: list[float] | None = None

    def __len__(self) -> int:
        return len(self.values)
