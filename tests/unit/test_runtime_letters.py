"""Dead letters: part of their epoch, said the first time, counted always."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from zstream.ports.letters import DeadLetter
from zstream.runtime.letters import DeadLetterFile, shown


class Vote(NamedTuple):
    letter: str
    votes: int


def letter(record: object, *, key: object = "q", error: str = "ValueError: bad vote") -> DeadLetter:
    return DeadLetter("tally", "alphabet.py:16", key, record, error, "Trace", "alphabet.py:17")


class Said:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, level: str, event: str, text: str, fields: Mapping[str, Any]) -> None:
        self.lines.append((event, text))


def commit(letters: DeadLetterFile, epoch: int = 7, author: int = 1) -> None:
    """A checkpoint: cut, decided, committed."""
    output = letters.prepare(epoch)
    if output is not None:
        letters.commit(epoch, author, [output])


def kept(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_first_letter_is_said_as_the_face_promises_and_the_same_again_only_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two bad votes: one line in the log, two in the file; another error is said again."""
    monkeypatch.chdir(tmp_path)
    said = Said()
    letters = DeadLetterFile("dead-letters.jsonl", "w1", 10**6, said)
    letters.add(letter(Vote("q", -1)))
    letters.add(letter(Vote("q", -2)))
    assert said.lines == [
        (
            "dead_letter",
            "tally (alphabet.py:16) raised ValueError: bad vote, key 'q', record "
            "Vote(letter='q', votes=-1), at alphabet.py:17; dead letter 1, dead-letters.jsonl. "
            "The same again is only counted.",
        )
    ]
    letters.add(letter(Vote("q", -3), error="KeyError: 'x'"))
    assert len(said.lines) == 2
    commit(letters)
    lines = kept(Path("dead-letters.jsonl"))
    assert [line["record"] for line in lines] == [
        f"Vote(letter='q', votes=-{n})" for n in (1, 2, 3)
    ]
    assert lines[0]["record_json"] == ["q", -1]
    assert lines[0]["operator"] == "tally" and lines[0]["worker"] == "w1"
    assert [(line["epoch"], line["author"], line["number"]) for line in lines] == [
        (7, 1, 1),
        (7, 1, 2),
        (7, 1, 3),
    ]
    assert letters.count == 3


def test_a_letter_is_in_the_file_when_its_epoch_is_decided_and_not_before(tmp_path: Path) -> None:
    """Prepared twice, because the first epoch was abandoned: both go under the second's name."""
    path = tmp_path / "d.jsonl"
    letters = DeadLetterFile(str(path), "w0", 10**6, Said())
    letters.add(letter(1))
    first = letters.prepare(7)
    assert letters.prepare(8) is None
    letters.add(letter(2))
    letters.add(letter(3))
    second = letters.prepare(9)
    assert not path.exists()
    letters.commit(9, 1, [first, second])
    letters.commit(9, 1, [first, second])
    assert [(line["epoch"], line["number"], line["record"]) for line in kept(path)] == [
        (9, 1, "1"),
        (9, 2, "2"),
        (9, 3, "3"),
    ]


def test_a_survivor_commits_the_letters_of_one_who_died(tmp_path: Path) -> None:
    """They say who wrote them, and what the dead one had managed to write is not doubled."""
    path = str(tmp_path / "d.jsonl")
    dead, survivor = (DeadLetterFile(path, name, 10**6, Said()) for name in ("w0", "w1"))
    for number in range(3):
        dead.add(letter(number))
    output = dead.prepare(7)
    assert output is not None
    dead.commit(7, 1, [output[:2]])
    survivor.add(letter("mine"))
    commit(survivor, author=2)
    survivor.commit(7, 1, [output])
    assert [(line["worker"], line["record"]) for line in kept(Path(path))] == [
        ("w0", "0"),
        ("w0", "1"),
        ("w1", "'mine'"),
        ("w0", "2"),
    ]


def test_a_recovery_drops_what_no_epoch_has(tmp_path: Path) -> None:
    """Its records come again, and so do the letters: each is in the file once."""
    path = tmp_path / "d.jsonl"
    said = Said()
    letters = DeadLetterFile(str(path), "w0", 10**6, said)
    letters.add(letter(1))
    letters.abort()
    assert letters.prepare(7) is None
    letters.add(letter(1))
    commit(letters, 8)
    assert [line["record"] for line in kept(path)] == ["1"]
    assert len(said.lines) == 1


def test_no_file_before_the_first_letter(tmp_path: Path) -> None:
    """A worker without errors leaves no empty file behind."""
    letters = DeadLetterFile(str(tmp_path / "d.jsonl"), "w0", 10**6, Said())
    commit(letters)
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_json_has_no_form_for_is_kept_as_python_shows_it(tmp_path: Path) -> None:
    """Bytes, and an object whose __repr__ raises: add never raises."""

    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    letters = DeadLetterFile(str(tmp_path / "d.jsonl"), "w0", 10**6, Said())
    letters.add(letter(b"\xff", key=None))
    letters.add(letter(Rude()))
    commit(letters)
    lines = kept(tmp_path / "d.jsonl")
    assert lines[0]["record"] == "b'\\xff'" and "record_json" not in lines[0]
    assert lines[1]["record"] == "<Rude whose __repr__ raised RuntimeError>"


def test_above_the_limit_letters_are_only_counted_and_that_is_said_once(tmp_path: Path) -> None:
    """The file stays within its limit, whoever wrote to it before."""
    said = Said()
    path = tmp_path / "d.jsonl"
    path.write_text("x" * 900)
    letters = DeadLetterFile(str(path), "w0", 1300, said)
    for number in range(3):
        letters.add(letter(number))
    commit(letters, 7)
    letters.add(letter(3))
    commit(letters, 8)
    assert 900 < path.stat().st_size <= 1300
    assert letters.count == 4
    assert [text for event, text in said.lines if event == "dead_letters_not_kept"] == [
        f"{path} has reached 1,300 bytes (limit dead_letters_bytes_max); "
        "dead letters that are not in it: 2; further ones are only counted."
    ]


def test_between_two_checkpoints_there_is_room_for_so_many(tmp_path: Path) -> None:
    """A function that refuses everything does not eat the memory; the next epoch has room again."""
    said = Said()
    path = tmp_path / "d.jsonl"
    letters = DeadLetterFile(str(path), "w0", 1000, said)
    for number in range(9):
        letters.add(letter(number))
    output = letters.prepare(7)
    assert output is not None and 0 < sum(map(len, output)) <= 1000
    assert [text for event, text in said.lines if event == "dead_letters_not_kept"] == [
        "between two checkpoints there is room for 1,000 bytes of dead letters "
        f"(limit dead_letters_bytes_max); only counted: {9 - len(output)}."
    ]
    letters.add(letter(10))
    assert len(letters.prepare(8) or ()) == 1
    assert len(said.lines) == 2


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """A directory in the file's place: said once, letters still counted and remembered."""
    said = Said()
    letters = DeadLetterFile(str(tmp_path), "w0", 10**6, said)
    for epoch in (7, 8):
        letters.add(letter(1))
        commit(letters, epoch)
    assert letters.count == 2 and len(letters.newest()) == 2
    assert [text for event, text in said.lines if event == "dead_letters_not_kept"] == [
        f"{tmp_path} cannot be written: Is a directory; "
        "dead letters that are not in it: 1; further ones are only counted."
    ]


def test_a_full_disk_is_no_reason_to_lose_letters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit fails and is done again when there is room."""
    path = tmp_path / "d.jsonl"
    letters = DeadLetterFile(str(path), "w0", 10**6, Said())
    letters.add(letter(1))
    output = letters.prepare(7)

    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="no space left"):
            letters.commit(7, 1, [output])
    letters.commit(7, 1, [output])
    assert len(kept(path)) == 1


def test_the_newest_twenty_are_remembered(tmp_path: Path) -> None:
    """For the status tool: the newest 20, oldest first, none of them long."""
    letters = DeadLetterFile(str(tmp_path / "d"), "w0", 10**6, Said())
    for number in range(30):
        letters.add(letter(number))
    assert [kept["record"] for kept in letters.newest()] == [str(n) for n in range(10, 30)]
    letters.add(letter("x" * 10**6))
    assert len(letters.newest()) == 20
    assert len(repr(letters.newest()[-1])) < 2000


def test_two_workers_append_to_one_file(tmp_path: Path) -> None:
    """No line of one overwrites a line of the other."""
    path = str(tmp_path / "d.jsonl")
    first = DeadLetterFile(path, "w0", 10**6, Said())
    second = DeadLetterFile(path, "w1", 10**6, Said())
    for epoch in range(3):
        first.add(letter(epoch))
        second.add(letter(epoch))
        commit(first, epoch, 1)
        commit(second, epoch, 2)
    assert [line["worker"] for line in kept(Path(path))] == ["w0", "w1"] * 3


def test_a_long_record_is_cut() -> None:
    """What is cut says how long it was."""
    assert shown("a" * 50, 10) == "'aaaaaaaaa... (52 characters)"
