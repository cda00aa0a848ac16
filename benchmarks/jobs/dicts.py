"""Records of 1 KB, dicts of twenty fields, by account: a running amount for each."""

from __future__ import annotations

import random
import string
from typing import Any

from benchmarks.jobs.job import Job, keyed_loop

RECORDS = 20_000
TEXTS, TEXT_SIZE = 15, 48  # so that it has about 1,000 bytes as JSON

Payment = dict[str, Any]


def key_of(payment: Payment) -> str:
    account: str = payment["account"]
    return account


def add(total: int | None, payment: Payment) -> tuple[int, tuple[str, int]]:
    total = (total or 0) + payment["cents"]
    return total, (payment["account"], total)


def make(keys: int) -> list[Payment]:
    chance = random.Random(42)
    texts = ["".join(chance.choices(string.ascii_letters, k=TEXT_SIZE)) for _ in range(500)]
    payments = []
    for number in range(RECORDS):
        payment: Payment = {
            "id": number,
            "account": f"{chance.randrange(keys):08d}",
            "cents": chance.randint(1, 100_000),
            "rate": chance.random(),
            "is_paid": chance.random() < 0.5,
        }
        for field in range(TEXTS):
            payment[f"text_{field:02d}"] = chance.choice(texts)
        payments.append(payment)
    return payments


JOB = Job(
    says="dicts of twenty fields, 1 KB each: key, running total, one output a record",
    make=make,
    steps=(("key_by", key_of), ("stateful_map", add)),
    plain=keyed_loop(key_of, add),
    rounds=40,
    keys=(1000,),
)
