"""Medians, and what lies around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from benchmarks.jobs.stamped import milliseconds


class Spread(NamedTuple):
    """A median with the lowest and the highest."""

    middle: float
    low: float
    high: float


def spread(values: Iterable[float]) -> Spread:
    found = list(values)
    return Spread(median(found), min(found), max(found))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread | None:
    """Turn by turn, or None where there are none to compare."""
    pairs = list(zip(ours, theirs, strict=False))
    return spread(mine / other for mine, other in pairs) if pairs else None


def added(histograms: Iterable[Mapping[Any, int]]) -> Counter[int]:
    """One histogram of latencies; JSON makes their numbers text."""
    found: Counter[int] = Counter()
    for histogram in histograms:
        found.update({int(number): count for number, count in histogram.items()})
    return found


def percentiles(histogram: Counter[int]) -> dict[str, float]:
    """Milliseconds, as `benchmarks.jobs.stamped` counts them."""
    wanted = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
    total, passed = sum(histogram.values()), 0
    result: dict[str, float] = {"records": total}
    left = dict(wanted)
    for number in sorted(histogram):
        passed += histogram[number]
        for name in [name for name, share in left.items() if passed >= share * total]:
            result[name] = round(milliseconds(number), 2)
            del left[name]
    return result
