"""Torture: what must not make a difference makes none.

The kit is modelled on Hazelcast Jet's TestSupport: batches of one, a snapshot and restore of all
state after every turn, a network that takes one frame and then none, and workers that come, go and
die.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zstream.config import Config
from zstream.sim.kernel import Kernel
from zstream.sim.network import Weather
from zstream.testing.running import Player, TestRun, run
from zstream.testing.script import Mark, crash, end, given, grow, shrink
from zstream.topology.topology import TopologyValue

CRASHES_MAX = 2  # in one run; each costs a few virtual seconds
RESCALES_MAX = 5  # in one run, at steps that the seed draws
WORKERS_MAX = 4

NARROW = Config(
    batch_records_max=1,
    frame_bytes_target=1,
    link_window_bytes_min=1,
    snapshot_chunk_bytes=16,
    outbox_bytes_max=200,
    wave_groups_max=8,
    ack_interval_ms=1,
)


def torture(
    topology: TopologyValue, inputs: Mapping[str, Sequence[Any]], *, seeds: int = 100
) -> None:
    """Run `inputs` so many times under all that may happen, and compare with a plain run.

    Raises AssertionError, with the seed and the story, where a sink got something else: other
    values for a key, or others at all behind a stream without key.
    """
    plain = run(topology, inputs)
    for seed in range(seeds):
        tortured = _tortured(topology, inputs, seed)
        for sink in topology.plan.sinks:
            wanted, got = _compared(plain, sink), _compared(tortured, sink)
            assert got == wanted, (
                f"seed {seed}: sink {sink} got {got!r}, a plain run gives {wanted!r}\n"
                f"{tortured.story}"
            )


def _tortured(topology: TopologyValue, inputs: Mapping[str, Sequence[Any]], seed: int) -> TestRun:
    drawn = Kernel(seed)
    workers = drawn.chance.choice([1, 2, 3])
    player = Player(topology, workers, seed, NARROW, Weather(pipe_frames=1))
    player.cluster.world.watch = lambda worker: worker.driver.dataflow.rehearse()
    return player.play(_script(inputs, workers, drawn))


def _script(inputs: Mapping[str, Sequence[Any]], workers: int, drawn: Kernel) -> list[Mark]:
    """Records one by one, a few rescales and crashes among them."""
    marks: list[Mark] = [
        given(source, record) for source, records in inputs.items() for record in records
    ]
    count = min(RESCALES_MAX, len(marks))
    joined = 0
    for place in sorted(drawn.chance.sample(range(len(marks)), count), reverse=True):
        marks.insert(place, grow(1))
    for place, mark in enumerate(marks):
        if mark == grow(1):
            if joined and (joined == WORKERS_MAX or drawn.chance.random() < 0.5):
                marks[place] = shrink(1)
                joined -= 1
            else:
                joined += 1
    for _ in range(drawn.chance.randint(0, CRASHES_MAX)):
        names = [f"w{number}" for number in range(workers)]  # joiners may have left by then
        some = drawn.chance.sample(names, drawn.chance.randint(1, workers))
        marks.insert(drawn.chance.randint(0, len(marks)), crash(*sorted(some)))
    return [*marks, *(end(source) for source in inputs)]


def _compared(result: TestRun, sink: str) -> Any:
    """What must be equal: each key's values in order, or all values in any order."""
    if result.is_keyed(sink):
        return result.by_key(sink)
    return sorted(map(repr, result[sink]))
