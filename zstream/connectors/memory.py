"""Sources that need nothing outside: records that are there already, and numbers that count up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from zstream.errors import ConnectorError
from zstream.ports.connectors import EndOfInput


class MemoryReader:
    """Gives the records of a sequence, then ends. `position` is how many were given."""

    def __init__(self, records: Sequence[Any]) -> None:
        self._records = records
        self._given = 0

    def read(self, limit: int) -> list[Any]:
        records = list(self._records[self._given : self._given + limit])
        if not records:
            raise EndOfInput
        self._given += len(records)
        return records

    def position(self) -> int:
        return self._given

    def seek(self, position: Any) -> int:
        self._given = place_of(position)
        return 0

    def acknowledge(self, position: Any) -> None:
        """Nothing to do: the records stay."""

    def descriptors(self) -> Sequence[int]:
        return ()

    def wake_at(self, now: float) -> float | None:
        return now

    def waits_for(self) -> str:
        return ""

    def close(self) -> None:
        """Nothing is open."""


class GenerateReader:
    """Gives 0, 1, 2, ...; the spec's decode makes records of them. `position` is the next one.

    per_second: the n-th number is given n / per_second seconds after the first call; what a slow
    worker missed is made up for at once. None: as fast as they are taken.
    count: ends after so many; None: never.
    clock: monotonic seconds, the same clock as the engine's `now`.
    """

    def __init__(
        self,
        per_second: float | None,
        count: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second = per_second
        self._count = count
        self._clock = clock
        self._started: float | None = None
        self._next = 0

    def read(self, limit: int) -> list[int]:
        end = self._next + limit
        if self._count is not None:
            if self._next >= self._count:
                raise EndOfInput
            end = min(end, self._count)
        if self._per_second is not None:
            seconds = self._clock() - self._begin()
            end = min(end, int(seconds * self._per_second) + 1)
        numbers = list(range(self._next, end))
        self._next = max(self._next, end)
        return numbers

    def position(self) -> int:
        return self._next

    def seek(self, position: Any) -> int:
        """Go back; what was given before comes again at once, and then at the pace as before."""
        self._next = place_of(position)
        if self._per_second is not None:
            self._started = self._clock() - self._next / self._per_second
        return 0

    def acknowledge(self, position: Any) -> None:
        """Nothing to do: numbers can be made again."""

    def descriptors(self) -> Sequence[int]:
        return ()

    def wake_at(self, now: float) -> float | None:
        ended = self._count is not None and self._next >= self._count
        if self._per_second is None or ended:
            return now
        return max(now, self._begin() + self._next / self._per_second)

    def waits_for(self) -> str:
        return ""

    def close(self) -> None:
        """Nothing is open."""

    def _begin(self) -> float:
        if self._started is None:
            self._started = self._clock()
        return self._started


def place_of(position: Any) -> int:
    """A number of records. Raises ConnectorError where another kind of source gave it."""
    if position is None:
        return 0
    if type(position) is not int:
        raise ConnectorError(
            f"the checkpoint has {position!r:.100} where this source keeps how many records it "
            "gave. Was it another kind of source then?"
        )
    return position
