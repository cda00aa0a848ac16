"""How long a record is under way from when it was due, at a steady rate over two workers.

Records are due at their times whatever the engine does, so a stop of the engine is the latency of
all that was due meanwhile. Peers at half the load where Bytewax saturates; zstream at shares of its
own saturation.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from benchmarks import peer
from benchmarks.case import Case
from benchmarks.options import Options
from benchmarks.peer import PEERS, Missing
from benchmarks.spread import added, percentiles

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
KEYS = 26
FLOOD = 50e6  # records a second: more than anything takes
WARM = 4  # the first of so many parts is left out


def measure(options: Options) -> dict[str, Any]:
    """Latencies in milliseconds: {"peers": {name: [...]}, "shares": {share: [...]}}."""
    seconds = 0.5 if options.small else 4.0
    case = Case("stamped", KEYS, workers=2, seconds=seconds)
    saturation = {name: _rate(name, replace(case, rate=FLOOD)) for name in ("bytewax", "zstream")}
    half = saturation["bytewax"] / 2
    names = [name for name in options.peers if name != "bare" and PEERS[name].is_paced]
    found: dict[str, Any] = {name: [] for name in names}
    shares: dict[str, Any] = {f"{share:.0%}": [] for share in SHARES}
    for _ in range(options.runs):
        for name in names:
            found[name].append(_latencies(name, replace(case, rate=half)))
        for share in SHARES[:1] if options.small else SHARES:
            rate = share * saturation["zstream"]
            shares[f"{share:.0%}"].append(_latencies("zstream", replace(case, rate=rate)))
    return {
        "says": "latency of two workers at a steady rate",
        "saturation": {name: round(rate) for name, rate in saturation.items()},
        "rate": round(half),
        "peers": found,
        "shares": shares,
    }


def _rate(name: str, case: Case) -> float:
    """What a peer takes at most of records that are stamped."""
    result = peer.run(PEERS[name], PEERS[name].told(case))
    rate: float = result["outputs"] / result["seconds"]
    print(f"  latency: {name} saturates at {rate:,.0f} /s", file=sys.stderr, flush=True)
    return rate


def _latencies(name: str, case: Case) -> dict[str, float]:
    result = peer.run(PEERS[name], PEERS[name].told(case))
    if result["records"] != result["outputs"]:
        raise Missing(f"{name} gave {result['outputs']} outputs of {result['records']} records.")
    slots = sorted({int(slot) for found in result["found"] for slot in found})
    warm = slots[len(slots) // WARM]
    histogram = added(
        found[slot] for found in result["found"] for slot in found if int(slot) >= warm
    )
    latencies = percentiles(histogram)
    shown = ", ".join(f"{what} {value}" for what, value in latencies.items())
    print(f"  latency: {name} at {case.rate:,.0f} /s: {shown}", file=sys.stderr, flush=True)
    return latencies
