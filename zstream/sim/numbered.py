"""The topology that the simulator runs: numbered records whose every step can be checked after.

    left  -- merge -- key_by(first) -- stage one --+-- sink "ones"
    right --/                                      +-- sink "echoes", which holds nothing back
                                                   +-- single (parallel=False) -- sink "singles"
                                                   +-- key_by(second) -- stage two -- sink "twos"

`left` is read on one worker, `right` on each that the cluster starts with. `single` refuses some
records, which become dead letters.

Each keyed stage counts the records of its key and remembers, for each way on which records reach
it in order, the last number it has seen. Both go out with the record, so the sinks' contents tell
whether a key had one live copy (counts 1, 2, 3 ... without a hole or a twin) and whether order
was kept (what was before is what came before).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from zstream.topology.specs import Sink, Source
from zstream.topology.stream import source
from zstream.topology.topology import TopologyValue

LEFT, RIGHT = "left", "right"
ONES, TWOS, SINGLES, ECHOES = "ones", "twos", "singles", "echoes"
SENT_AT_ONCE = frozenset({ECHOES})
REFUSED = (16, 5)  # the numbers that leave 5 when divided by 16


class Numbered(NamedTuple):
    """One record. partition: who gave it; number: 1, 2, 3 ... within its partition."""

    partition: str
    number: int
    first: int
    second: int


class Applied(NamedTuple):
    """A record after a keyed stage.

    place: how many its key has seen by now. before: the last number that came on its way.
    """

    record: Numbered
    place: int
    before: int


State = dict[Any, int]  # "count", and way -> last number


def stage_one(seen: State, record: Numbered) -> tuple[State, Applied]:
    """The way into stage one is the partition."""
    return _apply(seen, record.partition, record)


def stage_two(seen: State, applied: Applied) -> tuple[State, Applied]:
    """The way into stage two is the partition and the key of stage one."""
    record = applied.record
    return _apply(seen, (record.partition, record.first), record)


def _apply(seen: State, way: Any, record: Numbered) -> tuple[State, Applied]:
    seen["count"] = seen.get("count", 0) + 1
    before = seen.get(way, 0)
    seen[way] = record.number
    return seen, Applied(record, seen["count"], before)


def single(applied: Applied) -> Applied:
    """Runs in one place only. Raises ValueError for what it refuses."""
    if is_refused(applied.record):
        raise ValueError("not this one")
    return applied


def is_refused(record: Numbered) -> bool:
    divisor, rest = REFUSED
    return record.number % divisor == rest


def first_key(record: Numbered) -> int:
    return record.first


def second_key(applied: Applied) -> int:
    return applied.record.second


def numbered_topology(key_groups: int) -> TopologyValue:
    """A fresh topology; the same each time but for its number of key groups."""
    given = source(LEFT, Source[Numbered]()).merge(source(RIGHT, Source[Numbered](parallel=True)))
    ones = given.key_by(first_key).stateful_map(stage_one, dict)
    return TopologyValue(
        "numbered",
        ones.sink(ONES, Sink()),
        ones.sink(ECHOES, Sink()),
        ones.map(single, parallel=False).sink(SINGLES, Sink()),
        ones.key_by(second_key).stateful_map(stage_two, dict).sink(TWOS, Sink()),
        key_groups=key_groups,
    )
