"""Keys: canonical bytes, key groups, and the sentences for what cannot be a key."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from typing import Any, NamedTuple
from uuid import UUID
from zlib import crc32

import pytest

from zstream.errors import CannotTravel
from zstream.model import keys
from zstream.model.keys import KeyGroups, key_bytes, mixed, wire_name


class Level(IntEnum):
    LOW = 1


class Word(str, Enum):
    YES = "yes"


class Colour(Enum):
    RED = 1


class Paint(Enum):
    RED = 1


class Right(Flag):
    READ = 1
    WRITE = 2


class Place(NamedTuple):
    x: int
    y: str


class Summer(tzinfo):
    """A zone of one hour, two in summer; the clocks go back on the first of November 2020."""

    def utcoffset(self, when: datetime | None) -> timedelta:
        assert when is not None
        change = datetime(2020, 11, 1, 2)
        shown = when.replace(tzinfo=None, fold=0)
        in_summer = shown < change - timedelta(hours=1) or (shown < change and not when.fold)
        return timedelta(hours=2 if in_summer else 1)

    def dst(self, when: datetime | None) -> timedelta:
        return self.utcoffset(when) - timedelta(hours=1)

    def tzname(self, when: datetime | None) -> str:
        return "TEST"


EQUALS: list[tuple[Any, Any]] = [
    (True, 1),
    (Level.LOW, 1),
    (Word.YES, "yes"),
    (Place(1, "a"), (1, "a")),
    (((True,),), ((1,),)),
    (
        datetime(2020, 5, 1, 12, tzinfo=timezone.utc),
        datetime(2020, 5, 1, 14, tzinfo=timezone(timedelta(hours=2))),
    ),
    (datetime(2020, 5, 1, 14, tzinfo=Summer()), datetime(2020, 5, 1, 12, tzinfo=timezone.utc)),
    (datetime(2020, 5, 1, 14, fold=1), datetime(2020, 5, 1, 14)),
]


@pytest.mark.parametrize(("one", "other"), EQUALS)
def test_equal_keys_have_equal_bytes(one: Any, other: Any) -> None:
    """What Python takes for one key in a dict must not end in two key groups."""
    assert one == other
    assert key_bytes(one) == key_bytes(other)


def test_different_keys_have_different_bytes() -> None:
    """Neighbours that a careless encoding confuses: text and bytes, nesting, dates and times."""
    different: list[Any] = [
        None, 0, 1, -1, 127, 128, 255, 256, -128, -129, 2**64, "", "1", b"1", "é", "e\u0301",
        "\ud800", (), ("",), ((),), ("a", "b"), ("ab",), (("a",), "b"), ("a", ("b",)), (1, None),
        date(2020, 1, 1), datetime(2020, 1, 1), datetime(2020, 1, 1, tzinfo=timezone.utc),
        datetime(2020, 1, 1, 0, 0, 0, 1), Colour.RED, Paint.RED, Right.READ,
        Right.READ | Right.WRITE, "RED", UUID(int=0), UUID(int=1), bytes(16), datetime.min,
        datetime.max,
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    ]  # fmt: skip
    assert len({key_bytes(key) for key in different}) == len(different)


def test_bytes_never_change() -> None:
    """Key groups stand in checkpoints: these bytes are the same in every version of zstream."""
    assert key_bytes("a") == b"sa"
    assert key_bytes(1) == b"i\x01"
    assert key_bytes(-1) == b"i\xff"
    assert key_bytes(128) == b"i\x80\x00"
    assert key_bytes(None) == b"n"
    assert key_bytes(b"\x00") == b"b\x00"
    assert key_bytes(("a", 1)) == b"(\x02\x00\x00\x00sa\x02\x00\x00\x00i\x01"
    assert key_bytes(date(2020, 1, 2)) == b"d2020-01-02"
    assert key_bytes(datetime(1970, 1, 1, 0, 0, 1)) == b"ti\x40\x42\x0f"
    assert key_bytes(datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc)) == b"zi\x40\x42\x0f"
    assert key_bytes(Colour.RED) == b"e(\x07\x00\x00\x00sColour\x04\x00\x00\x00sRED"


class Shout(str):
    """A subclass of str, which could compare as it likes."""


class Ratio(float, Enum):
    HALF = 0.5


class Loose(Enum):
    ONE = 1

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


@dataclass(frozen=True)
class Point:
    x: int


Loud = namedtuple("Loud", "x")


class Deaf(Loud):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


@pytest.mark.parametrize(
    "key",
    [1.5, [1], {}, Decimal(1), Point(1), Shout("a"), Ratio.HALF, Loose.ONE, Deaf(1), (1, 2.5),
     object(), bytearray(b"a")],
)  # fmt: skip
def test_what_cannot_be_a_key_is_told_what_can(key: object) -> None:
    """The sentence names the type and lists what is allowed."""
    with pytest.raises(CannotTravel, match=r"a \w+ cannot be a key\. A key may be a str, bytes"):
        key_bytes(key)


def test_a_float_gets_a_hint() -> None:
    """The commonest mistake says what to do."""
    with pytest.raises(CannotTravel, match="Round it to an int, or use a str"):
        key_bytes(0.1)


def test_an_hour_that_comes_twice_is_refused() -> None:
    """Python takes the two readings for equal in one zone, and they are an hour apart."""
    for fold in (0, 1):
        with pytest.raises(CannotTravel, match="Convert it to UTC first"):
            key_bytes(datetime(2020, 11, 1, 1, 30, tzinfo=Summer(), fold=fold))


def test_a_tuple_without_end_is_refused() -> None:
    """Ten thousand levels end in a sentence, not in a RecursionError."""
    key: tuple[Any, ...] = ()
    for _ in range(10_000):
        key = (key,)
    with pytest.raises(CannotTravel, match="nests too deep"):
        key_bytes(key)


def test_key_groups_never_change() -> None:
    """The rule that every worker and every version shares: these stand for ever."""
    groups = KeyGroups(1024)
    assert groups.of(["a", "b", 1]) == [114, 330, 514]
    assert groups.of([Place(1, "a")]) == groups.of([(1, "a")])
    assert set(KeyGroups(8).of(range(1000))) == set(range(8))


def test_letters_fall_on_all_workers() -> None:
    """Keys that differ in one letter are spread: none of four workers is without a letter."""
    letters = KeyGroups(1024).of("abcdefghijklmnopqrstuvwxyz")
    assert {group * 4 // 1024 for group in letters} == {0, 1, 2, 3}


@pytest.mark.parametrize("others", [(), (7, b"x", None)])
def test_key_groups_are_those_of_their_bytes(others: tuple[object, ...]) -> None:
    """However they are computed: a batch of texts in one go, one with other keys key by key."""
    groups = KeyGroups(1024)
    texts = ["", "a", "\u00e4", "\ud800", "x" * 1000, "a"]
    for batch in ([*texts, *others], ["a", "new", *others, ""]):
        assert groups.of(batch) == [mixed(crc32(key_bytes(key))) % 1024 for key in batch]


def test_key_groups_remember_and_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is computed once; above the limit all are forgotten, and answers stay the same."""
    written = []

    def write(key: object) -> bytes:
        written.append(key)
        return key_bytes(key)

    monkeypatch.setattr(keys, "key_bytes", write)
    monkeypatch.setattr(keys, "KEYS_CACHED_MAX", 3)
    groups = KeyGroups(1024)
    answers = groups.of([1, 2, 3])
    assert groups.of([3, 2, 1]) == answers[::-1]
    assert written == [1, 2, 3]
    assert groups.of([2, 4]) == KeyGroups(1024).of([2, 4])
    assert groups.of([1, 2, 3]) == answers
    assert written == [1, 2, 3, *(2, 4), *(2, 4), *(1, 2, 3)]


def test_key_groups_refuse_like_key_bytes() -> None:
    """What cannot be a key raises; what cannot be hashed raises Python's own error. Nothing of
    what came with it is answered wrongly later.
    """
    groups = KeyGroups(8)
    with pytest.raises(CannotTravel):
        groups.of(["a", 0.5])
    with pytest.raises(TypeError):
        groups.of(["a", ["a"]])
    assert groups.of(["a"]) == KeyGroups(8).of(["a"])


def test_wire_names_never_name_a_module() -> None:
    """A class is called the same in `__main__` and imported, in a function and out of it."""

    class Inner:
        pass

    assert wire_name(Place) == "Place"
    assert wire_name(Inner) == "test_wire_names_never_name_a_module.Inner"
