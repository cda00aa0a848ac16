"""One vote after the other for many keys, whose outputs can be checked although keys move.

Every output is the key's count, so the sum of all outputs is known from how many votes each key
had, whoever counted them and in whichever order.
"""

from __future__ import annotations

import random

from benchmarks.jobs.job import Job, keyed_loop

Vote = tuple[str, int]


def key_of(vote: Vote) -> str:
    return vote[0]


def count(total: int | None, vote: Vote) -> tuple[int, int]:
    total = (total or 0) + 1
    return total, total


def add_up(seen: dict[str, int], outputs: list[int]) -> None:
    seen["all"] = seen.get("all", 0) + sum(outputs)


def sum_found(seen: dict[str, int]) -> int:
    return seen.get("all", 0)


def sum_wanted(keys: int, votes: int) -> int:
    """The sum of all outputs after so many votes of a source that has so many keys."""
    rounds, more = divmod(votes, keys)
    return (keys * rounds * (rounds + 1)) // 2 + more * (rounds + 1)


def make(keys: int) -> list[Vote]:
    """Each key once, mixed."""
    votes = [(f"{number:08d}", 1) for number in range(keys)]
    random.Random(42).shuffle(votes)
    return votes


JOB = Job(
    says="one vote after the other: key, count",
    make=make,
    steps=(("key_by", key_of), ("stateful_map", count)),
    plain=keyed_loop(key_of, count),
    rounds=1,
    keys=(1_000_000,),
    gather=add_up,
    found=sum_found,
)
