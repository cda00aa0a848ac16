"""Values: round trips, and a slow second implementation that must agree in both directions.

The second one is written from the description of the format, an item at a time, with the Python
fallback of msgpack; it shares no code with `zstream.wire`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgpack import ExtType, fallback

from zstream.errors import CannotTravel, WireError
from zstream.wire import values as values_module
from zstream.wire.values import Registry


@dataclass
class Vote:
    letter: Any
    votes: Any


@dataclass(frozen=True)
class Wrap:
    inside: Any


class Pair(NamedTuple):
    one: Any
    other: Any


class Colour(Enum):
    RED = "r"
    BLUE = "b"


class Level(IntEnum):
    LOW = 0
    HIGH = 1


CLASSES: dict[str, Any] = {cls.__name__: cls for cls in (Vote, Wrap, Pair, Colour, Level)}


def registry() -> Registry:
    """All the classes of this module, as a topology would have found them."""
    made = Registry()
    for cls in CLASSES.values():
        made.register(cls)
    return made


# ---------------------------------------------------------------- any value

ZONES = st.integers(-86_000, 86_000).map(lambda s: timezone(timedelta(seconds=s)))
HASHABLE_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(st.characters(), max_size=4),
    st.binary(max_size=4),
    st.datetimes(timezones=st.none() | ZONES),
    st.dates(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.sampled_from([*Colour, *Level]),
)
SCALARS = HASHABLE_SCALARS | st.sampled_from([float("nan"), -0.0, Decimal("NaN"), Decimal("-0")])
HASHABLE = st.recursive(
    HASHABLE_SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.frozensets(inner, max_size=3),
        st.builds(Pair, inner, inner),
        st.builds(Wrap, inner),
    ),
    max_leaves=4,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(st.tuples(inner, inner), max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(HASHABLE, max_size=3),
        st.frozensets(HASHABLE, max_size=3),
        st.dictionaries(HASHABLE, inner, max_size=3),
        st.lists(st.fixed_dictionaries({"a": inner, "b": inner}), max_size=3),
        st.builds(OrderedDict, st.lists(st.tuples(HASHABLE, inner), max_size=3)),
        st.builds(Counter, st.dictionaries(HASHABLE, st.integers(), max_size=3)),
        st.builds(
            defaultdict, st.sampled_from([None, int, list]), st.dictionaries(HASHABLE, inner)
        ),
        st.builds(deque, st.lists(inner, max_size=3), st.sampled_from([None, 0, 2, 5])),
        st.builds(Pair, inner, inner),
        st.builds(Vote, inner, inner),
        st.lists(st.builds(Vote, inner, inner), max_size=3),
    ),
    max_leaves=12,
)


def spelled(value: Any) -> str:
    """All that can be told of a value: types, order, signs, limits; sets sorted."""
    name = type(value).__name__
    if isinstance(value, Enum | datetime):
        return f"{name} {value!r}"
    if isinstance(value, defaultdict):
        name += str(value.default_factory)
    if isinstance(value, dict):
        return f"{name}{{{','.join(f'{spelled(k)}:{spelled(v)}' for k, v in value.items())}}}"
    if isinstance(value, deque):
        name += str(value.maxlen)
    if isinstance(value, list | tuple | deque):
        return f"{name}[{','.join(map(spelled, value))}]"
    if isinstance(value, set | frozenset):
        return f"{name}[{','.join(sorted(map(spelled, value)))}]"
    if is_dataclass(value):
        inner = (f"{field.name}={spelled(getattr(value, field.name))}" for field in fields(value))
        return f"{name}({','.join(inner)})"
    return f"{name} {value!r}"


@given(VALUES)
def test_a_value_comes_back_as_it_went(value: Any) -> None:
    """Every type, nested in every other."""
    codec = registry()
    assert spelled(codec.unpack(codec.pack(value))) == spelled(value)


@given(st.lists(VALUES, max_size=6))
def test_a_column_comes_back_as_it_went(values: list[Any]) -> None:
    """Mixed columns, and the caller's own list is left alone."""
    before = spelled(values)
    codec = registry()
    assert spelled(codec.unpack_column(codec.pack_column(values))) == before
    assert spelled(values) == before


# ---------------------------------------------------------------- the slow second implementation


def slow_read(node: Any) -> list[Any]:
    """Items of a node, one after the other, by the description of the format."""
    code, head, nodes = node
    parts = [slow_read(part) for part in nodes]
    if code == 0:
        return list(head)
    if code == 1:
        return [parts[tag].pop(0) for tag in head]
    if code in SINGLE:
        return [SINGLE[code](item) for item in head]
    if code in RUNS:
        return [RUNS[code](parts[0].pop(0) for _ in range(length)) for length in head]
    if code == 4:
        return [tuple(part[at] for part in parts) for at in range(len(parts[0]))]
    if code == 7:
        flavour, lengths = head
        keys, values = parts
        return [slow_mapping(flavour, keys, values, length) for length in lengths]
    if code == 8:
        rows = range(len(parts[0]))
        return [{name: part[at] for name, part in zip(head, parts)} for at in rows]  # noqa: B905
    if code == 9:
        return [
            deque([parts[0].pop(0) for _ in range(length)], limit)
            for length, limit in zip(*head, strict=True)
        ]
    if code == 10:
        return [
            datetime.fromisoformat(text).replace(fold=int(at in head[1]))
            for at, text in enumerate(head[0])
        ]
    if code == 12:
        return [timedelta(*row) for row in zip(*head, strict=True)]
    if code == 15:
        return [CLASSES[head[0]][name] for name in head[1]]
    assert code == 16
    name, version, names = head
    assert version == 1
    rows = range(len(parts[0]))
    return [CLASSES[name](**{n: p[at] for n, p in zip(names, parts)}) for at in rows]  # noqa: B905


SINGLE: dict[int, Any] = {
    11: date.fromisoformat,
    13: Decimal,
    14: lambda data: UUID(bytes=data),
}
RUNS: dict[int, Any] = {2: list, 3: tuple, 5: set, 6: frozenset}
MAPPINGS: dict[str, Any] = {
    "dict": dict,
    "ordered": OrderedDict,
    "counter": lambda pairs: Counter(dict(pairs)),
    "default None": lambda pairs: defaultdict(None, pairs),
    "default int": lambda pairs: defaultdict(int, pairs),
    "default list": lambda pairs: defaultdict(list, pairs),
}


def slow_mapping(flavour: str, keys: list[Any], values: list[Any], length: int) -> Any:
    return MAPPINGS[flavour]([(keys.pop(0), values.pop(0)) for _ in range(length)])


def slow_write(values: list[Any]) -> Any:
    """A node for a column, never by a short form: all is mixed, each item a column of one."""
    return [1, list(range(len(values))), [slow_node(value) for value in values]]


def slow_node(value: Any) -> Any:
    name = type(value).__name__
    match value:
        case Enum():
            return [15, [name, [value.name]], []]
        case None | bool() | int() | float() | str() | bytes():
            return [0, [value], []]
        case datetime():
            return [10, [[value.isoformat()], [0] * value.fold], []]
        case date():
            return [11, [value.isoformat()], []]
        case timedelta():
            return [12, [[value.days], [value.seconds], [value.microseconds]], []]
        case Decimal():
            return [13, [str(value)], []]
        case UUID():
            return [14, [value.bytes], []]
        case deque():
            return [9, [[len(value)], [value.maxlen]], [slow_write(list(value))]]
        case dict():
            factory = getattr(value, "default_factory", None)
            flavour = {"OrderedDict": "ordered", "Counter": "counter", "dict": "dict"}.get(
                name, f"default {getattr(factory, '__name__', factory)}"
            )
            pairs = [slow_write(list(value)), slow_write(list(value.values()))]
            return [7, [flavour, [len(value)]], pairs]
    if name in CLASSES:
        names = list(getattr(value, "_fields", None) or [f.name for f in fields(value)])
        return [16, [name, 1, names], [slow_write([getattr(value, n)]) for n in names]]
    code = {"list": 2, "tuple": 3, "set": 5, "frozenset": 6}[name]
    return [code, [len(value)], [slow_write(list(value))]]


def big_int(code: int, data: bytes) -> int:
    assert code == 1
    return int.from_bytes(data, "little", signed=True)


def as_big_int(value: Any) -> ExtType:
    return ExtType(1, value.to_bytes(20, "little", signed=True))


@given(st.lists(VALUES, max_size=5))
def test_a_slow_reader_reads_the_same(values: list[Any]) -> None:
    """What the fast one writes, a second implementation in plain Python understands."""
    tree = fallback.unpackb(
        registry().pack_column(values), ext_hook=big_int, unicode_errors="surrogatepass"
    )
    assert spelled(slow_read(tree)) == spelled(values)


@given(st.lists(VALUES, max_size=5))
def test_what_a_slow_writer_writes_is_read(values: list[Any]) -> None:
    """The short forms are a choice of the writer: a reader takes the long ones too."""
    packer = fallback.Packer(default=as_big_int, unicode_errors="surrogatepass")
    data = packer.pack(slow_write(values))
    assert spelled(registry().unpack_column(data)) == spelled(values)


@given(st.lists(VALUES, max_size=5))
def test_with_and_without_msgspec_the_same_bytes_are_written(values: list[Any]) -> None:
    """Workers need not have the same extras, nor one that goes on from what another one wrote."""
    pytest.importorskip("msgspec")
    with pytest.MonkeyPatch.context() as patched:
        fast = registry().pack_column(values)
        patched.setattr(values_module, "_pack_fast", None)
        assert registry().pack_column(values) == fast


# ---------------------------------------------------------------- rubbish


def only_wire_errors(data: bytes) -> None:
    try:
        values = registry().unpack_column(data)
    except WireError:
        return
    assert isinstance(values, list)


@given(st.binary(max_size=200))
def test_any_bytes_are_values_or_a_wire_error(data: bytes) -> None:
    """No other exception gets out."""
    only_wire_errors(data)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Cut, changed, doubled or grown somewhere."""
    at = draw(st.integers(0, len(whole)))
    to = draw(st.integers(at, min(len(whole), at + 4)))
    return whole[:at] + draw(st.binary(max_size=4)) + whole[to:]


@given(st.lists(VALUES, max_size=4), st.data())
def test_damaged_values_are_values_or_a_wire_error(values: list[Any], data: st.DataObject) -> None:
    """Nearly right bytes go deepest into the decoder."""
    only_wire_errors(data.draw(damaged(registry().pack_column(values))))


def places(tree: Any) -> Iterator[tuple[list[Any], int]]:
    for at, item in enumerate(tree):
        yield tree, at
        if isinstance(item, list):
            yield from places(item)


ODD: list[Any] = [None, True, -1, 0, 3, 2**40, 1.5, "", "dict", "Vote", b"x", [], [1], {}, {"a": 1}]


@given(st.lists(VALUES, min_size=1, max_size=4), st.data(), st.sampled_from(ODD))
def test_a_tree_with_a_wrong_leaf_is_values_or_a_wire_error(
    values: list[Any], data: st.DataObject, odd: Any
) -> None:
    """Well-formed msgpack that is no tree of nodes."""
    tree = fallback.unpackb(
        registry().pack_column(values), ext_hook=big_int, unicode_errors="surrogatepass"
    )
    branch, at = data.draw(st.sampled_from(list(places(tree))))
    branch[at] = odd
    packer = fallback.Packer(default=as_big_int, unicode_errors="surrogatepass")
    only_wire_errors(packer.pack(tree))


@given(VALUES)
def test_one_thing_that_cannot_travel_is_found_anywhere(value: Any) -> None:
    """However deep, and whatever stands beside it."""
    for hidden in ([value, object()], {"a": (value, object())}, Vote(value, Wrap(object()))):
        with pytest.raises(CannotTravel, match="object"):
            registry().pack(hidden)
