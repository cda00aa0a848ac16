"""Sending records from files to a source over TCP, as the command `sender` does.

Plain sockets that wait, each time with a deadline: this runs in a process of its own, outside of
any cluster.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from zstream.client.verbatim import VerbatimCutter
from zstream.config import Config
from zstream.connectors.address import split_address
from zstream.connectors.framing import Cutter, make_cutter
from zstream.errors import ClusterUnreachable, ConnectorError
from zstream.topology.specs import ByteLines, FixedSize, LengthPrefix

READ_BYTES = 256 * 1024
CONNECT_SECONDS = 10.0  # a source that is just starting is waited for so long
CONNECT_AGAIN_SECONDS = 0.2
SEND_SECONDS = 0.5  # how long one write may wait before the progress is shown again
STALL_SECONDS = 10.0  # how long nothing may be taken before that is said
PACE_SECONDS = 0.002  # a paced sender sleeps at least so long: fewer and fuller writes
END_SECONDS = 2.0  # how long the source may take to close after all was sent


FORMS = ("lines", "framed", "binary", "size")  # what a file may hold

MakeCutter = Callable[[str], Cutter]  # of the file's name, for messages
Wrap = Callable[[bytes], bytes]
Show = Callable[[int, float | None], None]  # records sent; what part of all, 0..1; None: unknown
Say = Callable[[str], None]  # a sentence for a person


@dataclass(frozen=True)
class Job:
    """What to send where. rate: records a second, 0 for no limit; count: 0 for all."""

    address: str
    files: Sequence[str]
    make_cutter: MakeCutter
    wrap: Wrap | None  # what is put around each record, if anything
    rate: float
    batch: int
    repeat: int
    count: int

    def total_bytes(self) -> int:
        """Bytes to read, as far as that is known; 0 when it is not."""
        if "-" in self.files:
            return 0
        return self.repeat * sum(os.path.getsize(file) for file in self.files)


@dataclass
class Done:
    """How far it is: bytes read from files, those of them whose records were handed over, and what
    the operating system took. A file is read far ahead of what is sent at a rate."""

    read_bytes: int = 0
    used_bytes: float = 0.0
    records: int = 0
    sent_bytes: int = 0

    def part_of(self, job: Job, total_bytes: int) -> float | None:
        """What part of the job that is, 0..1; None where nobody knows how much there is."""
        parts = [self.used_bytes / total_bytes] if total_bytes else []
        parts += [self.records / job.count] if job.count else []
        return min(1.0, max(parts)) if parts else None


def form_of(form: str, size: int = 0) -> tuple[MakeCutter, Wrap | None]:
    """How a file is cut, and what is put around each record. size: of the pieces of "size"."""
    limit = Config().record_bytes_max
    if form == "framed":
        return lambda _: VerbatimCutter(), None
    if form == "binary":
        return partial(make_cutter, LengthPrefix(">I", limit)), with_length
    if form == "size":
        return partial(make_cutter, FixedSize(size)), None
    return partial(make_cutter, ByteLines(limit)), with_length


def with_length(record: bytes) -> bytes:
    """The record with a 4-byte big-endian length in front."""
    return struct.pack(">I", len(record)) + record


def records_of(job: Job, done: Done) -> Iterator[list[bytes]]:
    """All records in order, as many at once as one read of a file gave."""
    left = job.count or sys.maxsize
    for _ in range(job.repeat) if job.repeat else itertools.count():
        for file in job.files:
            for records in records_of_file(job, file, done):
                yield records[:left]
                left -= len(records)
                if left <= 0:
                    return


def records_of_file(job: Job, file: str, done: Done) -> Iterator[list[bytes]]:
    """The records of one file, ready to be sent. Raises ConnectorError for what cannot be cut."""
    cutter = job.make_cutter(file)
    with open(0 if file == "-" else file, "rb", buffering=0, closefd=file != "-") as stream:
        while chunk := stream.read(READ_BYTES):
            done.read_bytes += len(chunk)
            yield wrapped(job, cutter.feed(chunk))
            if cutter.fault is not None:
                raise cutter.fault
    yield wrapped(job, cutter.finish())
    if cutter.fault is not None:
        raise cutter.fault
    if cutter.held():
        raise ConnectorError(
            f"{file} ends in the middle of a record: its last {cutter.held()} bytes were not sent."
        )


def wrapped(job: Job, records: list[bytes]) -> list[bytes]:
    return [job.wrap(record) for record in records] if job.wrap else records


def send(job: Job, done: Done, show: Show, say: Say) -> None:
    """Connect, send everything at the rate that is asked for, and see the source close."""
    total_bytes = job.total_bytes()  # first of all: a file that is missing is said at once
    connection = connect(job.address, say)
    try:
        started = time.monotonic()
        taken = 0

        def shown() -> None:
            show(done.records, done.part_of(job, total_bytes))

        for records in records_of(job, done):
            place = 0
            record_bytes = (done.read_bytes - done.used_bytes) / max(1, len(records))
            while place < len(records):
                allowed = job.batch
                if job.rate:
                    elapsed = time.monotonic() - started
                    allowed = min(allowed, int(elapsed * job.rate) + 1 - taken)
                    if allowed < 1:
                        time.sleep(max(PACE_SECONDS, taken / job.rate - elapsed))
                        continue
                batch = records[place : place + allowed]
                write(connection, batch, done, shown, say)
                done.used_bytes += record_bytes * len(batch)
                shown()
                place += len(batch)
                taken += len(batch)
        finish(connection)
    except OSError as error:
        if error.filename is not None:  # a file that cannot be read
            raise
        raise ClusterUnreachable(
            f"{job.address} closed the connection ({error.strerror}) after {done.records:,} "
            "records were handed over; whether it read the last of them is not known. "
            "The worker's log says why."
        ) from error
    finally:
        connection.close()


def connect(address: str, say: Say) -> socket.socket:
    """A connection; nobody there is waited for a while, and then is ClusterUnreachable."""
    deadline = time.monotonic() + CONNECT_SECONDS
    said = False
    while True:
        try:
            connection = socket.create_connection(split_address(address), CONNECT_SECONDS)
        except socket.gaierror as error:
            raise ClusterUnreachable(f"there is no host {address}: {error.strerror}.") from error
        except OSError as error:
            if time.monotonic() >= deadline:
                raise ClusterUnreachable(
                    f"nobody listened at {address} for {CONNECT_SECONDS:.0f} s: "
                    f"{(error.strerror or 'no answer').lower()}. "
                    f"Is there a worker with --in {address}?"
                ) from error
            if not said:
                said = True
                print(
                    f"sender: nobody listens at {address} yet; trying for {CONNECT_SECONDS:.0f} s.",
                    file=sys.stderr,
                )
            time.sleep(CONNECT_AGAIN_SECONDS)
            continue
        connection.settimeout(SEND_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def write(
    connection: socket.socket,
    batch: list[bytes],
    done: Done,
    waits: Callable[[], None],
    say: Say,
) -> None:
    """Hand the records over, however long the source takes; count those that went whole.

    waits: called now and then while the source takes its time.
    """
    data = memoryview(b"".join(batch))
    sent = 0
    stalled = 0.0
    try:
        while sent < len(data):
            try:
                sent += connection.send(data[sent:])
                stalled = 0.0
            except TimeoutError:
                stalled += SEND_SECONDS
                if stalled == STALL_SECONDS:
                    say(f"the source has read nothing for {STALL_SECONDS:.0f} s; waiting.")
                waits()
    finally:
        ends = list(itertools.accumulate(map(len, batch)))
        done.records += bisect_right(ends, sent)
        done.sent_bytes += sent


def finish(connection: socket.socket) -> None:
    """Say that no more comes, and wait a moment for the source to have read it all.

    A source that is slow is not waited for; one that refuses what it read resets the connection.
    """
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(END_SECONDS)
    try:
        while connection.recv(READ_BYTES):
            pass
    except TimeoutError:
        return
