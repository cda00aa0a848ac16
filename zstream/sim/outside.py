"""The world around a simulated cluster: sources that give scripted records, and sinks that keep.

A script and an outlet live outside the workers, as a sender and a receiver do: a worker's death
loses what its reader has read and what its writer had not yet passed on, and nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from zstream.ports.connectors import EndOfInput

RECORD_BYTES = 64  # what one record counts for in a simulated sink's queue


class Script:
    """What one source gives on one worker: records are pushed, then it ends."""

    def __init__(self) -> None:
        self._records: deque[Any] = deque()
        self._ended = False
        self._wake: Callable[[], None] = lambda: None
        self.given: list[Any] = []  # what a reader has taken, in order
        self.opened = 0

    def push(self, records: Iterable[Any]) -> None:
        self._records.extend(records)
        self._wake()

    def end(self) -> None:
        self._ended = True
        self._wake()

    @property
    def waiting(self) -> int:
        """Records that no worker has read yet."""
        return len(self._records)

    def open(self, wake: Callable[[], None]) -> ScriptedReader:
        self._wake = wake
        self.opened += 1
        return ScriptedReader(self)

    def take(self, limit: int) -> list[Any]:
        taken = [self._records.popleft() for _ in range(min(limit, len(self._records)))]
        if not taken and self._ended:
            raise EndOfInput
        self.given.extend(taken)
        return taken


class ScriptedReader:
    """A Reader over a script."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def read(self, limit: int) -> list[Any]:
        return self._script.take(limit)

    def position(self) -> Any:
        return len(self._script.given)

    def acknowledge(self, position: Any) -> None:
        """A script needs no acknowledgement."""

    def descriptors(self) -> Sequence[int]:
        return ()

    def wake_at(self, now: float) -> float | None:
        return None

    def waits_for(self) -> str:
        return ""

    def close(self) -> None:
        """A script outlives its reader."""


class Emitted(NamedTuple):
    """One record as it arrived outside."""

    at: float
    worker: str
    record: Any


class Outlet:
    """What one sink's receiver got, from all workers. Shut, it takes nothing until it opens."""

    def __init__(self) -> None:
        self.emitted: list[Emitted] = []
        self._is_open = True
        self._wakes: list[Callable[[], None]] = []

    @property
    def is_open(self) -> bool:
        return self._is_open

    def shut(self) -> None:
        self._is_open = False

    def reopen(self) -> None:
        self._is_open = True
        for wake in self._wakes:
            wake()

    def open(
        self, worker: str, clock: Callable[[], float], wake: Callable[[], None]
    ) -> OutletWriter:
        self._wakes.append(wake)
        return OutletWriter(self, worker, clock)


class OutletWriter:
    """A Writer to an outlet."""

    def __init__(self, outlet: Outlet, worker: str, clock: Callable[[], float]) -> None:
        self._outlet = outlet
        self._worker = worker
        self._clock = clock
        self._pending: list[Any] = []

    def write(self, records: list[Any]) -> None:
        self._pending.extend(records)

    def flush(self, now: float) -> None:
        if self._outlet.is_open:
            at = self._clock()
            self._outlet.emitted.extend(Emitted(at, self._worker, r) for r in self._pending)
            self._pending.clear()

    def pending_bytes(self) -> int:
        return len(self._pending) * RECORD_BYTES

    def descriptors(self) -> Sequence[int]:
        return ()

    def wake_at(self, now: float) -> float | None:
        return None

    def waits_for(self) -> str:
        return "" if self._outlet.is_open else "the outlet is shut"

    def prepare(self, epoch: int) -> Any:
        return None

    def commit(self, prepared: Any) -> None:
        """Nothing is prepared, so nothing is committed."""

    def abort(self, prepared: Any) -> None:
        """Nothing is prepared, so nothing is aborted."""

    def close(self) -> None:
        """An outlet outlives its writers."""
