"""zstream: a streaming engine of equal workers that grows and shrinks while records flow.

What a person imports; `__all__` is the list. Errors are in `zstream.errors`, tests of topologies
in `zstream.testing`, programs beside a cluster use `zstream.client`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

from zstream.embedded import Results, Topology, load, made
from zstream.ports.letters import DeadLetter
from zstream.topology.aggregate import Aggregate, both, largest, mean, smallest, total
from zstream.topology.durations import days, hours, milliseconds, minutes, seconds
from zstream.topology.errors_policy import ErrorPolicy, Retry
from zstream.topology.json_values import from_json, json_line, to_json
from zstream.topology.per_worker import PerWorker
from zstream.topology.specs import (
    ByteLines,
    CsvSource,
    FileSink,
    FileSource,
    FixedSize,
    Framing,
    Generate,
    LengthPrefix,
    Lines,
    Memory,
    PostgresSink,
    Sink,
    Source,
    Stdout,
    TcpSink,
    TcpSource,
    ZmqSink,
    ZmqSource,
)
from zstream.topology.stream import End, KeyedStream, Stream, source
from zstream.topology.topology import Problem
from zstream.wire.values import record

__all__ = [
    # streams and topologies
    "source",
    "Stream",
    "KeyedStream",
    "End",
    "Topology",
    "Problem",
    "Results",
    "DeadLetter",
    "main",
    "load",
    # sources, sinks, what stands in them
    "Source",
    "Sink",
    "TcpSource",
    "TcpSink",
    "FileSource",
    "CsvSource",
    "FileSink",
    "Stdout",
    "PostgresSink",
    "ZmqSource",
    "ZmqSink",
    "Memory",
    "Generate",
    "Framing",
    "Lines",
    "ByteLines",
    "LengthPrefix",
    "FixedSize",
    "from_json",
    "to_json",
    "json_line",
    # what operators are given
    "Aggregate",
    "total",
    "mean",
    "smallest",
    "largest",
    "both",
    "PerWorker",
    "ErrorPolicy",
    "Retry",
    "record",
    # lengths of time
    "milliseconds",
    "seconds",
    "minutes",
    "hours",
    "days",
]


def main(
    topology: Topology | Callable[[list[str]], Topology], argv: Sequence[str] | None = None
) -> NoReturn:
    """Run one worker of this topology with zworker's options, and exit: `python alphabet.py ...`.

    A function is given what stands behind "--", the same on every worker.
    """
    from zstream.cli import program  # the command line is imported when there is one

    program.main(lambda arguments: made(topology, arguments), argv)
