"""How many records one turn reads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from zstream.config import Config
from zstream.driver.partitions import READ_SECONDS, Partitions
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

    def turn(self) -> None:
        self._partitions.read(self._feed, self.clock)

    def _feed(self, source: str, records: list[Any]) -> None:
        self.clock += self.seconds_each * len(records)


def test_records_that_take_long_are_read_a_few_at_a_time() -> None:
    """Each takes a fifth of what one read may: four at a time, once that is seen."""
    source = Endless()
    source.seconds_each = READ_SECONDS / 5
    for _ in range(6):
        source.turn()
    assert source.asked == [64, 32, 16, 8, 4, 4]


def test_only_what_is_read_counts() -> None:
    """Between two reads frames, checkpoints and idle turns take their time; then records are
    quick again.
    """
    source = Endless()
    source.seconds_each = READ_SECONDS
    for _ in range(2):
        source.turn()
        source.clock += 10 * READ_SECONDS
    source.gives = 0
    source.turn()
    source.gives, source.seconds_each = 64, 0.0
    for _ in range(3):
        source.turn()
    assert source.asked == [64, 32, 16, 16, 32, 64]
