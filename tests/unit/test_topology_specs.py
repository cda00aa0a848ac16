"""Specs, aggregates, durations and JSON: the plain values that stand in a topology."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, NamedTuple
from uuid import UUID

import pytest

from zstream import (
    Aggregate,
    CsvSource,
    FileSource,
    FixedSize,
    Generate,
    LengthPrefix,
    Lines,
    Memory,
    Sink,
    Source,
    Stdout,
    TcpSink,
    TcpSource,
    both,
    days,
    from_json,
    hours,
    json_line,
    largest,
    mean,
    milliseconds,
    minutes,
    seconds,
    smallest,
    to_json,
    total,
)
from zstream.errors import UsageError

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


untyped_sink: Any = TcpSink


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: float = 0.5


@dataclass
class Everything:
    name: str
    at: datetime
    day: date
    took: timedelta
    price: Decimal
    id: UUID
    color: Color
    point: Point
    data: bytes
    tags: set[str]
    pair: tuple[int, str]
    many: tuple[int, ...]
    last: deque[int]
    by_name: dict[str, list[Point]]
    note: str | None = None
    side: Literal["buy", "sell"] = "buy"
    inner: list[Everything] = field(default_factory=list)


def everything(**more: Any) -> Everything:
    return Everything(
        name="Zoë",
        at=NOON,
        day=date(2026, 1, 2),
        took=seconds(1.5),
        price=Decimal("1.10"),
        id=UUID(int=5),
        color=Color.BLUE,
        point=Point(1),
        data=b"\x00\xff",
        tags={"b", "a"},
        pair=(1, "x"),
        many=(1, 2, 3),
        last=deque([4, 5]),
        by_name={"p": [Point(2, 3.0)]},
        **more,
    )


def test_json_brings_back_what_it_was_given() -> None:
    """Every type that JSON has no word for comes back from its type hint, nested too."""
    value = everything(inner=[everything(note="n", side="sell")])
    assert from_json(Everything)(to_json(value)) == value


def test_json_is_compact_readable_and_one_line() -> None:
    """Named fields make an object, sets are sorted, json_line ends the line."""
    assert to_json({"a": Point(1, 2.0), "b": {"y", "x"}}) == b'{"a":{"x":1,"y":2.0},"b":["x","y"]}'
    assert json_line([NOON, "é"]) == '["2026-01-01T12:00:00+00:00","é"]\n'.encode()
    assert json.loads(to_json({1: None, Color.RED: True})) == {"1": None, "red": True}


def test_what_has_no_json_form_is_refused() -> None:
    """NaN is no JSON, nor is an open file; both are errors of the record, not silent nulls."""
    with pytest.raises(ValueError, match="Out of range"):
        to_json(float("nan"))
    with pytest.raises(TypeError, match="a function has no JSON form"):
        to_json(to_json)
    with pytest.raises(TypeError, match="a dict with a tuple as key"):
        to_json({(1, 2): 3})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"x": "one"}', "Point.x: 'one' where a whole number is wanted"),
        ('{"x": true}', "Point.x: True where a whole number is wanted"),
        ('{"y": 1}', "Point needs x, which is not there"),
        ("[1]", r"Point needs an object, not \[1\]"),
    ],
)
def test_json_that_does_not_fit_is_refused_by_field(text: str, says: str) -> None:
    """The error names class and field, because it ends in a dead letter."""
    with pytest.raises(ValueError, match=says):
        from_json(Point)(text)


def test_json_passes_over_what_it_does_not_know() -> None:
    """Members without a field and whole numbers for floats are taken; Z is UTC on 3.10 too."""
    assert from_json(Point)(b'{"x": 1, "y": 2, "z": 3}') == Point(1, 2.0)
    assert from_json(datetime)('"2026-01-01T12:00:00Z"') == NOON
    assert from_json(list[int | str])('[1, "a"]') == [1, "a"]


def test_a_type_that_json_cannot_give_is_refused_at_once() -> None:
    """Not at the first record."""
    with pytest.raises(UsageError, match="no way from JSON to"):
        from_json(Callable)  # type: ignore[arg-type]


def test_a_made_decoder_has_a_name_and_a_type() -> None:
    """So that operators are named and the class is found as one that travels."""
    decode = from_json(Point)
    assert decode.__name__ == "decode_point"
    assert decode.__annotations__["return"] is Point


@dataclass
class Flight:
    carrier: str
    hour: datetime
    flight: int
    delay: float | None
    gate: str = "?"


ROW = {"carrier": "UA", "hour": "2013-01-01T10:00:00Z", "flight": "15.0", "delay": "NA"}


def test_a_csv_row_becomes_its_type() -> None:
    """Cells are text: NA and empty are nothing, 15.0 is a whole number, extra columns are cut."""
    decode = CsvSource("f.csv", Flight).decode
    assert decode is not None
    hour = datetime(2013, 1, 1, 10, tzinfo=timezone.utc)
    assert decode(ROW) == Flight("UA", hour, 15, None)
    assert decode({**ROW, "delay": "-2.5", "gate": "B1", "x": "y"}).delay == -2.5
    assert decode({**ROW, "gate": ""}).gate == "?"
    with pytest.raises(ValueError, match=r"Flight\.flight: '1\.5' where a whole number"):
        decode({**ROW, "flight": "1.5"})


def test_a_csv_row_needs_named_fields() -> None:
    """A row of int, or a field that no cell can hold, is refused when the spec is made."""
    with pytest.raises(UsageError, match="needs a dataclass or a NamedTuple"):
        CsvSource("f.csv", int)
    with pytest.raises(UsageError, match="a CSV cell cannot be a set"):
        CsvSource("f.csv", Everything)


def test_specs_are_frozen_and_compare_by_value() -> None:
    """A topology can be built twice and compared."""
    assert TcpSource(LengthPrefix(), str) == TcpSource(LengthPrefix(">I"), str)
    assert FileSource("a") != FileSource("a", follow=True)
    assert FileSource("a").framing == Lines()
    with pytest.raises(AttributeError):
        FileSource("a").path = "b"  # type: ignore[misc]


def test_only_tcp_needs_an_address() -> None:
    """What is bound by name on the command line says so."""
    needing: list[Source[Any] | Sink[Any]] = [TcpSource(LengthPrefix()), TcpSink(str.encode)]
    own: list[Source[Any] | Sink[Any]] = [
        FileSource("a"),
        Memory([1]),
        Generate(str),
        CsvSource("a", Flight),
        Stdout(),
    ]
    assert all(spec.needs_address and spec.address is None for spec in needing)
    assert not any(spec.needs_address for spec in own)


def test_the_engine_reads_decode_and_encode_everywhere() -> None:
    """decode is None where records come as they are; Generate's make is its decode."""
    assert Memory(["a"]).decode is None
    assert TcpSource(LengthPrefix()).decode is None
    assert Generate(str).decode is str
    assert Stdout().encode is str


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: LengthPrefix("I", max_bytes=0), "max_bytes must be above 0"),
        (lambda: LengthPrefix("nonsense"), "is no struct format"),
        (lambda: LengthPrefix(">II"), "must hold one whole number"),
        (lambda: LengthPrefix(">f"), "must hold one whole number"),
        (lambda: FixedSize(0), "size must be above 0"),
        (lambda: Lines("klingon"), "no encoding 'klingon'"),
        (lambda: Generate(str, per_second=0), "per_second must be above 0"),
        (lambda: Generate(str, count=-1), "count must not be negative"),
        (lambda: untyped_sink("x"), "encode must be a function"),
    ],
)
def test_a_spec_that_cannot_work_is_refused(make: Any, says: str) -> None:
    """When it is written, not when the first record comes."""
    with pytest.raises(UsageError, match=says):
        make()


def folded(how: Aggregate[Any, Any, Any], values: Sequence[Any]) -> list[Any]:
    so_far, results = how.initial(), []
    for value in values:
        so_far = how.add(so_far, value)
        results.append(how.result(so_far))
    return results


def test_ready_aggregates() -> None:
    """Each by hand, running."""
    assert folded(total(abs), [1, -2, 3]) == [1, 3, 6]
    assert folded(mean(float), [1, 2, 6]) == [1.0, 1.5, 3.0]
    assert folded(smallest(abs), [-3, 2, 4]) == [3, 2, 2]
    assert folded(largest(len), ["a", "ccc", "bb"]) == [1, 3, 3]
    assert folded(both(total(abs), largest(abs)), [1, 3, 2]) == [(1, 1), (4, 3), (6, 3)]


def test_smallest_and_largest_take_none_for_a_value() -> None:
    """The accumulator tells "no value yet" from a value that is false."""
    assert folded(smallest(int), [0, 5]) == [0, 0]
    assert folded(largest(str), ["", "a"]) == ["", "a"]


def test_lengths_of_time_have_units() -> None:
    """Five names for timedelta."""
    assert milliseconds(1500) == seconds(1.5) == timedelta(seconds=1.5)
    assert minutes(60) == hours(1)
    assert hours(24) == days(1)
