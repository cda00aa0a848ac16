"""What came out of a run in one process or of a test: values by sink, and dead letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from zstream.ports.letters import DeadLetter
from zstream.topology.stream import End

T = TypeVar("T")


class Results:
    """What came out of a run, by sink, as values: before they were encoded."""

    def __init__(self, values: Mapping[str, list[Any]], dead_letters: Sequence[DeadLetter]) -> None:
        self._values = values
        self._dead_letters = dead_letters

    def __getitem__(self, sink: str) -> list[Any]:
        """All values of a sink, in order. Raises KeyError with the sinks that there are."""
        if sink not in self._values:
            there_are = ", ".join(self._values) or "none"
            raise KeyError(f"there is no sink {sink}; sinks whose values were kept: {there_are}")
        return self._values[sink]

    def of(self, end: End[T]) -> list[T]:
        """All values that came to an end, typed."""
        return self[end.name]

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """Records that a function refused, with on_error="dead_letter"."""
        return list(self._dead_letters)
