"""Which faults come when: a plan that is drawn from a seed and from nothing else.

A fault says what happens, not to whom: that is drawn from what is there when its time has come,
by numbers that are part of the plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

# How often each comes, against the others.
WEIGHTS = {
    "kill": 5,  # a worker
    "kill_leader": 4,
    "kill_some": 2,  # two or three at once
    "kill_all": 2,  # started again on the same store, another number of workers
    "sleep": 3,  # stopped for longer than it takes to be declared dead, then going on
    "sleep_leader": 3,
    "blink": 2,  # stopped for less than that
    "isolate": 3,  # a worker cut off from everybody, but not from the store
    "islands": 2,  # the workers in two parts that do not reach each other
    "one_way": 2,  # from one worker to another nothing comes through
    "no_outside": 1,  # a worker does not reach producers and consumer
    "grow": 5,  # a batch of one or two joins
    "grow_and_kill": 3,  # somebody is killed while a batch joins
    "shrink": 4,
    "shrink_and_kill": 2,
    "pause_consumer": 2,
    "kill_consumer": 2,
    "kill_producer": 2,
}
CUTS = frozenset({"isolate", "islands", "one_way", "no_outside"})
SHORT, LONG = 0.2, 6.0  # seconds between two faults


@dataclass(frozen=True)
class Fault:
    """after: seconds since the one before. draws: numbers from 0 to 1 that decide the rest."""

    number: int
    after: float
    kind: str
    draws: tuple[float, ...]

    def pick(self, place: int, among: int) -> int:
        """A number below `among`, by the draw at this place."""
        return min(among - 1, int(self.draws[place] * among))

    def between(self, place: int, low: float, high: float) -> float:
        return low + (high - low) * self.draws[place]


def plan(seed: int, can_cut: bool, only: frozenset[str] = frozenset()) -> Iterator[Fault]:
    """Faults without an end. Most come seconds apart, some nearly at once."""
    chance = Random(seed)
    number = 0
    while True:
        number += 1
        kind = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        draws = tuple(chance.random() for _ in range(8))
        after = chance.uniform(SHORT, 1.0) if chance.random() < 0.25 else chance.uniform(1.5, LONG)
        if (only and kind not in only) or (kind in CUTS and not can_cut):
            continue
        yield Fault(number, after, kind, draws)
