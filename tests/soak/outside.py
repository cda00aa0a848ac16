"""The programs around the cluster: a producer and a consumer, each a process that may be killed.

    python -m tests.soak.outside producer ADDRESS SOURCE ID RECORDS_PER_SECOND FILE
    python -m tests.soak.outside consumer ADDRESS SINK FILE

SIGTERM ends them as they should: a producer when all that it sent is acknowledged, a consumer at
once. A producer keeps in FILE the last number of which it knows that it is acknowledged. A
consumer appends what it takes to FILE, each line behind its epoch, and its position behind them, in
one write.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.soak.topology import encode_record, record
from zstream.client import Consumer, Producer
from zstream.errors import ClusterTimeout, ClusterUnreachable

TICK = 0.05  # seconds between two portions of records
NOTE_SECONDS = 0.5
BATCH = 500  # lines that a consumer writes at once
TAIL_BYTES = 1 << 20  # holds the last position for sure
MARK = b"# "


class Ended:
    """Whether SIGTERM has come."""

    def __init__(self) -> None:
        self.is_set = False
        signal.signal(signal.SIGTERM, self._set)

    def _set(self, *_: object) -> None:
        self.is_set = True


def say(text: str) -> None:
    print(f"{time.time():.3f} {text}", file=sys.stderr, flush=True)


def produce(address: str, source: str, name: str, rate: str, file: str) -> None:
    """Give record 1, 2, 3 ... at a steady rate until SIGTERM."""
    ended = Ended()
    path = Path(file)
    noted = int(path.read_text()) if path.exists() else 0
    with Producer(address, source, name, buffer_bytes_max=4 << 20, timeout=2.0) as producer:
        number = 0
        while not number:
            try:
                number = producer.resume_from
            except (ClusterTimeout, ClusterUnreachable) as error:
                say(str(error))
                if ended.is_set and not noted:
                    path.write_text("0")
                    os._exit(0)
        say(f"resumes from {number:,}, {noted:,} were acknowledged")
        if number <= noted:
            sys.exit(f"{name}: {noted:,} were acknowledged, and it shall resume from {number:,}")
        note_at = 0.0
        due = 0.0
        last = time.monotonic()
        while not ended.is_set:
            now = time.monotonic()
            due = min(due + (now - last) * float(rate), float(rate))
            last = now
            while due >= 1 and not ended.is_set:
                try:
                    producer.send(encode_record(record(name, number)))
                except (ClusterTimeout, ClusterUnreachable) as error:
                    say(str(error))
                    continue
                number += 1
                due -= 1
            if now >= note_at:
                note(path, producer.acknowledged)
                note_at = now + NOTE_SECONDS
            time.sleep(TICK)
        while producer.acknowledged < number - 1:
            try:
                producer.flush()
            except (ClusterTimeout, ClusterUnreachable) as error:
                say(str(error))
        note(path, number - 1)
    say(f"ended: all of {number - 1:,} are acknowledged")


def note(path: Path, number: int) -> None:
    """Keep a number, whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(str(number))
    new.replace(path)


def consume(address: str, sink: str, file: str) -> None:
    """Take all there is until SIGTERM."""
    ended = Ended()
    with open(file, "a+b", buffering=0) as out:
        after = go_back(out.fileno())
        say(f"goes on after {after!r:.80}")
        with Consumer(address, sink, after, finishes_by_asking=False) as consumer:
            lines: list[bytes] = []
            while True:
                taken = consumer.receive(0.0 if lines else 0.1)
                if taken is not None:
                    lines.append(b"%d %s" % (consumer.position[0], taken))
                if lines and (taken is None or len(lines) >= BATCH):
                    position = json.dumps(consumer.position).encode()
                    out.write(b"".join(lines) + MARK + position + b"\n")
                    lines.clear()
                    consumer.acknowledge()
                if taken is None and ended.is_set:
                    say("ended")
                    return


def go_back(descriptor: int) -> object:
    """Cut off what has no position behind it; returns the last position, or None."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - TAIL_BYTES)
    tail = os.pread(descriptor, size - start, start)
    whole = tail[: tail.rfind(b"\n") + 1]
    while whole:
        begins = whole.rfind(b"\n", 0, len(whole) - 1) + 1
        if whole[begins:].startswith(MARK):
            os.ftruncate(descriptor, start + len(whole))
            return json.loads(whole[begins + len(MARK) :])
        whole = whole[:begins]
    if start:
        sys.exit("no position in what was taken")
    os.ftruncate(descriptor, 0)
    return None


def main(words: Sequence[str]) -> None:
    program = {"producer": produce, "consumer": consume}[words[0]]
    program(*words[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
