"""What the soaked cluster runs. Everything that it gives can be checked from numbers alone.

    records (ZmqSource) -- key_by(first) -- stage one --+-- ones (FileSink)
                                                        +-- key_by(second) -- stage two

    stage two --+-- twos (ZmqSink)
                +-- files (FileSink)

Each stage counts the records of its key, and remembers for each way on which records reach it in
order the last number that it has seen: as in the simulator's topology (zstream/sim/numbered.py).
A line of output also says which process applied it, because only the order of one is promised.
"""

from __future__ import annotations

import secrets
import zlib
from typing import Any, NamedTuple

from zstream import FileSink, Topology, ZmqSink, ZmqSource, source

ONES, TWOS, FILES, RECORDS = "ones", "twos", "files", "records"
FIRST_KEYS = 400
SECOND_KEYS = 100
SPREAD = 8  # second keys that the records of one first key have
_ME = secrets.token_hex(4)  # this process; output is kept with its epoch, so it may be drawn


class Numbered(NamedTuple):
    """One record. partition: its producer; number: 1, 2, 3 ... of that."""

    partition: str
    number: int
    first: int
    second: int


class Applied(NamedTuple):
    """A record after a stage. place: how many its key has seen; before: the last on its way."""

    record: Numbered
    place: int
    before: int


State = dict[Any, int]  # "count", and way -> last number


def record(partition: str, number: int) -> Numbered:
    """The record of this number: always the same one."""
    drawn = zlib.crc32(b"%s %d" % (partition.encode(), number))
    first = drawn % FIRST_KEYS
    second = (first * 7 + drawn // FIRST_KEYS % SPREAD) % SECOND_KEYS
    return Numbered(partition, number, first, second)


def first_key(numbered: Numbered) -> int:
    return numbered.first


def second_key(applied: Applied) -> int:
    return applied.record.second


def stage_one(seen: State, numbered: Numbered) -> tuple[State, Applied]:
    """The way into stage one is the partition."""
    return _apply(seen, numbered.partition, numbered)


def stage_two(seen: State, applied: Applied) -> tuple[State, Applied]:
    """The way into stage two is the partition and the key of stage one."""
    numbered = applied.record
    return _apply(seen, (numbered.partition, numbered.first), numbered)


def _apply(seen: State, way: Any, numbered: Numbered) -> tuple[State, Applied]:
    seen["count"] = seen.get("count", 0) + 1
    before = seen.get(way, 0)
    seen[way] = numbered.number
    return seen, Applied(numbered, seen["count"], before)


def encode_record(numbered: Numbered) -> bytes:
    """As a producer sends it."""
    return b"%s %d %d %d" % (numbered.partition.encode(), *numbered[1:])


def decode_record(data: bytes) -> Numbered:
    partition, number, first, second = data.split()
    return Numbered(partition.decode(), int(number), int(first), int(second))


def encode_applied(applied: Applied) -> bytes:
    """partition, number, place, before, process."""
    of = applied.record
    line = f"{of.partition} {of.number} {applied.place} {applied.before} {_ME}\n"
    return line.encode()


def topology(arguments: list[str]) -> Topology:
    """arguments: the two directories of the file sinks."""
    ones_directory, twos_directory = arguments
    ones = (
        source(RECORDS, ZmqSource(decode_record))
        .key_by(first_key)
        .stateful_map(stage_one, dict, name="stage_one")
    )
    twos = ones.key_by(second_key).stateful_map(stage_two, dict, name="stage_two")
    return Topology(
        "soak",
        ones.sink(ONES, FileSink(ones_directory, encode_applied)),
        twos.sink(TWOS, ZmqSink(encode_applied)),
        twos.sink(FILES, FileSink(twos_directory, encode_applied)),
        key_groups=256,
    )
