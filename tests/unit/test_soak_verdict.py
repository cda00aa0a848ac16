"""The judge of the soak finds each kind of fault that is planted in right output, and no other."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from tests.soak.outside import go_back
from tests.soak.plan import WEIGHTS, plan
from tests.soak.topology import Numbered, record
from tests.soak.verdict import Line, Verdict, as_taken, judge

SENT = {"p0": 3_000, "p1": 2_000}


def second(numbered: Numbered) -> int:
    return numbered.second


def output(epoch_records: int = 500) -> list[Line]:
    """What a right cluster of one process gives."""
    counts: dict[int, int] = defaultdict(int)
    last: dict[tuple[str, int, int], int] = defaultdict(int)
    lines = []
    given = [(partition, n) for partition, count in SENT.items() for n in range(1, count + 1)]
    for place, (partition, number) in enumerate(given):
        of = record(partition, number)
        counts[of.second] += 1
        way = (partition, of.first, of.second)
        epoch = 1 + place // epoch_records
        lines.append(Line(epoch, partition, number, counts[of.second], last[way], "a"))
        last[way] = number
    return lines


def verdict_of(lines: list[Line]) -> Verdict:
    return judge("twos", lines, SENT, second)


def test_right_output_is_exact() -> None:
    """Also when two processes give it in one epoch, one after the other's."""
    assert verdict_of(output()).is_exact
    lines = [line._replace(process="ab"[line.number % 2], epoch=1) for line in output()]
    by_process = sorted(lines, key=lambda line: line.process)
    assert verdict_of(by_process).is_exact


def test_a_lost_record_is_found() -> None:
    """The record, the hole in its key's count, and the next one, which says that it came."""
    lines = output()
    del lines[1_000]
    found = verdict_of(lines)
    assert (found.lost, found.doubled, found.strange) == (1, 0, 0)
    assert found.miscounted == 1


def test_a_doubled_record_is_found() -> None:
    """Also in a later epoch."""
    lines = output()
    lines.append(lines[10]._replace(epoch=99))
    found = verdict_of(lines)
    assert found == replace(Verdict("twos", records=len(lines), doubled=1), examples=found.examples)


def test_records_of_a_key_in_the_wrong_order_are_found() -> None:
    """In one process and epoch, and over epochs."""
    lines = output(epoch_records=10_000)
    assert verdict_of(lines[::-1]).out_of_order > 0
    late = [line._replace(epoch=2) if line.number < 500 else line for line in output(10_000)]
    found = verdict_of(sorted(late, key=lambda line: line.epoch))
    assert found.out_of_order > 0
    assert (found.lost, found.doubled) == (0, 0)


def test_state_that_was_lost_is_found() -> None:
    """All records come, and a key begins to count anew."""
    lines = output()
    key = second(record("p1", 2_000))
    of_key = [i for i, line in enumerate(lines) if second(record(*line[1:3])) == key]
    for place, i in enumerate(of_key[-5:]):
        lines[i] = lines[i]._replace(place=place + 1, before=0)
    found = verdict_of(lines)
    assert found.miscounted > 0
    assert (found.lost, found.doubled) == (0, 0)


def test_a_record_that_nobody_sent_is_found() -> None:
    assert verdict_of([*output(), Line(99, "p0", 3_001, 1, 0, "a")]).strange == 1


def test_a_consumer_goes_back_to_its_last_position(tmp_path: Path) -> None:
    """What has no position behind it, or only half of one, is cut off."""
    taken = tmp_path / "taken"
    whole = b"1 p0 1 1 0 a\n# [1, [[7, 1]]]\n"
    for more in (b"", b"1 p0 2 2 1 a\n", b"1 p0 2 2 1 a\n# [1, [[7,"):
        taken.write_bytes(whole + more)
        with taken.open("r+b") as file:
            assert go_back(file.fileno()) == [1, [[7, 1]]]
        assert taken.read_bytes() == whole
        assert list(as_taken(taken)) == [Line(1, "p0", 1, 1, 0, "a")]


def test_a_seed_is_a_plan() -> None:
    """The same faults each time, and other ones for another seed; no partition without a router."""
    drawn = [
        [fault for fault, _ in zip(plan(seed, True), range(300), strict=False)]
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert {fault.kind for fault in drawn[0]} == set(WEIGHTS)
    uncut = {fault.kind for fault, _ in zip(plan(1, False), range(300), strict=False)}
    assert "kill" in uncut and "isolate" not in uncut
