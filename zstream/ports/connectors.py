"""What a source and a sink are to the engine: two small objects, opened on a worker.

A *spec* (in the topology) is a frozen value that says what is wanted. A reader or writer is the
open thing. None of the methods but `Writer.commit` may block; the loop calls them between batches.

What a source gives again after a crash, and what a sink holds back until a checkpoint is decided,
is between these two and the engine:

    Reader   position()          at each cut: where to go on; it is kept in the checkpoint
             acknowledge(p)      the checkpoint with it is decided: what is before it is done with
             seek(p)             a recovery: go back to there
    Writer   prepare(epoch)      at each cut: the output since the cut before, as a value; it is
                                 kept in the checkpoint
             commit(...)         the checkpoint with it is decided: show it to the world
             abort()             a recovery: what is in no decided checkpoint never was
             moved(tick)         key groups have moved: what comes now came later than what their
                                 origin wrote, though it is of the same epoch
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol


class EndOfInput(Exception):
    """A bounded source has given all that it has."""


class Tick(NamedTuple):
    """Tells what came later where two workers write for one key between two checkpoints.

    run: a number drawn for the run, the same on all its workers; those of two runs are not to be
    compared. number: of one key, what was written at a higher one came later, whoever wrote it.
    """

    run: int
    number: int


class Reader(Protocol):
    """One open source.

    The classic mistake: waiting in `read` until there is something. Return [] instead.
    """

    def read(self, limit: int) -> list[Any]:
        """Up to `limit` undecoded records, in order, [] for none now. Raises EndOfInput."""

    def position(self) -> Any:
        """Where `read` goes on, made of msgpack types; opaque to the engine. Never None."""

    def acknowledge(self, position: Any) -> None:
        """Everything before `position`, which `position` gave, is in a decided checkpoint."""

    def seek(self, position: Any) -> int:
        """Give what comes after `position` again; it came from `position` here or elsewhere.

        None: from the beginning. Returns how many records that were given already cannot be given
        again: 0 for a source that can be replayed.
        """

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

    def moved(self, tick: Tick) -> None:
        """A key group has left or come in. What is written from here on is of this tick.

        Only where it is called between two cuts another worker may write for one of our keys in
        the same epoch. For sinks that let later records replace earlier ones; for others nothing.
        """

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

    def uncommitted_bytes(self) -> int:
        """What was written and waits for its checkpoint; 0 for a sink that holds nothing back."""

    def prepare(self, epoch: int) -> Any:
        """Close the output since the last call; from now on it is the engine's to keep.

        Returns it, or whatever `commit` needs to find it anywhere, made of msgpack types; None for
        no output, and always None where what is written goes out at once.
        """

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        """Show the world what was prepared; `epoch` and `author` (who prepared it) name it.

        Called beside the loop, in a thread, one call at a time for a sink; it may block for some
        seconds. All workers' output of an epoch is committed before that of the next one. Called
        again with the same arguments after a failure or a crash, also on another worker: what is
        there already must not be shown twice. outputs: in order.
        Raises OSError or ConnectorError where it was not, or perhaps not, done; then it is called
        again, and the sentence is shown meanwhile.
        """

    def abort(self) -> None:
        """Forget what was written since the last `prepare`: its records will come again."""

    def close(self) -> None: ...
