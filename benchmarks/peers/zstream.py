"""zstream: real workers with default settings, a checkpoint each second on disk among them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.case import Case
from benchmarks.connection import Ends
from benchmarks.held import Counted, Held, merged, report, source_of
from benchmarks.jobs import JOBS
from benchmarks.jobs.job import together
from benchmarks.workers import address, run_all, say
from zstream import LengthPrefix, Sink, Source, TcpSink, TcpSource, Topology, source
from zstream import main as zstream_main
from zstream.connectors import registry
from zstream.connectors.memory import MemoryReader
from zstream.connectors.staged import NothingWaits, SendsAtOnce
from zstream.ports.connectors import EndOfInput

INDEX, REPORTS = "BENCH_INDEX", "BENCH_REPORTS"  # which worker this is, and where it reports


@dataclass(frozen=True, kw_only=True)
class HeldSource(Source[Any]):
    """Each worker reads its own records."""

    held: Held = field(repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class CountedSink(Sink[Any]):
    """Each worker counts its own outputs."""

    held: Held = field(repr=False, compare=False)
    counted: Counted = field(repr=False, compare=False)


class HeldReader(MemoryReader):
    def __init__(self, held: Held) -> None:
        super().__init__(())
        self._held = held

    def read(self, limit: int) -> list[Any]:
        records = self._held.read(limit)
        if self._held.is_done:
            raise EndOfInput
        return records

    def wake_at(self, now: float) -> float | None:
        return self._held.wake_at(now)


class CountedWriter(NothingWaits, SendsAtOnce):
    """Its worker's report is written when it is closed."""

    def __init__(self, held: Held, counted: Counted) -> None:
        self._held = held
        self._counted = counted

    def write(self, records: list[Any]) -> None:
        self._counted.take(records)

    def close(self) -> None:
        text = json.dumps(report(self._held, self._counted))
        Path(os.environ[REPORTS], os.environ[INDEX]).write_text(text)


registry.READERS[HeldSource] = lambda spec, *_: HeldReader(spec.held)
registry.WRITERS[CountedSink] = lambda spec, *_: CountedWriter(spec.held, spec.counted)


def topology(arguments: list[str]) -> Topology:
    """What each worker is given."""
    case = Case(**json.loads(arguments[0]))
    job = JOBS[case.job]
    spec: Source[Any]
    sink: Sink[Any]
    if case.wire and job.wire:
        spec = TcpSource(LengthPrefix(), job.wire.decode)
        sink = TcpSink(job.wire.encode)
    else:
        held = source_of(case, int(os.environ[INDEX]))
        spec = HeldSource(held=held, parallel=True)
        sink = CountedSink(held=held, counted=Counted(case))
    stream: Any = source("records", spec)
    for kind, function in job.steps:
        stream = getattr(stream, kind)(function)
    return Topology(case.job, stream.sink("outputs", sink))


def start_workers(case: Case, folder: Path) -> None:
    """Run a cluster until it has read all that it holds."""
    control, store = address(), folder / "store"
    commands = []
    for index in range(case.workers):
        command = [sys.executable, "-m", "benchmarks.peers.zstream"]
        command += ["--name", f"w{index}", "--control", control, "--log-format", "text"]
        if index == 0:
            command += ["--cluster-initializer", "--worker-count", str(case.workers)]
            command += ["--data", address(), "--store", str(store)]
        commands.append([*command, "--", sys.argv[1]])
    variables = [{INDEX: str(index), REPORTS: str(folder)} for index in range(case.workers)]
    run_all(commands, variables)


def run_between_connections(case: Case, folder: Path) -> dict[str, Any]:
    """One worker, fed and read by TCP."""
    wire = JOBS[case.job].wire
    assert wire is not None
    ends, listens = Ends(wire), address()
    command = [sys.executable, "-m", "benchmarks.peers.zstream", "--log-format", "text"]
    command += ["--in", listens, "--out", ends.address, "--store", str(folder / "store")]
    with (folder / "log").open("wb") as log:
        worker = subprocess.Popen([*command, "--", sys.argv[1]], stdout=log, stderr=log)
        try:
            result = ends.run(listens, worker, case.share(0), case.rounds)
        finally:
            worker.kill()
            worker.wait()
    counted = Counted(case)
    counted.take(ends.outputs())
    return {**result, "found": together([counted.found()])}


def main() -> None:
    if "--" in sys.argv:
        zstream_main(topology)
    case = Case.of_command()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if case.wire:
            say(run_between_connections(case, folder))
            return
        launched = time.monotonic()
        start_workers(case, folder)
        reports = [(folder / str(index)).read_text() for index in range(case.workers)]
    say(merged([json.loads(text) for text in reports], launched))


if __name__ == "__main__":
    main()
