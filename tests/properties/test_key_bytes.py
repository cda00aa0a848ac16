"""Keys: whatever Python takes for equal has the same bytes, and nothing else has."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from enum import Enum, IntEnum
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from zstream.model.keys import key_bytes


class Level(IntEnum):
    LOW = 0
    HIGH = 1


class Word(str, Enum):
    EMPTY = ""
    A = "a"


class Colour(Enum):
    A = 0
    B = 1


class Pair(NamedTuple):
    one: Any
    other: Any


ZONES = st.sampled_from([timezone.utc, *(timezone(timedelta(hours=h)) for h in (-11, 1, 14))])
# Few values, so that two draws are often equal across types, and some from all over.
SCALARS = st.one_of(
    st.sampled_from([None, True, False, 0, 1, -1, "", "a", b"", b"a", *Level, *Word, *Colour]),
    st.integers(),
    st.text(st.characters(), max_size=3),
    st.binary(max_size=3),
    st.dates(),
    st.datetimes(),
    st.datetimes(
        datetime(2020, 1, 1), datetime(2020, 1, 1, 2), timezones=ZONES
    ).map(lambda when: when.replace(minute=0, second=0, microsecond=0)),
    st.uuids(),
)  # fmt: skip
KEYS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple), st.builds(Pair, inner, inner)
    ),
    max_leaves=5,
)  # fmt: skip


@given(KEYS, KEYS)
def test_bytes_are_equal_exactly_when_keys_are(one: Any, other: Any) -> None:
    """Both directions at once, over pairs of mixed types."""
    assert (key_bytes(one) == key_bytes(other)) == (one == other)


def twin(key: Any) -> Any:
    """Another key that Python takes for equal, of other types where there are any."""
    if isinstance(key, tuple):
        items = tuple(map(twin, key))
        return Pair(*items) if len(items) == 2 and type(key) is tuple else items
    if type(key) is int and key in (0, 1):
        return Level(key)
    if isinstance(key, int):
        return int(key)
    if type(key) is str and key in ("", "a"):
        return Word(key)
    if isinstance(key, datetime) and key.tzinfo is not None and 2 < key.year < 9000:
        return key.astimezone(timezone(timedelta(hours=-3, minutes=-30)))
    return key


@given(KEYS)
def test_a_twin_of_other_types_has_the_same_bytes(key: Any) -> None:
    """Equal on purpose, where two draws would be equal only by luck."""
    assert twin(key) == key
    assert key_bytes(twin(key)) == key_bytes(key)


@given(st.sets(KEYS, max_size=20))
def test_a_set_keeps_apart_what_the_bytes_keep_apart(distinct: set[Any]) -> None:
    """As many byte strings as dict entries."""
    assert len(set(map(key_bytes, distinct))) == len(distinct)
