"""The two ends that all peers share: a source that holds its records, and a sink that counts.

The clock starts with the first record that any worker reads and stops with the last output that
any sink was given. `time.monotonic` is one clock for all processes of a machine. Time of the
processor is taken beside it, over all workers: on a machine with other work it tells more.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.jobs import JOBS

SUMS = ("cpu_seconds", "records", "outputs", "digest")  # what is added up over the workers of a run


@dataclass(frozen=True)
class Case:
    """What one process is told: a job, over so many keys, by so many workers.

    rounds: how often the input is read. size: at most so many records of the input; 0 for all.
    wire: "" for memory, "tcp" for frames over TCP. mode: what else the peer is told.
    """

    job: str
    keys: int
    workers: int = 1
    rounds: int = 1
    size: int = 0
    wire: str = ""
    mode: str = ""

    @staticmethod
    def of_command() -> Case:
        """The one that the driver put on the command line."""
        return Case(**json.loads(sys.argv[1]))

    def share(self, index: int) -> list[Any]:
        """What one worker reads, made before the clock starts."""
        job = JOBS[self.job]
        records = job.make(self.keys)
        return job.share(records[: self.size or len(records)], index, self.workers)


class Held:
    """A source that is held in memory: the records, so many times."""

    def __init__(self, records: list[Any], rounds: int) -> None:
        self.began = 0.0
        self.cpu_began = 0.0
        self.given = 0
        self._records = records
        self._rounds = rounds
        self._at = 0
        gc.collect()
        gc.freeze()  # what was made before is no work for anybody's collector

    def read(self, limit: int) -> list[Any]:
        """Up to so many; [] when all were read."""
        if not self.began:
            self.began, self.cpu_began = time.monotonic(), time.process_time()
        if self._at >= len(self._records):
            self._at = 0
            self._rounds -= 1
        if self._rounds <= 0:
            return []
        records = self._records[self._at : self._at + limit]
        self._at += len(records)
        self.given += len(records)
        return records


class Counted:
    """A sink that counts and keeps what shows whether the totals are right."""

    def __init__(self, case: Case) -> None:
        self.outputs = 0
        self.ended = 0.0
        self.cpu_ended = 0.0
        self.seen: dict[Any, Any] = {}
        self._gather: Callable[[dict[Any, Any], list[Any]], None] = JOBS[case.job].gather

    def take(self, outputs: list[Any]) -> None:
        self._gather(self.seen, outputs)
        self.outputs += len(outputs)
        self.ended, self.cpu_ended = time.monotonic(), time.process_time()

    def digest(self) -> int:
        """A sum over what was seen, so that those of several workers can be added up."""
        return sum(zlib.crc32(key.encode()) * value for key, value in self.seen.items())


def report(held: Held, counted: Counted) -> dict[str, Any]:
    """What one worker has to say at its end."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "began": held.began,
        "ended": counted.ended,
        "cpu_seconds": counted.cpu_ended - held.cpu_began,
        "records": held.given,
        "outputs": counted.outputs,
        "digest": counted.digest(),
        "peak_kib": peak,
    }


def merged(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """What all workers of a run say together. A worker that read or wrote nothing has no times."""
    began = min(report["began"] for report in reports if report["began"])
    ended = max(report["ended"] for report in reports)
    return {
        "seconds": ended - began,
        **{name: sum(report[name] for report in reports) for name in SUMS},
        "peak_kib": max(report["peak_kib"] for report in reports),
    }


def say(result: dict[str, Any]) -> None:
    """Print it as the one line that the driver reads."""
    print(json.dumps(result), flush=True)


def address() -> str:
    """A loopback address that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


def run_all(commands: list[list[str]], variables: list[dict[str, str]]) -> list[str]:
    """Run the workers of a case beside each other; what each printed last.

    Raises RuntimeError with what it said where one fails.
    """
    workers = [
        subprocess.Popen(
            command,
            env={**os.environ, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command, more in zip(commands, variables, strict=True)
    ]
    try:
        texts = [worker.communicate()[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    for worker, text in zip(workers, texts, strict=True):
        if worker.returncode:
            raise RuntimeError(f"{worker.args} ended with {worker.returncode}:\n{text}")
    return [text.strip().rpartition("\n")[2] for text in texts]


def worker_reports(commands: list[list[str]]) -> list[dict[str, Any]]:
    """What the workers of a case report, each as the last line that it prints."""
    return [json.loads(line) for line in run_all(commands, [{}] * len(commands))]
