"""No engine: a plain loop that calls the user's functions, and what two such loops can exchange.

One worker is the plain loop of the job. Two workers are two processes which send each other columns
of keys and values in MessagePack over ZeroMQ, a batch of 1,000 records at a time, and nothing else:
no checkpoints, no order between links, no bound on what is in flight. It is what the interpreter
allows.
"""

from __future__ import annotations

import sys
import time
import zlib
from collections.abc import Callable
from itertools import chain, compress
from typing import Any

from benchmarks.case import Case
from benchmarks.held import Counted, Held, merged, report, source_of
from benchmarks.jobs import JOBS
from benchmarks.jobs.job import together
from benchmarks.workers import address, say, worker_reports

BATCH = 1000
WORKERS = 2


def run_plain(case: Case, held: Held) -> Counted:
    """The plain loop over all that this worker reads."""
    counted = Counted(case)
    plain = JOBS[case.job].plain
    states: dict[Any, Any] = {}
    while records := held.read(BATCH):
        outputs = plain(records, states)
        if outputs:
            counted.take(outputs)
    return counted


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
        "found": together([counted.found()]),
    }


class Owners(dict[str, int]):
    """key -> which of the workers owns it, looked up once."""

    def __missing__(self, key: str) -> int:
        owner = self[key] = zlib.crc32(key.encode()) % WORKERS
        return owner


class Link:
    """Frames to the other process and from it; nothing blocks."""

    def __init__(self, listens: str, other: str) -> None:
        import zmq  # the processes without a link do not need it

        self._context = zmq.Context()
        self._pull = self._context.socket(zmq.PULL)
        self._pull.bind(f"tcp://{listens}")
        self._push = self._context.socket(zmq.PUSH)
        self._push.connect(f"tcp://{other}")
        self._again = zmq.Again
        self._dont_wait = zmq.DONTWAIT

    def meet(self) -> None:
        """Wait for the other one: only then the clock starts."""
        self._push.send(b"hello")
        self._pull.recv()

    def send(self, frame: bytes) -> bool:
        """False when it cannot be taken now."""
        try:
            self._push.send(frame, self._dont_wait)
        except self._again:
            return False
        return True

    def receive(self, wait_ms: int) -> bytes | None:
        """The next frame, or None when there is none for so long."""
        if wait_ms and not self._pull.poll(wait_ms):
            return None
        try:
            frame: bytes = self._pull.recv(self._dont_wait)
        except self._again:
            return None
        return frame

    def close(self) -> None:
        self._context.destroy(linger=5000)


class Loop:
    """One of two workers: routes what it reads, and folds what it owns."""

    def __init__(self, case: Case, held: Held, index: int, link: Link) -> None:
        import msgpack
        import msgspec

        self._pack, self._unpack = msgspec.msgpack.encode, msgpack.unpackb  # the faster of each
        self._link = link
        self._held = held
        self.counted = Counted(case)
        self._mine = [owner == index for owner in range(WORKERS)]
        self._owners = Owners()
        self._states: dict[str, Any] = {}
        steps = list(JOBS[case.job].steps)
        self._before: list[tuple[str, Callable[[Any], Any]]] = []
        while steps[0][0] in ("map", "flat_map"):
            self._before.append(steps.pop(0))
        (_, self._key_of), (_, self._step) = steps

    def run(self) -> None:
        """Until all was read here and there, and all is folded. An empty frame is the last one."""
        unsent: list[bytes] = []
        is_reading, other_reads = True, True
        while is_reading or other_reads or unsent:
            if is_reading and not unsent:
                records = self._held.read(BATCH)
                is_reading = bool(records)
                unsent.append(self._routed(records) if records else b"")
            while unsent and self._link.send(unsent[0]):
                del unsent[0]
            while other_reads:
                frame = self._link.receive(0 if is_reading else 1)
                if frame is None:
                    break
                other_reads = bool(frame)
                if frame:
                    self._fold(*self._unpack(frame, use_list=False))

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
        frame: bytes = self._pack((list(compress(keys, others)), list(compress(values, others))))
        return frame

    def _fold(self, keys: list[str], values: list[Any]) -> None:
        states, step, outputs = self._states, self._step, []
        for key, value in zip(keys, values, strict=True):
            states[key], output = step(states.get(key), value)
            outputs.append(output)
        self.counted.take(outputs)


def run_one_of_two(case: Case, index: int, listens: str, other: str) -> dict[str, Any]:
    """One of two workers; without a key there is nothing to exchange."""
    held, link = source_of(case, index), Link(listens, other)
    link.meet()
    if case.is_keyed:
        loop = Loop(case, held, index, link)
        loop.run()
        counted = loop.counted
    else:
        counted = run_plain(case, held)
    link.close()
    return report(held, counted)


def main() -> None:
    case = Case.of_command()
    if len(sys.argv) > 2:
        say(run_one_of_two(case, int(sys.argv[2]), *sys.argv[3:]))
    elif case.wire:
        say(run_on_frames(case))
    elif case.workers == 1:
        held = source_of(case, 0)
        say(merged([report(held, run_plain(case, held))]))
    else:
        here, there = address(), address()
        command = [sys.executable, "-m", "benchmarks.peers.bare", sys.argv[1]]
        commands = [[*command, "0", here, there], [*command, "1", there, here]]
        say(merged(worker_reports(commands)))


if __name__ == "__main__":
    main()
