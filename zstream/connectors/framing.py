"""Cutting a stream of bytes into records.

A cutter is fed chunks as they come from a socket or a file, cut anywhere, and gives the records
that are complete. What it gives never depends on where the chunks were cut.

Bytes that cannot be cut do not raise: the records in front of them are given, and `fault` says
what is wrong. Nothing that is fed afterwards is looked at, since after a wrong length nobody
knows where the next record begins.

The fast path of frames with a length in front is a run of equal lengths, which one strided
comparison finds and one `iter_unpack` cuts.
"""

from __future__ import annotations

import struct
from typing import Any, Protocol

from zstream.errors import ConnectorError, LimitExceeded, ZstreamError
from zstream.topology.specs import ByteLines, FixedSize, Framing, LengthPrefix, Lines

RUN_BEGINS = 8  # so many frames of one length, one after the other, and a run is looked for
RUN_WINDOW = 64  # frames that a run is looked for in at first; four times as many when it fills


class Cutter(Protocol):
    """What cuts one stream of bytes: one connection's, or one file's.

    fault: what is wrong with the bytes, once something is; the stream cannot be cut any further.
    """

    fault: ZstreamError | None

    def feed(self, chunk: bytes) -> list[Any]:
        """The records that are complete now, in order."""

    def finish(self) -> list[Any]:
        """The input has ended: what counts as a record although nothing ended it."""

    def held(self) -> int:
        """Bytes kept for a record that is not complete, counted as they came in."""


class MarkedCutter(Cutter, Protocol):
    """A cutter of what can be read again: it tells where another one may begin."""

    def mark(self) -> Any:
        """What a new cutter must be told to begin at the byte behind the records given so far."""

    def go_on(self, mark: Any) -> None:
        """Begin where a cutter gave this mark; before the first `feed`."""


def make_cutter(framing: Framing[Any], who: str) -> MarkedCutter:
    """A new cutter for one stream; `who` is the source as its messages name it."""
    if isinstance(framing, Lines):
        return LineCutter(who, framing.max_bytes, framing.encoding)
    if isinstance(framing, ByteLines):
        return LineCutter(who, framing.max_bytes, None)
    if isinstance(framing, LengthPrefix):
        return LengthPrefixCutter(who, framing.fmt, framing.max_bytes)
    if isinstance(framing, FixedSize):
        return FixedSizeCutter(who, framing.size)
    raise ConnectorError(
        f"{who}: {type(framing).__name__} is no framing. "
        "Use LengthPrefix(), Lines(), ByteLines() or FixedSize(n)."
    )


class _Held:
    """Bytes of an unfinished record, kept as the chunks they came in.

    Joined only once enough is there, so a record of 100 MB in chunks of 256 KiB is copied once
    and not once for each chunk.
    """

    def __init__(self) -> None:
        self.size = 0
        self._chunks: list[bytes] = []

    def add(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self.size += len(chunk)

    def take(self) -> bytes:
        """All that was kept, as one; nothing is kept afterwards."""
        chunks, self._chunks, self.size = self._chunks, [], 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class LengthPrefixCutter:
    """Records with their length in front, a number in any struct format."""

    def __init__(self, who: str, fmt: str, max_bytes: int) -> None:
        self.fault: ZstreamError | None = None
        self._who = who
        self._max_bytes = max_bytes
        self._header = _length_header(who, fmt)
        self._held = _Held()
        self._needed = self._header.size  # below it nothing can be cut

    def feed(self, chunk: bytes) -> list[bytes]:
        if self.fault is not None:
            return []
        self._held.add(chunk)
        if self._held.size < self._needed:
            return []
        data = self._held.take()
        records, place = self._cut(data)
        if self.fault is None and place < len(data):
            self._held.add(data[place:])
        return records

    def finish(self) -> list[bytes]:
        return []

    def held(self) -> int:
        return self._held.size

    def mark(self) -> None:
        """None: a frame says all that there is to know."""

    def go_on(self, mark: Any) -> None:
        """Nothing to do."""

    def _cut(self, data: bytes) -> tuple[list[bytes], int]:
        """The complete records and where the first incomplete one begins."""
        records: list[bytes] = []
        append, size, end = records.append, self._header.size, len(data)
        place, alike, last, window = 0, 0, -1, RUN_WINDOW
        while place + size <= end:
            (length,) = self._header.unpack_from(data, place)
            if not 0 <= length <= self._max_bytes:
                self.fault = self._refuse(length)
                return records, place
            begin = place + size
            stop = begin + length
            if stop > end:
                self._needed = stop - place
                return records, place
            append(data[begin:stop])
            place = stop
            alike = alike + 1 if length == last else 0
            last = length
            if alike >= RUN_BEGINS:
                run = self._run(data, place, length, window)
                records += run
                place += len(run) * (size + length)
                window = window * 4 if len(run) == window else RUN_WINDOW
                alike = RUN_BEGINS if len(run) > RUN_BEGINS else 0
        self._needed = size
        return records, place

    def _run(self, data: bytes, place: int, length: int, window: int) -> list[bytes]:
        """Up to `window` frames from `place` on whose headers equal the one just read."""
        size = self._header.size
        step = size + length
        frames = min(window, (len(data) - place) // step)
        for offset, byte in enumerate(data[place - step : place - length]):
            column = data[place + offset : place + frames * step : step]
            frames = len(column) - len(column.lstrip(bytes((byte,))))
        payloads = struct.iter_unpack(f"{size}x{length}s", data[place : place + frames * step])
        return [payload for (payload,) in payloads]

    def _refuse(self, length: int) -> ZstreamError:
        header = f"LengthPrefix({self._header.format!r})"
        if length < 0:
            return ConnectorError(
                f"{self._who}: a frame says that its length is {length}. "
                f"Does the sender write {header} in front of each record?"
            )
        return LimitExceeded(
            "max_bytes",
            f"{self._who}: a frame says that it has {length:,} bytes, the most is "
            f"{self._max_bytes:,}. Does the sender write {header} in front of each record? "
            "If so, raise max_bytes of the framing.",
        )


class FixedSizeCutter:
    """Records that all have one size."""

    def __init__(self, who: str, size: int) -> None:
        if size < 1:
            raise ConnectorError(f"{who}: FixedSize({size}): the size must be at least 1 byte.")
        self.fault: ZstreamError | None = None
        self._record = struct.Struct(f"{size}s")
        self._held = _Held()

    def feed(self, chunk: bytes) -> list[bytes]:
        self._held.add(chunk)
        if self._held.size < self._record.size:
            return []
        data = self._held.take()
        whole = len(data) - len(data) % self._record.size
        if whole < len(data):
            self._held.add(data[whole:])
        return [record for (record,) in self._record.iter_unpack(data[:whole])]

    def finish(self) -> list[bytes]:
        return []

    def held(self) -> int:
        return self._held.size

    def mark(self) -> None:
        """None: all records are alike."""

    def go_on(self, mark: Any) -> None:
        """Nothing to do."""


class LineCutter:
    r"""Lines, without the "\n" or "\r\n" at their end: str in an encoding, or bytes for None."""

    def __init__(self, who: str, max_bytes: int, encoding: str | None) -> None:
        if encoding is not None:
            _check_encoding(who, encoding)
        self.fault: ZstreamError | None = None
        self._who = who
        self._max_bytes = max_bytes
        self._encoding = encoding
        self._held = _Held()
        self._lines = 0  # given so far, for messages

    def feed(self, chunk: bytes) -> list[Any]:
        if self.fault is not None:
            return []
        cut = chunk.rfind(b"\n")
        if cut < 0:
            self._held.add(chunk)
            if self._held.size > self._max_bytes + 1:  # the one: it may be a "\r"
                self._held.take()
                self._refuse_length()
            return []
        self._held.add(chunk[:cut])
        block = self._held.take()
        if cut + 1 < len(chunk):
            self._held.add(chunk[cut + 1 :])
        return self._lines_of(block)

    def finish(self) -> list[Any]:
        if self.fault is not None or not self._held.size:
            return []
        return self._lines_of(self._held.take())

    def held(self) -> int:
        return self._held.size

    def mark(self) -> int:
        """How many lines there were."""
        return self._lines

    def go_on(self, mark: int) -> None:
        self._lines = mark

    def _lines_of(self, block: bytes) -> list[Any]:
        """The lines of a block that lacks only its last newline."""
        if b"\r" in block:
            block = (block + b"\n").replace(b"\r\n", b"\n")[:-1]
        if len(block) > self._max_bytes:
            block, whole = self._short_enough(block)
            if not whole:
                return []
        if self._encoding is None:
            lines: list[Any] = block.split(b"\n")
        else:
            lines = self._decoded(block, self._encoding)
        self._lines += len(lines)
        return lines

    def _short_enough(self, block: bytes) -> tuple[bytes, bool]:
        """The lines in front of the first that is too long, and whether there are any."""
        lines = block.split(b"\n")
        for index, line in enumerate(lines):
            if len(line) > self._max_bytes:
                self._refuse_length()
                return b"\n".join(lines[:index]), index > 0
        return block, True

    def _decoded(self, block: bytes, encoding: str) -> list[str]:
        try:
            return block.decode(encoding).split("\n")
        except UnicodeDecodeError:
            lines: list[str] = []
        for line in block.split(b"\n"):
            try:
                lines.append(line.decode(encoding))
            except UnicodeDecodeError as error:
                self.fault = ConnectorError(
                    f"{self._who}: line {self._lines + len(lines) + 1:,} is not {encoding} text "
                    f"(byte 0x{line[error.start]:02x} at place {error.start + 1}). "
                    'Say Lines(encoding="...") or take bytes with ByteLines().'
                )
                break
        return lines

    def _refuse_length(self) -> None:
        self.fault = LimitExceeded(
            "max_bytes",
            f"{self._who}: a line has more than {self._max_bytes:,} bytes. "
            "Are there lines in this input? If so, raise max_bytes of the framing.",
        )


def _length_header(who: str, fmt: str) -> struct.Struct:
    """The struct of a length, or ConnectorError when it does not hold exactly one integer."""
    try:
        header = struct.Struct(fmt)
        values = header.unpack(bytes(header.size))
    except struct.error as error:
        raise ConnectorError(f"{who}: LengthPrefix({fmt!r}): {error}.") from error
    if len(values) != 1 or type(values[0]) is not int:
        raise ConnectorError(
            f"{who}: LengthPrefix({fmt!r}) must hold one integer, such as >I, <H, >Q or B."
        )
    return header


def _check_encoding(who: str, encoding: str) -> None:
    """Lines are looked for as bytes, which works only where a newline is one byte."""
    try:
        single = "\n".encode(encoding) == b"\n"
    except LookupError as error:
        raise ConnectorError(f"{who}: there is no encoding {encoding}.") from error
    if not single:
        raise ConnectorError(
            f"{who}: lines cannot be cut in {encoding}, where a newline is not one byte. "
            "Use an encoding such as utf-8 or latin-1."
        )
