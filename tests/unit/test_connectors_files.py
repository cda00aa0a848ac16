"""File, CSV, memory, generated and standard-output connectors, without any worker."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
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
    FileSink,
    FileSource,
    FixedSize,
    Generate,
    LengthPrefix,
    Memory,
    Source,
    Stdout,
)

SMALL_READS = Config(source_read_bytes_max=7)


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


def test_the_position_of_a_file_leads_to_the_next_record(tmp_path: Path) -> None:
    """[offset, count]: cutting from that byte and passing over `count` records goes on there."""
    path = tmp_path / "lines.txt"
    lines = [b"%d" % n * (n % 30) for n in range(40)]
    path.write_bytes(b"\n".join(lines))
    with reading(FileSource(str(path), ByteLines()), SMALL_READS) as reader:
        given: list[bytes] = []
        positions = []
        with pytest.raises(EndOfInput):
            while True:
                offset, count = position = reader.position()
                assert path.read_bytes()[offset:].split(b"\n")[count:] == lines[len(given) :]
                positions.append(position)
                given += reader.read(1)
    assert positions == sorted(positions)


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
    with pytest.raises(ConnectorError, match="sink words cannot write no/out: No such file"):
        open_writer(FileSink("no/out"), "words", None)


def test_a_directory_or_a_pipe_is_no_file_to_read(tmp_path: Path) -> None:
    """Opening a pipe would wait for its writer; it is refused instead."""
    with pytest.raises(ConnectorError, match="it is a directory"):
        open_reader(FileSource(str(tmp_path)), "words", None)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConnectorError, match=r"it is a pipe or a device.*sender --file -"):
        open_reader(FileSource(str(tmp_path / "pipe")), "words", None)


@dataclass
class Sale:
    item: str
    price: float | None
    count: int = 1


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


def test_a_file_sink_appends_whole_records_of_several_writers(tmp_path: Path) -> None:
    """What stood there stays; two writers of one file do not overwrite each other."""
    path = tmp_path / "out.txt"
    path.write_text("old\n")
    first = open_writer(FileSink(str(path), str), "out", None)
    second = open_writer(FileSink(str(path), str), "out", None)
    for n in range(3):
        first.write([f"a{n}\n", b"raw\n"])
        second.write([f"b{n}\n"])
        assert first.pending_bytes() == 7
        first.flush(0.0)
        second.flush(0.0)
    assert (first.pending_bytes(), first.descriptors()) == (0, ())
    first.close()
    second.close()
    lines = path.read_text().splitlines()
    assert lines == ["old", *(x for n in range(3) for x in (f"a{n}", "raw", f"b{n}"))]


def test_a_full_disk_is_said() -> None:
    """/dev/full refuses every byte."""
    if not Path("/dev/full").exists():
        pytest.skip("only Linux has /dev/full")
    writer = open_writer(FileSink("/dev/full"), "out", None)
    writer.write([b"x"])
    with pytest.raises(ConnectorError, match="sink out cannot write: No space left on device"):
        writer.flush(0.0)
    writer.close()


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
