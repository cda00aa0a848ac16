"""Latency around a rescale: 20,000 votes a second over 10,000 keys while 2 -> 5 -> 2 workers.

    .venv/bin/python benchmarks/rescale.py [--keys N] [--rate N] [--seconds S]

Usage:
  rescale.py [--keys N] [--rate N] [--seconds S] [--json]

  --keys N     number of keys [default: 10000]
  --rate N     votes a second [default: 20000]
  --seconds S  of traffic in each stretch [default: 10]
  --json       one object instead of the table
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from docopt import docopt

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

from demo import Demo  # noqa: E402
from traffic import Traffic, percentile  # noqa: E402


def measure(keys: int, rate: int, seconds: float) -> dict[str, object]:
    """Run it once; times in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Demo(Path(folder), application=ROOT / "benchmarks/votes.py", source="votes")
        bench.traffic = Traffic([b"%08d" % number for number in range(keys)], rate)
        try:
            return _stretches(bench, seconds)
        finally:
            bench.clean_up()


def _stretches(bench: Demo, seconds: float) -> dict[str, object]:
    bench.start_cluster()
    bench.traffic.start(bench.source)
    bench.watch(seconds)
    edges = [("before", time.monotonic())]
    for name in ("w2", "w3", "w4"):
        bench.start_worker(name, "--join", bench.control, "--worker-count", "3")
    bench.watch(0.0, lambda status: status.worker_count == 5 and status.rescale is None)
    edges.append(("grow", time.monotonic()))
    bench.watch(seconds)
    edges.append(("between", time.monotonic()))
    bench.run_tool("cluster_shrinker", "--external", bench.external, "--count", "3")
    edges.append(("shrink", time.monotonic()))
    bench.watch(seconds)
    edges.append(("after", time.monotonic()))
    rescales = bench.cluster.rescales()
    verdict = bench.traffic.stop()
    bench.run_tool("cluster_shutdown", bench.external)
    codes = bench.exit_codes()
    return {
        "exact": verdict.is_exact and not any(codes.values()),
        "verdict": str(verdict),
        "latency_ms": _latencies(bench.traffic, edges, seconds),
        "rescales": [
            {key: rescale[key] for key in KEPT}
            for rescale in rescales
            if rescale["id"] != "start-1"
        ],
    }


KEPT = ("id", "key_groups_moved", "seconds", "slowest_key_group_ms", "records_held")


def _latencies(
    traffic: Traffic, edges: list[tuple[str, float]], seconds: float
) -> dict[str, dict[str, float]]:
    """Percentiles of each stretch; the first second of traffic, when all starts, is left out."""
    since = edges[0][1] - seconds + 1.0
    result = {}
    for name, until in edges:
        values = [took * 1000 for at, took in traffic.latencies if since <= at < until]
        result[name] = {
            "votes": len(values),
            "p50": round(percentile(values, 0.5), 2),
            "p99": round(percentile(values, 0.99), 2),
            "max": round(max(values, default=0.0), 2),
        }
        since = until
    return result


def main() -> int:
    options = docopt(__doc__ or "")
    result = measure(int(options["--keys"]), int(options["--rate"]), float(options["--seconds"]))
    if options["--json"]:
        print(json.dumps(result))
        return 0 if result["exact"] else 1
    print(json.dumps(result, indent=1))
    return 0 if result["exact"] else 1


if __name__ == "__main__":
    sys.exit(main())
