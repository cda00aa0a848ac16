"""Stamped votes of which every second one is for one key: its worker has three quarters of all."""

from __future__ import annotations

import random
from dataclasses import replace

from benchmarks.jobs import counting, stamped

HOT = "hot"
RECORDS = 100_000


def make(keys: int) -> list[counting.Vote]:
    names = [name for name, _ in counting.make(keys)]
    chance = random.Random(42)
    chosen = [HOT if chance.random() < 0.5 else chance.choice(names) for _ in range(RECORDS)]
    return [(name, 1) for name in chosen]


JOB = replace(stamped.JOB, says="stamped votes, half of them for one key", make=make)
