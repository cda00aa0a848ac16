"""zstream: 2 -> 3 -> 2 workers while two of them read as fast as records are taken, or at a rate.

Prints when each rescale was open, what the cluster tells of it, and each worker's outputs by time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.case import Case
from benchmarks.peers.zstream import INDEX, REPORTS
from benchmarks.workers import address, say
from zstream.client import Cluster

PATIENCE = 120.0  # seconds for any one step
LOOK = 0.1  # seconds between two looks at a log
ASKED = ("grow", "shrink")
KEPT = ("id", "key_groups_moved", "seconds", "slowest_key_group_ms", "records_held")


class Workers:
    """Worker processes of one cluster, each with a log of its own."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.folder = folder
        self.control, self.external = address(), address()
        self._told = json.dumps(asdict(case))
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *how: str) -> None:
        """One more worker."""
        index = len(self._processes)
        command = [sys.executable, "-m", "benchmarks.peers.zstream", "--name", f"w{index}"]
        command += ["--log-format", "json", *how, "--", self._told]
        variables = {**os.environ, INDEX: str(index), REPORTS: str(self.folder)}
        with (self.folder / f"log{index}").open("wb") as log:
            process = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
        self._processes.append(process)

    def start_cluster(self, count: int) -> None:
        self.start(
            *("--cluster-initializer", "--worker-count", str(count), "--control", self.control),
            *("--data", address(), "--external", self.external),
            *("--store", str(self.folder / "store")),
        )
        for _ in range(1, count):
            self.start("--control", self.control)

    def said(self, event: str, of: tuple[str, ...] = ("",)) -> list[float]:
        """When the first worker said it, in the clock of time.monotonic. of: so a rescale's id
        begins; key groups move for balance, too, as they need.
        """
        shift = time.time() - time.monotonic()
        lines = (self.folder / "log0").read_text().splitlines()
        found = [json.loads(line) for line in lines if f'"{event}"' in line]
        told = [line for line in found if line["text"].startswith(of)]
        return [datetime.fromisoformat(line["ts"]).timestamp() - shift for line in told]

    def until(self, what: Callable[[], bool]) -> None:
        """Wait; RuntimeError with the logs when it does not come, or a worker fails."""
        deadline = time.monotonic() + PATIENCE
        while not what():
            failed = [process for process in self._processes if process.poll()]
            if failed or time.monotonic() > deadline:
                logs = [path.read_text()[-1000:] for path in self.folder.glob("log*")]
                raise RuntimeError("\n".join(["the cluster does not get there", *logs]))
            time.sleep(LOOK)

    def wait(self) -> list[dict[str, Any]]:
        """All have ended; their reports."""
        self.until(lambda: all(process.poll() is not None for process in self._processes))
        names = range(len(self._processes))
        return [json.loads((self.folder / str(name)).read_text()) for name in names]

    def kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def run(case: Case, workers: Workers) -> dict[str, Any]:
    """case.seconds: of each stretch between what happens."""
    workers.start_cluster(case.workers)
    cluster = Cluster(workers.external)
    workers.until(lambda: bool(workers.said("cluster_up")))
    workers.until(lambda: sum(w.keys or 0 for w in cluster.status().workers) >= case.keys)
    filled = time.monotonic()
    time.sleep(case.seconds)
    workers.start("--join", workers.control)
    workers.until(lambda: len(workers.said("rescale_closed", ASKED)) == 1)
    time.sleep(case.seconds)
    cluster.shrink(count=1)
    workers.until(lambda: len(workers.said("rescale_closed", ASKED)) == 2)
    time.sleep(case.seconds)
    told = [rescale for rescale in cluster.rescales() if rescale["id"].startswith(ASKED)]
    opened, closed = (workers.said(f"rescale_{end}", ASKED) for end in ("opened", "closed"))
    Path(case.stop).touch()
    reports = workers.wait()
    return {
        "filled": filled,
        "rescales": [
            {**{key: rescale[key] for key in KEPT}, "opened": opened_at, "closed": closed_at}
            for rescale, opened_at, closed_at in zip(told, opened, closed, strict=True)
        ],
        "records": [report["records"] for report in reports],
        "outputs": sum(report["outputs"] for report in reports),
        "found": [report["found"] for report in reports],
        "timelines": [report["timeline"] for report in reports],
    }


def main() -> None:
    case = Case.of_command()
    with tempfile.TemporaryDirectory() as name:
        workers = Workers(replace(case, stop=str(Path(name, "stop"))), Path(name))
        try:
            say(run(replace(case, stop=str(Path(name, "stop"))), workers))
        finally:
            workers.kill()


if __name__ == "__main__":
    main()
