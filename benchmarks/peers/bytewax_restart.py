"""Bytewax 2 -> 3 workers: it is stopped and started again from its recovery store.

A trickle of records flows before and after, so that it shows when outputs end and come again.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main

from benchmarks.case import Case
from benchmarks.jobs import JOBS
from benchmarks.peers.bytewax import BATCH, CountedPartition, CountedSink
from benchmarks.workers import address, say

PARTITIONS = 6  # of the recovery store
TRICKLE = 1000  # records a second
SETTLED = 3000  # outputs of the trickle after which all states are in the store
NOTED = 0.1  # seconds between two notes of a worker
PATIENCE = 300.0


class Load(StatelessSourcePartition[Any]):
    """Each key once, if there is something to load; then the trickle, over the same keys."""

    def __init__(self, records: list[Any], workers: int, is_loaded: bool) -> None:
        self._records = records
        self._at = len(records) if is_loaded else 0
        self._endless = cycle(records)
        self._rate = TRICKLE / workers
        self._began = 0.0
        self._given = 0

    def next_batch(self) -> list[Any]:
        if self._at < len(self._records):
            self._at += BATCH
            return self._records[self._at - BATCH : self._at]
        self._began = self._began or time.monotonic()
        due = int((time.monotonic() - self._began) * self._rate) - self._given
        self._given += due
        return list(islice(self._endless, due))


class LoadSource(DynamicSource[Any]):
    def __init__(self, case: Case, is_loaded: bool) -> None:
        self._case = case
        self._is_loaded = is_loaded

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Load:
        return Load(self._case.share(worker_index), worker_count, self._is_loaded)


class Noted:
    """Counts outputs and writes down how many there were, when the first and the last one came,
    and the lowest: a key that was counted before has at least 2 the next time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._note = {"outputs": 0, "first": 0.0, "last": 0.0, "lowest": 0}
        self._noted = 0.0

    def take(self, outputs: list[Any]) -> None:
        note, now = self._note, time.monotonic()
        lowest = min(total for _, total in outputs)
        note["lowest"] = min(lowest, note["lowest"] or lowest)
        note["outputs"] += len(outputs)
        note["first"] = note["first"] or now
        note["last"] = now
        if now > self._noted + NOTED:
            self._noted = now
            self.write()

    def write(self) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(self._note))
        fresh.rename(self._path)


def run_worker(case: Case, index: int, folder: Path, phase: str, addresses: list[str]) -> None:
    """One worker, until it is interrupted."""
    noted = Noted(folder / f"{phase}{index}")
    flow = Dataflow("job")
    stream: Any = op.input("in", flow, LoadSource(case, is_loaded=phase == "after"))
    (_, key_of), (_, step) = JOBS[case.job].steps
    stream = op.stateful_map("count", op.key_on("key", stream, key_of), step)
    op.output("out", stream, NotedSink(noted))
    store = RecoveryConfig(str(folder / "store"), backup_interval=timedelta(0))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        cluster_main(
            flow, addresses, index, epoch_interval=timedelta(seconds=1), recovery_config=store
        )
    except KeyboardInterrupt:
        pass
    finally:
        noted.write()


class NotedSink(CountedSink):
    def __init__(self, noted: Noted) -> None:
        self._noted = noted

    def build(self, step_id: str, worker_index: int, worker_count: int) -> CountedPartition:
        return CountedPartition(self._noted)


class Cluster:
    """So many workers in one phase, "before" or "after"."""

    def __init__(self, case: Case, folder: Path, phase: str, workers: int) -> None:
        addresses = [address() for _ in range(workers)]
        command = [sys.executable, "-m", "benchmarks.peers.bytewax_restart", sys.argv[1]]
        self._paths = [folder / f"{phase}{index}" for index in range(workers)]
        self._processes = [
            subprocess.Popen([*command, str(index), str(folder), phase, *addresses])
            for index in range(workers)
        ]

    def until(self, outputs: int) -> None:
        """Wait for so many outputs."""
        deadline = time.monotonic() + PATIENCE
        while sum(note["outputs"] for note in self.notes()) < outputs:
            if time.monotonic() > deadline or any(p.poll() is not None for p in self._processes):
                raise RuntimeError(f"there are not {outputs} outputs")
            time.sleep(NOTED)

    def notes(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in self._paths if path.exists()]

    def stop(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGINT)
        for process in self._processes:
            process.wait(PATIENCE)

    def kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def run(case: Case, folder: Path) -> dict[str, Any]:
    (folder / "store").mkdir()
    init_db_dir(folder / "store", PARTITIONS)
    clusters = []
    try:
        clusters.append(Cluster(case, folder, "before", 2))
        clusters[0].until(case.keys + SETTLED)
        asked = time.monotonic()
        clusters[0].stop()
        stopped = time.monotonic()
        clusters.append(Cluster(case, folder, "after", 3))
        clusters[1].until(TRICKLE)
    finally:
        for cluster in clusters:
            cluster.kill()
    last = max(note["last"] for note in clusters[0].notes())
    first = min(note["first"] for note in clusters[1].notes() if note["first"])
    lowest = min(note["lowest"] for note in clusters[1].notes() if note["outputs"])
    if lowest < 2:
        raise RuntimeError("a key was counted from the beginning: its state was not kept")
    store = sum(path.stat().st_size for path in (folder / "store").iterdir())
    return {
        "downtime_seconds": first - last,
        "stop_seconds": stopped - asked,
        "store_bytes": store,
    }


def main() -> None:
    case = Case.of_command()
    if len(sys.argv) > 2:
        index, folder, phase, *addresses = sys.argv[2:]
        run_worker(case, int(index), Path(folder), phase, addresses)
        return
    with tempfile.TemporaryDirectory() as name:
        say(run(case, Path(name)))


if __name__ == "__main__":
    main()
