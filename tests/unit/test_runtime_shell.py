"""The worker's surroundings: stores out of reach, sources under pressure, sinks at the end."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from zstream.config import Config
from zstream.errors import ConnectorError
from zstream.runtime.options import WorkerOptions
from zstream.runtime.shell import WatchedReader, WorkerShell
from zstream.runtime.telemetry import Telemetry
from zstream.runtime.wake import Waker
from zstream.runtime.zmq_transport import ZmqTransport
from zstream.stores.private import private_directory
from zstream.topology.plan import Plan

PLAN = Plan("t", 8, (), (), {}, {}, (), "", ())


class Surroundings:
    """A shell that opened nothing yet, and what it says."""

    def __init__(self) -> None:
        self.log = io.StringIO()
        self.telemetry = Telemetry("w0", "text", False, log=self.log)
        self.waker = Waker()
        self.transport = ZmqTransport(Config())
        options = WorkerOptions("initializer", "w0", {}, {})
        self.shell = WorkerShell(PLAN, options, self.transport, self.telemetry, self.waker)

    def close(self) -> None:
        self.transport.close()
        self.waker.close()
        self.telemetry.close()


@pytest.fixture
def around() -> Iterator[Surroundings]:
    surroundings = Surroundings()
    yield surroundings
    surroundings.close()


class StubbornWriter:
    """A sink whose outside takes ten bytes at each flush, or none."""

    def __init__(self, pending: int, takes: int) -> None:
        self.pending = pending
        self.takes = takes
        self.closed = False

    def flush(self, now: float) -> None:
        self.pending = max(0, self.pending - self.takes)

    def pending_bytes(self) -> int:
        return self.pending

    def close(self) -> None:
        self.closed = True


class ReadableReader:
    """A source that always has something."""

    def __init__(self) -> None:
        self.closes = 0

    def read(self, limit: int) -> list[Any]:
        return ["x"]

    def descriptors(self) -> Sequence[int]:
        return (5,)

    def close(self) -> None:
        self.closes += 1


def test_a_store_that_is_not_on_this_host_is_said_plainly(
    around: Surroundings, tmp_path: Path
) -> None:
    """A joiner on another host learns the path of a private directory that it cannot see."""
    with pytest.raises(ConnectorError) as refusal:
        around.shell.open_log(url := f"file://{tmp_path}/elsewhere")
    assert str(refusal.value) == (
        f"the cluster's store is {url}, which is not reachable from here: the store {url} is not a "
        "directory. Workers on several hosts need a store that all of them reach: start the "
        "cluster with --store on a directory that they share, or in a bucket."
    )
    around.shell.close(0)


def test_a_private_store_ends_with_its_last_worker(around: Surroundings) -> None:
    """Opened twice, as after a new leader's word; removed at the end."""
    path = private_directory("t")
    around.shell.open_log(f"file://{path}")
    around.shell.open_log(f"file://{path}")
    around.shell.close(0)
    assert not path.exists()


def test_sinks_are_flushed_before_they_are_closed(around: Surroundings) -> None:
    """What the outside still takes goes out, and nothing is said."""
    writer: Any = StubbornWriter(pending=50, takes=10)
    around.shell.writers.append(writer)
    around.shell.close(flush_s=10)
    assert writer.closed and writer.pending == 0
    assert around.log.getvalue() == ""


def test_output_that_nobody_takes_is_said_to_be_lost(around: Surroundings) -> None:
    """The last flush is bounded; the loss is never silent."""
    writer: Any = StubbornWriter(pending=1234, takes=0)
    around.shell.writers.append(writer)
    around.shell.close(flush_s=0.01)
    assert writer.closed
    assert around.log.getvalue() == (
        "w0: 1,234 bytes of output were not taken by their receivers and are lost.\n"
    )


def test_a_source_that_is_not_read_does_not_wake_the_loop() -> None:
    """Under pressure the driver does not read; its readable descriptor would spin the loop."""
    inner: Any = ReadableReader()
    reader = WatchedReader(inner)
    assert reader.take_descriptors() == ()
    assert reader.read(1) == ["x"]
    assert reader.take_descriptors() == (5,)
    assert reader.take_descriptors() == ()
    reader.read(1)
    reader.close()
    reader.close()
    assert reader.take_descriptors() == ()
    assert inner.closes == 1
