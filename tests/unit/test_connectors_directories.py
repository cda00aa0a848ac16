"""A directory as a source: its files in the order of names, each once, and new ones."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from zstream.config import Config
from zstream.connectors import file
from zstream.connectors.registry import open_reader
from zstream.errors import ConnectorError
from zstream.ports.connectors import EndOfInput, Reader
from zstream.topology.json_values import from_json
from zstream.topology.specs import CsvSource, FileSource, LengthPrefix, Lines, Source

PATIENCE = 60  # reads that give nothing before it is believed that there is nothing


class Point(NamedTuple):
    x: int
    y: int


@contextlib.contextmanager
def reading(spec: Source[Any], config: Config | None = None) -> Iterator[Reader]:
    with contextlib.closing(open_reader(spec, "words", None, config)) as reader:
        yield reader


def take(reader: Reader, limit: int = 100) -> list[Any]:
    """All that there is now."""
    records: list[Any] = []
    nothing = 0
    while nothing < PATIENCE:
        try:
            got = reader.read(limit)
        except EndOfInput:
            break
        nothing = 0 if got else nothing + 1
        records += got
    return records


def fill(path: Path, **texts: str) -> None:
    for name, text in texts.items():
        (path / name).write_text(text)


@pytest.mark.parametrize("follow", [False, True])
def test_files_are_read_in_the_order_of_their_names(tmp_path: Path, follow: bool) -> None:
    """Folders and names with a dot are none of them; a last line needs no newline, but at the very
    end of what is followed."""
    fill(tmp_path, b="3\n4", a="1\n2\n", c="", d="5\n6\n")
    (tmp_path / ".hidden").write_text("no\n")
    (tmp_path / "folder").mkdir()
    with reading(FileSource(str(tmp_path), follow=follow), Config(source_read_bytes_max=3)) as it:
        assert take(it, 1) == ["1", "2", "3", "4", "5", "6"]
        if follow:
            assert it.read(1) == []
            assert it.wake_at(50.0) == 50.0 + file.FOLLOW_SECONDS
        else:
            with pytest.raises(EndOfInput):
                it.read(1)


def test_each_csv_file_has_its_own_header(tmp_path: Path) -> None:
    """Columns in another order, and messages that name the file."""
    fill(tmp_path, a="x,y\n1,2\n", b="y,x\n3,4\n")
    (tmp_path / "c").write_bytes(b"x\n\xff\n")
    with reading(CsvSource(str(tmp_path), Point)) as reader:
        assert [row for _ in range(9) for row in reader.read(9)] == [
            {"x": "1", "y": "2"},
            {"x": "4", "y": "3"},
        ]
        with pytest.raises(ConnectorError, match="source words, file c: line 2 is not utf-8"):
            take(reader)


def test_json_lines_of_a_directory(tmp_path: Path) -> None:
    """Lines and a decoder: nothing of its own."""
    fill(tmp_path, a='{"n": 1}\n', b='{"n": 2}\n')
    spec = FileSource(str(tmp_path), Lines(), from_json(dict[str, int]))
    with reading(spec) as reader:
        assert spec.decode is not None
        assert [spec.decode(line) for line in take(reader)] == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("follow", [False, True])
def test_from_every_position_exactly_the_rest_is_read(tmp_path: Path, follow: bool) -> None:
    """Between files and in the midst of one, in the same reader and in another."""
    fill(tmp_path, a="x,y\n1,2\n3,4", b="", c="x,y\n", d='x,y\n"5\n",6\n', e="x,y\n7,8\n")
    spec = CsvSource(str(tmp_path), Point, follow=follow)
    small = Config(source_read_bytes_max=2)
    with reading(spec) as reader:
        every = take(reader)
    assert len(every) == 4
    positions = []
    with reading(spec, small) as reader:
        given = 0
        for _ in range(80):
            positions.append((reader.position(), given))
            with contextlib.suppress(EndOfInput):
                given += len(reader.read(1))
        assert given == 4
        for position, before in positions:
            reader.seek(position)
            assert take(reader) == every[before:]
            with reading(spec) as other:
                other.seek(position)
                assert take(other) == every[before:]
        reader.seek(None)
        assert take(reader) == every


def test_new_files_are_read_and_the_one_before_is_read_to_its_end(tmp_path: Path) -> None:
    """A line that was added just before the newer file was made is not lost."""
    with reading(FileSource(str(tmp_path), follow=True)) as reader:
        assert take(reader) == []
        assert reader.waits_for() == f"source words: there is no file in {tmp_path} yet."
        fill(tmp_path, day1="1\n2")
        assert take(reader) == ["1"]
        assert reader.waits_for() == ""
        with (tmp_path / "day1").open("a") as log:
            log.write("2\n3\n4")
        fill(tmp_path, day2="5\n")
        assert take(reader) == ["22", "3", "4", "5"]
        with (tmp_path / "day2").open("a") as log:
            log.write("6\n")
        assert take(reader) == ["6"]


def test_a_line_that_comes_while_the_newer_file_is_made_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the end of the older file was seen, and before the newer one is."""
    fill(tmp_path, day1="1\n")
    list_now = os.scandir

    def late_lines(path: Any) -> Any:
        if not (tmp_path / "day2").exists():
            fill(tmp_path, day1="1\n2\n3", day2="4\n")
        return list_now(path)

    with reading(FileSource(str(tmp_path), follow=True)) as reader:
        assert take(reader) == ["1"]
        monkeypatch.setattr(os, "scandir", late_lines)
        assert take(reader) == ["2", "3", "4"]


def test_a_file_that_comes_late_is_read_and_the_last_one_may_still_grow(tmp_path: Path) -> None:
    """Two workers of a file sink: of one epoch either may be there first. Also after seeks."""
    fill(tmp_path, e1="1\n", e5="5\nhal")
    spec = FileSource(str(tmp_path), follow=True)
    with reading(spec) as reader:
        assert take(reader) == ["1", "5"]
        fill(tmp_path, e3="3\n", e4="4\n")
        (tmp_path / "e5").write_text("5\nhalf\n6\n")
        positions: list[tuple[Any, int]] = []
        late: list[str] = []
        for _ in range(20):
            positions.append((reader.position(), len(late)))
            late += reader.read(1)
        assert sorted(late) == ["3", "4", "6", "half"]
        for position, before in positions:
            with reading(spec) as other:
                other.seek(position)
                assert sorted([*late[:before], *take(other)]) == sorted(late)


def test_a_file_that_sorts_before_all_that_is_remembered_is_said_and_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once; what was there when it was opened is not."""
    monkeypatch.setattr(file, "DONE_KEPT", 2)
    fill(tmp_path, **{f"f{n}": f"{n}\n" for n in range(1, 7)})
    spec = FileSource(str(tmp_path), follow=True)
    with reading(spec) as reader, caplog.at_level(logging.WARNING):
        assert take(reader) == ["1", "2", "3", "4", "5", "6"]
        position = reader.position()
        assert position["floor"] == "f3"
        assert len(position["done"]) == 2
        fill(tmp_path, f0="0\n", f45="4.5\n")
        assert take(reader) == ["4.5"]
        assert take(reader) == []
        assert [record.message for record in caplog.records] == [
            f"source words: {tmp_path}/f0 is not read: it sorts before 2 files that were read "
            "before it came. New files need names that sort after."
        ]
        with reading(spec) as other:
            other.seek(position)
            assert take(other) == ["4.5"]
        assert len(caplog.records) == 1


def test_a_torn_frame_at_the_end_of_a_file_is_said_and_the_next_begins_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Files are not glued together."""
    (tmp_path / "a").write_bytes(b"\0\0\0\1x\0\0\0\2y")
    (tmp_path / "b").write_bytes(b"\0\0\0\1z")
    with reading(FileSource(str(tmp_path), LengthPrefix())) as reader:
        assert take(reader) == [b"x", b"z"]
    assert "a ends in the middle of a record; the last 5 bytes are dropped." in caplog.text


def test_a_file_that_is_gone_at_a_seek_is_named(tmp_path: Path) -> None:
    """And so is a directory, and a name that no message could hold."""
    fill(tmp_path, a="1\n2\n", b="3\n")
    with reading(FileSource(str(tmp_path))) as reader:
        reader.read(1)
        reader.read(1)
        position = reader.position()
        (tmp_path / "a").unlink()
        with pytest.raises(ConnectorError, match=r"words, file a: there is no file .*/a"):
            reader.seek(position)
    (tmp_path / "\udcff").write_text("1\n")
    with pytest.raises(ConnectorError, match=r"a file whose name is no plain text, '\\udcff'"):
        open_reader(FileSource(str(tmp_path)), "words", None)


def test_an_empty_directory_ends_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Most likely the path is wrong."""
    with reading(FileSource(str(tmp_path))) as reader:
        assert take(reader) == []
    assert caplog.messages == [f"source words: there is no file in {tmp_path}."]
