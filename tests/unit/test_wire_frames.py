"""Frames, batches and snapshot chunks: layout, refusals, and columns of numbers."""

from __future__ import annotations

import sys
from array import array
from typing import NamedTuple

import msgpack
import pytest

from zstream.errors import CannotTravel, WireError
from zstream.model.batch import Batch
from zstream.model.ids import EntryId, FrameNumber, Generation, Incarnation, KeyGroup, Run
from zstream.wire import frames
from zstream.wire.frames import (
    BatchCodec,
    Frame,
    FrameKind,
    decode_frame,
    decode_snapshot,
    encode_frame,
    encode_snapshot,
    pack_groups,
    unpack_groups,
)
from zstream.wire.values import Registry


class Vote(NamedTuple):
    letter: str
    votes: int


FRAME = Frame(
    *(Incarnation(2**63 - 1), Incarnation(7), Run(1), 0, FrameNumber(9)),
    *(FrameKind.BATCH, {}, b"body"),
)


def encoded(frame: Frame) -> bytes:
    sender, receiver, run, lane, number, kind, headers, body = frame
    return encode_frame(sender, receiver, run, lane, number, kind, body, headers)


def test_the_layout_of_a_frame() -> None:
    """Fixed and little-endian, as the module says; what other programs may rely on."""
    data = encoded(FRAME)
    assert data[:8] == b"zf\x01\x02\x00\x00\x00\x00"
    assert data[8:12] == bytes(4)
    assert data[12:20] == b"\xff" * 7 + b"\x7f"
    assert data[20:44] == b"".join(n.to_bytes(8, "little") for n in (7, 1, 9))
    assert data[44:] == b"body"


@pytest.mark.parametrize("kind", FrameKind)
def test_each_kind_comes_back_with_headers(kind: FrameKind) -> None:
    """Headers are room for tracing: a map of msgpack types."""
    frame = FRAME._replace(kind=kind, headers={"trace": b"\x01", "hops": [1, 2]}, lane=1)
    back = decode_frame(encoded(frame))
    assert back == frame
    assert back.kind is kind


def test_what_is_no_frame_is_said() -> None:
    """Each damage has its sentence."""
    data = encoded(FRAME)
    for wrong, says in [
        (b"", "a frame of 0 bytes is too short"),
        (data[:43], "a frame of 43 bytes is too short"),
        (b"GE" + data[2:], "this is no data frame"),
        (data[:2] + b"\x02" + data[3:], "frame version 2, this worker speaks 1"),
        (data[:3] + b"\x63" + data[4:], "a frame of unknown kind 99"),
        (data[:8] + b"\x05\x00\x00\x00" + data[12:], "headers are cut off"),
        (data[:8] + b"\x01\x00\x00\x00" + data[12:], "headers cannot be read|not a map"),
        (data[:8] + b"\x01\x00\x00\x00" + data[12:44] + b"\x01", "not a map with str keys"),
        (data[:8] + b"\x03\x00\x00\x00" + data[12:44] + b"\x81\xc4\x00", "headers"),
    ]:
        with pytest.raises(WireError, match=says):
            decode_frame(wrong)


def test_a_batch_comes_back() -> None:
    """All columns, and only those that are there."""
    codec = BatchCodec(Registry())
    votes = [Vote("a", 1), Vote("b", 2)]
    full = Batch(votes, ["a", ("b", 1)], [1.5, -0.25])
    assert codec.decode(codec.encode(EntryId(4), full)) == (4, full)
    assert codec.decode(codec.encode(EntryId(0), Batch([]))) == (0, Batch([]))
    assert codec.decode(codec.encode(EntryId(0), Batch([1, None]))) == (0, Batch([1, None]))


def test_groups_take_two_bytes_while_they_fit() -> None:
    """A thousand key groups: two bytes a row; more than 65,536: four."""
    sizes = {}
    for top in (65_535, 65_536, 2**32 - 1):
        data = pack_groups([top] * 50)
        assert list(unpack_groups(data)) == [top] * 50
        sizes[top] = len(data)
    assert sizes[65_536] == sizes[65_535] + 100
    with pytest.raises(OverflowError):
        pack_groups([2**32])


def test_columns_of_numbers_are_little_endian_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host of the other kind swaps on the way out and in, on a copy."""
    assert sys.byteorder == "little", "this test plays the other kind"
    groups = array("H", [1, 2])
    assert pack_groups(groups) == b"H\x01\x00\x02\x00"
    monkeypatch.setattr(frames, "_LITTLE", False)
    swapped = pack_groups(groups)
    assert swapped == b"H\x00\x01\x00\x02"
    assert groups == array("H", [1, 2])
    assert unpack_groups(swapped) == groups


def test_what_cannot_travel_is_refused_when_a_batch_is_encoded() -> None:
    """By name, before anything is sent."""
    with pytest.raises(CannotTravel, match="the field votes is a function"):
        BatchCodec(Registry()).encode(EntryId(1), Batch([Vote("a", lambda: 1)]))  # type: ignore[arg-type]


def test_a_damaged_batch_is_a_wire_error() -> None:
    """Columns of different length, unknown widths, half numbers, other types."""
    registry = Registry()
    codec = BatchCodec(registry)
    one = registry.pack_column([1])
    for wrong in [
        None, [], [1, None, None, None], [1, None, None, None, None], [-1, None, None, None, one],
        [True, None, None, None, one], ["1", None, None, None, one], [1, b"", None, None, one],
        [1, b"Q" + bytes(8), None, None, one], [1, b"H\x00", None, None, one],
        [1, b"H" + bytes(4), None, None, one], [1, None, b"\x00", None, one],
        [1, None, bytes(16), None, one], [1, None, None, registry.pack_column([]), one],
        [1, None, None, b"\xc1", one], [1, "H", None, None, one], [1, None, 5, None, one],
    ]:  # fmt: skip
        with pytest.raises(WireError):
            codec.decode(msgpack.packb(wrong))
    with pytest.raises(WireError):
        codec.decode(b"")


def test_a_snapshot_chunk_comes_back() -> None:
    """A megabyte of one key group's state."""
    payload = b"\x00\xff" * 500_000
    data = encode_snapshot(Generation(3), KeyGroup(1023), 2, False, payload)
    assert decode_snapshot(data) == (3, 1023, 2, False, payload)
    assert decode_snapshot(encode_snapshot(Generation(3), KeyGroup(0), 0, True, b"")).last
    with pytest.raises(WireError, match="too short"):
        decode_snapshot(data[:10])
    with pytest.raises(WireError, match="damaged"):
        decode_snapshot(data[:16] + b"\x02" + data[17:])
