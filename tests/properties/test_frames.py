"""Frames and batches: round trips, and no bytes that raise anything but WireError."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from zstream.errors import WireError
from zstream.model.batch import Batch
from zstream.model.ids import EntryId
from zstream.wire.frames import (
    BatchCodec,
    Frame,
    FrameKind,
    decode_frame,
    decode_snapshot,
    encode_frame,
)
from zstream.wire.values import Registry

NUMBERS = st.integers(0, 2**64 - 1)
HEADERS = st.dictionaries(st.text(max_size=3), st.integers(0, 9) | st.binary(max_size=3))
FRAMES = st.builds(
    Frame, NUMBERS, NUMBERS, NUMBERS, st.integers(0, 255), NUMBERS, st.sampled_from(FrameKind),
    HEADERS, st.binary(max_size=30),
)  # fmt: skip


def encoded(frame: Frame) -> bytes:
    sender, receiver, run, lane, number, kind, headers, body = frame
    return encode_frame(sender, receiver, run, lane, number, kind, body, headers)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Columns of one length; all but the values may be missing."""
    count = draw(st.integers(0, 5))

    def column(of: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
        return st.lists(of, min_size=count, max_size=count)

    scalars = st.integers() | st.text(max_size=3) | st.none()
    return Batch(
        draw(column(scalars | st.tuples(scalars, scalars) | st.lists(scalars, max_size=2))),
        draw(st.none() | column(scalars)),
        draw(st.none() | column(st.floats(allow_nan=False))),
    )


@given(FRAMES)
def test_a_frame_comes_back(frame: Frame) -> None:
    """Any numbers, headers and body."""
    assert decode_frame(encoded(frame)) == frame


@given(st.integers(0, 2**32), batches())
def test_a_batch_comes_back(entry: int, batch: Batch) -> None:
    """With its entry."""
    codec = BatchCodec(Registry())
    assert codec.decode(codec.encode(EntryId(entry), batch)) == (entry, batch)


@given(FRAMES, st.data())
def test_a_damaged_frame_is_a_frame_or_a_wire_error(frame: Frame, data: st.DataObject) -> None:
    """Cut, changed or grown."""
    whole = encoded(frame)
    at = data.draw(st.integers(0, len(whole)))
    to = data.draw(st.integers(at, min(len(whole), at + 3)))
    try:
        decode_frame(whole[:at] + data.draw(st.binary(max_size=3)) + whole[to:])
    except WireError:
        return


@given(batches(), st.data())
def test_a_damaged_batch_is_a_batch_or_a_wire_error(batch: Batch, data: st.DataObject) -> None:
    """Whatever is read has columns of one length."""
    codec = BatchCodec(Registry())
    whole = codec.encode(EntryId(1), batch)
    at = data.draw(st.integers(0, len(whole)))
    to = data.draw(st.integers(at, min(len(whole), at + 3)))
    try:
        _, back = codec.decode(whole[:at] + data.draw(st.binary(max_size=3)) + whole[to:])
    except WireError:
        return
    for column in (back.keys, back.times):
        assert column is None or len(column) == len(back.values)


@given(st.binary(max_size=80))
def test_any_bytes_raise_nothing_but_wire_errors(data: bytes) -> None:
    """In each of the three places where bytes from a link are read."""
    for decode in (decode_frame, decode_snapshot, BatchCodec(Registry()).decode):
        try:
            decode(data)
        except WireError:
            continue
