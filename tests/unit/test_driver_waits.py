"""What the store or a sink takes long for is said: a rescale that stands still has a cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from zstream.config import Config
from zstream.driver.waits import Waits
from zstream.ports.shell import Shell

WRITING = {"desk 1": "writing a checkpoint"}
READING = {"log 1": "reading or writing the control log"}


class Told:
    """The part of a shell that is used: what was said."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def say(self, level: str, event: str, text: str, fields: Mapping[str, Any]) -> None:
        self.lines.append((level, text))


def waits() -> tuple[Waits, Told]:
    told = Told()
    return Waits(Config(slow_after_ms=5000), cast(Shell, told)), told


def test_what_is_done_in_time_is_not_said() -> None:
    """A disk as it should be: nobody wants to read of each write."""
    watch, told = waits()
    watch.look(WRITING, 100.0)
    watch.look(WRITING, 104.9)
    watch.look({}, 105.5)
    assert not told.lines


def test_what_hangs_is_said_once_and_when_it_is_over() -> None:
    """A disk holds an fsync for 25 s: one line while it lasts, one with how long it was."""
    watch, told = waits()
    for second in range(25):
        watch.look(WRITING, 100.0 + second)
    assert told.lines == [("warning", "writing a checkpoint has taken 5 s so far.")]
    watch.look({}, 124.6)
    assert told.lines[1:] == [("info", "writing a checkpoint took 24.6 s.")]


def test_each_operation_has_a_clock_of_its_own() -> None:
    """One is followed at once by the next of its kind: together they take long, neither does."""
    watch, told = waits()
    watch.look(WRITING | READING, 100.0)
    watch.look({"desk 2": "writing a checkpoint"} | READING, 104.0)
    watch.look({"desk 2": "writing a checkpoint"} | READING, 105.0)
    assert [text for _, text in told.lines] == [
        "reading or writing the control log has taken 5 s so far."
    ]
