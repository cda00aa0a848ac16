"""The worker's surroundings: stores out of reach, sources under pressure, sinks at the end."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from zstream.config import Config
from zstream.errors import ConnectorError
from zstream.model.ids import Epoch, LogNumber
from zstream.ports.blobs import BlobStore
from zstream.ports.desk import DeskAnswer, OutputCommit, PartWrite
from zstream.ports.log import LogRead
from zstream.runtime import store_opening
from zstream.runtime.options import WorkerOptions
from zstream.runtime.shell import WatchedReader, WorkerShell
from zstream.runtime.telemetry import Telemetry
from zstream.runtime.wake import Waker
from zstream.runtime.zmq_transport import ZmqTransport
from zstream.stores.private import private_directory
from zstream.stores.registry import open_store
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


class StallingSink:
    """Its outside answers when it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        assert self.let_go.wait(10)


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


def opened(shell: WorkerShell) -> list[str | ConnectorError]:
    """What came of `open_log`, when it has come."""
    for _ in range(1000):
        if found := shell.take_opened():
            return found
        time.sleep(0.01)
    raise AssertionError("nothing was opened")


def test_a_store_that_is_not_on_this_host_is_said_plainly(
    around: Surroundings, tmp_path: Path
) -> None:
    """A joiner on another host learns the path of a private directory that it cannot see."""
    around.shell.open_log(url := f"file://{tmp_path}/elsewhere")
    (refusal,) = opened(around.shell)
    assert isinstance(refusal, ConnectorError)
    assert str(refusal) == (
        f"the cluster's store is {url}, which is not reachable from here: the store {url} is not a "
        "directory. Workers on several hosts need a store that all of them reach: start the "
        "cluster with --store on a directory that they share, or in a bucket."
    )
    assert around.shell.take_opened() == []
    (tmp_path / "elsewhere").mkdir()  # it was mounted meanwhile
    around.shell.open_log(url)
    assert opened(around.shell) == [url]
    around.shell.close(0)


def test_what_is_no_store_at_all_is_said_too(around: Surroundings) -> None:
    """Whatever the thread stumbles over, the worker hears of it."""
    around.shell.open_log("ftp://host/x")
    (refusal,) = opened(around.shell)
    assert "is not reachable from here: a store is file:///DIR" in str(refusal)
    around.shell.close(0)


def test_a_private_store_ends_with_its_last_worker(around: Surroundings) -> None:
    """Asked for twice and opened once; removed at the end."""
    path = private_directory("t")
    around.shell.open_log(f"file://{path}")
    around.shell.open_log(f"file://{path}")
    assert opened(around.shell) == [f"file://{path}"]
    around.shell.open_log(f"file://{path}")
    around.shell.close(0)
    assert around.shell.take_opened() == []
    assert not path.exists()


def test_a_private_store_that_was_opened_too_late_is_let_go(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store hangs, the loop goes on, the worker ends; then the store answers."""
    path = private_directory("t")
    answers, holding = threading.Event(), threading.Event()

    def slow(url: str) -> BlobStore:
        holding.set()
        assert answers.wait(10)
        return open_store(url)

    monkeypatch.setattr(store_opening, "open_store", slow)
    around.shell.open_log(f"file://{path}")
    assert holding.wait(10)
    assert around.shell.take_opened() == []
    around.shell.close(0)
    answers.set()
    for thread in threading.enumerate():
        if thread.name == "zstream-store":
            thread.join(10)
    assert around.shell.take_opened() == []
    assert not path.exists()


def test_a_private_store_that_was_not_taken_is_let_go(around: Surroundings) -> None:
    """It was opened in the very turn in which the worker ended."""
    path = private_directory("t")
    around.shell.open_log(f"file://{path}")
    for thread in threading.enumerate():
        if thread.name == "zstream-store":
            thread.join(10)
    around.shell.close(0)
    assert not path.exists()


def test_both_desks_work_on_the_store_that_was_opened(around: Surroundings, tmp_path: Path) -> None:
    """What was submitted before it was known is done then."""
    around.shell.log.submit(LogRead(1, LogNumber(1)))
    around.shell.desk.submit(PartWrite(2, "parts/r1/e1/1.part", b"x"))
    around.shell.open_log(url := f"file://{tmp_path}")
    assert opened(around.shell) == [url]
    around.shell.close(10)
    assert [answer.outcome for answer in around.shell.log.take()] == ["read"]
    assert around.shell.desk.take() == [DeskAnswer(2)]
    assert (tmp_path / "parts" / "r1" / "e1" / "1.part").read_bytes() == b"x"


def test_a_sink_that_stalls_does_not_hold_up_the_end(around: Surroundings, tmp_path: Path) -> None:
    """Waited for where the worker ends as it should, and then said; not at all after an error."""
    sink = StallingSink()
    around.shell.open_log(url := f"file://{tmp_path}")
    assert opened(around.shell) == [url]
    around.shell.desk.submit(OutputCommit(1, sink, Epoch(1), 1, []))
    around.shell.close(0.01)
    sink.let_go.set()
    assert around.log.getvalue() == "w0: the store or a sink stalls; not waiting for it.\n"


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
