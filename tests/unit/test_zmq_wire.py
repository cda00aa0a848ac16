"""The messages between outside programs and a cluster: what is read, and what is refused."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zstream.errors import WireError
from zstream.wire.outside import (
    PIECE_BYTES,
    PIECE_RECORDS_MAX,
    Message,
    Offer,
    Output,
    OutputState,
    Refusal,
    SourceState,
    decode,
    encode,
    piece,
    refusal_of,
    weight,
)

MESSAGES: list[Message] = [
    Offer("prices", "desk-7", 9, 4, 1001, [b"", b"\0\xff"]),
    Offer("prices", "desk-7", 9, 0, 1, []),
    SourceState(4, 1001, 1000, 2**40),
    Output("totals", 3, 2**62, 7, 1, [b"a" * 300]),
    OutputState(3, 2**62, 7, 10, 9, 8, True),
    Refusal("wrong_source", "no.", ""),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_each_message_comes_back_as_it_was(message: Message) -> None:
    """Class and fields."""
    again = decode(encode(message))
    assert type(again) is type(message)
    assert again == message


def test_the_bytes_are_those_that_the_documentation_gives() -> None:
    """Another language implements these; they must not change by accident."""
    offer = Offer("a", "b", 3, 4, 5, [b"x"])
    assert encode(offer) == b"zo\x01\x01" + msgpack.packb(["a", "b", 3, 4, 5, [b"x"]])
    assert encode(SourceState(1, 2, 3, 4)) == b"zo\x01\x02\x94\x01\x02\x03\x04"
    assert encode(OutputState(1, 2, 3, 4, 5, 6, False))[3] == 4


def broken(kind: int, fields: object, version: int = 1) -> bytes:
    packed: bytes = msgpack.packb(fields)
    return b"zo" + bytes([version, kind]) + packed


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"zo", "too short"),
        (b"GET / HTTP/1.1", "no message of a producer"),
        (broken(1, ["a", "b", 3, 4, 5, []], version=2), "version 2 of the wire.*speaks 1"),
        (broken(9, []), "unknown kind 9"),
        (b"zo\x01\x02\xc1", "cannot be read"),
        (broken(2, [1, 2, 3]), "must have 4 fields"),
        (broken(2, {"attempt": 1}), "must have 4 fields"),
        (broken(1, ["", "b", 3, 4, 5, []]), "field 1"),
        (broken(1, ["a", "b" * 256, 3, 4, 5, []]), "field 2"),
        (broken(1, ["a", "b", 0, 4, 5, []]), "field 3"),
        (broken(1, ["a", "b", 3, -4, 5, []]), "field 4"),
        (broken(1, ["a", "b", 3, 4, 0, []]), "field 5"),
        (broken(1, ["a", "b", 3, True, 5, []]), "field 4"),
        (broken(1, ["a", "b", 3, 4, 5, ["text"]]), "field 6"),
        (broken(1, ["a", "b", 3, 4, 5, [[b"deep"]]]), "field 6"),
        (broken(4, [1, 2, 3, 4, 5, 6, 1]), "field 7"),
    ],
)
def test_what_is_no_message_is_refused_in_a_sentence(data: bytes, says: str) -> None:
    """Foreign bytes, another version, wrong fields."""
    with pytest.raises(WireError, match=says):
        decode(data)


def test_a_refusal_is_read_whatever_version_it_has() -> None:
    """It is how a newer side says that it is newer."""
    data = broken(5, ["not_understood", "too old.", "Update."], version=77)
    assert decode(data) == Refusal("not_understood", "too old.", "Update.")
    answer = decode(refusal_of(WireError("version 2.")))
    assert answer == Refusal("not_understood", "what came was not understood: version 2.", "")


@given(st.binary(max_size=60))
def test_rubbish_never_does_anything_else_than_be_refused(rubbish: bytes) -> None:
    """With and without the right beginning."""
    for data in (rubbish, b"zo\x01" + rubbish):
        try:
            decode(data)
        except WireError:
            continue
        assert data.startswith(b"zo")


@given(st.lists(st.integers(0, 3 * PIECE_BYTES // 2), max_size=8))
def test_pieces_are_bounded_and_leave_nothing_out(sizes: list[int]) -> None:
    """A large record goes alone or last."""
    records = [bytes(size) for size in sizes]
    place = 0
    while place < len(records):
        cut = piece(records, place)
        assert cut
        assert weight(cut[:-1]) < PIECE_BYTES
        place += len(cut)
    assert place == len(records)
    assert piece(records, place) == []
    assert len(piece([b""] * 9999, 0)) <= PIECE_RECORDS_MAX
