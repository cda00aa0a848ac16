"""Votes that come out with the time at which they were due, so that their way can be timed."""

from __future__ import annotations

import math
import time
from array import array
from collections import Counter, defaultdict

from benchmarks.jobs import counting
from benchmarks.jobs.job import Job, keyed_loop

SLOT = 0.1  # seconds: latencies are told apart by when they came out, in steps of this
FINENESS = 50  # latencies are told in steps of a fiftieth of themselves

Stamped = tuple[str, float]


def count(total: int | None, vote: Stamped) -> tuple[int, float]:
    return (total or 0) + 1, vote[1]


def keep(seen: dict[float, array[float]], dues: list[float]) -> None:
    """All that came at once, with when; it is looked at after the run."""
    seen[time.monotonic()] = array("d", dues)


def histograms(seen: dict[float, array[float]]) -> dict[int, dict[int, int]]:
    """For each SLOT how many records had which latency: logarithms of microseconds."""
    found: dict[int, Counter[int]] = defaultdict(Counter)
    for at, dues in seen.items():
        found[int(at / SLOT)].update(
            round(math.log(max(1.0, (at - due) * 1e6)) * FINENESS) for due in dues
        )
    return {slot: dict(counter) for slot, counter in found.items()}


def milliseconds(number: int) -> float:
    """What a number in a histogram stands for."""
    return math.exp(number / FINENESS) / 1000


JOB = Job(
    says="votes with the time at which they were due",
    make=counting.make,
    steps=(("key_by", counting.key_of), ("stateful_map", count)),
    plain=keyed_loop(counting.key_of, count),
    rounds=1,
    gather=keep,
    found=histograms,
)
