"""Judges what a sink was given: each record once, each key's count without a hole, in order.

In order means: in one epoch, what one process applied of a key, rising; over epochs, all that one
epoch holds of a key behind all that the one before holds. For each way on which records reach a
key in order (their partition, and their key in the stage before), what a record says came before
it is what did.

It takes some bytes of memory for each record, and no more.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.soak.outside import MARK
from tests.soak.topology import Numbered, record

EXAMPLES_MAX = 5  # of each kind of fault that is printed


class Line(NamedTuple):
    """One line of output; `place`: how many its key had seen by then."""

    epoch: int
    partition: str
    number: int
    place: int
    before: int
    process: str


@dataclass
class Verdict:
    """What is wrong with one sink's output. records: how many lines there were."""

    sink: str
    records: int = 0
    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    miscounted: int = 0
    strange: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_exact(self) -> bool:
        wrong = self.lost + self.doubled + self.out_of_order + self.miscounted + self.strange
        return not wrong

    def __str__(self) -> str:
        figures = (
            f"{self.sink}: {self.records:,} records, {self.lost:,} lost, {self.doubled:,} doubled, "
            f"{self.out_of_order:,} out of order"
        )
        if self.miscounted or self.strange:
            figures += f", {self.miscounted:,} counted wrong, {self.strange:,} never sent"
        shown = [f"    {what}: {each}" for what, all_ in self.examples.items() for each in all_]
        return "\n".join([figures, *shown])

    def finds(self, what: str, example: object) -> None:
        """One fault: `what` is the name of its figure."""
        setattr(self, what, getattr(self, what) + 1)
        examples = self.examples.setdefault(what, [])
        if len(examples) < EXAMPLES_MAX:
            examples.append(str(example))


@dataclass
class _Key:
    """What was seen of a key. places: one byte for each."""

    epoch: int = 0
    highest: int = 0  # place, in all epochs
    below: int = 0  # highest place of the epochs before this one
    last: dict[str, int] = field(default_factory=dict)  # process -> place, in this epoch
    places: bytearray = field(default_factory=bytearray)


def judge(
    sink: str, lines: Iterable[Line], sent: Mapping[str, int], key_of: Callable[[Numbered], int]
) -> Verdict:
    """lines: in the order in which they stand. sent: how many records each partition had.

    key_of: of a record, in the stage whose output this is.
    """
    verdict = Verdict(sink)
    befores = {partition: array("q", [-1]) * (count + 1) for partition, count in sent.items()}
    keys: dict[int, _Key] = {}
    newest = 0
    for line in lines:
        verdict.records += 1
        if line.number > sent.get(line.partition, 0):
            verdict.finds("strange", line)
            continue
        if line.epoch < newest:
            verdict.finds("out_of_order", f"{line} after epoch {newest}")
        newest = max(newest, line.epoch)
        seen = befores[line.partition]
        if seen[line.number] >= 0:
            verdict.finds("doubled", line)
            continue
        seen[line.number] = line.before
        key = key_of(record(line.partition, line.number))
        _check_place(verdict, keys.setdefault(key, _Key()), line)
    for number, key in keys.items():
        if holes := key.places.count(0):
            text = f"key {number} counts to {len(key.places)} and misses {holes}"
            verdict.finds("miscounted", text)
    for partition, seen in befores.items():
        _check_ways(verdict, partition, seen, key_of)
    return verdict


def _check_place(verdict: Verdict, key: _Key, line: Line) -> None:
    if line.epoch > key.epoch:
        key.epoch, key.below = line.epoch, key.highest
        key.last.clear()
    least = max(key.below, key.last.get(line.process, 0))
    if line.place <= least:
        verdict.finds("out_of_order", f"{line} after place {least}")
    key.last[line.process] = line.place
    key.highest = max(key.highest, line.place)
    if line.place > len(key.places):
        key.places.extend(bytes(line.place - len(key.places)))
    if key.places[line.place - 1]:
        verdict.finds("miscounted", f"{line}: this place is another record's")
    key.places[line.place - 1] = 1


def _check_ways(
    verdict: Verdict, partition: str, seen: array[int], key_of: Callable[[Numbered], int]
) -> None:
    last: dict[tuple[int, int], int] = {}
    for number in range(1, len(seen)):
        if seen[number] < 0:
            verdict.finds("lost", f"{partition} {number}")
            continue
        given = record(partition, number)
        way = (key_of(given), given.first)
        if seen[number] != last.get(way, 0):
            text = f"{partition} {number} came after {seen[number]}, not after {last.get(way, 0)}"
            verdict.finds("out_of_order", text)
        last[way] = number


def in_files(directory: Path) -> Iterator[Line]:
    """The output of a FileSink."""
    for path in sorted(directory.iterdir()):
        if path.name.startswith("."):
            continue
        epoch = int(path.name.partition("-")[0])
        with path.open() as file:
            for text in file:
                yield _line(epoch, text.split())


def as_taken(path: Path) -> Iterator[Line]:
    """What a consumer program took (tests/soak/outside.py)."""
    with path.open() as file:
        for text in file:
            if not text.startswith(MARK.decode()):
                epoch, *words = text.split()
                yield _line(int(epoch), words)


def _line(epoch: int, words: list[str]) -> Line:
    partition, number, place, before, process = words
    return Line(epoch, partition, int(number), int(place), int(before), process)
