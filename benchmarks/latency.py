"""How long a record is under way from when it was due, at a steady rate over two workers.

Records are due at their times whatever the engine does, so a stop of the engine is the latency of
all that was due meanwhile. Peers at half the load where Bytewax saturates; zstream at shares of its
own saturation.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from benchmarks import peer
from benchmarks.case import Case
from benchmarks.options import Options
from benchmarks.peer import PEERS, Missing
from benchmarks.spread import added, percentiles

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
REFERENCE = "bytewax"  # at half of its load all peers are measured
KEYS = 26
FLOOD = 50e6  # records a second: more than anything takes
WARM = 4  # the first of so many parts is left out


def measure(options: Options) -> Iterator[dict[str, Any]]:
    """Latencies in milliseconds, each a list of runs: of peers at one rate, of zstream at shares of
    its saturation, and with a hot key, apart for the worker that has it and the other one.
    """
    seconds = 0.5 if options.small else 4.0
    case = Case("stamped", KEYS, workers=2, seconds=seconds)
    asked = [name for name in ("zstream", REFERENCE) if name in options.peers]
    saturation = {name: _rate(name, replace(case, rate=FLOOD)) for name in asked}
    half = saturation.get(REFERENCE, saturation["zstream"]) / 2
    names = [name for name in options.peers if PEERS[name].is_paced]
    found: dict[str, Any] = {name: [] for name in names}
    shares: dict[str, Any] = {f"{share:.0%}": [] for share in SHARES}
    hot: dict[str, Any] = {"worker with the hot key": [], "other worker": []}
    for _ in range(options.runs):
        for name in names:
            result = _run(name, replace(case, rate=half))
            found[name].append(_latencies(result["found"]))
        for share in SHARES[:1] if options.small else SHARES:
            result = _run("zstream", replace(case, rate=share * saturation["zstream"]))
            shares[f"{share:.0%}"].append(_latencies(result["found"]))
        result = _run("zstream", replace(case, job="hot", rate=saturation["zstream"] / 2))
        workers = [_latencies([each]) for each in result["found"]]
        workers.sort(key=lambda latencies: -latencies["records"])
        for who, latencies in zip(hot, workers, strict=True):
            hot[who].append(latencies)
    yield {
        "says": "latency of two workers at a steady rate",
        "saturation": {name: round(rate) for name, rate in saturation.items()},
        "rate": round(half),
        "peers": found,
        "shares": shares,
        "hot": hot,
    }


def _rate(name: str, case: Case) -> float:
    """What a peer takes at most of records that are stamped."""
    result = peer.run(PEERS[name], PEERS[name].told(case))
    rate: float = result["outputs"] / result["seconds"]
    print(f"  latency: {name} saturates at {rate:,.0f} /s", file=sys.stderr, flush=True)
    return rate


def _run(name: str, case: Case) -> dict[str, Any]:
    result = peer.run(PEERS[name], PEERS[name].told(case))
    if result["records"] != result["outputs"]:
        raise Missing(f"{name} gave {result['outputs']} outputs of {result['records']} records.")
    print(f"  latency: {name}, {case.job}, {case.rate:,.0f} /s", file=sys.stderr, flush=True)
    return result


def _latencies(found: list[dict[str, dict[str, int]]]) -> dict[str, float]:
    """Of these workers together."""
    slots = sorted({int(slot) for each in found for slot in each})
    warm = slots[len(slots) // WARM]
    histogram = added(each[slot] for each in found for slot in each if int(slot) >= warm)
    latencies = percentiles(histogram)
    print(f"    {latencies}", file=sys.stderr, flush=True)
    return latencies
