"""How this worker stands, as control wants to know it: at once when it matters, else in turn."""

from __future__ import annotations

from typing import Protocol

from zstream.config import Config
from zstream.control.events import LocalChanged
from zstream.dataflow.engine import Dataflow
from zstream.driver.checkpoints import Checkpoints
from zstream.driver.outputs import Outputs
from zstream.driver.partitions import Partitions
from zstream.ports.shell import Shell
from zstream.wire.codec import encode_plain
from zstream.wire.messages import NO_LOAD, WorkerLoad, WorkerStatistics

NO_FIGURES = WorkerStatistics(0, 0, 0.0, 0.0, 0, 0, 0.0, 0, 0, 0.0, 0, ())

LETTERS_TOLD = 5  # newest dead letters of a worker that its reports carry


class Measured(Protocol):
    """What a worker's figures are taken from."""

    dataflow: Dataflow
    partitions: Partitions
    outputs: Outputs
    checkpoints: Checkpoints


class Figures:
    """Takes rates and sizes, and notices changes."""

    def __init__(self, config: Config, shell: Shell) -> None:
        self._config = config
        self._shell = shell
        self._taken_at = float("-inf")
        self._told_at = float("-inf")
        self._statistics = NO_FIGURES
        self._waited = 0.0  # since the statistics were taken
        self._load = NO_LOAD
        self._weighed_at = float("-inf")
        self._waited_lately = self._with_peers = 0.0  # since the load was taken
        self._keyed = self._from_peers = 0  # when it was taken
        self._letters: tuple[bytes, ...] = ()
        self._newest: tuple[object, ...] = ()

    def waited(self, seconds: float) -> None:
        self._waited += seconds
        self._waited_lately += seconds

    def took_in(self, seconds: float) -> None:
        """So long it took to apply what had come from outside, most of it from peers."""
        self._with_peers += seconds

    def local(
        self, worker: Measured, pressure: str, planning: bool, now: float
    ) -> LocalChanged | None:
        """The whole standing when something in it has changed or it is time, else None."""
        dataflow, checkpoints = worker.dataflow, worker.checkpoints
        progress = dataflow.progress()
        empty = dataflow.empty() and worker.outputs.empty and not checkpoints.recovering
        committed = checkpoints.committed
        ended = worker.partitions.ended and not checkpoints.recovering
        readable = worker.partitions.readable
        newest = (
            dataflow.run,
            checkpoints.durable,
            committed,
            checkpoints.damaged,
            readable,
            dataflow.connected(),
            progress,
            empty,
            ended,
            pressure,
            planning,
            dataflow.frames_sent if empty else -1,
        )
        interval = self._config.report_interval_ms / 1000
        if newest == self._newest and now < self._told_at + interval:
            return None
        self._newest = newest
        self._told_at = now
        self._weigh(worker.dataflow, now)
        self._take(worker, now)
        return LocalChanged(
            connected=dataflow.connected(),
            run=dataflow.run,
            generation=progress.generation,
            installed=progress.installed,
            settled=progress.settled,
            empty=empty,
            sent=dataflow.frames_sent,
            applied=dataflow.frames_applied,
            ended=ended,
            pressure=pressure,
            sizes=dataflow.sizes() if planning else (),
            costs=dataflow.costs(),
            durable=checkpoints.durable,
            oldest=checkpoints.oldest,
            committed=committed,
            damaged=checkpoints.damaged,
            readable=readable,
            load=self._load,
            statistics=self._statistics,
            newest_dead_letters=self._letters,
        )

    def _weigh(self, dataflow: Dataflow, now: float) -> None:
        elapsed = now - self._weighed_at
        if elapsed < self._config.report_interval_ms / 1000:
            return
        loads = dataflow.loads
        heaviest, others = loads.shares()
        if elapsed < float("inf"):
            self._load = WorkerLoad(
                busy=max(0.0, 1.0 - self._waited_lately / elapsed),
                with_peers=self._with_peers / elapsed,
                keyed=(loads.keyed - self._keyed) / elapsed,
                from_peers=(loads.from_peers - self._from_peers) / elapsed,
                heaviest=heaviest,
                others=others,
            )
        self._weighed_at = now
        self._waited_lately = self._with_peers = 0.0
        self._keyed, self._from_peers = loads.keyed, loads.from_peers

    def _take(self, worker: Measured, now: float) -> None:
        dataflow = worker.dataflow
        elapsed = now - self._taken_at
        if elapsed < self._config.status_interval_ms / 1000:
            return
        before, first = self._statistics, self._taken_at == float("-inf")
        per_second = 0.0 if first else 1.0 / elapsed
        self._statistics = WorkerStatistics(
            keys=dataflow.keys,
            state_bytes=dataflow.state_bytes,
            records_in_per_second=(dataflow.records_in - before.records_in) * per_second,
            records_out_per_second=(dataflow.records_out - before.records_out) * per_second,
            records_in=dataflow.records_in,
            records_out=dataflow.records_out,
            busy_ratio=0.0 if first else max(0.0, 1.0 - self._waited / elapsed),
            dead_letters=dataflow.dead_letters,
            late_records=dataflow.late_records,
            oldest_ms=dataflow.oldest_ms(now),
            records_lost=worker.partitions.records_lost,
            waits_for=(*worker.partitions.waits_for(), *worker.outputs.waits_for()),
        )
        newest = list(self._shell.dead_letters.newest())[-LETTERS_TOLD:]
        self._letters = tuple(encode_plain(dict(letter)) for letter in newest)
        self._taken_at = now
        self._waited = 0.0
