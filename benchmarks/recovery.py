"""From SIGKILL to the first new output: three workers, 100,000 keys, numbered votes, local disk.

Each run starts three workers with default settings, votes until each key is in a checkpoint, kills
a worker, and waits for the first output of a vote that was sent after that. The killed one is a
member without a source, or the leader, which reads the source. The parts are from the survivors'
logs:

    elect    until another worker leads; nothing for a member
    detect   from there until the log says that the dead one is dead
    restore  from there until the last survivor has read its parts and has its state again
    replay   from there until the output is there: producers are told where to go on, what came
             after the checkpoint is counted again, and the next checkpoint is decided
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.options import Options
from benchmarks.peer import ROOT

KEYS = 100_000
RATE = 10_000  # votes a second
PARTS = ("elect", "detect", "restore", "replay")
KINDS = {"member": "w1", "leader": "w0"}
PATIENCE = 30.0  # seconds without any output: it has failed

APPLICATION = """
import struct
from zstream import Topology, ZmqSink, ZmqSource, source

def decode(payload):
    return struct.unpack(">8sI", payload)

def tally(total, vote):
    total += vote[1]
    return total, b"%s => %d" % (vote[0], total)

votes = source("votes", ZmqSource(decode)).key_by(lambda vote: vote[0])
topology = Topology("recovered", votes.stateful_map(tally, int).sink("totals", ZmqSink(bytes)))
"""


def run(dead: str, keys: int, rate: int) -> dict[str, float]:
    """Kill one of three workers once; seconds."""
    sys.path.insert(0, str(ROOT / "examples"))  # its programs are no package
    from demo import Demo
    from traffic import NumberedTraffic

    names = [b"%08d" % number for number in range(keys)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        application = folder / "recovered.py"
        application.write_text(APPLICATION)
        traffic = NumberedTraffic(names, rate, source="votes")
        bench = Demo(folder, application, "votes", traffic)
        try:
            return _kill(bench, dead, keys)
        finally:
            bench.clean_up()


def _kill(bench: Any, dead: str, keys: int) -> dict[str, float]:
    traffic = bench.traffic
    bench.start_cluster(3)
    traffic.start(bench.source)
    bench.watch(0.0, lambda status: sum(worker.keys or 0 for worker in status.workers) == keys)
    filled = bench.cluster.status().epoch
    bench.watch(0.0, lambda status: status.epoch >= filled + 3)
    shift = time.time() - time.monotonic()
    killed_at = bench.send_kill(dead)
    while (out_at := traffic.first_out(killed_at)) is None:
        if time.monotonic() - killed_at > PATIENCE:
            raise RuntimeError("no output any more")
        time.sleep(0.005)
    events = [
        (datetime.fromisoformat(line["ts"]).timestamp() - shift, line["event"])
        for line in bench.said()
    ]
    marks = [killed_at, killed_at]
    if dead == "w0":
        marks[1] = min(at for at, event in events if event == "leads" and at > killed_at)
    marks.append(min(at for at, event in events if event == "recovers"))
    marks.append(max(at for at, event in events if event == "restored"))
    marks.append(out_at)
    parts = {
        part: after - before for part, before, after in zip(PARTS, marks, marks[1:], strict=False)
    }
    verdict = traffic.stop()
    bench.run_tool("cluster_shutdown", bench.external)
    if not verdict.is_exact:
        raise RuntimeError(f"not exact: {verdict}")
    return {**parts, "all": out_at - killed_at}


def measure(options: Options) -> Iterator[dict[str, Any]]:
    """{"seconds": {who is killed: {part: of each run}}}."""
    keys, rate = (100, 1000) if options.small else (KEYS, RATE)
    result: dict[str, dict[str, list[float]]] = {
        kind: {part: [] for part in (*PARTS, "all")} for kind in KINDS
    }
    for _ in range(options.runs):
        for kind, dead in KINDS.items():
            for part, seconds in run(dead, keys, rate).items():
                result[kind][part].append(round(seconds, 3))
            took = result[kind]["all"][-1]
            print(f"  recovery: the {kind}, {took} s", file=sys.stderr, flush=True)
    yield {
        "says": "seconds from SIGKILL of one of three workers to the first output of a vote that "
        f"was sent after that; {keys:,} keys, {rate:,} votes a second",
        "seconds": result,
    }
