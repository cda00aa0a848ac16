"""However a stream of bytes is cut into chunks, the records are the same: against naive readers."""

from __future__ import annotations

import csv
import io
import itertools
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from zstream.connectors.csv_rows import RowCutter
from zstream.connectors.framing import Cutter, make_cutter
from zstream.errors import ZstreamError
from zstream.topology.specs import ByteLines, FixedSize, LengthPrefix, Lines

CUTS = st.lists(st.integers(0, 400), max_size=12)
FORMATS = st.sampled_from([">I", "<H", ">Q", "B", ">b"])
LIMIT = 40


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places) if a < b]


def run(cutter: Cutter, data: bytes, cuts: list[int]) -> tuple[list[Any], type | None]:
    records = [record for chunk in chunks(data, cuts) for record in cutter.feed(chunk)]
    records += cutter.finish()
    return records, type(cutter.fault) if cutter.fault else None


def naive_frames(data: bytes, fmt: str) -> tuple[list[bytes], bool]:
    """The records, and whether a length was refused."""
    records: list[bytes] = []
    stream = io.BytesIO(data)
    size = struct.calcsize(fmt)
    while len(header := stream.read(size)) == size:
        (length,) = struct.unpack(fmt, header)
        if not 0 <= length <= LIMIT:
            return records, True
        payload = stream.read(length)
        if len(payload) < length:
            break
        records.append(payload)
    return records, False


@given(st.data(), FORMATS, CUTS)
def test_frames_of_any_cut(data: st.DataObject, fmt: str, cuts: list[int]) -> None:
    """Runs of equal lengths, other lengths between them, and a torn end."""
    lengths = data.draw(
        st.lists(st.tuples(st.integers(0, LIMIT), st.integers(1, 30)), min_size=1, max_size=5)
    )
    payloads = [bytes([n % 251]) * length for length, times in lengths for n in range(times)]
    stream = b"".join(struct.pack(fmt, len(payload)) + payload for payload in payloads)
    stream = stream[: data.draw(st.integers(0, len(stream)))]
    cutter = make_cutter(LengthPrefix(fmt, LIMIT), "source s")
    records, fault = run(cutter, stream, cuts)
    assert (records, fault is not None) == naive_frames(stream, fmt)
    size = struct.calcsize(fmt)
    assert cutter.held() == len(stream) - sum(size + len(record) for record in records)


@given(st.binary(max_size=400), FORMATS, CUTS)
def test_rubbish_of_any_cut(stream: bytes, fmt: str, cuts: list[int]) -> None:
    """Bytes that were never frames: the same records and the same refusal as the naive reader."""
    records, fault = run(make_cutter(LengthPrefix(fmt, LIMIT), "source s"), stream, cuts)
    assert (records, fault is not None) == naive_frames(stream, fmt)


def naive_lines(data: bytes, limit: int) -> tuple[list[str], bool]:
    records: list[str] = []
    lines = data.split(b"\n")
    for line in lines if lines[-1] else lines[:-1]:
        line = line.removesuffix(b"\r")
        if len(line) > limit:
            return records, True
        try:
            records.append(line.decode())
        except UnicodeDecodeError:
            return records, True
    return records, False


LINES = st.lists(
    st.sampled_from([b"", b"a", b"\r", b"bc\r", "ö".encode(), b"\xff", b"d" * 12, b"e" * 13]),
    max_size=8,
).map(b"\n".join)


@given(LINES, st.booleans(), CUTS)
def test_lines_of_any_cut(data: bytes, ended: bool, cuts: list[int]) -> None:
    """Empty lines, carriage returns, text that is none, lines at and above the limit."""
    data += b"\n" if ended else b""
    records, fault = run(make_cutter(Lines(max_bytes=12), "source s"), data, cuts)
    assert (records, fault is not None) == naive_lines(data, 12)


@given(LINES, CUTS)
def test_byte_lines_of_any_cut(data: bytes, cuts: list[int]) -> None:
    """As text lines, without a decoder that could hide a difference."""
    records, fault = run(make_cutter(ByteLines(), "source s"), data, cuts)
    lines = data.split(b"\n")
    assert records == [line.removesuffix(b"\r") for line in (lines if lines[-1] else lines[:-1])]
    assert fault is None


@given(st.binary(max_size=300), st.integers(1, 9), CUTS)
def test_fixed_sizes_of_any_cut(data: bytes, size: int, cuts: list[int]) -> None:
    """Equal pieces, and the rest is held."""
    cutter = make_cutter(FixedSize(size), "source s")
    records, _ = run(cutter, data, cuts)
    whole = len(data) // size
    assert records == [data[i * size : (i + 1) * size] for i in range(whole)]
    assert cutter.held() == len(data) - whole * size


CELLS = st.text(st.sampled_from('ab,"\n ö'), max_size=5)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=8), CUTS)
def test_csv_rows_of_any_cut(rows: list[tuple[str, str, str]], cuts: list[int]) -> None:
    """What the csv module writes comes back, cell by cell, wherever the chunks were cut."""
    text = io.StringIO()
    csv.writer(text).writerows([("x", "y", "z"), *rows])
    records, fault = run(RowCutter("source s"), text.getvalue().encode(), cuts)
    assert records == [dict(zip("xyz", row, strict=True)) for row in rows]
    assert fault is None


def test_the_naive_readers_refuse_what_they_should() -> None:
    """The references themselves can tell good from bad."""
    assert naive_frames(b"\x02ab\xff", "B") == ([b"ab"], True)
    assert naive_lines(b"a\n\xff\nb", 12) == (["a"], True)
    assert issubclass(run(make_cutter(Lines(), "s"), b"\xff\n", [])[1] or int, ZstreamError)
