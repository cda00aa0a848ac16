"""Lines of text: split into words, each word counted, one output a word; 24 words a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.jobs.job import Job

TEXT = Path(__file__).resolve().parents[2] / "examples" / "bill_of_rights.txt"
WORDS_A_LINE = 24
LINES = 20_000


def split(line: str) -> list[str]:
    return line.split()


def key_of(word: str) -> str:
    return word.lower()


def count(seen: int | None, word: str) -> tuple[int, tuple[str, int]]:
    seen = (seen or 0) + 1
    return seen, (word.lower(), seen)


def plain(lines: list[str], counts: dict[str, Any]) -> list[tuple[str, int]]:
    """The job without an engine."""
    outputs = []
    for line in lines:
        for word in split(line):
            key = key_of(word)
            counts[key], output = count(counts.get(key), word)
            outputs.append(output)
    return outputs


def make(keys: int) -> list[str]:
    """The text again and again, in lines of equally many words. It has as many keys as it has."""
    words = TEXT.read_text(encoding="utf-8").split()
    words *= -(-LINES * WORDS_A_LINE // len(words))
    starts = range(0, LINES * WORDS_A_LINE, WORDS_A_LINE)
    return [" ".join(words[start : start + WORDS_A_LINE]) for start in starts]


JOB = Job(
    says="word count: each line gives 24 words, each word a running count",
    make=make,
    steps=(("flat_map", split), ("key_by", key_of), ("stateful_map", count)),
    plain=plain,
    rounds=8,
    unit="words",
    keys=(len({key_of(word) for word in TEXT.read_text(encoding="utf-8").split()}),),
)
