"""Votes for letters: key, running total, one output a record."""

from __future__ import annotations

import random
import string
import struct

from benchmarks.jobs.job import Job, Wire, keyed_loop

RECORDS = 1_000_000

Vote = tuple[str, int]


def key_of(vote: Vote) -> str:
    return vote[0]


def tally(total: int | None, vote: Vote) -> tuple[int, tuple[str, int]]:
    total = (total or 0) + vote[1]
    return total, (vote[0], total)


def make(keys: int) -> list[Vote]:
    """Letters by Zipf's law, the first one most; more keys than letters come evenly, each once
    at least where there is room.
    """
    chance = random.Random(42)
    if keys <= len(string.ascii_lowercase):
        names = list(string.ascii_lowercase[:keys])
        drawn = chance.choices(names, [1 / rank for rank in range(1, keys + 1)], k=RECORDS)
    else:
        names = [f"{number:08d}" for number in range(keys)]
        drawn = (names * -(-RECORDS // keys))[:RECORDS]
        chance.shuffle(drawn)
    return [(name, chance.randint(1, 9)) for name in drawn]


def payload(vote: Vote) -> bytes:
    return struct.pack(">cI", vote[0].encode(), vote[1])


def decode(payload: bytes) -> Vote:
    letter, votes = struct.unpack(">cI", payload)
    return letter.decode(), votes


def encode(output: tuple[str, int]) -> bytes:
    return b"%s => %d\n" % (output[0].encode(), output[1])


def output_of(line: bytes) -> tuple[str, int]:
    letter, _, total = line.decode().partition(" => ")
    return letter, int(total)


JOB = Job(
    says="votes for letters: key, running total, one output a record",
    make=make,
    steps=(("key_by", key_of), ("stateful_map", tally)),
    plain=keyed_loop(key_of, tally),
    rounds=20,
    keys=(26, 100_000, 1_000_000),
    wire=Wire(payload, decode, encode, output_of),
)
