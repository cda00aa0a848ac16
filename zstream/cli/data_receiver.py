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
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from math import inf
from typing import Any, BinaryIO

from zstream.cli.addresses import listening
from zstream.cli.progress import Progress
from zstream.cli.tool import DONE, FAILED, WRONG_USAGE, at_least_one, complain, seconds_of
from zstream.cli.usage import parse
from zstream.client.receiving import Received, receive_until_done
from zstream.client.verbatim import VerbatimCutter
from zstream.config import Config
from zstream.connectors.framing import make_cutter
from zstream.connectors.tcp import TcpReader, listen
from zstream.errors import UsageError, ZstreamError
from zstream.topology.specs import LengthPrefix


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
    idle = seconds_of("--idle", options["--idle"]) if options["--idle"] else inf
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
        cut_frames = partial(
            make_cutter, LengthPrefix(">I", Config().record_bytes_max), "data_receiver"
        )
        make = received.remember(cut_frames if framed else VerbatimCutter)
        reader = TcpReader("data_receiver", listener, make)
        stack.callback(reader.close)
        progress = Progress(bool(options["--quiet"]) or output is sys.stdout.buffer)
        with suppress(KeyboardInterrupt):
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
            print(f"data_receiver: listening on {reader.address}", file=sys.stderr, flush=True)
            receive_until_done(reader, received, idle, progress.show)
        for cutter in received.cutters:
            received.take(cutter.finish())
        progress.end()
        summary(received, reader, progress.seconds(), options)
        return FAILED if reader.refused_connections else DONE


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
