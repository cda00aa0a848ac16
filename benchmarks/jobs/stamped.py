"""Votes that come out with the time at which they were due, so that their way can be timed."""

from __future__ import annotations

import math
import time
from array import array
from collections import Counter, defaultdict
from typing import Any

from benchmarks.jobs import counting
from benchmarks.jobs.job import Job

SLOT = 0.1  # seconds: latencies are told apart by when they came out, in steps of this
FINENESS = 50  # latencies are told in steps of a fiftieth of themselves

Stamped = tuple[str, float]


def key_of(vote: Stamped) -> str:
    return vote[0]


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


def plain(votes: list[Stamped], totals: dict[str, Any]) -> list[float]:
    """The job without an engine."""
    outputs = []
    for vote in votes:
        key = key_of(vote)
        totals[key], output = count(totals.get(key), vote)
        outputs.append(output)
    return outputs


JOB = Job(
    says="votes with the time at which they were due",
    make=counting.make,
    steps=(("key_by", key_of), ("stateful_map", count)),
    plain=plain,
    rounds=1,
    gather=keep,
    found=histograms,
)
