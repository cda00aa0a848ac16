"""Lines by name: each once, whatever crashed at whatever step, whoever else appends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from pathlib import Path

import pytest

from zstream.runtime import named_lines
from zstream.runtime.named_lines import NamedLines

LIMIT = 10**6


def lines(*words: str) -> list[str]:
    return [json.dumps({"word": word}) for word in words]


def words_in(path: Path) -> list[tuple[int, int, int, str]]:
    """Each line of the file as (epoch, author, number, word)."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["epoch"], line["author"], line["number"], line["word"]) for line in found]


def test_lines_are_appended_under_their_name(tmp_path: Path) -> None:
    """Two epochs, two authors; numbers count from 1 within each."""
    path = tmp_path / "d.jsonl"
    file = NamedLines(str(path), LIMIT)
    assert file.commit(7, 1, lines("a", "b")) == 0
    assert file.commit(7, 2, lines("c")) == 0
    assert file.commit(8, 1, lines("d")) == 0
    assert words_in(path) == [(7, 1, 1, "a"), (7, 1, 2, "b"), (7, 2, 1, "c"), (8, 1, 1, "d")]
    assert path.read_text().startswith('{"epoch": 7, "author": 1, "number": 1, "word": "a"}\n')


def test_the_same_again_is_not_appended_by_anybody(tmp_path: Path) -> None:
    """A commit of which nobody knows whether it was done: again here, and on another worker."""
    path = tmp_path / "d.jsonl"
    file = NamedLines(str(path), LIMIT)
    other = NamedLines(str(path), LIMIT)
    other.commit(6, 9, lines("before"))
    file.commit(7, 1, lines("a", "b"))
    file.commit(7, 1, lines("a", "b"))
    other.commit(7, 1, lines("a", "b"))
    NamedLines(str(path), LIMIT).commit(7, 1, lines("a", "b"))
    assert words_in(path) == [(6, 9, 1, "before"), (7, 1, 1, "a"), (7, 1, 2, "b")]


@pytest.mark.parametrize("has_looked", [False, True])
def test_a_crash_behind_any_byte_of_a_commit(has_looked: bool, tmp_path: Path) -> None:
    """What a write leaves when it is cut off is cut to whole lines, and only the rest is added:
    by a process that has just begun, and by one that knows the file up to the commit."""
    path = tmp_path / "d.jsonl"
    NamedLines(str(path), LIMIT).commit(6, 1, lines("before", "and more"))
    before = path.read_bytes()
    NamedLines(str(path), LIMIT).commit(7, 2, lines("a", "b\n\u00e9", "c"))
    after = path.read_bytes()
    for crashed_at in range(len(before), len(after) + 1):
        path.write_bytes(before)
        file = NamedLines(str(path), LIMIT)
        if has_looked:
            file.commit(6, 1, lines("before", "and more"))
        path.write_bytes(after[:crashed_at])
        file.commit(7, 2, lines("a", "b\n\u00e9", "c"))
        assert path.read_bytes() == after
        file.commit(8, 2, lines("d"))
        assert words_in(path)[-1] == (8, 2, 1, "d")


def test_another_author_cuts_off_what_a_crash_tore(tmp_path: Path) -> None:
    """Its line is appended behind whole ones; the torn one comes with its own epoch."""
    path = tmp_path / "d.jsonl"
    file = NamedLines(str(path), LIMIT)
    file.commit(7, 1, lines("a", "b"))
    path.write_bytes(path.read_bytes()[:-5])
    other = NamedLines(str(path), LIMIT)
    other.commit(7, 2, lines("c"))
    other.commit(7, 1, lines("a", "b"))
    assert words_in(path) == [(7, 1, 1, "a"), (7, 2, 1, "c"), (7, 1, 2, "b")]


def test_zeros_that_a_power_loss_left_are_cut_off(tmp_path: Path) -> None:
    """The file had grown, the data were not written; in the midst of lines, too."""
    path = tmp_path / "d.jsonl"
    NamedLines(str(path), LIMIT).commit(7, 1, lines("a", "b", "c"))
    whole = path.read_bytes()
    path.write_bytes(whole[:60] + bytes(40))
    NamedLines(str(path), LIMIT).commit(7, 1, lines("a", "b", "c"))
    assert path.read_bytes() == whole
    path.write_bytes(bytes(40))
    NamedLines(str(path), LIMIT).commit(7, 1, lines("a", "b", "c"))
    assert path.read_bytes() == whole
    first, _, third = whole.splitlines(keepends=True)
    path.write_bytes(first + third)
    NamedLines(str(path), LIMIT).commit(7, 1, lines("a", "b", "c"))
    assert sorted(words_in(path)) == [(7, 1, 1, "a"), (7, 1, 2, "b"), (7, 1, 3, "c")]


@pytest.mark.parametrize(
    "there",
    ["a person's note", '{"time": "2024"}', '{"epoch": 6, "author": 1, "number": 1, "x": 1}'],
)
def test_what_somebody_else_wrote_is_not_cut_off(there: str, tmp_path: Path) -> None:
    """A last line without its end that is not ours, or that is whole, is ended and kept."""
    path = tmp_path / "d.jsonl"
    path.write_text(there)
    NamedLines(str(path), LIMIT).commit(6, 1, lines("a", "b"))
    NamedLines(str(path), LIMIT).commit(7, 1, lines("c"))
    written = path.read_text().splitlines()
    assert written[0] == there
    is_first_line = "author" in there
    assert [json.loads(line)["word"] for line in written[1:]] == (
        ["b", "c"] if is_first_line else ["a", "b", "c"]
    )


def test_a_full_disk_in_the_midst_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system takes a few bytes at a time and then no more; when there is room it goes on."""
    path = tmp_path / "d.jsonl"
    file = NamedLines(str(path), LIMIT)
    file.commit(6, 1, lines("before"))
    real, taken = os.write, 0

    def write(descriptor: int, data: memoryview) -> int:
        nonlocal taken
        if taken > 80:
            raise OSError(errno.ENOSPC, "no space left on device")
        taken += 7
        return real(descriptor, data[:7])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        with pytest.raises(OSError, match="no space left"):
            file.commit(7, 1, lines("a", "b", "c"))
    assert path.read_bytes()[-1:] != b"\n"
    file.commit(7, 1, lines("a", "b", "c"))
    assert words_in(path) == [(6, 1, 1, "before"), (7, 1, 1, "a"), (7, 1, 2, "b"), (7, 1, 3, "c")]


def test_a_sync_that_fails_is_done_again_although_all_lines_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit returns only when its lines are durable, and the file's name with them."""
    path = tmp_path / "d.jsonl"
    file = NamedLines(str(path), LIMIT)
    real, synced = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal synced
        synced += 1
        if synced == 1:
            raise OSError(errno.EIO, "input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="input/output"):
        file.commit(7, 1, lines("a"))
    file.commit(7, 1, lines("a"))
    assert synced == 3  # the one that failed, the file's, its directory's
    assert words_in(path) == [(7, 1, 1, "a")]


def test_many_append_the_same_and_their_own_at_the_same_time(tmp_path: Path) -> None:
    """Eight hold the file in turn, and two each have the same lines to append: none is doubled."""
    path = tmp_path / "d.jsonl"
    start = threading.Barrier(8)

    def work(me: int) -> None:
        file = NamedLines(str(path), LIMIT)
        start.wait(10)
        for epoch in range(1, 11):
            file.commit(epoch, me // 2, lines("a", "b", "c"))

    threads = [threading.Thread(target=work, args=(me,)) for me in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(words_in(path)) == sorted(
        (epoch, author, number, word)
        for epoch in range(1, 11)
        for author in range(4)
        for number, word in ((1, "a"), (2, "b"), (3, "c"))
    )


def test_who_never_lets_go_of_the_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait has an end; the commit is tried again later."""
    path = tmp_path / "d.jsonl"
    monkeypatch.setattr(named_lines, "_LOCK_S", 0.01)
    file = NamedLines(str(path), LIMIT)
    with path.open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="is locked by another process"):
            file.commit(7, 1, lines("a"))
    file.commit(7, 1, lines("a"))
    assert words_in(path) == [(7, 1, 1, "a")]


def test_a_file_that_was_moved_away_or_emptied_begins_anew(tmp_path: Path) -> None:
    """As log rotation does; what it has of the epoch under way is not doubled in the new one."""
    path = tmp_path / "d.jsonl"
    file = NamedLines(str(path), LIMIT)
    file.commit(7, 1, lines("a", "b"))
    path.rename(tmp_path / "d.jsonl.1")
    file.commit(7, 1, lines("a", "b"))
    file.commit(8, 1, lines("c"))
    assert words_in(path) == [(8, 1, 1, "c")]
    os.truncate(path, 0)
    file.commit(9, 1, lines("d"))
    assert words_in(path) == [(9, 1, 1, "d")]
    path.unlink()
    path.write_text("x" * 500 + "\n")  # longer than what was looked at, and another file
    file.commit(10, 1, lines("e"))
    assert path.read_text().splitlines()[1].endswith('"word": "e"}')


def test_above_the_limit_the_last_lines_find_no_room(tmp_path: Path) -> None:
    """How many is told, also when they are committed again."""
    path = tmp_path / "d.jsonl"
    file = NamedLines(str(path), 120)
    assert file.commit(7, 1, lines("a", "b", "c", "d")) == 2
    assert file.commit(7, 1, lines("a", "b", "c", "d")) == 2
    assert NamedLines(str(path), 120).commit(7, 1, lines("a", "b", "c", "d")) == 2
    assert words_in(path) == [(7, 1, 1, "a"), (7, 1, 2, "b")]


def test_what_is_no_file_is_written_to() -> None:
    """/dev/null takes all of it."""
    assert NamedLines(os.devnull, 10).commit(7, 1, lines("a", "b")) == 0
