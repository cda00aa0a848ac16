"""Receive what sinks send.

Usage:
  data_receiver --listen ADDR [--framed] [--output FILE | --no-write] [--count N] [--idle SECONDS] [--quiet] [--json]

  -l --listen ADDR   where to listen
  -f --framed        4-byte big-endian length in front of each record; taken off, one record a line
     --output FILE   instead of standard output
  -n --no-write      only count
     --count N       end after N records
     --idle SECONDS  end after so long without any
  -q --quiet
     --json
"""  # noqa: E501 - docopt wants each way on one line

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO

from zstream.cli.addresses import listening
from zstream.cli.progress import Progress
from zstream.cli.tool import (
    DONE,
    FAILED,
    WRONG_USAGE,
    at_least_one,
    complain,
    seconds_of,
)
from zstream.cli.usage import parse
from zstream.cli.verbatim import VerbatimCutter
from zstream.config import Config
from zstream.connectors.framing import Cutter, make_cutter
from zstream.connectors.tcp import TcpReader, listen
from zstream.errors import UsageError, ZstreamError
from zstream.topology.specs import LengthPrefix

RECORDS_AT_ONCE = 4096
WAIT_SECONDS = 0.2  # how long nothing may come before progress and --idle are looked at


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; its exit code. Ctrl-C is the ordinary way to end it."""
    options = parse(__doc__ or "", argv, program="data_receiver")
    try:
        return receive(options)
    except UsageError as error:
        print(f"data_receiver: {error}", file=sys.stderr)
        return WRONG_USAGE
    except ZstreamError as error:
        complain(str(error), bool(options["--json"]), code="failed", says=str(error))
    except BrokenPipeError:
        # The interpreter would flush standard output once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print("data_receiver: nobody reads its output any more.", file=sys.stderr)
    except OSError as error:
        says = f"data_receiver: cannot write {options['--output']}: {error.strerror}."
        complain(says, bool(options["--json"]), code="failed", says=says)
    return FAILED


def receive(options: Mapping[str, Any]) -> int:
    """Listen, take what comes, and say how much it was."""
    idle = seconds_of("--idle", options["--idle"]) if options["--idle"] else float("inf")
    limit = at_least_one("--count", options["--count"]) if options["--count"] else 0
    address = listening("--listen", options["--listen"])
    framed = bool(options["--framed"])
    listener = listen(address, "data_receiver", "--listen HOST:PORT")
    with ExitStack() as stack:
        output: BinaryIO | None = None
        if options["--output"]:
            output = stack.enter_context(open(options["--output"], "wb"))
        elif not options["--no-write"]:
            output = sys.stdout.buffer
        received = Received(output, b"\n" if framed else b"", limit)
        make: Callable[[], Cutter] = VerbatimCutter
        if framed:
            framing = LengthPrefix(">I", Config().record_bytes_max)
            make = partial(make_cutter, framing, "data_receiver")
        reader = TcpReader("data_receiver", listener, received.remember(make))
        stack.callback(reader.close)
        print(f"data_receiver: listening on {reader.address}", file=sys.stderr, flush=True)
        progress = Progress(bool(options["--quiet"]) or output is sys.stdout.buffer)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
        with suppress(KeyboardInterrupt):
            receive_until_done(reader, received, idle, progress)
        for cutter in received.cutters:
            received.take(cutter.finish())
        progress.end()
        summary(received, reader, progress.seconds(), options)
        return FAILED if reader.refused_connections else DONE


def receive_until_done(
    reader: TcpReader, received: Received, idle: float, progress: Progress
) -> None:
    """Until --count records came, or nothing came for `idle` seconds."""
    poll = select.poll()
    for descriptor in reader.descriptors():
        poll.register(descriptor, select.POLLIN)
    last = time.monotonic()
    while not received.full():
        records = reader.read(RECORDS_AT_ONCE)
        if records:
            received.take(records)
            last = time.monotonic()
        progress.show(received.records, 0)
        waited = time.monotonic() - last
        if waited >= idle:
            return
        wake = reader.wake_at(last + waited)
        wait = min(WAIT_SECONDS, idle - waited)
        poll.poll(0 if wake is not None and wake <= last + waited else wait * 1000)


def summary(
    received: Received, reader: TcpReader, seconds: float, options: Mapping[str, Any]
) -> None:
    """The last line, on standard error: standard output may be where the records go."""
    if options["--json"]:
        counted = {
            "records": received.records,
            "bytes": received.size,
            "connections": reader.connections_seen,
            "unfinished_records": reader.unfinished_records,
            "refused_connections": reader.refused_connections,
            "seconds": round(seconds, 3),
        }
        stdout_is_free = received.output is not sys.stdout.buffer
        print(json.dumps(counted), file=sys.stdout if stdout_is_free else sys.stderr, flush=True)
    else:
        print(
            f"received {received.records:,} records, {received.size:,} bytes "
            f"over {reader.connections_seen} connections in {seconds:.2f} s",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(main())
