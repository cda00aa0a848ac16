"""How many records one turn reads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from zstream.config import Config
from zstream.driver.partitions import TURN_SECONDS, Partitions
from zstream.model.ids import WorkerName
from zstream.ports.shell import Shell
from zstream.topology.plan import Plan


def partitions(asked: list[int], gives: list[int]) -> Partitions:
    """Of one endless source. asked: with what limits it is read; gives: at most so many at once."""

    def read(limit: int) -> list[Any]:
        asked.append(limit)
        return [0] * min(limit, gives[0])

    reader = SimpleNamespace(read=read)
    shell = SimpleNamespace(can_read=lambda name: True, open_reader=lambda name: reader)
    plan = Plan("t", 8, (), (), {}, {}, (), "", ())
    one = Partitions(Config(batch_records_max=64), plan, cast(Shell, shell), WorkerName("w0"))
    one.open(["numbers"])
    return one


def test_turns_that_take_long_get_fewer_records() -> None:
    """A user's function takes a millisecond for each: turns of five records, once that is seen."""
    asked: list[int] = []
    one = partitions(asked, [64])
    taken = 0

    def feed(source: str, records: list[Any]) -> None:
        nonlocal taken
        taken += len(records)

    for _ in range(6):
        before = taken
        one.read(feed, 0.0)
        one.pace((taken - before) * TURN_SECONDS / 5)
    assert asked == [64, 32, 16, 8, 4, 4]


def test_a_turn_in_which_nothing_was_read_does_not_bring_the_limit_back() -> None:
    """Between two reads the loop goes round many times, for frames and acknowledgements."""
    asked: list[int] = []
    gives = [64]
    one = partitions(asked, gives)
    for _ in range(3):
        one.read(lambda source, records: None, 0.0)
        one.pace(2 * TURN_SECONDS)
        for _ in range(10):
            one.pace(0.0)
    gives[0] = 0
    one.read(lambda source, records: None, 0.0)
    one.pace(0.0)
    gives[0] = 64
    for _ in range(3):
        one.read(lambda source, records: None, 0.0)
        one.pace(0.0)
    assert asked == [64, 32, 16, 8, 8, 16, 32]
