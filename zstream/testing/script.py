"""Marks: what happens in a test, in the order in which it happens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from zstream.errors import UsageError


@dataclass(frozen=True)
class Mark:
    """One thing that happens; made by given, end, grow, shrink and crash."""


@dataclass(frozen=True)
class Given(Mark):
    """Records come in at a source."""

    source: str
    records: tuple[Any, ...]


@dataclass(frozen=True)
class End(Mark):
    """A source has given all that it has."""

    source: str


@dataclass(frozen=True)
class Grow(Mark):
    """So many workers join, in one batch."""

    by: int


@dataclass(frozen=True)
class Shrink(Mark):
    """So many workers leave."""

    by: int


@dataclass(frozen=True)
class Crash(Mark):
    """These workers die, and are started again under their names."""

    workers: tuple[str, ...]


def given(source: str, *records: Any) -> Mark:
    """These records come in at `source`, as its decode would give them."""
    return Given(source, records)


def end(source: str) -> Mark:
    """`source` has given all that it has. A script that does not say so never hears of it."""
    return End(source)


def grow(by: int = 1) -> Mark:
    """So many workers join while records flow. The next rescale waits for this one."""
    return Grow(_positive("grow", by))


def shrink(by: int = 1) -> Mark:
    """So many workers leave while records flow, or as many as may. Raises Refused for none."""
    return Shrink(_positive("shrink", by))


def crash(*workers: str) -> Mark:
    """These workers ("w0", "w1" ...) die at once, and are started again under their names. All of
    them: the cluster starts again from its store. Raises UsageError for one that is not there."""
    if not workers:
        raise UsageError("crash() wants the names of workers.")
    return Crash(workers)


def script_of(script: Iterable[Mark] | Mapping[str, Iterable[Any]]) -> list[Mark]:
    """Marks as they are; a mapping means: all of one source, then all of the next, then the end."""
    if isinstance(script, Mapping):
        marks: list[Mark] = [given(source, *records) for source, records in script.items()]
        return [*marks, *(end(source) for source in script)]
    return list(script)


def _positive(word: str, by: int) -> int:
    if by < 1:
        raise UsageError(f"{word}({by}): at least 1 worker.")
    return by
