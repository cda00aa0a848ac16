"""The simulated store and desk alone: what is durable, what a death and a power loss leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from zstream.errors import ConnectorError, InvariantBroken
from zstream.model.ids import Epoch, LogNumber
from zstream.ports.desk import DeskAnswer, OutputCommit, PartRead, PartsClean, PartWrite
from zstream.ports.log import LogAppend
from zstream.sim.blobs import Blobs
from zstream.sim.desk import SimulatedDesk
from zstream.sim.disk import Desk, Disk, DiskTrouble
from zstream.sim.kernel import Kernel

PART = "parts/r1/e7/8231.part"


class Bench:
    """One desk on one store. moments: what it told of, in order."""

    def __init__(self, trouble: DiskTrouble | None = None, seed: int = 2) -> None:
        self.kernel = Kernel(seed)
        self.blobs = Blobs()
        self.trouble = trouble or DiskTrouble()
        self.answers: list[DeskAnswer] = []
        self.moments: list[str] = []
        self.desk = SimulatedDesk(
            self.kernel,
            self.blobs,
            self.trouble,
            "a",
            self.answers.append,
            self.moments.append,
        )


class Sink:
    """Commits at once, and remembers; refuses while it is shut."""

    def __init__(self) -> None:
        self.commits: list[int] = []
        self.is_shut = False

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        if self.is_shut:
            raise ConnectorError("shut")
        self.commits.append(epoch)


def test_what_is_placed_is_seen_and_may_be_lost_what_is_synced_or_read_is_not() -> None:
    """Three blobs in many power losses: one synced, one read by somebody, one only placed."""
    kernel, lost = Kernel(1), 0
    for _ in range(40):
        blobs = Blobs()
        for name in "synced", "read", "placed":
            blobs.place(name, b"x")
        blobs.sync("synced")
        assert blobs.read("read") == b"x"
        assert blobs.names() == ["placed", "read", "synced"]
        blobs.lose_power(kernel)
        assert {"synced", "read"} <= set(blobs.names())
        lost += "placed" not in blobs.names()
    assert 5 < lost < 35


def test_what_was_deleted_may_be_back_after_a_power_loss_but_not_later() -> None:
    """A delete is undone in some power losses; one that has outlived a power loss never."""
    kernel, back = Kernel(1), 0
    for _ in range(40):
        blobs = Blobs()
        blobs.put("old", b"x")
        blobs.delete("old")
        blobs.lose_power(kernel)
        there = blobs.names()
        blobs.lose_power(kernel)
        assert blobs.names() == there
        back += bool(there)
    assert 5 < back < 35


def test_a_name_is_for_one_content() -> None:
    """The same bytes again are harmless, others are a broken protocol, also when it was deleted."""
    blobs = Blobs()
    blobs.put(PART, b"one")
    blobs.put(PART, b"one")
    blobs.delete(PART)
    with pytest.raises(InvariantBroken, match="written twice"):
        blobs.put(PART, b"two")


def test_one_bit_rots() -> None:
    """What is read is not what was written, by one bit."""
    blobs = Blobs()
    blobs.put(PART, b"abc")
    blobs.rot(PART, Kernel(1))
    read = blobs.read(PART)
    assert read is not None and len(read) == 3
    wrong = int.from_bytes(read, "big") ^ int.from_bytes(blobs.written[PART], "big")
    assert wrong.bit_count() == 1


def test_a_part_is_durable_when_it_is_answered_not_before() -> None:
    """The process dies when its part is placed: it may be there, it is not durable for sure."""
    outcomes = set()
    for seed in range(20):
        bench = Bench(seed=seed)
        bench.desk.submit(PartWrite(1, PART, b"part"))
        bench.kernel.run(1.0, lambda b=bench: "part written done" in b.moments)  # type: ignore[misc]
        assert bench.blobs.names() == [PART] and not bench.blobs.is_durable(PART)
        bench.desk.abandon()
        bench.kernel.run(2.0)
        assert bench.answers == []
        outcomes.add(bench.blobs.is_durable(PART))
    assert outcomes == {True, False}


def test_what_a_dead_process_had_begun_is_done_or_not() -> None:
    """It dies before its part is placed: in some stories the part appears all the same."""
    outcomes = set()
    for seed in range(20):
        bench = Bench(seed=seed)
        bench.desk.submit(PartWrite(1, PART, b"part"))
        bench.desk.abandon()
        bench.kernel.run(2.0)
        outcomes.add(tuple(bench.blobs.names()))
    assert outcomes == {(), (PART,)}


def test_a_stopped_process_does_nothing_until_it_goes_on() -> None:
    """A part that was handed in before the stop is written after it."""
    bench = Bench()
    bench.desk.submit(PartWrite(1, PART, b"part"))
    bench.desk.pause()
    bench.kernel.run(5.0)
    assert bench.blobs.names() == [] and bench.answers == []
    bench.desk.resume()
    bench.kernel.run(6.0)
    assert bench.answers == [DeskAnswer(1)]
    assert bench.blobs.is_durable(PART)


def test_a_write_that_saw_a_power_loss_is_not_done() -> None:
    """The store loses power between placing and syncing: the writer is told that it failed."""
    bench = Bench()
    bench.desk.submit(PartWrite(1, PART, b"part"))
    bench.kernel.run(1.0, lambda: "part written done" in bench.moments)
    bench.blobs.lose_power(bench.kernel)
    bench.kernel.run(2.0)
    assert [answer.token for answer in bench.answers if answer.failed] == [1]


def test_operations_overtake_each_other_but_a_sink_commits_in_turn() -> None:
    """Many parts and three epochs of one sink: parts in any order, epochs in theirs."""
    bench, sink = Bench(), Sink()
    for token in range(20):
        bench.desk.submit(PartWrite(token, f"parts/r1/e1/{token}.part", b"x"))
    for epoch in 1, 2, 3:
        bench.desk.submit(OutputCommit(100 + epoch, sink, Epoch(epoch), 1, ["x"]))
    bench.kernel.run(5.0)
    parts = [answer.token for answer in bench.answers if answer.token < 100]
    assert sorted(parts) == list(range(20)) != parts
    assert sink.commits == [1, 2, 3]


def test_what_fails_says_why_and_a_lost_answer_is_done_all_the_same() -> None:
    """A store out of reach, a sink that is shut, an answer that is lost."""
    bench, sink = Bench(DiskTrouble(unreachable={"a"})), Sink()
    bench.desk.submit(PartWrite(1, PART, b"part"))
    bench.desk.submit(PartRead(2, PART))
    bench.kernel.run(1.0)
    assert all(answer.failed for answer in bench.answers) and bench.blobs.names() == []
    sink.is_shut = True
    bench.desk.submit(OutputCommit(3, sink, Epoch(1), 1, ["x"]))
    bench.kernel.run(2.0)
    assert bench.answers[-1] == DeskAnswer(3, "shut")
    bench.trouble.lost_answer, sink.is_shut = 1.0, False
    bench.desk.submit(OutputCommit(4, sink, Epoch(1), 1, ["x"]))
    bench.kernel.run(3.0)
    assert bench.answers[-1].failed and sink.commits == [1]


def test_cleaning_tells_before_it_deletes() -> None:
    """Parts of lower epochs go, one by one; whoever watches hears each name."""
    bench, heard = Bench(), list[str]()
    bench.blobs.deleting = heard.append
    for epoch in 1, 2, 3:
        bench.blobs.put(f"parts/r1/e{epoch}/5.part", b"x")
    bench.desk.submit(PartsClean(1, Epoch(3)))
    bench.kernel.run(1.0)
    assert heard == ["parts/r1/e1/5.part", "parts/r1/e2/5.part"]
    assert bench.blobs.names() == ["parts/r1/e3/5.part"]
    assert bench.moments == [f"parts cleaned {step}" for step in ("asked", "done", "answered")]


def test_a_log_record_is_decided_when_it_is_durable() -> None:
    """Created and lost with the power: another takes its number, and only that was decided."""
    for seed in range(50):
        kernel, disk, decided = Kernel(seed), Disk(), list[bytes]()
        disk.decided = lambda number, payload: decided.append(payload)  # noqa: B023
        disk.create(LogNumber(1), b"lost")
        disk.lose_power(kernel)
        if not disk.records:
            break
    assert decided == []
    assert disk.create(LogNumber(1), b"stands")
    assert disk.read_from(LogNumber(1)) == [(1, b"stands")]
    assert decided == [b"stands"]


def test_an_author_that_dies_before_the_sync_has_not_decided() -> None:
    """Its record is seen, and becomes decided when somebody reads it."""
    kernel, disk = Kernel(2), Disk()
    decided = list[bytes]()
    disk.decided = lambda number, payload: decided.append(payload)
    desk = Desk(kernel, disk, DiskTrouble(), "a", lambda answer: None)
    desk.submit(LogAppend(1, LogNumber(1), b"mine"))
    kernel.run(1.0, lambda: bool(disk.records))
    desk.abandon()
    kernel.run(2.0)
    assert decided == []
    disk.read_from(LogNumber(1))
    assert decided == [b"mine"]
