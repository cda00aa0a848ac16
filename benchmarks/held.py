"""The two ends that all peers share: a source that holds its records, and a sink that counts.

The clock starts with the first record that any worker reads and stops with the last output that
any sink was given. `time.monotonic` is one clock for all processes of a machine. Time of the
processor is taken beside it, over all workers: on a machine with other work it tells more.
"""

from __future__ import annotations

import gc
import os
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import count, cycle, islice, repeat
from pathlib import Path
from typing import Any

from benchmarks.case import Case
from benchmarks.jobs import JOBS
from benchmarks.jobs.job import together

SUMS = ("cpu_seconds", "records", "outputs", "grown_bytes")  # added up over the workers of a run
SLOT = 0.05  # seconds: outputs are counted in steps of this
LAUNCHED = "BENCH_LAUNCHED"  # when the driver started the peer's program
PAGE = os.sysconf("SC_PAGE_SIZE")


class Held:
    """A source that is held in memory: this worker's records, as often as the case says.

    is_done: all were read. began: when the first one was, seconds; 0.0 before.
    """

    def __init__(self, case: Case, index: int) -> None:
        self.is_done = False
        self.began = 0.0
        self.cpu_began = 0.0
        self.resident_began = 0
        self.given = 0
        self._records = case.share(index)
        self._rounds = case.rounds
        self._stop = Path(case.stop) if case.stop else None
        self._at = 0
        gc.collect()
        gc.freeze()  # what was made before is no work for anybody's collector

    def read(self, limit: int) -> list[Any]:
        """Up to so many; [] when there are none now, or when all were read."""
        if not self.began:
            self.resident_began = resident_bytes()
            self.began, self.cpu_began = time.monotonic(), time.process_time()
        if not self.is_done:
            self.is_done = self._is_over()
        return [] if self.is_done else self._next(limit)

    def wake_at(self, now: float) -> float:
        """When there may be more: at once, seconds."""
        return now

    def _is_over(self) -> bool:
        if self._stop is not None:
            return self._stop.exists()
        return self.given >= len(self._records) * self._rounds

    def _next(self, limit: int) -> list[Any]:
        if self._at >= len(self._records):
            self._at = 0
        records = self._records[self._at : self._at + limit]
        self._at += len(records)
        self.given += len(records)
        return records


class Paced(Held):
    """Gives its records at a steady rate, whatever the engine does: each as (key, due at).

    The first time round each is due when it is read: what new keys cost is not to be the backlog
    of all that comes after.
    """

    def __init__(self, case: Case, index: int) -> None:
        super().__init__(case, index)
        self._rate = case.rate / case.workers
        self._seconds = case.seconds or float("inf")
        self._keys = cycle([record[0] for record in self._records])
        self._since = 0.0  # when the second round began
        self._dues: Iterator[float] = iter(())

    def wake_at(self, now: float) -> float:
        """When the next one is due, seconds."""
        return self._since + self._paced / self._rate if self._since else now

    @property
    def _paced(self) -> int:
        return self.given - len(self._records)

    def _is_over(self) -> bool:
        if self._stop is not None:
            return self._stop.exists()
        return time.monotonic() > self.began + self._seconds

    def _next(self, limit: int) -> list[Any]:
        now = time.monotonic()
        if self._paced < 0:
            keys = islice(self._keys, min(limit, -self._paced))
            records = list(zip(keys, repeat(now), strict=False))
        else:
            if not self._since:
                self._since, self._dues = now, count(now, 1 / self._rate)
            due = int((now - self._since) * self._rate) + 1 - self._paced
            records = list(islice(zip(self._keys, self._dues, strict=False), min(limit, due)))
        self.given += len(records)
        return records


class Counted:
    """A sink that counts and keeps what shows whether the totals are right.

    timeline: outputs in each SLOT, by its number.
    """

    def __init__(self, case: Case) -> None:
        self.job = JOBS[case.job]
        self.outputs = 0
        self.first = 0.0
        self.ended = 0.0
        self.cpu_ended = 0.0
        self.seen: dict[Any, Any] = {}
        self.timeline: dict[int, int] = defaultdict(int)
        self._gather = self.job.gather

    def take(self, outputs: list[Any]) -> None:
        self._gather(self.seen, outputs)
        self.outputs += len(outputs)
        self.ended, self.cpu_ended = time.monotonic(), time.process_time()
        self.first = self.first or self.ended
        self.timeline[int(self.ended / SLOT)] += len(outputs)

    def found(self) -> Any:
        """What of `seen` is told: see Job.found."""
        return self.job.found(self.seen)


def source_of(case: Case, index: int) -> Held:
    """What a worker reads in this case."""
    return Paced(case, index) if case.rate else Held(case, index)


def report(held: Held, counted: Counted) -> dict[str, Any]:
    """What one worker has to say at its end."""
    resident = resident_bytes()
    return {
        "began": held.began,
        "first": counted.first,
        "ended": counted.ended,
        "cpu_seconds": counted.cpu_ended - held.cpu_began if held.began else counted.cpu_ended,
        "records": held.given,
        "outputs": counted.outputs,
        "found": counted.found(),
        "timeline": counted.timeline,
        "grown_bytes": resident - held.resident_began if held.began else 0,
        "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def merged(reports: list[dict[str, Any]], launched: float = 0.0) -> dict[str, Any]:
    """What all workers of a run say together. A worker that read or wrote nothing has no times.

    launched: when the workers were started, where this program is none of them.
    """
    began = min(report["began"] for report in reports if report["began"])
    ended = max(report["ended"] for report in reports)
    first = min(report["first"] for report in reports if report["first"])
    found = [report["found"] for report in reports]
    return {
        "seconds": ended - began,
        "start_seconds": first - (launched or float(os.environ.get(LAUNCHED, first))),
        **{name: sum(report[name] for report in reports) for name in SUMS},
        "peak_kib": max(report["peak_kib"] for report in reports),
        "found": together(found),
    }


def resident_bytes() -> int:
    """What this process has in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
