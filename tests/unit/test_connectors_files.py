"""File, CSV, memory and generated sources and standard output, without any worker."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from zstream.config import Config
from zstream.connectors.descriptor import DescriptorOutput
from zstream.connectors.file import FOLLOW_SECONDS
from zstream.connectors.memory import GenerateReader
from zstream.connectors.registry import open_reader, open_writer
from zstream.errors import ConnectorError, LimitExceeded
from zstream.ports.connectors import EndOfInput, Reader
from zstream.topology.specs import (
    ByteLines,
    CsvSource,
    FileSource,
    FixedSize,
    Generate,
    LengthPrefix,
    Memory,
    Source,
    Stdout,
)

SMALL_READS = Config(source_read_bytes_max=7)
CELLS = 'tea,1\n"milk\n,\nü",2\n\n"a ""b"" \n\n c",3\nsalt,\n'


@dataclass
class Sale:
    item: str
    price: float | None
    count: int = 1


@contextlib.contextmanager
def reading(spec: Source[Any], config: Config | None = None) -> Iterator[Reader]:
    with contextlib.closing(open_reader(spec, "words", None, config)) as reader:
        yield reader


def read_all(reader: Reader, limit: int = 100) -> list[Any]:
    """All records, as a loop that comes back whenever wake_at says so."""
    records: list[Any] = []
    while True:
        assert reader.wake_at(3.0) == 3.0, "a bounded source can always be read"
        try:
            got = reader.read(limit)
        except EndOfInput:
            return records
        assert len(got) <= limit
        records += got


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize("config", [None, SMALL_READS])
def test_a_file_of_lines_is_read_to_its_end(
    tmp_path: Path, limit: int, config: Config | None
) -> None:
    """Small reads, small limits: every line once, in order; the last needs no newline."""
    path = tmp_path / "lines.txt"
    path.write_bytes(b"one\ntwo\r\n\nfour and more\nlast")
    with reading(FileSource(str(path)), config) as reader:
        assert read_all(reader, limit) == ["one", "two", "", "four and more", "last"]
        with pytest.raises(EndOfInput):
            reader.read(limit)


def test_a_file_of_frames_says_how_much_was_left_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A torn last frame is no record, and is not dropped in silence."""
    path = tmp_path / "votes.bin"
    path.write_bytes(b"\0\0\0\1a\0\0\0\2bc\0\0\0\3d")
    with reading(FileSource(str(path), LengthPrefix()), SMALL_READS) as reader:
        assert read_all(reader) == [b"a", b"bc"]
    assert "ends in the middle of a record; the last 5 bytes are dropped." in caplog.text


def test_what_cannot_be_cut_is_raised_behind_the_good_records(tmp_path: Path) -> None:
    """First the records in front of it, then the error."""
    path = tmp_path / "votes.bin"
    path.write_bytes(b"\0\0\0\1a\x7f\0\0\0")
    with reading(FileSource(str(path), LengthPrefix())) as reader:
        assert reader.read(10) == [b"a"]
        with pytest.raises(LimitExceeded, match="source words: a frame says"):
            reader.read(10)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (lambda path: FileSource(path), "".join(f"{'é' * (n % 9)}{n}\n" for n in range(40))),
        (lambda path: FileSource(path, ByteLines()), "\n".join(str(n) for n in range(40))),
        (lambda path: FileSource(path, FixedSize(3)), "abc" * 40),
        (lambda path: FileSource(path, LengthPrefix("B")), "\1a\2bc\0\5edfgh" * 9),
        (lambda path: CsvSource(path, Sale), "item,price\n\n" + CELLS * 6 + '"torn\nü'),
    ],
)
def test_from_every_position_of_a_file_exactly_the_rest_is_read(
    tmp_path: Path, spec: Callable[[str], Source[Any]], text: str, ending: str
) -> None:
    """Each framing, chunks of all sizes: also of another size than when the position was taken."""
    path = tmp_path / "input"
    path.write_bytes(text.replace("\n", ending).encode())
    with reading(spec(str(path))) as reader:
        every = read_all(reader)
    assert len(every) >= 24
    for size in (1, 2, 3, 7, 50):
        config = Config(source_read_bytes_max=size)
        with reading(spec(str(path)), config) as reader:
            given = 0
            with pytest.raises(EndOfInput):
                while True:
                    position = reader.position()
                    other = Config(source_read_bytes_max=size % 7 + 1)
                    with reading(spec(str(path)), other) as again:
                        assert again.seek(position) == 0
                        assert again.position() == position, "it is there before anything is read"
                        assert read_all(again) == every[given:]
                    given += len(reader.read(2))


def test_a_seek_in_the_same_reader_goes_back(tmp_path: Path) -> None:
    """As in a worker that survives another's death."""
    path = tmp_path / "lines.txt"
    path.write_text("1\n2\n3\n4\n")
    with reading(FileSource(str(path))) as reader:
        assert reader.read(1) == ["1"]
        position = reader.position()
        assert read_all(reader) == ["2", "3", "4"]
        for _ in range(2):
            reader.seek(position)
            assert read_all(reader) == ["2", "3", "4"]
        reader.seek(None)
        assert read_all(reader) == ["1", "2", "3", "4"]


def test_a_line_number_after_a_seek_is_that_of_the_file(tmp_path: Path) -> None:
    """The message names the place that a person finds in an editor."""
    rows = tmp_path / "rows.csv"
    rows.write_bytes(b'item,price\na,1\n"b\n\n",2\n\xff\n')
    with reading(CsvSource(str(rows), Sale), Config(source_read_bytes_max=2)) as reader:
        while reader.read(1) != [{"item": "b\n\n", "price": "2"}]:
            pass
        reader.seek(reader.position())
        with pytest.raises(ConnectorError, match="line 6 is not utf-8 text"):
            read_all(reader)
    path = tmp_path / "lines.txt"
    path.write_bytes(b"1\n2\n3\n\xff\n")
    with reading(FileSource(str(path)), Config(source_read_bytes_max=2)) as reader:
        assert [reader.read(1), reader.read(1)] == [["1"], ["2"]]
        position = reader.position()
        reader.seek(position)
        with pytest.raises(ConnectorError, match="line 4 is not utf-8 text"):
            read_all(reader)


def test_a_file_that_was_changed_meanwhile_is_refused_at_the_seek(tmp_path: Path) -> None:
    """Gone, shorter than where reading stood, or shorter than what was given; said by name."""
    path = tmp_path / "lines.txt"
    path.write_text("one\ntwo\nthree\n")
    with reading(FileSource(str(path)), Config(source_read_bytes_max=5)) as reader:
        assert [*reader.read(5), *reader.read(5)] == ["one", "two"]
        position = reader.position()
    with reading(FileSource(str(path))) as reader:
        path.write_text("on")
        with pytest.raises(ConnectorError, match=r"lines\.txt is shorter than what was read of it"):
            reader.seek(position)
        path.write_text("one\n")
        reader.seek(position)
        with pytest.raises(ConnectorError, match=r"lines\.txt is shorter than what was read of it"):
            read_all(reader)
        path.unlink()
        with pytest.raises(ConnectorError, match=r"there is no file .*lines\.txt"):
            reader.seek(position)
        with pytest.raises(ConnectorError, match="has 7 for it, which is no position in a file"):
            reader.seek(7)


def test_a_followed_file_gives_what_is_added_and_never_ends(tmp_path: Path) -> None:
    """At the end it looks again after a moment; a half-written line waits for its newline."""
    path = tmp_path / "log.txt"
    path.write_text("one\ntw")
    with reading(FileSource(str(path), follow=True)) as reader, path.open("a") as log:
        assert reader.read(10) == ["one"]
        assert reader.read(10) == []
        assert reader.wake_at(50.0) == 50.0 + FOLLOW_SECONDS
        assert reader.wake_at(50.05) == 50.0 + FOLLOW_SECONDS, "asking does not put it off"
        log.write("o\nthree\n")
        log.flush()
        assert reader.read(10) == ["two", "three"]
        assert reader.wake_at(51.0) == 51.0
        assert reader.read(10) == []
        log.truncate(2)
        with pytest.raises(ConnectorError, match=r"was cut to 2 bytes after 14 were read"):
            reader.read(10)


def test_a_missing_file_is_said_with_the_directory_it_was_looked_for_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path is explained, an absolute one explains itself."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConnectorError) as caught:
        open_reader(FileSource("no/lines.txt"), "words", None)
    assert str(caught.value) == (
        f"source words: there is no file no/lines.txt (looked for in {tmp_path})."
    )
    with pytest.raises(ConnectorError, match=r"there is no file /no/lines\.txt\.$"):
        open_reader(FileSource("/no/lines.txt"), "words", None)


def test_a_pipe_is_no_file_to_read(tmp_path: Path) -> None:
    """Opening a pipe would wait for its writer; it is refused instead."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConnectorError, match=r"it is a pipe or a device.*sender --file -"):
        open_reader(FileSource(str(tmp_path / "pipe")), "words", None)


def test_csv_rows_become_values_by_the_decoder_of_the_spec(tmp_path: Path) -> None:
    """Reader and decoder together: types by annotation, nothing for nothing, other columns gone."""
    path = tmp_path / "sales.csv"
    path.write_text('price,item,colour,count\n1.5,"tea, green",x,3\n,milk,y,\nNA,salt,z,2\n')
    spec = CsvSource(str(path), Sale)
    with reading(spec, SMALL_READS) as reader:
        rows = read_all(reader)
    assert spec.decode is not None
    assert [spec.decode(row) for row in rows] == [
        Sale("tea, green", 1.5, 3),
        Sale("milk", None, 1),
        Sale("salt", None, 2),
    ]


def test_memory_gives_its_records_and_ends() -> None:
    """In pieces of the limit."""
    with reading(Memory("abcde")) as reader:
        assert [reader.read(2), reader.read(2), reader.position()] == [["a", "b"], ["c", "d"], 4]
        assert read_all(reader, 2) == ["e"]
        assert reader.seek(3) == 0
        assert read_all(reader) == ["d", "e"]
        with pytest.raises(ConnectorError, match="where this source keeps how many records"):
            reader.seek({"at": None})


def test_generate_counts_up_to_its_count() -> None:
    """The reader gives numbers; the spec's decode makes records of them."""
    spec = Generate(lambda n: n * n, count=5)
    with reading(spec) as reader:
        numbers = read_all(reader, 2)
    assert spec.decode is not None
    assert [spec.decode(n) for n in numbers] == [0, 1, 4, 9, 16]


def test_generate_keeps_its_pace_and_makes_up_for_a_pause() -> None:
    """Ten a second on a clock that the test turns; a limit and a count still hold."""
    now = 100.0
    reader = GenerateReader(10, 30, clock=lambda: now)
    assert reader.read(100) == [0]
    assert reader.read(100) == []
    assert reader.wake_at(now) == pytest.approx(100.1)
    now = 100.55
    assert reader.read(100) == [1, 2, 3, 4, 5]
    now = 110.0
    assert reader.read(3) == [6, 7, 8]
    assert reader.wake_at(now) == now, "it is behind, so there is nothing to wait for"
    assert reader.read(100) == list(range(9, 30))
    assert reader.wake_at(now) == now
    with pytest.raises(EndOfInput):
        reader.read(100)


def test_a_pipe_that_nobody_reads_never_blocks_and_then_goes_on() -> None:
    """The descriptor itself stays as it was: other processes share it."""
    read_end, write_end = os.pipe()
    try:
        output = DescriptorOutput(write_end, "sink out")
        data = b"".join(b"%07d\n" % n for n in range(100_000))
        output.add(data)
        output.flush()
        assert 0 < output.pending < len(data)
        assert output.waiting() == (write_end,)
        assert not fcntl.fcntl(write_end, fcntl.F_GETFL) & os.O_NONBLOCK
        received = b""
        while len(received) < len(data):
            received += os.read(read_end, 65_536)
            output.flush()
        assert received == data
        assert output.waiting() == ()
    finally:
        os.close(read_end)
    output.add(b"more")
    with pytest.raises(ConnectorError, match="sink out: nobody reads its output any more"):
        output.flush()
    os.close(write_end)


def test_standard_output_gets_a_line_a_record(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Straight to the descriptor, behind what was printed before."""
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)
    print("before")
    writer = open_writer(Stdout(), "counts", None)
    writer.write(["a => 1", b"b => 2"])
    assert writer.pending_bytes() == 14
    writer.flush(0.0)
    writer.close()
    assert capfd.readouterr().out == "before\na => 1\nb => 2\n"


def test_standard_output_goes_where_a_notebook_put_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """sys.stdout was replaced: lines go there."""
    writer = open_writer(Stdout(), "counts", None)
    writer.write(["a => 1"])
    writer.flush(0.0)
    assert capsys.readouterr().out == "a => 1\n"


def test_generated_numbers_go_on_at_their_pace_after_a_seek() -> None:
    """On another worker at once, with the number that is next, and then as before."""
    now = 500.0
    reader = GenerateReader(10, None, clock=lambda: now)
    assert reader.seek(70) == 0
    assert reader.read(100) == [70]
    assert reader.wake_at(now) == pytest.approx(500.1)
    now = 500.25
    assert reader.read(100) == [71, 72]
    reader.seek(71)
    assert reader.read(100) == [71]


def test_a_spec_that_nothing_opens_is_named() -> None:
    """A base class, or somebody's own spec without a reader."""
    with pytest.raises(ConnectorError, match="source words: nothing here can read a Source"):
        open_reader(Source(), "words", None)


def test_fixed_size_files(tmp_path: Path) -> None:
    """Records of one size across reads of another."""
    path = tmp_path / "fixed.bin"
    path.write_bytes(bytes(range(60)))
    with reading(FileSource(str(path), FixedSize(4)), SMALL_READS) as reader:
        assert b"".join(read_all(reader, 3)) == bytes(range(60))
