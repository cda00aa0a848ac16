"""What checkpoints cost the loop: the votes job in one process, without sockets and disks.

All times are of the processor, so that a busy machine tells the same. For each number of keys:
votes a second with an epoch a second and with none, drawn evenly over all keys, and over one key in
a hundred; the longest single call in the first epoch (all is written) and in later ones with one
key in a hundred changed, bytes of their parts; how long a recovery takes from one part and from
sixty more.
"""

from __future__ import annotations

import random
import struct
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from statistics import median
from typing import Any, TypeVar

from benchmarks.options import Options
from benchmarks.votes import topology
from zstream.config import Config
from zstream.dataflow.engine import Dataflow
from zstream.model.ids import (
    Epoch,
    Generation,
    Incarnation,
    RescaleId,
    Run,
    Term,
    WorkerName,
)
from zstream.model.membership import NOTHING_PLACED, Member, RoutingTable
from zstream.model.records import GenerationOpened
from zstream.runtime.worker import tune_memory
from zstream.wire.parts import Part, PartName, open_part

VOTES_A_TURN = 2000
KEYS = (26, 100_000, 1_000_000)
SECONDS = 4.0  # of each stretch; stretches with and without epochs take turns
SMALL_PARTS = 60
ME = Member(WorkerName("w0"), Incarnation(1), "c", "d", "e")

T = TypeVar("T")


def generation(run: Run) -> GenerationOpened:
    table = RoutingTable(Generation(run), (ME,), (0,) * topology.plan.key_groups, (0,))
    recovers = run > 1
    return GenerationOpened(
        Term(1), 1, run, table, NOTHING_PLACED, RescaleId("start-1"), 1, 1, recovers, None, "bench"
    )


def vote_for(name: bytes) -> bytes:
    return struct.pack(">8sI", name, 1)


class Bench:
    """One worker that is alone. longest: seconds, by what was called.

    changing: votes are drawn from one key in so many.
    """

    def __init__(self, keys: int, config: Config | None = None, changing: int = 1) -> None:
        self.dataflow = Dataflow(
            topology.plan,
            topology.registry,
            config or Config(),
            ME.incarnation,
            emit=lambda sink, records: None,
            refuse=lambda letter: sys.exit(letter.error),
        )
        self.dataflow.switch(generation(Run(1)), 0.0)
        self.names = [b"%08d" % number for number in range(keys)]
        self.votes = 0
        self.epoch = Epoch(0)
        self.longest: dict[str, float] = defaultdict(float)
        self.parts: dict[PartName, bytes] = {}
        self.feed(self.names)
        drawn = self.names[::changing] or [b""]
        self._draws = [
            [vote_for(name) for name in random.choices(drawn, k=VOTES_A_TURN)] for _ in range(200)
        ]

    def feed(self, names: Sequence[bytes]) -> None:
        for start in range(0, len(names), VOTES_A_TURN):
            some = names[start : start + VOTES_A_TURN]
            self.turn([vote_for(name) for name in some])

    def turn(self, votes: list[bytes]) -> None:
        self.dataflow.feed("votes", votes)
        self.call("flush", self.dataflow.flush, time.monotonic())
        self.votes += len(votes)

    def call(self, what: str, function: Callable[..., T], *arguments: Any) -> T:
        began = time.thread_time()
        result = function(*arguments)
        self.longest[what] = max(self.longest[what], time.thread_time() - began)
        return result

    def cut(self) -> None:
        self.epoch = Epoch(self.epoch + 1)
        self.call("cut", self.dataflow.cut, self.dataflow.run, self.epoch, 0.0)

    def is_whole(self) -> bool:
        """Asked after each turn: whether the part is there; then so is the manifest."""
        part = self.call("part", self.dataflow.part, self.epoch)
        if part is None:
            return False
        self.call("oldest", self.dataflow.oldest, self.epoch)
        self.call("manifest", self.dataflow.manifest_appended, self.epoch)
        self.parts[self.dataflow.part_name(self.epoch)] = part
        return True

    def write_epoch(self) -> int:
        """A whole epoch while nothing is read; how many bytes its part has."""
        self.cut()
        while not self.is_whole():
            self.call("flush", self.dataflow.flush, time.monotonic())
        return len(self.parts[self.dataflow.part_name(self.epoch)])

    def stretch(self, seconds: float, interval: float) -> float:
        """Votes a second, with an epoch each `interval` seconds."""
        began = time.thread_time()
        votes, next_at, is_open = self.votes, began + interval, False
        while (now := time.thread_time()) < began + seconds:
            if not is_open and now >= next_at:
                self.parts.clear()
                self.cut()
                is_open, next_at = True, max(now, next_at) + interval
            self.turn(self._draws[(self.votes // VOTES_A_TURN) % len(self._draws)])
            is_open = is_open and not self.is_whole()
        while is_open:
            is_open = not self.is_whole()
            self.dataflow.flush(0.0)
        return (self.votes - votes) / (time.thread_time() - began)


def throughput(keys: int, changing: int, seconds: float, rounds: int) -> dict[str, float]:
    """Stretches in turns, on two workers, because tracking does not end once it began."""
    none, each_second = Bench(keys, None, changing), Bench(keys, None, changing)
    tune_memory()  # as each worker does
    each_second.write_epoch()
    rates: dict[str, list[float]] = {"none": [], "with": []}
    for _ in range(rounds):
        rates["none"].append(none.stretch(seconds, float("inf")))
        rates["with"].append(each_second.stretch(seconds, 1.0))
    without, taken = median(rates["none"]), median(rates["with"])
    return {
        "votes_a_second_without": round(without),
        "votes_a_second_with": round(taken),
        "ratio": round(taken / without, 3),
    }


def calls(keys: int, epochs: int = 8) -> dict[str, Any]:
    """The longest call of each kind in milliseconds, and bytes of parts."""
    bench = Bench(keys)
    bench.longest.clear()
    first = bench.write_epoch()
    longest_of_first = in_ms(bench.longest)
    bench.longest.clear()
    sizes = []
    for _ in range(epochs):
        bench.feed(random.sample(bench.names, max(1, keys // 100)))
        bench.cut()
        while not bench.is_whole():
            bench.feed(random.choices(bench.names, k=10))
        sizes.append(len(bench.parts[bench.dataflow.part_name(bench.epoch)]))
    return {
        "first_epoch": {"bytes": first, "longest_ms": longest_of_first},
        "later_epochs": {"bytes": round(median(sizes)), "longest_ms": in_ms(bench.longest)},
    }


def in_ms(seconds: dict[str, float]) -> dict[str, float]:
    return {what: round(1000 * longest, 2) for what, longest in seconds.items()}


def recovery(keys: int, small: int) -> dict[str, float]:
    """Seconds to open the parts and to restore: one part with all, and `small` later ones, in each
    of which one key in a hundred changed.
    """
    bench = Bench(keys, replace(Config(), part_cycle_epochs=10_000))
    bench.write_epoch()
    for _ in range(small):
        bench.feed(random.sample(bench.names, max(1, keys // 100)))
        bench.write_epoch()
    after = Bench(0)
    began = time.thread_time()
    parts: dict[PartName, Part] = {
        name: open_part(name, data) for name, data in bench.parts.items()
    }
    opened = time.thread_time()
    after.dataflow.restore(Run(2), generation(Run(2)), parts, 0.0)
    restored = time.thread_time()
    assert after.dataflow.states("tally") == bench.dataflow.states("tally")
    return {"open": round(opened - began, 3), "restore": round(restored - opened, 3)}


def measure(options: Options) -> Iterator[dict[str, Any]]:
    """{"by_keys": {keys: figures}}."""
    seconds = 0.1 if options.small else SECONDS
    results = {}
    for keys in (26, 1000) if options.small else KEYS:
        results[keys] = {
            "throughput": throughput(keys, 1, seconds, options.runs),
            "of one key in a hundred": throughput(keys, 100, seconds, options.runs),
            "calls": calls(keys),
            "recovery_seconds": {
                "one part": recovery(keys, 0),
                f"and {SMALL_PARTS} more": recovery(keys, SMALL_PARTS),
            },
        }
        print(f"  checkpoint, {keys:,} keys: {results[keys]}", file=sys.stderr, flush=True)
    yield {
        "says": "what a checkpoint each second costs one worker, in time of the processor",
        "by_keys": results,
    }
