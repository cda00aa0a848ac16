"""Where records go that a user's function refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol


class DeadLetter(NamedTuple):
    """One record that a function raised on."""

    operator: str
    where: str  # "alphabet.py:16", the line that made the operator
    key: Any
    record: Any
    error: str  # "ValueError: bad vote"
    traceback: str
    at: str  # "alphabet.py:17", the line of the user's code that raised, or ""


class DeadLetters(Protocol):
    """A sink of the engine's own: letters are part of the epoch in which they were written."""

    def add(self, letter: DeadLetter) -> None:
        """Keep it; never blocks for long and never raises."""

    def prepare(self, epoch: int) -> Any:
        """As of a `zstream.ports.connectors.Writer`."""

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        """As of a `zstream.ports.connectors.Writer`: beside the loop, once for each name."""

    def abort(self) -> None:
        """As of a `zstream.ports.connectors.Writer`."""

    def newest(self) -> Sequence[Mapping[str, Any]]:
        """The newest letters, oldest first, as plain values, to be shown."""
