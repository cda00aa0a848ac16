"""Messages and log records: drawn by their type hints, sent, damaged, and checked."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from zstream.errors import WireError
from zstream.model.membership import NOTHING_PLACED, RoutingTable
from zstream.model.records import GenerationOpened, LogRecord
from zstream.wire.codec import (
    Message,
    decode_message,
    decode_plain,
    decode_record,
    encode_message,
    encode_plain,
    encode_record,
)

COUNTS = st.integers(0, 2**64 - 1)


def drawn(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a hint, made without the codec's own reading of hints."""
    while hasattr(hint, "__supertype__"):
        hint = hint.__supertype__
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return st.one_of(*map(drawn, arguments))
    if hint is RoutingTable:
        return drawn(arguments_of(RoutingTable)["members"]).flatmap(tables)
    if is_dataclass(hint):
        made: Any = hint
        return st.builds(made, **{name: drawn(inner) for name, inner in arguments_of(hint).items()})
    if origin is Mapping:
        return st.dictionaries(drawn(arguments[0]), drawn(arguments[1]), max_size=2)
    if origin is tuple and arguments[-1] is ...:
        return st.lists(drawn(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(drawn, arguments))
    return SCALARS[hint]


SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: COUNTS,
    bool: st.booleans(),
    float: st.floats(allow_nan=False) | st.integers(0, 9),  # which type checkers allow
    str: st.text(st.characters(), max_size=5),
    bytes: st.binary(max_size=5),
    type(None): st.none(),
}


def arguments_of(cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}


def tables(members: tuple[Any, ...]) -> st.SearchStrategy[RoutingTable]:
    """A table that names only members that it has."""
    indexes = st.sampled_from(range(len(members))) if members else st.nothing()
    several = st.lists(indexes, max_size=5 if members else 0).map(tuple)
    return st.builds(RoutingTable, COUNTS, st.just(members), several, several)


MESSAGES = drawn(Message)
RECORDS = drawn(LogRecord)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is what its hint says, all the way down; a second reading of hints."""
    while hasattr(hint, "__supertype__"):
        hint = hint.__supertype__
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, inner) for inner in arguments)
    if is_dataclass(hint):
        return type(value) is hint and all(
            fits(getattr(value, name), inner) for name, inner in arguments_of(hint).items()
        )
    if origin is Mapping:
        return type(value) is dict and all(
            fits(key, arguments[0]) and fits(item, arguments[1]) for key, item in value.items()
        )
    if origin is tuple:
        inner = [arguments[0]] * len(value) if arguments[-1] is ... else arguments
        return (
            type(value) is tuple
            and len(value) == len(inner)
            and all(map(fits, value, inner))
        )  # fmt: skip
    return type(value) is hint and (hint is not int or value >= 0)


@given(MESSAGES)
def test_a_message_comes_back(message: Any) -> None:
    """All kinds of messages, with all kinds inside."""
    back = decode_message(encode_message(message))
    assert back == message
    assert fits(back, Message)


@given(RECORDS)
def test_a_log_record_comes_back(record: Any) -> None:
    """All kinds of records."""
    assert decode_record(encode_record(record)) == record


def whole_or_wire_error(data: bytes) -> None:
    try:
        message = decode_message(data)
    except WireError:
        return
    assert fits(message, Message)
    assert decode_message(encode_message(message)) == message


@given(st.binary(max_size=100))
def test_any_bytes_are_a_message_or_a_wire_error(data: bytes) -> None:
    """No other exception, and never a message that is not as its hints say."""
    whole_or_wire_error(data)


@given(MESSAGES, st.data())
def test_a_damaged_message_is_a_message_or_a_wire_error(message: Any, data: st.DataObject) -> None:
    """Bytes cut, changed or put in."""
    whole = encode_message(message)
    at = data.draw(st.integers(0, len(whole)))
    to = data.draw(st.integers(at, min(len(whole), at + 3)))
    whole_or_wire_error(whole[:at] + data.draw(st.binary(max_size=3)) + whole[to:])


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    items = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree))
    for at, item in items:
        yield tree, at
        if isinstance(item, list | dict):
            yield from places(item)


ODD: list[Any] = [
    None, True, -1, 0, 2**40, 1.5, "", "Pulse", b"x", [], [1], {}, {"a": 1}, {1: 1}, ["Pulse", []],
    msgpack.ExtType(1, b"x"), msgpack.Timestamp(1),
]  # fmt: skip


@given(MESSAGES, st.data(), st.sampled_from(ODD), st.sampled_from(["put", "add", "leave out"]))
def test_a_message_with_a_wrong_field_is_never_obeyed(
    message: Any, data: st.DataObject, odd: Any, how: str
) -> None:
    """Wrong types, missing and surplus fields, negative sizes, unknown kinds."""
    tree = msgpack.unpackb(encode_message(message), unicode_errors="surrogatepass")
    branch, at = data.draw(st.sampled_from(list(places(tree))))
    if how == "put" or isinstance(branch, dict):
        branch[at] = odd
    elif how == "add":
        branch.insert(at, odd)
    else:
        del branch[at]
    whole_or_wire_error(msgpack.packb(tree, unicode_errors="surrogatepass"))


@given(RECORDS, st.integers(0), st.integers(1, 255))
def test_one_changed_byte_of_a_record_is_found(record: Any, place: int, change: int) -> None:
    """The checksum sees it, wherever it is; so do magic and version."""
    data = bytearray(encode_record(record))
    data[place % len(data)] ^= change
    try:
        decode_record(bytes(data))
    except WireError:
        return
    raise AssertionError("a damaged record was read")


@given(RECORDS, st.integers(0))
def test_a_record_that_was_cut_off_is_found(record: Any, place: int) -> None:
    """A disk that was full."""
    data = encode_record(record)
    try:
        decode_record(data[: place % len(data)])
    except WireError:
        return
    raise AssertionError("a record that was cut off was read")


@given(st.lists(drawn(RoutingTable), max_size=3))
def test_a_table_that_names_nobody_is_refused(drawn_tables: list[RoutingTable]) -> None:
    """An owner past the members would be an IndexError in the middle of routing."""
    for table in drawn_tables:
        wrong = replace(table, owners=(*table.owners, len(table.members)))
        opened = GenerationOpened(
            *(1, 2, 1, wrong, NOTHING_PLACED, "grow-1", 1, 1, False, None, "")  # type: ignore[arg-type]
        )
        try:
            decode_record(encode_record(opened))
        except WireError as error:
            assert "members that it does not have" in str(error)
        else:
            raise AssertionError("a wrong table was read")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
    | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)  # fmt: skip


@given(PLAIN)
def test_plain_values_come_back(value: Any) -> None:
    """What status and refusals are made of."""
    assert decode_plain(encode_plain(value)) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_a_plain_value_or_a_wire_error(data: bytes) -> None:
    """A tool must not fall over what another program answers."""
    try:
        decode_plain(data)
    except WireError:
        return
