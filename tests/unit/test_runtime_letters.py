"""Dead letters: kept in the file, said the first time, counted always."""

from __future__ import annotations

import json
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
    letters.close()
    lines = [json.loads(line) for line in Path("dead-letters.jsonl").read_text().splitlines()]
    assert [line["record"] for line in lines] == [
        f"Vote(letter='q', votes=-{n})" for n in (1, 2, 3)
    ]
    assert lines[0]["record_json"] == ["q", -1]
    assert lines[0]["operator"] == "tally" and lines[0]["worker"] == "w1"
    assert letters.count == 3


def test_no_file_before_the_first_letter(tmp_path: Path) -> None:
    """A worker without errors leaves no empty file behind."""
    letters = DeadLetterFile(str(tmp_path / "d.jsonl"), "w0", 10**6, Said())
    letters.close()
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_json_has_no_form_for_is_kept_as_python_shows_it(tmp_path: Path) -> None:
    """Bytes, and an object whose __repr__ raises: add never raises."""

    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    letters = DeadLetterFile(str(tmp_path / "d.jsonl"), "w0", 10**6, Said())
    letters.add(letter(b"\xff", key=None))
    letters.add(letter(Rude()))
    letters.close()
    lines = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
    assert lines[0]["record"] == "b'\\xff'" and "record_json" not in lines[0]
    assert lines[1]["record"] == "<Rude whose __repr__ raised RuntimeError>"


def test_above_the_limit_letters_are_only_counted_and_that_is_said_once(tmp_path: Path) -> None:
    """The file stays within its limit, whoever wrote to it before."""
    said = Said()
    path = tmp_path / "d.jsonl"
    path.write_text("x" * 900)
    letters = DeadLetterFile(str(path), "w0", 1300, said)
    for number in range(5):
        letters.add(letter(number))
    letters.close()
    assert 900 < path.stat().st_size <= 1300
    assert letters.count == 5
    assert [text for event, text in said.lines if event == "dead_letters_not_kept"] == [
        f"{path} has reached 1,300 bytes (limit dead_letters_bytes_max); "
        "from dead letter 2 on they are only counted."
    ]


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """A directory in the file's place: said once, letters still counted and remembered."""
    said = Said()
    letters = DeadLetterFile(str(tmp_path), "w0", 10**6, said)
    letters.add(letter(1))
    letters.add(letter(2))
    assert letters.count == 2
    assert [event for event, _ in said.lines].count("dead_letters_not_kept") == 1


def test_the_newest_twenty_are_remembered(tmp_path: Path) -> None:
    """For the status tool: the newest 20, oldest first, none of them long."""
    letters = DeadLetterFile(str(tmp_path / "d"), "w0", 10**6, Said())
    for number in range(30):
        letters.add(letter(number))
    assert [kept["record"] for kept in letters.newest()] == [str(n) for n in range(10, 30)]
    letters.add(letter("x" * 10**6))
    letters.close()
    assert len(letters.newest()) == 20
    assert len(repr(letters.newest()[-1])) < 2000


def test_two_workers_append_to_one_file(tmp_path: Path) -> None:
    """No line of one overwrites a line of the other."""
    path = str(tmp_path / "d.jsonl")
    first = DeadLetterFile(path, "w0", 10**6, Said())
    second = DeadLetterFile(path, "w1", 10**6, Said())
    for number in range(3):
        first.add(letter(number))
        second.add(letter(number))
    first.close()
    second.close()
    workers = [json.loads(line)["worker"] for line in Path(path).read_text().splitlines()]
    assert workers == ["w0", "w1"] * 3


def test_a_long_record_is_cut() -> None:
    """What is cut says how long it was."""
    assert shown("a" * 50, 10) == "'aaaaaaaaa... (52 characters)"
