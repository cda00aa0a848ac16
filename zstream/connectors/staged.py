"""The two kinds of writers: those that hold output back until its checkpoint is decided, and not.

    class FileWriter(StagedWriter):           class TcpWriter(SendsAtOnce):
        def commit(self, epoch, author, outputs): ...     def write(self, records): ...

What is held back is packed into chunks of bytes as it comes, so that a hundred thousand records
that wait for a checkpoint are a few objects, and the part that they are stored in is written fast.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from zstream.config import KIB
from zstream.connectors.outgoing import as_bytes
from zstream.errors import ConnectorError
from zstream.ports.connectors import Tick

CHUNK_BYTES = 256 * KIB  # records are packed together when so much has come

_COUNT = struct.Struct(">I")


class NothingWaits:
    """Base of writers that queue nothing for the outside: the loop has nothing to wait for."""

    def flush(self, now: float) -> None:
        """Nothing to push out."""

    def pending_bytes(self) -> int:
        return 0

    def descriptors(self) -> Sequence[int]:
        return ()

    def wake_at(self, now: float) -> float | None:
        return None

    def waits_for(self) -> str:
        return ""


class StagedWriter(NothingWaits):
    """Base of writers that show what was written only when `commit` is called.

    A writer of this kind defines `commit`, and `packed` or `encoded` if it wants others. `commit`
    runs in a thread, so it must not touch what the other methods touch.
    who: how messages name it, "sink totals".
    """

    def __init__(self, who: str) -> None:
        self.who = who
        self._records: list[bytes] = []  # not packed yet
        self._records_bytes = 0
        self._chunks: list[bytes] = []
        self._chunks_bytes = 0

    def encoded(self, records: Sequence[Any]) -> list[bytes]:
        """Each record as bytes. Raises ConnectorError for what the encoder should not give."""
        return as_bytes(records, self.who)

    def packed(self, records: Sequence[bytes]) -> bytes:
        """One chunk of many records: with their lengths, for `unpack`."""
        return pack(records)

    def write(self, records: list[Any]) -> None:
        encoded = self.encoded(records)
        self._records += encoded
        self._records_bytes += sum(map(len, encoded))
        if self._records_bytes >= CHUNK_BYTES:
            self._pack()

    def moved(self, tick: Tick) -> None:
        """Nothing to do for who shows every record."""

    def uncommitted_bytes(self) -> int:
        """What was written since the last `prepare`: what was prepared is the engine's."""
        return self._chunks_bytes + self._records_bytes

    def prepare(self, epoch: int) -> list[bytes] | None:
        """The chunks since the last call, None for none."""
        if self._records:
            self._pack()
        chunks, self._chunks, self._chunks_bytes = self._chunks, [], 0
        return chunks or None

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        """See zstream.ports.connectors.Writer. outputs: each is what a `prepare` returned."""
        raise NotImplementedError

    def abort(self) -> None:
        self._records, self._records_bytes = [], 0
        self._chunks, self._chunks_bytes = [], 0

    def close(self) -> None:
        """What was not committed is gone."""
        self.abort()

    def _pack(self) -> None:
        chunk = self.packed(self._records)
        self._chunks.append(chunk)
        self._chunks_bytes += len(chunk)
        self._records, self._records_bytes = [], 0


class SendsAtOnce:
    """Base of writers that hold nothing back: what went out cannot be called back."""

    def moved(self, tick: Tick) -> None:
        """Nothing to do: what was written went out."""

    def uncommitted_bytes(self) -> int:
        return 0

    def prepare(self, epoch: int) -> Any:
        """None: there is nothing to commit, unless something was not taken yet (see TcpWriter)."""

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        """Nothing to do."""

    def abort(self) -> None:
        """Nothing to do: what was written went out."""


def chunks_of(outputs: Sequence[Any], who: str) -> list[bytes]:
    """All chunks of the outputs that `commit` was given, in order.

    Raises ConnectorError where something else was prepared, by another version of the sink, say.
    """
    chunks = [chunk for output in outputs for chunk in (output if _is_list(output) else [output])]
    for chunk in chunks:
        if type(chunk) is not bytes:
            raise ConnectorError(
                f"{who}: the checkpoint holds a {type(chunk).__name__} where this sink keeps "
                "bytes. Was it another kind of sink when the checkpoint was taken?"
            )
    return chunks


def pack(records: Sequence[bytes]) -> bytes:
    """Records as one chunk: how many, their lengths, and then all of them."""
    lengths = struct.pack(f">{len(records)}I", *map(len, records))
    return b"".join((_COUNT.pack(len(records)), lengths, *records))


def unpack(chunk: bytes) -> list[bytes]:
    """The records of a chunk that `pack` made."""
    (count,) = _COUNT.unpack_from(chunk)
    records = []
    place = _COUNT.size + 4 * count
    for length in struct.unpack_from(f">{count}I", chunk, _COUNT.size):
        records.append(chunk[place : place + length])
        place += length
    return records


def _is_list(output: object) -> bool:
    return isinstance(output, (list, tuple))
