"""What each worker has one of: a model, a client, a connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from zstream.errors import UsageError

M = TypeVar("M")


class PerWorker(Generic[M]):
    """Made once in each worker process, when it is first needed; never moved between workers.

        model = PerWorker(load)

        def score(batch: list[Reading]) -> list[float]:
            return model().score_samples(batch)

        stream.map_batches(score, needs=[model])   # loaded before the first record

    make: called without arguments. close: called with what `make` gave, when the worker stops.
    """

    def __init__(self, make: Callable[[], M], close: Callable[[M], object] | None = None) -> None:
        if not callable(make):
            raise UsageError(f"PerWorker needs a function that makes the thing, it got {make!r}.")
        self._make = make
        self._close = close
        self._made: list[M] = []  # empty or one; None may be what `make` gave
        self._users = 0

    def __call__(self) -> M:
        """The thing itself; made now if no `needs=` had it made before."""
        if not self._made:
            self._made.append(self._make())
        return self._made[0]

    def open(self) -> None:
        """One more user: the engine, before the first record. Raises what `make` raises."""
        self()
        self._users += 1

    def shut(self) -> None:
        """One user fewer: the last one closes it. Several workers may share one process."""
        self._users = max(0, self._users - 1)
        if self._users or not self._made:
            return
        thing = self._made.pop()
        if self._close is not None:
            self._close(thing)
