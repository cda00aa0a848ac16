"""From SIGKILL to the first new output: three workers, 100,000 keys, numbered votes, local disk.

    .venv/bin/python benchmarks/recovery.py [--keys N] [--rate N] [--runs N]

Each run starts three workers with default settings, votes until each key is in a checkpoint, kills
a worker, and waits for the first output of a vote that was sent after that. The killed one is a
member without a source, or the leader, which reads the source. The parts are from the survivors'
logs:

    elect    until another worker leads; nothing for a member
    detect   from there until the log says that the dead one is dead
    restore  from there until the last survivor has read its parts and has its state again
    replay   from there until the output is there: producers are told where to go on, what came
             after the checkpoint is counted again, and the next checkpoint is decided

Usage:
  recovery.py [--keys N] [--rate N] [--runs N] [--json]

  --keys N  number of keys [default: 100000]
  --rate N  votes a second [default: 10000]
  --runs N  of each kind; the median is shown [default: 5]
  --json    one object instead of the table
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from docopt import docopt

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

from demo import Demo  # noqa: E402
from traffic import NumberedTraffic  # noqa: E402

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


def measure(dead: str, keys: int, rate: int) -> dict[str, float]:
    """Run it once; seconds."""
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


def _kill(bench: Demo, dead: str, keys: int) -> dict[str, float]:
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


def main() -> int:
    options = docopt(__doc__ or "")
    keys, rate, runs = (int(options[f"--{name}"]) for name in ("keys", "rate", "runs"))
    result = {}
    for kind, dead in KINDS.items():
        measured = [measure(dead, keys, rate) for _ in range(runs)]
        result[kind] = {
            part: round(statistics.median(run[part] for run in measured), 2)
            for part in (*PARTS, "all")
        }
        result[kind]["slowest"] = round(max(run["all"] for run in measured), 2)
    if options["--json"]:
        print(json.dumps({"keys": keys, "rate": rate, "runs": runs, "seconds": result}))
        return 0
    print(f"Seconds, median of {runs}: {keys:,} keys, {rate:,} votes a second.\n")
    print("".join(f"{title:>9}" for title in ("", *result["member"])))
    for kind, row in result.items():
        print(f"{kind:>9}" + "".join(f"{seconds:>9.2f}" for seconds in row.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
