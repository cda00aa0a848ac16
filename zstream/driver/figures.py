"""How this worker stands, as control wants to know it: at once when it matters, else now and then."""

from __future__ import annotations

from zstream.config import Config
from zstream.control.events import LocalChanged
from zstream.dataflow.engine import Dataflow
from zstream.driver.edges import Edges
from zstream.ports.shell import Shell
from zstream.wire.messages import WorkerStatistics

NO_FIGURES = WorkerStatistics(0, 0, 0, 0.0, 0.0, 0, 0, 0.0, 0, 0, 0.0, ())


class Figures:
    """Takes rates and sizes, and notices changes."""

    def __init__(self, config: Config, shell: Shell) -> None:
        self._config = config
        self._shell = shell
        self._taken_at = float("-inf")
        self._told_at = float("-inf")
        self._statistics = NO_FIGURES
        self._waited = 0.0
        self._newest: tuple[object, ...] = ()

    def waited(self, seconds: float) -> None:
        self._waited += seconds

    def local(
        self, dataflow: Dataflow, edges: Edges, pressure: str, planning: bool, now: float
    ) -> LocalChanged | None:
        """The whole standing when something in it has changed or it is time, else None."""
        progress = dataflow.progress()
        empty = dataflow.empty() and edges.empty
        newest = (
            dataflow.connected(), progress, empty, edges.ended, pressure, planning,
            dataflow.frames_sent if empty else -1,
        )
        interval = self._config.report_interval_ms / 1000
        if newest == self._newest and now < self._told_at + interval:
            return None
        self._newest = newest
        self._told_at = now
        self._take(dataflow, edges, now)
        return LocalChanged(
            connected=dataflow.connected(),
            generation=progress.generation,
            installed=progress.installed,
            settled=progress.settled,
            empty=empty,
            sent=dataflow.frames_sent,
            applied=dataflow.frames_applied,
            ended=edges.ended,
            pressure=pressure,
            sizes=dataflow.sizes() if planning else (),
            costs=dataflow.costs(),
            statistics=self._statistics,
            newest_dead_letters=self._shell.newest_dead_letters(),
        )

    def _take(self, dataflow: Dataflow, edges: Edges, now: float) -> None:
        elapsed = now - self._taken_at
        if elapsed < self._config.status_interval_ms / 1000:
            return
        before = self._statistics
        counts = dataflow.statistics(now)
        first = self._taken_at == float("-inf")
        self._statistics = WorkerStatistics(
            key_groups=counts.key_groups,
            keys=counts.keys,
            state_bytes=counts.state_bytes,
            records_in_per_second=0.0
            if first
            else (counts.records_in - before.records_in) / elapsed,
            records_out_per_second=0.0
            if first
            else (counts.records_out - before.records_out) / elapsed,
            records_in=counts.records_in,
            records_out=counts.records_out,
            busy_ratio=0.0 if first else max(0.0, 1.0 - self._waited / elapsed),
            dead_letters=counts.dead_letters,
            late_records=counts.late_records,
            oldest_ms=counts.oldest_ms,
            waits_for=edges.waits_for(),
        )
        self._taken_at = now
        self._waited = 0.0
