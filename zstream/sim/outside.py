"""The world around a simulated cluster: sources that give scripted records, and sinks that keep.

A script and an outlet live outside the workers, as a broker and a receiver do: a worker's death
loses what its writer had not yet passed on, and nothing else. A script gives again what was not
acknowledged; what was, it may forget. An outlet shows what was committed, or where its sink holds
nothing back, what was sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

from zstream.errors import ConnectorError, InvariantBroken
from zstream.ports.connectors import EndOfInput, Tick
from zstream.ports.letters import DeadLetter

RECORD_BYTES = 64  # what one record counts for in a simulated sink's queue

# ---------------------------------------------------------------- sources


class Script:
    """One partition of a source: records are pushed, then it ends. Readers come and go.

    partition: its name. records: all that was ever pushed. forgets: whether what was acknowledged
    is gone. acknowledging: asked of each acknowledgement before it counts. readers: by who reads.
    """

    def __init__(self, partition: str) -> None:
        self.partition = partition
        self.records: list[Any] = []
        self.forgets = False
        self.acknowledged = 0
        self.acknowledging: Callable[[Script, int], None] = lambda script, count: None
        self.readers: dict[str, ScriptedReader] = {}
        self.fails = 0  # so many times it cannot be opened
        self.has_ended = False
        self._wakes: list[Callable[[], None]] = []

    def push(self, records: Iterable[Any]) -> None:
        self.records.extend(records)
        self._wake()

    def end(self) -> None:
        self.has_ended = True
        self._wake()

    def is_read(self, reader: str) -> bool:
        """Whether this worker has read all that there is."""
        return reader in self.readers and self.readers[reader].next == len(self.records)

    @property
    def first(self) -> int:
        """The lowest place that can still be read."""
        return self.acknowledged if self.forgets else 0

    def open(self, reader: str, wake: Callable[[], None]) -> ScriptedReader:
        """reader: who wants to read. Raises ConnectorError."""
        if self.fails:
            self.fails -= 1
            raise ConnectorError(f"source {self.partition} cannot be opened on {reader} now")
        self._wakes.append(wake)
        self.readers[reader] = ScriptedReader(self)
        return self.readers[reader]

    def take(self, start: int, limit: int) -> list[Any]:
        if start == len(self.records) and self.has_ended:
            raise EndOfInput
        return self.records[start : start + limit]

    def acknowledge(self, count: int) -> None:
        self.acknowledging(self, count)
        self.acknowledged = max(self.acknowledged, count)

    def _wake(self) -> None:
        for wake in self._wakes:
            wake()


class ScriptedReader:
    """A Reader of a script. Its position names the partition, so that none is given to another."""

    def __init__(self, script: Script) -> None:
        self.next = 0
        self._script = script

    def read(self, limit: int) -> list[Any]:
        self.next = max(self.next, self._script.first)
        records = self._script.take(self.next, limit)
        self.next += len(records)
        return records

    def position(self) -> Any:
        return [self._script.partition, self.next]

    def acknowledge(self, position: Any) -> None:
        self._script.acknowledge(self._place(position))

    def seek(self, position: Any) -> int:
        wanted = 0 if position is None else self._place(position)
        self.next = max(wanted, self._script.first)
        return self.next - wanted

    def _place(self, position: Any) -> int:
        partition, place = position
        if partition != self._script.partition or not 0 <= place <= len(self._script.records):
            raise InvariantBroken(f"{self._script.partition} was told of position {position}")
        return int(place)

    def descriptors(self) -> Sequence[int]:
        return ()

    def wake_at(self, now: float) -> float | None:
        return None

    def waits_for(self) -> str:
        return ""

    def close(self) -> None:
        """A script outlives its readers."""


# ---------------------------------------------------------------- sinks


class Emitted(NamedTuple):
    """One record as it arrived outside. epoch: 0 for what was sent at once.

    written: the order in which all workers wrote, which commits do not keep within an epoch.
    author, tick: who wrote it, and the number of its tick then.
    """

    at: float
    worker: str
    epoch: int
    written: int
    author: int
    tick: int
    record: Any


Written = tuple[int, int, int, Any]  # in which order, by whom, at which tick, and what


Token = list[Any]  # what is prepared is called [sink, epoch, author, how many records]


class Outlet:
    """What one sink's receiver got, from all workers. Shut, it takes nothing until it opens.

    holds: whether its writers hold their output back and commit it, else they send at once.
    committing: asked of each commit before it counts, with epoch, author and outputs.
    """

    def __init__(self, sink: str, holds: bool, clock: Callable[[], float]) -> None:
        self.sink = sink
        self.holds = holds
        self.emitted: list[Emitted] = []
        self.commits: dict[tuple[int, int], Sequence[Token]] = {}  # by epoch and author, in order
        self.committing: Callable[[Outlet, int, int, Sequence[Token]], None] = lambda *_: None
        self.order = count(1)
        self._clock = clock
        self._prepared: dict[tuple[int, int], list[Written]] = {}
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
        self, worker: str, author: int, wake: Callable[[], None]
    ) -> HoldingWriter | SendingWriter:
        """author: the incarnation of the worker that writes."""
        self._wakes.append(wake)
        writer = HoldingWriter if self.holds else SendingWriter
        return writer(self, worker, author)

    def send(self, worker: str, records: Iterable[Written], epoch: int = 0) -> None:
        at = self._clock()
        self.emitted.extend(Emitted(at, worker, epoch, *written) for written in records)

    def prepare(self, epoch: int, author: int, records: list[Written]) -> Token:
        if (epoch, author) in self._prepared:
            raise InvariantBroken(f"{self.sink}: {author} prepared epoch {epoch} twice")
        self._prepared[epoch, author] = records
        return [self.sink, epoch, author, len(records)]

    def commit(self, worker: str, epoch: int, author: int, outputs: Sequence[Token]) -> None:
        """Once for each epoch and author, and epochs in order."""
        if not self._is_open:
            raise ConnectorError(f"{self.sink} is shut")
        outputs = [list(token) for token in outputs]
        self.committing(self, epoch, author, outputs)
        before = self.commits.get((epoch, author))
        if before is not None:
            if before != outputs:
                raise InvariantBroken(f"{self.sink}: epoch {epoch} of {author} was another before")
            return
        newest = next(reversed(self.commits), (0, 0))[0]
        if epoch < newest:
            raise InvariantBroken(f"{self.sink}: epoch {epoch} is committed after {newest}")
        self.commits[epoch, author] = outputs
        for sink, cut, prepared_by, size in outputs:
            records = self._prepared[cut, prepared_by]
            if sink != self.sink or prepared_by != author or size != len(records):
                raise InvariantBroken(f"{self.sink}: {author} has not prepared {outputs}")
            self.send(worker, records, epoch)

    def left_behind(self, epoch: int, author: int, outputs: Sequence[Token]) -> list[Written]:
        """What waited in a writer when it cut."""
        outputs = [list(token) for token in outputs]
        self.committing(self, epoch, author, outputs)
        self.commits[epoch, author] = outputs
        return [each for _, cut, by, _ in outputs for each in self._prepared[cut, by]]


class _Door:
    """What writers to an outlet have in common."""

    def __init__(self, outlet: Outlet, worker: str, author: int) -> None:
        self._outlet = outlet
        self._worker = worker
        self._author = author
        self._gathered: list[Written] = []
        self._tick = 0

    def write(self, records: list[Any]) -> None:
        order, by = self._outlet.order, (self._author, self._tick)
        self._gathered.extend((next(order), *by, record) for record in records)

    def moved(self, tick: Tick) -> None:
        self._tick = tick.number

    def descriptors(self) -> Sequence[int]:
        return ()

    def wake_at(self, now: float) -> float | None:
        return None

    def waits_for(self) -> str:
        return "" if self._outlet.is_open else f"the outlet of {self._outlet.sink} is shut"

    def close(self) -> None:
        """An outlet outlives its writers."""


class HoldingWriter(_Door):
    """A Writer whose output waits for its checkpoint."""

    def flush(self, now: float) -> None:
        """Nothing goes out before it is committed."""

    def pending_bytes(self) -> int:
        return 0

    def uncommitted_bytes(self) -> int:
        return len(self._gathered) * RECORD_BYTES

    def prepare(self, epoch: int) -> Token | None:
        if not self._gathered:
            return None
        records, self._gathered = self._gathered, []
        return self._outlet.prepare(epoch, self._author, records)

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        self._outlet.commit(self._worker, epoch, author, outputs)

    def abort(self) -> None:
        self._gathered = []
        self._tick = 0


class SendingWriter(_Door):
    """A Writer that sends at once what the outside takes."""

    _before_cut = 0  # of what waits: these records do not come again after a recovery
    _inherited: tuple[Written, ...] = ()  # what workers that died had not sent

    def flush(self, now: float) -> None:
        if self._outlet.is_open:
            self._outlet.send(self._worker, self._inherited)
            self._inherited = ()
            self._outlet.send(self._worker, self._gathered)
            self._gathered.clear()
            self._before_cut = 0

    def pending_bytes(self) -> int:
        return (len(self._gathered) + len(self._inherited)) * RECORD_BYTES

    def uncommitted_bytes(self) -> int:
        return 0

    def prepare(self, epoch: int) -> Token | None:
        """What waits, so that it is not lost with this worker."""
        self._before_cut = len(self._gathered)
        waiting = [*self._inherited, *self._gathered]
        return self._outlet.prepare(epoch, self._author, waiting) if waiting else None

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        """Send what another worker had not sent. Our own still waits here."""
        left = self._outlet.left_behind(epoch, author, outputs)
        if author != self._author:
            self._inherited += tuple(left)

    def abort(self) -> None:
        del self._gathered[self._before_cut :]


class Letters(HoldingWriter):
    """The dead letters of one worker: a sink of the engine's own."""

    def add(self, letter: DeadLetter) -> None:
        self.write([letter])

    def newest(self) -> Sequence[Mapping[str, Any]]:
        return ()
