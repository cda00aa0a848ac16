"""The sources that are read here: opened, read up to the limit, and put where a recovery says.

A *partition* is what one worker reads of a source, and what a position is of: the whole of a
source that one worker reads, or each worker's own share of a parallel one ("right@w1"). A share
whose worker is gone waits until a worker of that name is there; its position is kept meanwhile by
all who were there at the recovery, from manifest to manifest. Who joins later does not know it, and
need not: sources are placed by recoveries, so a worker that may not leave was there at the newest
one, and where all may leave the most senior stays (see eligible in zstream/control/requests.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from zstream.config import Config
from zstream.errors import ConnectorError
from zstream.model.ids import Epoch, WorkerName
from zstream.model.membership import Placement
from zstream.ports.connectors import EndOfInput, Reader
from zstream.ports.shell import Shell
from zstream.topology.plan import Plan

TURN_SECONDS = 0.005  # of a turn that reads: with more, workers wait for each other
REOPEN_SECONDS = 0.5  # between two tries to open a source that has moved here
SAY_SECONDS = 10.0


class Partitions:
    """Open readers, by source. Times are monotonic seconds."""

    def __init__(self, config: Config, plan: Plan, shell: Shell, me: WorkerName) -> None:
        self._limit_max = self._limit = config.batch_records_max
        self._read_seconds = 0.0  # that what was read in this turn took
        self._plan = plan
        self._shell = shell
        self._me = me
        self.readable = tuple(source for source in plan.sources if shell.can_read(source))
        self._readers: dict[str, Reader] = {}
        self._ended: set[str] = set()
        self._opening: dict[str, Any] = {}  # sources to be opened, and where to begin
        self._open_at = float("-inf")
        self._said_at = float("-inf")
        self._waits = ""
        self._kept: dict[str, Any] = {}  # positions of partitions that nobody reads
        self._cut: dict[Epoch, dict[str, Any]] = {}
        self.records_lost = 0  # that were given, and after a recovery cannot be given again

    def open(self, sources: Iterable[str]) -> None:
        """Open these now; raises ConnectorError."""
        for source in sources:
            self._readers[source] = self._shell.open_reader(source)

    @property
    def ended(self) -> bool:
        """Whether every source here has reached its end; True where there is none."""
        return self._ended == self._readers.keys() and not self._opening

    def read(self, feed: Callable[[str, list[Any]], None], now: float) -> bool:
        """Read each source once, up to the limit. False when one has more to give at once."""
        if self._opening and now >= self._open_at:
            self._open_those_that_wait(now)
        read_all = True
        for source, reader in self._readers.items():
            if source in self._ended:
                continue
            try:
                records = reader.read(self._limit)
            except EndOfInput:
                self._ended.add(source)
                continue
            if records:
                began = self._shell.now()
                feed(source, records)
                self._read_seconds += self._shell.now() - began
                if len(records) >= self._limit:
                    read_all = False
        return read_all

    def pace(self, turn_seconds: float) -> None:
        """The last turn took so long: slow user functions get fewer records at a time, because
        whatever else wants to be done waits for the turn's end. Where it is something else that
        takes long, such as a checkpoint, reading gives way to it, down to a quarter of a turn.
        """
        read_seconds, self._read_seconds = self._read_seconds, 0.0
        if turn_seconds > TURN_SECONDS:
            if read_seconds > TURN_SECONDS / 4:
                self._limit = max(1, self._limit // 2)
        elif read_seconds and turn_seconds < TURN_SECONDS / 4:
            self._limit = min(self._limit_max, self._limit * 2)

    # ---- epochs

    def cut(self, epoch: Epoch) -> dict[str, Any]:
        """Where each partition goes on."""
        positions = {self._partition(s): r.position() for s, r in self._readers.items()}
        waiting = {self._partition(s): p for s, p in self._opening.items() if p is not None}
        self._cut[epoch] = {**self._kept, **waiting, **positions}
        return self._cut[epoch]

    def acknowledge(self, epoch: Epoch) -> None:
        """The manifest of this epoch stands in the log."""
        positions = self._cut.get(epoch, {})
        for source, reader in self._readers.items():
            if self._partition(source) in positions:
                reader.acknowledge(positions[self._partition(source)])
        self._cut = {later: where for later, where in self._cut.items() if later > epoch}

    # ---- recovery

    def seek(self, positions: Mapping[str, Any], placement: Placement) -> None:
        """Read what is placed here from these positions on, and nothing else."""
        here = [source for source, workers in placement.sources.items() if self._me in workers]
        placed = {
            f"{source}@{worker}" if self._plan.sources[source].parallel else source
            for source, workers in placement.sources.items()
            for worker in workers
        }
        self._cut.clear()
        self._ended.clear()
        self._kept = {p: at for p, at in positions.items() if p not in placed}
        for source in [source for source in self._readers if source not in here]:
            self._readers.pop(source).close()
        self._opening = {
            source: positions.get(self._partition(source))
            for source in here
            if source not in self._readers
        }
        self._open_at = float("-inf")
        for source, reader in self._readers.items():
            self._go_back(source, reader, positions.get(self._partition(source)))

    def _go_back(self, source: str, reader: Reader, position: Any) -> None:
        lost = reader.seek(position)
        if position is not None:
            reader.acknowledge(position)
        if lost:
            self.records_lost += lost
            text = (
                f"source {source}: {lost:,} records came after the last checkpoint, and whoever "
                "sent them cannot be asked for them again: they are lost"
            )
            self._shell.say("warning", "records_lost", text, {"source": source, "records": lost})

    def _open_those_that_wait(self, now: float) -> None:
        """Sources that have moved here. What does not open yet, as a port whose last owner has not
        gone quite, is tried again."""
        self._open_at = now + REOPEN_SECONDS
        self._waits = ""
        for source, position in list(self._opening.items()):
            try:
                reader = self._shell.open_reader(source)
            except ConnectorError as error:
                self._waits = f"{error} Trying again."
                if now >= self._said_at + SAY_SECONDS:
                    self._said_at = now
                    self._shell.say("warning", "source_waits", self._waits, {"source": source})
                continue
            del self._opening[source]
            self._readers[source] = reader
            self._go_back(source, reader, position)
            self._shell.say("info", "source_moved", f"source {source} is read here now", {})

    def _partition(self, source: str) -> str:
        return f"{source}@{self._me}" if self._plan.sources[source].parallel else source

    # ---- what is waited for

    def waits_for(self) -> list[str]:
        """What a person must do before records come."""
        texts = [text for reader in self._readers.values() if (text := reader.waits_for())]
        return [*texts, self._waits] if self._waits else texts

    def wake_times(self, now: float) -> list[float]:
        """When a source wants to be read although none of its descriptors is ready."""
        times = [reader.wake_at(now) for s, reader in self._readers.items() if s not in self._ended]
        if self._opening:
            times.append(self._open_at)
        return [time for time in times if time is not None]
