"""Epochs, crashes and recoveries in random schedules: what is committed is exact (I1, I2, I3).

Workers die in the midst of waves and epochs, or are taken for dead and go on as zombies; epochs are
abandoned; the leader's word is lost; parts become durable late. At the end every record has been
through each stage once, in order, as if nothing had happened.
"""

from __future__ import annotations

import os
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from tests.dataflow_net import SMALL
from tests.properties.test_migration import (
    GROUPS,
    Item,
    check_exactly,
    faults_of,
    first_step,
    moved,
)
from tests.recovery_net import RecoveryNet
from zstream.topology.specs import Memory, Stdout
from zstream.topology.stream import source
from zstream.topology.topology import TopologyValue

SCHEDULES = int(os.environ.get("ZSTREAM_TEST_SCHEDULES", "60"))
ITEMS = 150
# Few keys meet each other all the time; of many, most do not change from epoch to epoch.
KEYS = (("abcdefgh", "mnop"), ([f"f{n}" for n in range(60)], [f"s{n}" for n in range(60)]))


def gather(
    seen: list[tuple[int, Item]], pair: tuple[int, Item]
) -> tuple[list[tuple[int, Item]], list[tuple[int, int, Item]]]:
    """All that the key has seen, changed in place, and one output for each, numbered."""
    seen.append(pair)
    return seen, [(len(seen), *pair)]


def two_stages() -> TopologyValue:
    out = (
        source("a", Memory([]))
        .merge(source("b", Memory([])))
        .key_by(lambda item: item.first, name="by-first")
        .stateful_map(first_step, int)
        .key_by(lambda pair: pair[1].second, name="by-second")
        .stateful_flat_map(gather, list)
        .sink("out", Stdout(str))
    )
    topology = TopologyValue("two-stages", out, key_groups=GROUPS)
    topology.registry.register(Item)
    return topology


def all_routes() -> TopologyValue:
    """As two stages, by way of a balanced and a pinned entry; so without order at the start."""
    out = (
        source("a", Memory([]))
        .merge(source("b", Memory([])))
        .rebalance()
        .map(lambda item: item, name="anywhere")
        .key_by(lambda item: item.first, name="by-first")
        .stateful_map(first_step, int)
        .map(lambda pair: pair, name="alone", parallel=False)
        .key_by(lambda pair: pair[1].second, name="by-second")
        .stateful_flat_map(gather, list)
        .sink("out", Stdout(str))
    )
    topology = TopologyValue("all-routes", out, key_groups=GROUPS)
    topology.registry.register(Item)
    return topology


IN_ORDER = two_stages()
ALL_ROUTES = all_routes()


class Schedule:
    """One random story of a cluster. members: numbers of the workers that belong to it."""

    def __init__(self, seed: int, topology: TopologyValue = IN_ORDER) -> None:
        self.random = random = Random(seed)
        config = replace(
            SMALL,
            frame_bytes_target=random.choice((128, 8192)),
            part_slice_bytes=random.choice((40, 1000)),
            part_cycle_epochs=random.choice((1, 3, 1000)),
        )
        firsts, seconds = random.choice(KEYS)
        sources = {
            name: [
                Item(name, row, random.choice(firsts), random.choice(seconds))
                for row in range(ITEMS)
            ]
            for name in "ab"
        }
        faults = faults_of(seed)
        self.net = RecoveryNet(topology, random, faults, config, sources, topology.plan.pinned)
        self.members = [1, 2, 3]
        self.started = 3
        for number in self.members:
            self.net.start(number)
        self.net.place(self.members)
        for number in self.members:
            self.net.seek(number, {})
        self.net.connect()
        self.net.open_generation(self.members, self.anyhow())

    def anyhow(self) -> list[int]:
        return [self.random.choice(self.members) for _ in range(GROUPS)]

    def play(self, steps: int) -> None:
        for _ in range(self.random.randrange(steps)):
            if self.random.random() < 0.1:
                self.net.read()
            self.net.step()

    def run(self) -> None:
        happenings = [self.epoch, self.epoch, self.epoch, self.wave, self.grow, self.shrink]
        self.play(200)
        for _ in range(self.random.randrange(4, 10)):
            if self.random.random() < 0.3:
                self.crash()
            else:
                self.random.choice(happenings)()
            self.play(150)
        self.finish()

    # ---- what may happen; each is in the end done, unless a crash comes in between

    def may_crash(self) -> bool:
        if self.random.random() < 0.2:
            self.crash()
            return True
        return False

    def epoch(self) -> None:
        """None is opened before a wave is done (or a recovery)."""
        self.net.until(self.net.is_done, "done")
        self.net.open_epoch()
        self.play(120)
        if self.may_crash():
            return
        if self.random.random() < 0.3 and self.net.open is not None:
            self.net.abandon_epoch()
        else:
            self.commit()

    def commit(self) -> None:
        self.net.until(lambda: self.net.open is None, "a manifest")

    def wave(self) -> None:
        self.net.until(self.net.is_done, "done")
        self.net.open_generation(self.members, moved(self.random, self.net.owners(), self.members))
        self.play(150)
        if not self.may_crash():
            self.net.until(self.net.is_done, "done")

    def join(self) -> int:
        """A process begins that knows which run it is."""
        self.started += 1
        self.net.start(self.started)
        self.net.workers[self.started].dataflow.begin(self.net.run)
        return self.started

    def grow(self) -> None:
        if len(self.members) >= 4:
            return
        self.net.until(self.net.is_done, "done")
        number = self.join()
        for other in self.members:
            self.net.workers[other].dataflow.open_link(self.net.workers[number].member.incarnation)
            self.net.workers[number].dataflow.open_link(self.net.workers[other].member.incarnation)
        self.net.until(
            lambda: len(self.net.workers[number].dataflow.connected()) == len(self.members),
            "connected",
        )
        self.members.append(number)
        self.wave()

    def shrink(self) -> None:
        """Not who reads a source or has a pinned step. It stays for one more epoch: its output."""
        placement = self.net.placement
        leavers = [n for n in self.members if not placement.stays_because(f"w{n}")]  # type: ignore[arg-type]
        if len(self.members) < 3 or not leavers:
            return
        leaver = self.random.choice(leavers)
        rest = [number for number in self.members if number != leaver]
        self.net.until(self.net.is_done, "done")
        owners = [self.random.choice(rest) if o == leaver else o for o in self.net.owners()]
        self.net.open_generation(self.members, owners)
        self.play(150)
        if self.may_crash():
            return
        self.net.until(self.net.is_done, "done")
        self.net.until(self.net.workers[leaver].dataflow.empty, "empty")
        self.last_epoch()
        self.members = rest
        self.net.open_generation(rest, owners)
        self.net.until(self.net.is_done, "done")
        self.net.kill(leaver)
        self.net.drop_links(leaver)

    def last_epoch(self) -> None:
        self.net.open_epoch()
        self.commit()

    def crash(self) -> None:
        """One or two die, or are taken for dead and go on for a while; perhaps one comes anew."""
        count = self.random.randrange(1, len(self.members))
        dead = self.random.sample(self.members, count)
        for number in dead:
            if self.random.random() < 0.6:
                self.net.kill(number)
        self.play(100)
        self.members = [number for number in self.members if number not in dead]
        if self.random.random() < 0.4 or len(self.members) < 2:
            self.members.append(self.join())
        self.net.recover(self.members, self.anyhow())
        self.play(200)
        if self.random.random() < 0.2 and len(self.members) > 1:
            self.crash()
        for number in dead:
            if number in self.net.workers:
                self.net.counts["zombies"] += 1
                self.net.kill(number)

    def finish(self) -> None:
        """Read all that there is, and commit it."""
        self.net.until(self.net.is_done, "done")
        for _ in range(2 * ITEMS):
            self.net.read()
            self.net.step()
        while not self.net.is_over():
            self.net.read()
            self.net.until(self.net.is_quiet, "quiet")
        self.net.open_epoch()
        self.commit()

    def outputs(self) -> list[tuple[int, str, Any]]:
        return [(0, "out", record) for record in self.net.committed]

    def items(self) -> list[Item]:
        return [item for items in self.net.sources.values() for item in items]


def check_in_order(seed: int) -> None:
    schedule = Schedule(seed)
    schedule.run()
    schedule.net.emitted = schedule.outputs()
    check_exactly(schedule.net, schedule.items())
    assert not schedule.net.letters


def check_all_routes(seed: int) -> None:
    """Where order is not kept from the start: each record once, and no state lost or doubled."""
    schedule = Schedule(seed, ALL_ROUTES)
    schedule.run()
    outputs = schedule.net.committed
    assert sorted(item for _, _, item in outputs) == sorted(schedule.items())
    for key in {item.first for _, _, item in outputs}:
        counts = sorted(count for _, count, item in outputs if item.first == key)
        assert counts == list(range(len(counts)))
    for key in {item.second for _, _, item in outputs}:
        places = sorted(place for place, _, item in outputs if item.second == key)
        assert places == list(range(1, len(places) + 1))


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_what_is_committed_is_exact_and_in_order(seed: int) -> None:
    check_in_order(seed)


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_balanced_and_pinned_records_are_committed_once_too(seed: int) -> None:
    check_all_routes(seed)
