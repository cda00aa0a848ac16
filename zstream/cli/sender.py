"""Send records from files to a source.

Usage:
  sender --host ADDR --file FILE... [--lines | --framed | --binary | --size BYTES] [--rate N] [--batch N] [--repeat N] [--count N] [--quiet] [--json]

     --host ADDR     where the source listens
  -f --file FILE     - is standard input
     --lines         each line, with a 4-byte big-endian length in front (the default)
     --framed        each line as it is, with its newline
     --binary        the file's bytes as they are: it holds frames already
     --size BYTES    pieces of this size
  -r --rate N        records a second; default: as fast as the source reads
  -s --batch N       records a write (default 500)
     --repeat N      how often to send the files; 0 is for ever (default 1)
  -m --count N       stop after N records
  -q --quiet         no progress bar
     --json
"""  # noqa: E501 - docopt wants each way on one line

from __future__ import annotations

import itertools
import os
import socket
import struct
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from zstream.cli.addresses import reachable
from zstream.cli.progress import Progress
from zstream.cli.tool import (
    DONE,
    FAILED,
    INTERRUPTED,
    WRONG_USAGE,
    at_least_one,
    complain,
    show_json,
)
from zstream.cli.usage import parse
from zstream.cli.verbatim import VerbatimCutter
from zstream.config import Config
from zstream.connectors.address import split_address
from zstream.connectors.framing import Cutter, make_cutter
from zstream.errors import ClusterUnreachable, ConnectorError, UsageError, ZstreamError
from zstream.topology.specs import ByteLines, FixedSize, LengthPrefix

READ_BYTES = 256 * 1024
CONNECT_SECONDS = 10.0  # a source that is just starting is waited for so long
CONNECT_AGAIN_SECONDS = 0.2
SEND_SECONDS = 0.5  # how long one write may wait before the progress is shown again
STALL_SECONDS = 10.0  # how long nothing may be taken before that is said
PACE_SECONDS = 0.002  # a paced sender sleeps at least so long: fewer and fuller writes
END_SECONDS = 2.0  # how long the source may take to close after all was sent


@dataclass(frozen=True)
class Job:
    """What the command line asks for. rate: records a second, 0 for no limit; count: 0 for all."""

    address: str
    files: Sequence[str]
    make_cutter: Callable[[str], Cutter]
    wrap: Callable[[bytes], bytes] | None  # what is put around each record, if anything
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
    """How far it is: bytes read from files, and what the operating system took."""

    read_bytes: int = 0
    records: int = 0
    sent_bytes: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; its exit code."""
    options = parse(__doc__ or "", argv, program="sender")
    as_json = bool(options["--json"])
    done = Done()
    try:
        job = job_of(options)
        progress = Progress(bool(options["--quiet"]), job.total_bytes())
        try:
            send(job, done, progress)
        finally:
            progress.end()
    except UsageError as error:
        print(f"sender: {error}", file=sys.stderr)
        return WRONG_USAGE
    except ZstreamError as error:
        code = "unreachable" if isinstance(error, ClusterUnreachable) else "failed"
        complain(f"sender: {error}", as_json, code=code, says=str(error))
        return FAILED
    except OSError as error:
        says = f"cannot read {error.filename}: {error.strerror}."
        complain(f"sender: {says}", as_json, code="failed", says=says)
        return FAILED
    except KeyboardInterrupt:
        summary(done, progress.seconds(), as_json)
        return INTERRUPTED
    summary(done, progress.seconds(), as_json)
    return DONE


def job_of(options: Mapping[str, Any]) -> Job:
    """The job that the options describe, or UsageError."""
    limit = Config().record_bytes_max
    make: Callable[[str], Cutter] = partial(make_cutter, ByteLines(limit))
    wrap: Callable[[bytes], bytes] | None = with_length
    if options["--framed"]:
        make, wrap = lambda who: VerbatimCutter(), None
    elif options["--binary"]:
        make, wrap = partial(make_cutter, LengthPrefix(">I", limit)), with_length
    elif options["--size"]:
        size = at_least_one("--size", options["--size"])
        make, wrap = partial(make_cutter, FixedSize(size)), None
    repeat = whole("--repeat", options["--repeat"] or "1")
    if "-" in options["--file"] and repeat != 1:
        raise UsageError("--repeat cannot be used with --file -: standard input comes only once.")
    return Job(
        address=reachable("--host", options["--host"]),
        files=options["--file"],
        make_cutter=make,
        wrap=wrap,
        rate=per_second(options["--rate"]) if options["--rate"] else 0.0,
        batch=at_least_one("--batch", options["--batch"] or "500"),
        repeat=repeat,
        count=at_least_one("--count", options["--count"]) if options["--count"] else 0,
    )


def with_length(record: bytes) -> bytes:
    """The record with a 4-byte big-endian length in front."""
    return struct.pack(">I", len(record)) + record


def whole(option: str, said: str) -> int:
    """A whole number from 0 on."""
    if not said.isdecimal():
        raise UsageError(f"{option} must be a whole number, it is {said!r}.")
    return int(said)


def per_second(said: str) -> float:
    """A rate above 0."""
    try:
        rate = float(said)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise UsageError(f"--rate must be records a second, above 0, it is {said!r}.")
    return rate


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


def send(job: Job, done: Done, progress: Progress) -> None:
    """Connect, send everything at the rate that is asked for, and see the source close."""
    connection = connect(job.address)
    try:
        started = time.monotonic()
        taken = 0
        for records in records_of(job, done):
            place = 0
            while place < len(records):
                allowed = job.batch
                if job.rate:
                    elapsed = time.monotonic() - started
                    allowed = min(allowed, int(elapsed * job.rate) + 1 - taken)
                    if allowed < 1:
                        time.sleep(max(PACE_SECONDS, taken / job.rate - elapsed))
                        continue
                batch = records[place : place + allowed]
                write(connection, batch, done, progress)
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


def connect(address: str) -> socket.socket:
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


def write(connection: socket.socket, batch: list[bytes], done: Done, progress: Progress) -> None:
    """Hand the records over, however long the source takes; count those that went whole."""
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
                    says = f"the source has read nothing for {STALL_SECONDS:.0f} s; waiting."
                    print(f"sender: {says}", file=sys.stderr)
            progress.show(done.records, done.read_bytes)
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


def summary(done: Done, seconds: float, as_json: bool) -> None:
    """The last line: what was sent."""
    if as_json:
        show_json({"records": done.records, "bytes": done.sent_bytes, "seconds": round(seconds, 3)})
    else:
        print(
            f"sent {done.records:,} records, {done.sent_bytes:,} bytes in {seconds:.2f} s "
            f"({done.records / seconds:,.0f} records a second)"
        )


if __name__ == "__main__":
    sys.exit(main())
