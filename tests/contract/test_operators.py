"""Every operator under torture: cut into batches anyhow, and moved after every record, it must give
what one big batch gives, in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from zstream.config import Config
from zstream.dataflow.engine import Dataflow
from zstream.model.ids import Generation, Incarnation, RescaleId, Run, Term, WorkerName
from zstream.model.membership import Member, Placement, RoutingTable
from zstream.model.records import GenerationOpened
from zstream.ports.letters import DeadLetter
from zstream.topology.specs import Memory, Stdout
from zstream.topology.stream import Stream, source
from zstream.topology.topology import TopologyValue

GROUPS = 4
RECORDS = [*range(12), 0, 3, 0, 7, 3, 3, 12]

Build = Callable[[Stream[int]], Stream[Any]]


def risky(value: int) -> int:
    """Raises for some records, so that the kit sees that what stands beside them stays."""
    if value % 5 == 3:
        raise ValueError(f"bad {value}")
    return value * 10


def stops(value: int) -> int:
    """Leaks a StopIteration, which ends a careless loop."""
    return next(iter([value] if value % 4 else []))


def running(total: int, value: int) -> tuple[int | None, int]:
    """Drops its state at every multiple of seven."""
    return (None if value % 7 == 0 else total + value), total + value


def listing(seen: list[int], value: int) -> tuple[list[int], list[int]]:
    """Changes its state in place, and raises now and then."""
    risky(value)
    seen.append(value)
    return seen, seen[-2:]


def halves(value: int) -> Any:
    """A generator that raises half way: none of what it gave may come out."""
    yield value
    if value % 5 == 2:
        raise ValueError("half way")
    yield -value


def keyed(stream: Stream[int]) -> Any:
    return stream.key_by(lambda value: value % 3)


OPERATORS: dict[str, Build] = {
    "map": lambda s: s.map(risky),
    "map StopIteration": lambda s: s.map(stops),
    "filter": lambda s: s.filter(lambda value: risky(value) % 20),
    "flat_map": lambda s: s.flat_map(halves),
    "peek": lambda s: s.peek(lambda value: value + 1),
    "map_batches": lambda s: s.map_batches(lambda values: [value + 1 for value in values]),
    "map_batches in slices": lambda s: s.map_batches(lambda v: v[:], max_records=2),
    "branch and merge": lambda s: (lambda a, b: a.map(risky).merge(b.map(stops)))(
        *s.branch(lambda value: value % 2)
    ),
    "key_by": lambda s: keyed(s).map(risky),
    "items": lambda s: keyed(s).items(),
    "map_items": lambda s: keyed(s).map_items(lambda key, value: (key, risky(value))),
    "values": lambda s: keyed(s).values(),
    "stateful_map": lambda s: keyed(s).stateful_map(running, int),
    "stateful_flat_map": lambda s: keyed(s).stateful_flat_map(listing, list),
    "count": lambda s: keyed(s).count(),
    "reduce": lambda s: keyed(s).reduce(lambda a, b: a * 2 + b),
    "rebalance": lambda s: s.rebalance().map(risky),
    "pinned": lambda s: s.map(risky, name="alone", parallel=False),
}


def member(number: int) -> Member:
    return Member(WorkerName(f"w{number}"), Incarnation(number), "c", "d", "e")


def generation(number: int, owners: list[int]) -> GenerationOpened:
    placement = Placement({}, {"alone": WorkerName("w1")})
    table = RoutingTable(
        Generation(number), (member(1), member(2)), tuple(owner - 1 for owner in owners), (0,)
    )
    return GenerationOpened(
        Term(1), 1, Run(1), table, placement, RescaleId("grow-1"), 1, 1, False, None, "test"
    )


class Pair:
    """Worker 1 reads the source; both take part. Frames go over at once and in order."""

    def __init__(self, topology: TopologyValue) -> None:
        self.out: list[Any] = []
        self.letters: list[DeadLetter] = []
        self.now = 1.0
        self.workers = {number: self._worker(topology, number) for number in (1, 2)}
        for number, worker in self.workers.items():
            worker.open_link(Incarnation(3 - number))
        self.settle()
        self.generation = 0
        self.switch([1] * GROUPS)

    def _worker(self, topology: TopologyValue, number: int) -> Dataflow:
        return Dataflow(
            topology.plan,
            topology.registry,
            Config(),
            Incarnation(number),
            emit=lambda sink, records: self.out.extend(records),
            refuse=self.letters.append,
            raw_sinks=frozenset({"out"}),
        )

    def settle(self) -> None:
        """Turns until nothing moves."""
        moved = True
        while moved:
            moved = False
            self.now += 0.01
            for number, worker in self.workers.items():
                other = self.workers[3 - number]
                worker.flush(self.now)
                while (frame := worker.next_frame(Incarnation(3 - number), self.now)) is not None:
                    worker.frame_sent(Incarnation(3 - number))
                    other.receive(frame, self.now)
                    moved = True
                for _, report in worker.link_reports(self.now, heartbeat=False):
                    other.on_link_report(Incarnation(number), report, self.now)
                    moved = True

    def switch(self, owners: list[int]) -> None:
        self.generation += 1
        for worker in self.workers.values():
            worker.switch(generation(self.generation, owners), self.now)
        self.settle()
        for worker in self.workers.values():
            assert worker.progress() == (self.generation, True, True)


def outcome(build: Build, feed: Callable[[Pair], None]) -> tuple[list[Any], list[Any]]:
    """Outputs and dead letters of a run."""
    stream = build(source("in", Memory([])))
    pair = Pair(TopologyValue("torture", stream.sink("out", Stdout(str)), key_groups=GROUPS))
    feed(pair)
    pair.settle()
    assert all(worker.empty() for worker in pair.workers.values())
    return pair.out, [(letter.key, letter.record, letter.error) for letter in pair.letters]


def at_once(pair: Pair) -> None:
    pair.workers[1].feed("in", list(RECORDS))


def one_by_one(pair: Pair) -> None:
    for record in RECORDS:
        pair.workers[1].feed("in", [record])


def moved_after_each(pair: Pair) -> None:
    """All key groups go to the other worker and back: a snapshot and an install a record."""
    for number, record in enumerate(RECORDS):
        pair.workers[1].feed("in", [record])
        pair.settle()
        pair.switch([2 - number % 2] * GROUPS)


@pytest.mark.parametrize("name", OPERATORS)
def test_batches_of_one_give_what_one_batch_gives(name: str) -> None:
    """The same outputs and the same dead letters, in order, however the input is cut."""
    outputs, letters = outcome(OPERATORS[name], at_once)
    assert outputs
    assert outcome(OPERATORS[name], one_by_one)[0] == outputs
    assert sorted(outcome(OPERATORS[name], one_by_one)[1], key=repr) == sorted(letters, key=repr)


@pytest.mark.parametrize("name", OPERATORS)
def test_a_migration_after_every_record_changes_nothing(name: str) -> None:
    """Snapshot, ship and install between any two records: the same outputs in the same order."""
    assert outcome(OPERATORS[name], moved_after_each) == outcome(OPERATORS[name], one_by_one)


def test_a_record_in_is_a_record_out_or_a_dead_letter() -> None:
    """What `map` does not give, the dead letters have."""
    outputs, letters = outcome(OPERATORS["map"], at_once)
    assert len(outputs) + len(letters) == len(RECORDS)
    assert letters[0] == (None, 3, "ValueError: bad 3")
