"""A chain of five maps over lines of text, without key and state."""

from __future__ import annotations

import random
from typing import Any

from benchmarks.jobs.counting import sum_found
from benchmarks.jobs.job import Job

RECORDS = 1_000_000


def fields_of(line: str) -> list[str]:
    return line.split(",")


def cents_of(fields: list[str]) -> int:
    return int(fields[1])


def with_tax(cents: int) -> int:
    return cents * 119 // 100


def at_most(cents: int) -> int:
    return cents if cents < 100_000 else 100_000


def points_of(cents: int) -> int:
    return cents // 10


def plain(lines: list[str], states: dict[str, Any]) -> list[int]:
    """The job without an engine."""
    return [points_of(at_most(with_tax(cents_of(fields_of(line))))) for line in lines]


def add_up(seen: dict[str, int], outputs: list[int]) -> None:
    """There is no key: the sum of all outputs must be right."""
    seen["all"] = seen.get("all", 0) + sum(outputs)


def make(keys: int) -> list[str]:
    chance = random.Random(42)
    return [f"{number},{chance.randrange(200_000)}" for number in range(RECORDS)]


JOB = Job(
    says="five maps one after the other, no key and no state",
    make=make,
    steps=tuple(("map", step) for step in (fields_of, cents_of, with_tax, at_most, points_of)),
    plain=plain,
    rounds=3,
    keys=(0,),
    gather=add_up,
    found=sum_found,
)
