"""How many records one turn reads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from zstream.config import Config
from zstream.driver.partitions import TURN_SECONDS, Partitions
from zstream.model.ids import WorkerName
from zstream.ports.shell import Shell
from zstream.topology.plan import Plan


class Endless:
    """A source, and the clock by which its records are taken."""

    def __init__(self) -> None:
        self.asked: list[int] = []  # with what limits it was read
        self.gives = 64  # at most so many at once
        self.seconds_each = 0.0  # that a record takes
        self.clock = 0.0
        shell = SimpleNamespace(
            can_read=lambda name: True, open_reader=lambda name: self, now=lambda: self.clock
        )
        plan = Plan("t", 8, (), (), {}, {}, (), "", ())
        config = Config(batch_records_max=64)
        self._partitions = Partitions(config, plan, cast(Shell, shell), WorkerName("w0"))
        self._partitions.open(["numbers"])

    def read(self, limit: int) -> list[Any]:
        self.asked.append(limit)
        return [0] * min(limit, self.gives)

    def turn(self, besides: float = 0.0) -> None:
        """besides: seconds for something else."""
        began = self.clock
        self._partitions.read(self._feed, began)
        self.clock += besides
        self._partitions.pace(self.clock - began)

    def _feed(self, source: str, records: list[Any]) -> None:
        self.clock += 1e-9 + self.seconds_each * len(records)


def test_records_that_take_long_are_read_a_few_at_a_time() -> None:
    """Each takes a fifth of what a turn may: four at a time, once that is seen."""
    source = Endless()
    source.seconds_each = TURN_SECONDS / 5
    for _ in range(6):
        source.turn()
    assert source.asked == [64, 32, 16, 8, 4, 4]


def test_a_turn_in_which_nothing_was_read_does_not_bring_the_limit_back() -> None:
    """Between two reads the loop goes round many times, for frames and acknowledgements."""
    source = Endless()
    source.seconds_each = TURN_SECONDS
    for _ in range(3):
        source.gives = 64
        source.turn()
        source.gives = 0
        source.turn()
    source.seconds_each, source.gives = 0.0, 64
    source.turn()
    source.turn()
    assert source.asked == [64, 32, 32, 16, 16, 8, 8, 16]


def test_reading_gives_way_to_what_takes_long_but_not_altogether() -> None:
    """A checkpoint takes all of a turn: what is read shrinks to a quarter of one beside it."""
    source = Endless()
    source.seconds_each = TURN_SECONDS / 40
    for _ in range(5):
        source.turn(besides=TURN_SECONDS)
    assert source.asked == [64, 32, 16, 8, 8]
