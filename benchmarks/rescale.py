"""2 -> 3 -> 2 workers while records flow: what is missed, who waits, and how far throughput falls.

At all that two workers take ("full"), and at half of it, where the latency of each record is timed
("half"). Beside it Bytewax, which is stopped and started again with another number of workers.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from statistics import median
from typing import Any

from benchmarks import peer
from benchmarks.case import Case
from benchmarks.held import SLOT
from benchmarks.jobs import stamped
from benchmarks.jobs.counting import sum_wanted
from benchmarks.options import Options
from benchmarks.peer import Missing, Peer
from benchmarks.spread import added, percentiles

KEYS = 1_000_000
KEYS_RESTARTED = 100_000  # Bytewax needs minutes for a million
WINDOW = 10  # slots over which throughput is taken: half a second
PROGRAM = Peer("zstream", "zstream_rescale")
RESTART = Peer("Bytewax", "bytewax_restart", environment="bytewax")

Run = dict[str, Any]


def measure(options: Options) -> Iterator[dict[str, Any]]:
    """Each run of zstream at full and at half load; one restart of Bytewax."""
    keys, seconds = (2_000, 1.0) if options.small else (KEYS, 5.0)
    full, half = [], []
    for _ in range(options.runs):
        case = Case("counting", keys, workers=2, seconds=seconds)
        full.append(_figures(peer.run(PROGRAM, case), keys))
        rate = full[-1]["rate_before"] / 2
        timed = peer.run(PROGRAM, replace(case, job="stamped", rate=rate))
        half.append({**_figures(timed, keys), **_latencies(timed)})
        for load, runs in (("full", full), ("half", half)):
            shown = {name: value for name, value in runs[-1].items() if name != "over_time"}
            print(f"  rescale at {load} load: {shown}", file=sys.stderr, flush=True)
    restarts = {}
    if "bytewax" in options.peers:
        some = 2_000 if options.small else KEYS_RESTARTED
        restarts = {some: _restart(some)}
        if options.whole:
            restarts[KEYS] = _restart(KEYS)
    yield {
        "says": f"2 -> 3 -> 2 workers with {keys:,} keys",
        "keys": keys,
        "full": full,
        "half": half,
        "restarts": restarts,
    }


def _restart(keys: int) -> dict[str, Any]:
    try:
        result = peer.run(RESTART, Case("counting", keys, workers=2))
    except Missing as missing:
        return {"failed": str(missing)}
    print(f"  restart of Bytewax, {keys:,} keys: {result}", file=sys.stderr, flush=True)
    return result


def _figures(run: Run, keys: int) -> dict[str, Any]:
    """What the goals ask for. Dips: by how much the worst half second lay below the median before;
    `dip_before` is that of the stretch before, when nothing was changed.
    """
    slots: Counter[int] = Counter()
    for timeline in run["timelines"]:
        slots.update({int(slot): count for slot, count in timeline.items()})
    grow, shrink = run["rescales"]
    before = _windows(slots, run["filled"], grow["opened"])
    usual = median(before)
    wrong = 0
    if isinstance(run["found"][0], int):
        wanted = [sum_wanted(keys // 2, records) for records in run["records"]]
        wrong = sum(run["found"]) - sum(wanted)
    return {
        "missed": sum(run["records"]) - run["outputs"],
        "sum_off_by": wrong,
        "rate_before": round(usual / SLOT),
        "dip_before": round(1 - min(before) / usual, 3),
        "rescales": [
            {
                **{name: rescale[name] for name in rescale if name not in ("opened", "closed")},
                "dip": round(
                    1 - min(_windows(slots, rescale["opened"], rescale["closed"])) / usual, 3
                ),
            }
            for rescale in (grow, shrink)
        ],
    }


def _windows(slots: Counter[int], since: float, until: float) -> list[float]:
    """Outputs a slot over each half second that lies in a stretch, or reaches into it."""
    first, last = int(since / SLOT), max(int(until / SLOT), int(since / SLOT) + WINDOW)
    return [
        sum(slots[slot] for slot in range(start, start + WINDOW)) / WINDOW
        for start in range(first, last - WINDOW + 1)
    ]


def _latencies(run: Run) -> dict[str, Any]:
    """Percentiles of each stretch, and over time, from the beginning of the first rescale."""
    grow, shrink = run["rescales"]
    edges = {
        "before": (run["filled"], grow["opened"]),
        "growing": (grow["opened"], grow["closed"]),
        "three": (grow["closed"], shrink["opened"]),
        "shrinking": (shrink["opened"], shrink["closed"]),
        "after": (shrink["closed"], float("inf")),
    }
    by_slot: dict[int, list[dict[str, int]]] = defaultdict(list)
    for found in run["found"]:
        for slot, histogram in found.items():
            by_slot[int(slot)].append(histogram)
    stretches = {}
    for name, (since, until) in edges.items():
        inside = [slot for slot in by_slot if since <= slot * stamped.SLOT < until]
        stretches[name] = percentiles(added(each for slot in inside for each in by_slot[slot]))
    since = run["filled"]
    return {
        "latency_ms": stretches,
        "marks": [round(at - grow["opened"], 2) for at in _edges(run)],
        "over_time": [
            [round(slot * stamped.SLOT - grow["opened"], 1), *_row(by_slot[slot])]
            for slot in sorted(by_slot)
            if slot * stamped.SLOT >= since
        ],
    }


def _edges(run: Run) -> list[float]:
    return [rescale[edge] for rescale in run["rescales"] for edge in ("opened", "closed")]


def _row(histograms: list[dict[str, int]]) -> list[float]:
    """p50, p99 and the longest, in milliseconds."""
    found = percentiles(added(histograms))
    return [found["p50"], found["p99"], found["max"]]
