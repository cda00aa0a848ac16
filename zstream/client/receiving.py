"""Receiving what sinks send over TCP, as the command `data_receiver` does."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from zstream.connectors.framing import Cutter
from zstream.connectors.tcp import TcpReader

RECORDS_AT_ONCE = 4096
WAIT_SECONDS = 0.2  # how long nothing may come before progress and the end are looked at


@dataclass
class Received:
    """Where records go, and how many went there. limit: ends at so many; 0 for never."""

    output: BinaryIO | None
    newline: bytes
    limit: int
    records: int = 0
    size: int = 0  # in bytes
    cutters: list[Cutter] = field(default_factory=list)

    def take(self, records: list[bytes]) -> None:
        if self.limit:
            records = records[: self.limit - self.records]
        self.records += len(records)
        self.size += sum(map(len, records))
        if self.output is not None and records:
            self.output.write(b"".join([record + self.newline for record in records]))
            self.output.flush()

    def remember(self, make: Callable[[], Cutter]) -> Callable[[], Cutter]:
        """`make`, keeping what it made: at the end a cutter may hold half a line."""

        def made() -> Cutter:
            self.cutters.append(make())
            return self.cutters[-1]

        return made

    def full(self) -> bool:
        return 0 < self.limit <= self.records


def receive_until_done(
    reader: TcpReader, received: Received, idle: float, show: Callable[[int], None]
) -> None:
    """Until `received` is full, or nothing came for `idle` seconds. show: records so far."""
    poll = select.poll()
    for descriptor in reader.descriptors():
        poll.register(descriptor, select.POLLIN)
    last = time.monotonic()
    while not received.full():
        records = reader.read(RECORDS_AT_ONCE)
        if records:
            received.take(records)
            last = time.monotonic()
        show(received.records)
        waited = time.monotonic() - last
        if waited >= idle:
            return
        wake = reader.wake_at(last + waited)
        wait = min(WAIT_SECONDS, idle - waited)
        poll.poll(0 if wake is not None and wake <= last + waited else wait * 1000)
