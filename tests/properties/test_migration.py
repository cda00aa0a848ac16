"""Live migration in random schedules: nothing lost, nothing twice, order kept (I1, I2, I3)."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

import pytest

from tests.dataflow_net import SMALL, Faults, Net
from zstream.topology.specs import Memory, Stdout
from zstream.topology.stream import source
from zstream.topology.topology import TopologyValue

SCHEDULES = int(os.environ.get("ZSTREAM_TEST_SCHEDULES", "100"))
GROUPS = 12


class Item(NamedTuple):
    origin: str
    number: int
    first: str  # key of the first stage
    second: str  # key of the second


def first_step(count: int, item: Item) -> tuple[int, tuple[int, Item]]:
    """How many the key has seen, beside the record."""
    return count + 1, (count, item)


def second_step(
    seen: list[tuple[int, Item]], pair: tuple[int, Item]
) -> tuple[list[tuple[int, Item]], list[tuple[int, int, Item]]]:
    """All that the key has seen, and one output for each, numbered."""
    seen = [*seen, pair]
    return seen, [(len(seen), *pair)]


def two_stages() -> TopologyValue:
    def stream(name: str) -> Any:
        return source(name, Memory([])).map(lambda item: item, name=f"{name}-in")

    out = (
        stream("a")
        .merge(stream("b"))
        .key_by(lambda item: item.first, name="by-first")
        .stateful_map(first_step, int)
        .key_by(lambda pair: pair[1].second, name="by-second")
        .stateful_flat_map(second_step, list)
        .sink("out", Stdout(str))
    )
    topology = TopologyValue("two-stages", out, key_groups=GROUPS)
    topology.registry.register(Item)
    return topology


TOPOLOGY = two_stages()


class Feed:
    """Gives items to the workers that read the sources, a few at a time."""

    def __init__(self, net: Net, random: Random, placed: dict[str, int], total: int) -> None:
        self.net = net
        self.random = random
        self.placed = placed
        self.left = dict.fromkeys(placed, total)
        self.items: list[Item] = []

    def some(self) -> None:
        name = self.random.choice(list(self.placed))
        count = min(self.left[name], self.random.randrange(1, 12))
        number = self.placed[name]
        worker = self.net.workers.get(number)
        if worker is None or not count or not worker.dataflow.progress().generation:
            return
        self.left[name] -= count
        items = [
            Item(
                name,
                self.left[name] * 100 + row,
                self.random.choice("abcdefgh"),
                self.random.choice("mnop"),
            )
            for row in range(count)
        ]
        self.items += items
        worker.dataflow.feed(name, items)


def check_exactly(net: Net, items: list[Item]) -> None:
    """Every record once in each stage, and each path through the stages in order."""
    outputs = [record for _, _, record in net.emitted]
    assert sorted(item for _, _, item in outputs) == sorted(items)
    by_first: dict[str, dict[int, Item]] = defaultdict(dict)
    by_second: dict[str, dict[int, tuple[int, Item]]] = defaultdict(dict)
    for place, count, item in outputs:
        assert count not in by_first[item.first], "a state was copied"
        by_first[item.first][count] = item
        assert place not in by_second[item.second], "a state was copied"
        by_second[item.second][place] = (count, item)
    fed = {item: place for place, item in enumerate(items)}
    for counts in by_first.values():
        assert sorted(counts) == list(range(len(counts))), "a state was lost"
        for origin in "ab":
            path = [fed[counts[c]] for c in sorted(counts) if counts[c].origin == origin]
            assert path == sorted(path), "records overtook each other at the first stage"
    for places in by_second.values():
        assert sorted(places) == list(range(1, len(places) + 1)), "a state was lost"
        last: dict[str, int] = {}
        for place in sorted(places):
            count, item = places[place]
            assert count > last.get(item.first, -1), "records overtook each other between stages"
            last[item.first] = count


def moved(random: Random, owners: list[int], members: list[int]) -> list[int]:
    """The next wave's owners: some groups go elsewhere."""
    return [random.choice(members) if random.random() < 0.5 else owner for owner in owners]


def begun(seed: int, faults: Faults, numbers: list[int]) -> tuple[Net, Random]:
    random = Random(seed)
    frame_bytes = random.choice((128, 8192))  # cut at every record or two, or only at a turn
    net = Net(TOPOLOGY, random, faults, replace(SMALL, frame_bytes_target=frame_bytes))
    for number in numbers:
        net.start(number)
    net.connect()
    net.open_generation(numbers, [random.choice(numbers) for _ in range(GROUPS)])
    return net, random


def play(net: Net, feed: Feed, random: Random, steps: int) -> None:
    for _ in range(steps):
        if random.random() < 0.15:
            feed.some()
        net.step()


def faults_of(seed: int) -> Faults:
    """A third of the schedules has a perfect network, so that tight races are met, too."""
    return (Faults(), Faults(0.02, 0.02, 0.02), Faults(0.15, 0.1, 0.2))[seed % 3]


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_waves_keep_every_record_once_and_in_order(seed: int) -> None:
    """Two workers, then three, several waves back and forth, records flowing all the time."""
    net, random = begun(seed, faults_of(seed), [1, 2])
    feed = Feed(net, random, {"a": 1, "b": 2}, 150)
    play(net, feed, random, 150)
    net.start(3)
    for number in (1, 2):
        net.until(lambda n=number: n in net.workers, "there")
    net.connect()
    for _ in range(4):
        members = [1, 2, 3]
        net.open_generation(members, moved(random, net.owners(), members))
        play(net, feed, random, random.randrange(300))
        net.until(net.is_done, "done")
    members = [1, 2]  # worker 3 leaves: a wave that empties it, then a generation without it
    owners = [random.choice(members) if o == 3 else o for o in net.owners()]
    net.open_generation([1, 2, 3], owners)
    play(net, feed, random, 200)
    net.until(net.is_done, "done")
    net.until(net.workers[3].dataflow.empty, "empty")
    net.open_generation(members, owners)
    play(net, feed, random, 100)
    net.until(net.is_quiet, "quiet")
    assert len(feed.items) > 100
    keys = {item.first for item in feed.items} | {item.second for item in feed.items}
    assert sum(worker.dataflow.keys for worker in net.workers.values()) == len(keys)
    check_exactly(net, feed.items)
