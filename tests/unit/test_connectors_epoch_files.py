"""The file sink: a directory with a file for each epoch and author."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zstream.connectors.epoch_files import FileWriter
from zstream.connectors.registry import open_reader, open_writer
from zstream.errors import ConnectorError
from zstream.ports.connectors import EndOfInput, Writer
from zstream.topology.specs import FileSink, FileSource

ME, OTHER = 8231, 17


def opened(path: Path) -> Writer:
    return open_writer(FileSink(str(path), str), "out", None)


def prepared(path: Path, *records: str) -> Any:
    writer = opened(path)
    writer.write(list(records))
    return writer.prepare(1)


def there(path: Path) -> dict[str, bytes]:
    """All files that a person sees."""
    return {name: (path / name).read_bytes() for name in visible(path)}


def visible(path: Path) -> list[str]:
    return sorted(name for name in os.listdir(path) if not name.startswith("."))


def leftovers(path: Path) -> list[str]:
    return sorted(os.listdir(path / ".writing"))


def test_epochs_become_files_whose_names_are_in_order(tmp_path: Path) -> None:
    """Nothing before a commit, nothing for an epoch without output, and nothing aborted."""
    path = tmp_path / "out"
    writer = opened(path)
    for epoch in range(8, 13):
        if epoch != 10:
            writer.write([f"{epoch}a\n", b"raw\n"])
        output = writer.prepare(epoch)
        assert len(visible(path)) == len([e for e in range(8, epoch) if e != 10])
        writer.commit(epoch, ME, [output] if output is not None else [])
    writer.write(["aborted\n"])
    writer.abort()
    assert writer.prepare(13) is None
    writer.close()
    assert b"".join(there(path).values()) == b"8a\nraw\n9a\nraw\n11a\nraw\n12a\nraw\n"
    assert visible(path)[0] == f"0000000000000008-{ME}"
    assert leftovers(path) == []


def test_the_directory_is_also_what_a_file_source_reads(tmp_path: Path) -> None:
    """Its own folder for what is being written is passed over."""
    writer = opened(tmp_path / "out")
    for epoch in (1, 2):
        for author in (ME, OTHER):
            writer.commit(epoch, author, [[b"%d of %d\n" % (epoch, author)]])
    reader = open_reader(FileSource(str(tmp_path / "out")), "lines", None)
    lines: list[str] = []
    with pytest.raises(EndOfInput):
        while True:
            lines += reader.read(10)
    reader.close()
    assert lines == [f"{epoch} of {author}" for epoch in (1, 2) for author in (OTHER, ME)]


def test_what_is_committed_again_changes_nothing(tmp_path: Path) -> None:
    """By the same writer, by another, and of another author beside it."""
    path = tmp_path / "out"
    output = prepared(path, "one\n")
    first, second = opened(path), opened(path)
    first.commit(1, ME, [output])
    inode = (path / visible(path)[0]).stat().st_ino
    first.commit(1, ME, [output])
    second.commit(1, ME, [output])
    assert (path / visible(path)[0]).stat().st_ino == inode
    second.commit(1, OTHER, [[b"two\n"]])
    assert sorted(there(path).values()) == [b"one\n", b"two\n"]


def test_outputs_of_several_cuts_are_one_file_in_order(tmp_path: Path) -> None:
    """Epochs without a manifest before this one are committed with it."""
    opened(tmp_path / "out").commit(3, ME, [[b"1\n", b"2\n"], [b"3\n"]])
    assert list(there(tmp_path / "out").values()) == [b"1\n2\n3\n"]


def test_two_that_commit_the_same_at_the_same_time_leave_one_whole_file(tmp_path: Path) -> None:
    """A worker that slept, and the one that took over: whoever is second is content."""
    path = tmp_path / "out"
    output = [b"%06d\n" % n * 1000 for n in range(100)]
    start = threading.Barrier(4)
    failed: list[str] = []

    def work() -> None:
        writer = opened(path)
        for epoch in range(1, 9):
            start.wait(60)
            for attempt in range(9, -1, -1):
                try:
                    writer.commit(epoch, ME, [output])
                    break
                except ConnectorError as error:  # its temporary file was cleared by the other
                    if not attempt:
                        failed.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert list(there(path).values()) == [b"".join(output)] * 8
    assert leftovers(path) == []


def test_leftovers_of_the_dead_are_cleared_and_those_of_the_living_stay(tmp_path: Path) -> None:
    """Earlier epochs are over, and so is what this author has committed; others may be at work."""
    path = tmp_path / "out"
    writer = opened(path)
    (path / ".writing").mkdir()
    stale = ["0000000000000004-17-aa", f"0000000000000005-{ME}-bb"]
    alive = ["0000000000000005-17-cc", f"0000000000000005-{ME}1-dd", f"0000000000000006-{ME}-ee"]
    for name in [*stale, *alive, "of-a-person"]:
        (path / ".writing" / name).write_bytes(b"half")
    writer.commit(5, ME, [[b"whole"]])
    assert leftovers(path) == sorted([*alive, "of-a-person"])


def test_what_cannot_be_written_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file under this name, a directory that is missing above, or one that is not ours."""
    monkeypatch.chdir(tmp_path)
    Path("out").write_text("old output\n")
    with pytest.raises(ConnectorError, match="sink out cannot write out: it is a file, and this"):
        opened(Path("out"))
    assert Path("out").read_text() == "old output\n"
    with pytest.raises(ConnectorError) as caught:
        opened(Path("no/out"))
    assert str(caught.value) == (
        "sink out cannot make the directory no/out: No such file or directory "
        f"(looked for in {tmp_path})."
    )
    Path("theirs").mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(ConnectorError, match="sink out cannot write theirs: permission denied"):
        opened(Path("theirs"))


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_is_said_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The commit fails with a sentence, leaves nothing half written, and is done when repeated."""
    path = tmp_path / "out"
    output = prepared(path, "one\n", "two\n")
    writer = opened(path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(ConnectorError, match=r"No space left on device\. It is tried again"):
            writer.commit(1, ME, [output])
    assert (visible(path), leftovers(path)) == ([], [])
    writer.commit(1, ME, [output])
    assert list(there(path).values()) == [b"one\ntwo\n"]


def test_a_file_is_synced_before_it_has_its_name_and_the_directory_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a directory in which somebody else has just put the file: it may not be synced yet."""
    writer = opened(tmp_path / "out")
    calls: list[str] = []

    def noting(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(first: Any, *rest: Any, **options: Any) -> Any:
            is_directory = name == "fsync" and Path(f"/proc/self/fd/{first}").resolve().is_dir()
            calls.append(f"{name} directory" if is_directory else name)
            return real(first, *rest, **options)

        return call

    for name in ("write", "fsync", "replace"):
        monkeypatch.setattr(os, name, noting(name))
    writer.commit(1, ME, [[b"one"]])
    assert calls == ["write", "fsync", "replace", "fsync directory"]
    calls.clear()
    FileWriter("sink out", str(tmp_path / "out")).commit(1, ME, [[b"one"]])
    assert calls == ["fsync directory"]
