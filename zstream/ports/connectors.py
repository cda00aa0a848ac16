"""What a source and a sink are to the engine: two small objects, opened on a worker.

A *spec* (in the topology) is a frozen value that says what is wanted. A reader or writer is the
open thing. None of the methods may block; the loop calls them between batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class EndOfInput(Exception):
    """A bounded source has given all that it has."""


class Reader(Protocol):
    """One open source.

    The classic mistake: waiting in `read` until there is something. Return [] instead.
    """

    def read(self, limit: int) -> list[Any]:
        """Up to `limit` undecoded records, in order, [] for none now. Raises EndOfInput."""

    def position(self) -> Any:
        """Where `read` goes on, made of msgpack types; opaque to the engine, ordered."""

    def acknowledge(self, position: Any) -> None:
        """Everything before `position` is in a committed checkpoint."""

    def descriptors(self) -> Sequence[int]:
        """File descriptors; when one is readable `read` may have something."""

    def wake_at(self, now: float) -> float | None:
        """When `read` should be called although no descriptor is readable; None: no such time."""

    def waits_for(self) -> str:
        """What a person must do before this source gives anything, or ""."""

    def close(self) -> None: ...


class Writer(Protocol):
    """One open sink.

    The classic mistake: waiting in `write` until the outside has taken it. Queue it; the engine
    stops sources while `pending_bytes` is over its limit.
    """

    def write(self, records: list[Any]) -> None:
        """Queue encoded records, in order."""

    def flush(self, now: float) -> None:
        """Push out what the outside takes now."""

    def pending_bytes(self) -> int:
        """What was written and the outside has not taken yet."""

    def descriptors(self) -> Sequence[int]:
        """File descriptors; when one is writable `flush` may get on. Empty when nothing waits."""

    def wake_at(self, now: float) -> float | None:
        """When `flush` should be called although no descriptor is ready, to connect again say."""

    def waits_for(self) -> str:
        """What a person must do before this sink takes anything, or ""."""

    def prepare(self, epoch: int) -> Any:
        """Close the output of this epoch and name it, for a manifest; None if it cannot."""

    def commit(self, prepared: Any) -> None: ...

    def abort(self, prepared: Any) -> None: ...

    def close(self) -> None: ...
