"""Cutters: bytes to records, by hand-made cases. Chunks cut anywhere: tests/properties."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from zstream.connectors.csv_rows import RowCutter
from zstream.connectors.framing import RUN_WINDOW, LineCutter, make_cutter
from zstream.errors import ConnectorError, LimitExceeded
from zstream.topology.specs import ByteLines, FixedSize, Framing, LengthPrefix, Lines


def framed(fmt: str, *payloads: bytes) -> bytes:
    return b"".join(struct.pack(fmt, len(payload)) + payload for payload in payloads)


@pytest.mark.parametrize("fmt", [">I", "<H", ">Q", "B", "b", "!i", "I", "N", ">xH", "Hx"])
def test_a_length_may_stand_in_any_integer_format(fmt: str) -> None:
    """Frames of several lengths, none among them, come back as they were."""
    payloads = [b"", b"a", b"bc" * 50, b"", b"d"]
    cutter = make_cutter(LengthPrefix(fmt), "source s")
    assert cutter.feed(framed(fmt, *payloads)) == payloads
    assert (cutter.held(), cutter.fault) == (0, None)


@pytest.mark.parametrize("length", [0, 1, 5, 255, 256])
@pytest.mark.parametrize("count", [1, 9, 10, RUN_WINDOW + 9, 5 * RUN_WINDOW + 11, 3000])
def test_runs_of_one_length_end_where_the_length_changes(length: int, count: int) -> None:
    """A run, one frame that differs by a single byte of its header, and a run again."""
    payloads = [bytes([i % 256]) * length for i in range(count)]
    payloads = [*payloads, b"x" * (length + 256), *payloads, b"y" * (length + 1)]
    cutter = make_cutter(LengthPrefix(">I"), "source s")
    assert cutter.feed(framed(">I", *payloads)) == payloads


def test_a_large_frame_in_small_chunks_is_held_and_then_given_whole() -> None:
    """Nothing is given before the last byte; the next frame's beginning is kept."""
    cutter = make_cutter(LengthPrefix(">I"), "source s")
    data = framed(">I", b"z" * 1_000_000, b"after")
    given = [record for i in range(0, len(data), 999) for record in cutter.feed(data[i : i + 999])]
    assert given == [b"z" * 1_000_000, b"after"]


def test_a_small_frame_is_not_held_back_by_a_large_one_before_it() -> None:
    """How much was needed for the large one must be forgotten once it is cut."""
    cutter = make_cutter(LengthPrefix(">I"), "source s")
    large, small = framed(">I", b"z" * 1000), framed(">I", b"a")
    assert cutter.feed(large[:500]) == []
    assert cutter.feed(large[500:]) == [b"z" * 1000]
    assert cutter.feed(small) == [b"a"]


def test_a_length_above_the_limit_is_a_fault_behind_the_good_frames() -> None:
    """Frames in front are given, nothing after it is looked at; the sentence says what to do."""
    cutter = make_cutter(LengthPrefix(">I", max_bytes=10), "source votes")
    data = framed(">I", b"good", b"x" * 10, b"x" * 11, b"later")
    assert cutter.feed(data) == [b"good", b"x" * 10]
    assert isinstance(cutter.fault, LimitExceeded)
    assert cutter.fault.limit == "max_bytes"
    assert str(cutter.fault).startswith(
        "source votes: a frame says that it has 11 bytes, the most is 10. "
        "Does the sender write LengthPrefix('>I') in front of each record?"
    )
    assert cutter.feed(framed(">I", b"good")) == []


def test_the_limit_is_known_from_the_header_alone() -> None:
    """A length that lies is refused before its bytes are kept."""
    cutter = make_cutter(LengthPrefix(">I", max_bytes=10), "source votes")
    assert cutter.feed(struct.pack(">I", 4_000_000_000)) == []
    assert isinstance(cutter.fault, LimitExceeded)
    assert cutter.held() == 0


def test_a_negative_length_is_a_fault() -> None:
    """Signed formats can say it."""
    cutter = make_cutter(LengthPrefix(">i"), "source votes")
    assert cutter.feed(framed(">i", b"one") + struct.pack(">i", -3)) == [b"one"]
    assert isinstance(cutter.fault, ConnectorError)
    assert "source votes: a frame says that its length is -3." in str(cutter.fault)


@pytest.mark.parametrize(
    ("framing", "expected"),
    [
        (Lines(), ["one", "", "zwölf", "last"]),
        (Lines("latin-1"), ["one", "", "zw\u00c3\u00b6lf", "last"]),
        (ByteLines(), [b"one", b"", "zwölf".encode(), b"last"]),
    ],
)
def test_lines_lose_their_newline_and_the_last_needs_none(
    framing: Framing[Any], expected: list[Any]
) -> None:
    r"""Both "\n" and "\r\n" end a line; a lone "\r" is part of it."""
    cutter = make_cutter(framing, "source s")
    assert cutter.feed("one\n\r\nzwölf\r\nlast".encode()) + cutter.finish() == expected
    assert cutter.held() == 0
    lone = make_cutter(ByteLines(), "source s")
    assert lone.feed(b"a\rb\n") == [b"a\rb"]


def test_no_bytes_are_no_line() -> None:
    """An empty input has no records, and one that ends with a newline has no empty last line."""
    assert make_cutter(Lines(), "source s").finish() == []
    cutter = make_cutter(Lines(), "source s")
    assert cutter.feed(b"a\n") + cutter.finish() == ["a"]


def test_text_that_cannot_be_decoded_names_line_and_byte() -> None:
    """The lines in front are given, also those of the same chunk."""
    cutter = make_cutter(Lines(), "source words")
    assert cutter.feed(b"one\ntwo\n") == ["one", "two"]
    assert cutter.feed(b"three\nfo\xffur\nfive\n") == ["three"]
    assert str(cutter.fault) == (
        "source words: line 4 is not utf-8 text (byte 0xff at place 3). "
        'Say Lines(encoding="...") or take bytes with ByteLines().'
    )
    assert cutter.feed(b"six\n") == []


def test_a_line_above_the_limit_is_a_fault_with_or_without_its_newline() -> None:
    """What is exactly at the limit passes; a line without end does not fill the memory."""
    cutter = make_cutter(ByteLines(max_bytes=5), "source s")
    assert [line for byte in b"12345\r\n" for line in cutter.feed(bytes([byte]))] == [b"12345"]
    assert cutter.feed(b"12345\r\n123456\nrest\n") == [b"12345"]
    assert isinstance(cutter.fault, LimitExceeded)
    endless = make_cutter(ByteLines(max_bytes=5), "source s")
    for _ in range(10):
        assert endless.feed(b"xyz") == []
    assert isinstance(endless.fault, LimitExceeded)
    assert endless.held() <= 5


def test_lines_in_an_encoding_of_two_bytes_are_refused() -> None:
    """A newline is looked for as one byte, so UTF-16 would be cut in the middle."""
    with pytest.raises(ConnectorError, match="cannot be cut in utf-16"):
        LineCutter("source s", 100, "utf-16")


def test_fixed_sizes_keep_what_is_not_whole() -> None:
    """What is left over stays counted."""
    cutter = make_cutter(FixedSize(3), "source s")
    assert cutter.feed(b"ab") == []
    assert cutter.feed(b"cdefgh") == [b"abc", b"def"]
    assert cutter.finish() == []
    assert cutter.held() == 2


def test_csv_rows_are_dicts_by_the_first_line() -> None:
    """Quoted commas, quotes and newlines stay in their cell; blank lines and a BOM go."""
    cutter = RowCutter("source s")
    text = '\ufeffname,says\nann,"a, ""b"""\n\nbob,"two\nlines"\r\ncy,\n'
    data = text.encode()
    rows = [row for i in range(len(data)) for row in cutter.feed(data[i : i + 1])]
    assert rows + cutter.finish() == [
        {"name": "ann", "says": 'a, "b"'},
        {"name": "bob", "says": "two\nlines"},
        {"name": "cy", "says": ""},
    ]
    assert cutter.held() == 0


def test_a_csv_quote_that_is_never_closed_is_held_and_told() -> None:
    """The rows in front are given; the rest is an unfinished record."""
    cutter = RowCutter("source s")
    assert cutter.feed(b'a,b\n1,2\n3,"four\nfive\n') == [{"a": "1", "b": "2"}]
    assert cutter.finish() == []
    assert cutter.held() == len('3,"four\nfive\n')


def test_a_csv_fault_names_the_row() -> None:
    """A cell that the csv module refuses is a fault behind the good rows."""
    cutter = RowCutter("source s")
    assert cutter.feed(b"a\n1\n" + b"x" * 200_000 + b"\n") == [{"a": "1"}]
    assert str(cutter.fault) == (
        "source s: row 2 is not CSV: field larger than field limit (131072)."
    )
