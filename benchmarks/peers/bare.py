"""No engine: a plain loop that calls the user's functions, and what two such loops can exchange.

One worker is the loop that stands with each job. Two workers are two processes which send each
other columns of keys and values in MessagePack over ZeroMQ, a batch of 1,000 records at a time, and
nothing else: no checkpoints, no order between links, no bound on what is in flight. It is what the
interpreter allows.
"""

from __future__ import annotations

import sys
import time
import zlib
from collections.abc import Callable
from itertools import chain, compress
from typing import Any

from benchmarks.case import Case
from benchmarks.held import Counted, merged, report, source_of
from benchmarks.jobs import JOBS
from benchmarks.workers import address, say, worker_reports

BATCH = 1000
WORKERS = 2


def run_alone(case: Case, index: int = 0) -> dict[str, Any]:
    """The plain loop over all that this worker reads."""
    held, counted = source_of(case, index), Counted(case)
    plain, states = JOBS[case.job].plain, {}
    while records := held.read(BATCH):
        outputs = plain(records, states)
        if outputs:
            counted.take(outputs)
    return report(held, counted)


def run_on_frames(case: Case) -> dict[str, Any]:
    """The plain loop over frames in memory, with the decoder and the encoder of the job."""
    job = JOBS[case.job]
    wire = job.wire
    assert wire is not None
    frames = wire.frames(case.share(0))
    began, cpu_began = time.monotonic(), time.process_time()
    states: dict[Any, Any] = {}
    lines: list[bytes] = []
    for _ in range(case.rounds):
        at = 0
        while at < len(frames):
            records = []
            for _ in range(BATCH):
                if at == len(frames):
                    break
                start = at + 4
                at = start + int.from_bytes(frames[at:start], "big")
                records.append(wire.decode(frames[start:at]))
            outputs = job.plain(records, states)
            lines.append(b"".join([wire.encode(output) for output in outputs]))
    ended, cpu_ended = time.monotonic(), time.process_time()
    counted = Counted(case)
    counted.take(list(map(wire.output_of, b"".join(lines).splitlines())))
    return {
        "seconds": ended - began,
        "cpu_seconds": cpu_ended - cpu_began,
        "records": counted.outputs,
        "outputs": counted.outputs,
        "found": counted.found(),
    }


class Owners(dict[str, int]):
    """key -> which of the workers owns it, looked up once."""

    def __missing__(self, key: str) -> int:
        owner = self[key] = zlib.crc32(key.encode()) % WORKERS
        return owner


class Loop:
    """One of two workers: reads and routes what it owns not, folds what it owns."""

    def __init__(self, case: Case, index: int, listens: str, other: str) -> None:
        # What the other processes of this module do not need is imported here.
        import msgpack
        import zmq

        self._pack, self._unpack = msgpack.packb, msgpack.unpackb
        self._context = zmq.Context()
        self._pull = self._context.socket(zmq.PULL)
        self._pull.bind(f"tcp://{listens}")
        self._push = self._context.socket(zmq.PUSH)
        self._push.connect(f"tcp://{other}")
        self._again = zmq.Again
        self._dont_wait = zmq.DONTWAIT
        self._mine = [owner == index for owner in range(WORKERS)]
        self._owners = Owners()
        self._states: dict[str, Any] = {}
        self.held, self.counted = source_of(case, index), Counted(case)
        steps = list(JOBS[case.job].steps)
        self._before: list[tuple[str, Callable[[Any], Any]]] = []
        while steps and steps[0][0] in ("map", "flat_map"):
            self._before.append(steps.pop(0))
        (_, self._key_of), (kind, self._step) = steps
        self._fold = self._fold_each if kind == "stateful_map" else self._fold_many

    def run(self) -> None:
        """Until all was read here and there, and all is folded."""
        unsent: list[bytes] = []
        self._meet()
        is_reading, other_reads = True, True
        while is_reading or other_reads or unsent:
            if is_reading and not unsent:
                records = self.held.read(BATCH)
                is_reading = bool(records)
                unsent.append(self._routed(records) if records else b"")
            try:
                while unsent:
                    self._push.send(unsent[0], self._dont_wait)
                    del unsent[0]
            except self._again:
                pass
            try:
                wait = 0 if is_reading else 1
                while other_reads and (is_reading or self._pull.poll(wait)):
                    frame = self._pull.recv(self._dont_wait)
                    other_reads = bool(frame)
                    if frame:
                        self._fold(*self._unpack(frame, use_list=False))
            except self._again:
                pass
        self._context.destroy(linger=5000)

    def _meet(self) -> None:
        """Both are there: only then the clock starts."""
        self._push.send(b"hello")
        self._pull.recv()

    def _routed(self, records: list[Any]) -> bytes:
        """Fold what is owned here; the columns of the rest."""
        values = records
        for kind, function in self._before:
            parts = list(map(function, values))
            values = list(chain.from_iterable(parts)) if kind == "flat_map" else parts
        keys = list(map(self._key_of, values))
        owners = map(self._owners.__getitem__, keys)
        mine = list(map(self._mine.__getitem__, owners))
        others = [not is_mine for is_mine in mine]
        self._fold(list(compress(keys, mine)), list(compress(values, mine)))
        return self._pack((list(compress(keys, others)), list(compress(values, others))))

    def _fold_each(self, keys: list[str], values: list[Any]) -> None:
        states, step, outputs = self._states, self._step, []
        for key, value in zip(keys, values, strict=True):
            states[key], output = step(states.get(key), value)
            outputs.append(output)
        self.counted.take(outputs)

    def _fold_many(self, keys: list[str], values: list[Any]) -> None:
        states, step, outputs = self._states, self._step, []
        for key, value in zip(keys, values, strict=True):
            states[key], some = step(states.get(key), value)
            outputs += some
        if outputs:
            self.counted.take(outputs)


def run_one_of_two(case: Case, index: int, listens: str, other: str) -> dict[str, Any]:
    """One of two workers; without a key there is nothing to exchange."""
    if not case.is_keyed:
        return run_alone(case, index)
    loop = Loop(case, index, listens, other)
    loop.run()
    return report(loop.held, loop.counted)


def main() -> None:
    case = Case.of_command()
    if len(sys.argv) > 2:
        say(run_one_of_two(case, int(sys.argv[2]), *sys.argv[3:]))
    elif case.wire:
        say(run_on_frames(case))
    elif case.workers == 1:
        say(merged([run_alone(case)]))
    else:
        here, there = address(), address()
        command = [sys.executable, "-m", "benchmarks.peers.bare", sys.argv[1]]
        commands = [[*command, "0", here, there], [*command, "1", there, here]]
        say(merged(worker_reports(commands)))


if __name__ == "__main__":
    main()
