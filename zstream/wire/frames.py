"""Data frames: what travels on a link, and what is inside.

    frame    = header, headers (a msgpack map, or nothing), body
    header   = magic "zf", version u8, kind u8, lane u8, 3 zero bytes, length of headers u32,
               sender u64, receiver u64, run u64, number u64; little-endian, 44 bytes

The header is fixed because it is read for every frame. `headers` are room for what is to come
(tracing) and mostly empty. The body of a BATCH is written by `BatchCodec`, of a SNAPSHOT by
`encode_snapshot`, of a BARRIER by `encode_barrier`, of a GENERATION by
`zstream.wire.codec.encode_record`.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, Sequence
from enum import IntEnum
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception should look like one
from typing import Any, NamedTuple

import msgpack

from zstream.errors import WireError
from zstream.model.batch import Batch
from zstream.model.ids import (
    EntryId,
    Epoch,
    FrameNumber,
    Generation,
    Incarnation,
    KeyGroup,
    Run,
)
from zstream.wire.values import Registry

FRAME_VERSION = 1

_MAGIC = b"zf"
_HEADER = Struct("<2sBBB3xIQQQQ")
_SNAPSHOT = Struct("<QIIB")
_BARRIER = Struct("<Q")
_LITTLE = sys.byteorder == "little"


class FrameKind(IntEnum):
    """What a frame is. All but BATCH and SNAPSHOT are HELLO and the markers."""

    HELLO = 1
    BATCH = 2
    GENERATION = 3
    BARRIER = 4
    WATERMARK = 5
    END = 6
    SNAPSHOT = 7


_KINDS = {int(kind): kind for kind in FrameKind}  # a look-up costs a tenth of FrameKind(n)


class Frame(NamedTuple):
    """One frame, opened. lane: 0 data, 1 snapshots. number: 1 is the first on its link."""

    sender: Incarnation
    receiver: Incarnation
    run: Run
    lane: int
    number: FrameNumber
    kind: FrameKind
    headers: dict[str, Any]
    body: bytes


def encode_frame(
    sender: Incarnation,
    receiver: Incarnation,
    run: Run,
    lane: int,
    number: FrameNumber,
    kind: FrameKind,
    body: bytes,
    headers: Mapping[str, Any] | None = None,
) -> bytes:
    """One frame as bytes. `headers` are made of msgpack types, with str keys."""
    extra = msgpack.packb(dict(headers)) if headers else b""
    header = _HEADER.pack(
        _MAGIC, FRAME_VERSION, kind, lane, len(extra), sender, receiver, run, number
    )
    return b"".join((header, extra, body))


def decode_frame(data: bytes) -> Frame:
    """Open a frame. Raises WireError for whatever is not one, and says what is wrong.

    The body is copied: below 64 KiB that is cheaper than a memoryview of it.
    """
    try:
        magic, version, number_of_kind, lane, extra, sender, receiver, run, number = (
            _HEADER.unpack_from(data)
        )
    except StructError:
        raise WireError(f"a frame of {len(data)} bytes is too short.") from None
    if magic != _MAGIC:
        raise WireError("this is no data frame.")
    if version != FRAME_VERSION:
        raise WireError(f"frame version {version}, this worker speaks {FRAME_VERSION}.")
    kind = _KINDS.get(number_of_kind)
    if kind is None:
        raise WireError(f"a frame of unknown kind {number_of_kind}.")
    start = _HEADER.size + extra
    if start > len(data):
        raise WireError("a frame's headers are cut off.")
    headers = _decode_headers(data[_HEADER.size : start]) if extra else {}
    return Frame(sender, receiver, run, lane, number, kind, headers, data[start:])


def _decode_headers(data: bytes) -> dict[str, Any]:
    try:
        headers = msgpack.unpackb(data)
    except Exception as error:
        raise WireError(f"a frame's headers cannot be read: {error}") from error
    if type(headers) is not dict or not set(map(type, headers)) <= {str}:
        raise WireError("a frame's headers are not a map with str keys.")
    return headers


class BatchCodec:
    """A batch as the body of a BATCH frame: entry id and columns."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def encode(self, entry: EntryId, batch: Batch) -> bytes:
        """Raises CannotTravel, by name, for a value or key that cannot travel."""
        pack_column = self._registry.pack_column
        columns = (
            entry,
            None if batch.times is None else _to_little(array("d", batch.times)),
            None if batch.keys is None else pack_column(batch.keys),
            pack_column(batch.values),
        )
        data: bytes = msgpack.packb(columns)
        return data

    def decode(self, body: bytes) -> tuple[EntryId, Batch]:
        """Raises WireError for anything that `encode` does not write."""
        try:
            entry, times, keys, values = msgpack.unpackb(body)
            if type(entry) is not int or entry < 0:
                raise ValueError("no entry id")
            batch = Batch(
                self._registry.unpack_column(values),
                None if keys is None else self._registry.unpack_column(keys),
                None if times is None else _from_little("d", times).tolist(),
            )
        except WireError:
            raise
        except Exception as error:
            raise WireError(f"a batch cannot be read: {error}") from error
        for column in (batch.keys, batch.times):
            if column is not None and len(column) != len(batch.values):
                raise WireError("the columns of a batch differ in length.")
        return EntryId(entry), batch


def pack_groups(groups: Sequence[int]) -> bytes:
    """A letter for the width, then the numbers: two bytes each while they fit."""
    try:
        return b"H" + _to_little(array("H", groups))
    except OverflowError:
        return b"I" + _to_little(array("I", groups))


def unpack_groups(data: bytes) -> array[int]:
    """What `pack_groups` gave. Raises anything for rubbish."""
    return _from_little(data[:1].decode(), data[1:])


def _to_little(column: array[Any]) -> bytes:
    if not _LITTLE:
        column = column[:]
        column.byteswap()
    return column.tobytes()


def _from_little(typecode: str, data: bytes) -> array[Any]:
    if typecode not in ("H", "I", "d"):
        raise ValueError(f"unknown column width {typecode!r}")
    column = array(typecode)
    column.frombytes(data)
    if not _LITTLE:
        column.byteswap()
    return column


def encode_barrier(epoch: Epoch) -> bytes:
    """The body of a BARRIER frame. Its run is that of its link."""
    return _BARRIER.pack(epoch)


def decode_barrier(body: bytes) -> Epoch:
    """Raises WireError for what is no barrier."""
    try:
        (epoch,) = _BARRIER.unpack(body)
    except StructError:
        raise WireError("a barrier names no epoch.") from None
    return Epoch(epoch)


class SnapshotChunk(NamedTuple):
    """A piece of one key group's state on its way from origin to target.

    piece: 0 for the first one; last: no piece comes after this one.
    """

    generation: Generation
    group: KeyGroup
    piece: int
    last: bool
    payload: bytes


def encode_snapshot(
    generation: Generation, group: KeyGroup, piece: int, last: bool, payload: bytes
) -> bytes:
    """The body of a SNAPSHOT frame."""
    return _SNAPSHOT.pack(generation, group, piece, last) + payload


def decode_snapshot(body: bytes) -> SnapshotChunk:
    """Raises WireError for what is too short to be a chunk."""
    try:
        generation, group, piece, last = _SNAPSHOT.unpack_from(body)
    except StructError:
        raise WireError("a snapshot chunk is too short.") from None
    if last > 1:
        raise WireError("a snapshot chunk is damaged.")
    return SnapshotChunk(
        Generation(generation), KeyGroup(group), piece, last == 1, body[_SNAPSHOT.size :]
    )
