"""One worker process as the shell runs it: start, signals, refusals, pressure, end."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from zstream.client.cluster import Cluster

ROOT = Path(__file__).resolve().parent.parent.parent

ECHO = """
import time
from zstream import LengthPrefix, TcpSink, TcpSource, Topology, source

def act(payload: bytes) -> bytes:
    if payload == b"hang":
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                pass
    if payload == b"raise":
        raise ValueError("bad payload")
    return payload

topology = Topology(
    "echo", source("words", TcpSource(LengthPrefix())).map(act).sink("out", TcpSink(bytes))
)
"""


class Worker:
    """A zworker of the echo topology; its lines of standard error are read as they come."""

    def __init__(self, directory: Path, *arguments: str, out: str, words: str = "") -> None:
        self.words = words or f"127.0.0.1:{free_port()}"
        self.external = f"127.0.0.1:{free_port()}"
        (directory / "echo.py").write_text(ECHO)
        self._log = directory / f"log-{free_port()}"
        line = [sys.executable, "-m", "zstream.cli.zworker", "-a", "echo.py"]
        line += ["--in", f"words@{self.words}", "--out", out, "--log-format", "text"]
        line += ["--external", self.external, *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(directory)}
        with self._log.open("w") as log:
            self.process = subprocess.Popen(line, cwd=directory, env=environment, stderr=log)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def says(self, text: str) -> None:
        until(lambda: text in self.log, lambda: self.log)

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ends(self) -> int:
        return self.process.wait(20)


class Receiver:
    """Takes what the sink sends, when asked to."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def accept(self) -> socket.socket:
        self._listener.settimeout(20)
        accepted, _ = self._listener.accept()
        accepted.settimeout(20)
        return accepted

    def close(self) -> None:
        self._listener.close()


Start = Callable[..., Worker]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with closing(Receiver()) as opened:
        yield opened


@pytest.fixture
def start(tmp_path: Path, receiver: Receiver) -> Iterator[Start]:
    """Starts workers, and kills those that are left at the end."""
    started: list[Worker] = []

    def starter(*arguments: str, words: str = "") -> Worker:
        started.append(Worker(tmp_path, *arguments, out=receiver.address, words=words))
        return started[-1]

    yield starter
    for worker in started:
        worker.process.kill()
        worker.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: Callable[[], object], story: Callable[[], object] = str) -> None:
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline, story()
        time.sleep(0.01)


def framed(*payloads: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(payload)) + payload for payload in payloads)


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), 20)


def received(taken: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = taken.recv(1 << 20)
        assert chunk, f"the sink hung up after {len(data)} bytes"
        data += chunk
    return data


def test_from_start_to_shutdown(start: Start, receiver: Receiver, tmp_path: Path) -> None:
    """A record goes in and comes out, a bad one is a dead letter, the cluster is shut down; the
    private store has gone."""
    worker = start("--name", "w0")
    worker.says("is up: 1 worker")
    with receiver.accept() as taken, connect(worker.words) as sender:
        sender.sendall(framed(b"one", b"raise", b"two"))
        assert received(taken, 6) == b"onetwo"
        worker.says("raised ValueError: bad payload")
        assert [path.name[:12] for path in tmp_path.glob("zstream-*")] == ["zstream-echo"]
        Cluster(worker.external).shutdown()
        assert worker.ends() == 0
    assert list(tmp_path.glob("zstream-*")) == []
    assert len((tmp_path / "dead-letters.jsonl").read_text().splitlines()) == 1


def test_a_signal_to_who_may_not_leave_and_another_that_stops_it(start: Start) -> None:
    """The first says why not; the second ends it with 1 and its sentence."""
    worker = start("--name", "w0")
    worker.says("is up: 1 worker")
    worker.process.send_signal(signal.SIGTERM)
    worker.says("w0: cannot leave, source words is placed on it; again to stop it")
    time.sleep(0.3)  # sooner it would be taken for the same wish
    worker.process.send_signal(signal.SIGINT)
    assert worker.ends() == 1
    assert worker.log.splitlines()[-1].startswith("zworker: w0 was stopped at once")


def test_a_function_that_never_returns_can_be_stopped(start: Start, receiver: Receiver) -> None:
    """User code holds the loop and catches every Exception: the second signal ends it."""
    worker = start("--name", "w0")
    worker.says("is up: 1 worker")
    with receiver.accept() as taken, connect(worker.words) as sender:
        sender.sendall(framed(b"one"))
        assert received(taken, 3) == b"one"
        sender.sendall(framed(b"hang"))
        until(lambda: worker.process.poll() is None and is_asleep_in_user_code(worker))
        worker.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.ends() == 1


def is_asleep_in_user_code(worker: Worker) -> bool:
    """Its loop stands still: the cluster does not answer any more."""
    from datetime import timedelta

    from zstream.errors import ZstreamError

    try:
        Cluster(worker.external, timedelta(seconds=0.3)).status()
    except ZstreamError:
        return True
    return False


def test_it_sleeps_when_there_is_nothing_to_do(start: Start, receiver: Receiver) -> None:
    """Two seconds of nothing cost next to no processor time; a loop that spins would take two."""
    worker = start("--name", "w0")
    worker.says("is up: 1 worker")
    with receiver.accept(), connect(worker.words):
        before = worker.cpu_seconds()
        time.sleep(2)
        assert worker.cpu_seconds() - before < 0.2


def test_under_pressure_it_waits_and_loses_nothing(start: Start, receiver: Receiver) -> None:
    """The receiver does not read: the worker stops reading its source, sleeps, and goes on."""
    worker = start("--name", "w0")
    worker.says("is up: 1 worker")
    payload = bytes(range(256)) * 256  # 64 KiB
    with receiver.accept() as taken, connect(worker.words) as sender:
        sender.settimeout(1.0)
        sent = 0
        frame = framed(payload)
        left = b""
        try:
            while sent < 2000:
                left = frame
                while left:
                    left = left[sender.send(left) :]
                sent += 1
        except TimeoutError:
            pass
        assert sent < 2000, "the source never stopped reading"
        before = worker.cpu_seconds()
        time.sleep(1)
        assert worker.cpu_seconds() - before < 0.2
        sender.settimeout(20)
        assert received(taken, sent * len(payload)) == payload * sent
        sender.sendall(left)
        assert received(taken, len(payload)) == payload


def test_a_port_in_use_is_said_and_nothing_is_left(start: Start, tmp_path: Path) -> None:
    """Control and source ports: exit 1, one sentence, no private store left behind."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = f"127.0.0.1:{holder.getsockname()[1]}"
        worker = start("--name", "w0", "--cluster-initializer", "--control", taken)
        assert worker.ends() == 1
        assert worker.log == (
            f"zworker: cannot listen on {taken}: the port is in use by another process. "
            "Choose another with --control HOST:PORT.\n"
        )
        worker = start("--name", "w0", words=taken)
        assert worker.ends() == 1
        assert worker.log == (
            f"zworker: source words cannot listen on {taken}: the port is in use by another "
            "process. Choose another with --in words@HOST:PORT.\n"
        )
        assert list(tmp_path.glob("zstream-*")) == []


def test_joining_at_a_source_is_refused_by_name(start: Start) -> None:
    """What is at --join is silent, as a source is."""
    with socket.create_server(("127.0.0.1", 0)) as source:
        address = f"127.0.0.1:{source.getsockname()[1]}"
        worker = start("--name", "w1", "--join", address)
        assert worker.ends() == 1
        assert worker.log == (
            f"zworker: what answers at {address} is not a zworker's control address "
            "(it looks like a source).\n"
        )


def test_a_joiner_leaves_on_a_signal_and_the_cluster_goes_on(
    start: Start, receiver: Receiver
) -> None:
    """w1 joins, is signalled, leaves as if shrunk with 0; w0 still passes records on."""
    control = f"127.0.0.1:{free_port()}"
    first = start("--name", "w0", "--cluster-initializer", "--control", control)
    first.says("is up: 1 worker")
    joiner = start("--name", "w1", "--join", control)
    first.says("grow-2 by w1")
    joiner.process.send_signal(signal.SIGTERM)
    assert joiner.ends() == 0
    assert "w1: leaving as if shrunk; again to stop at once." in joiner.log
    with receiver.accept() as taken, connect(first.words) as sender:
        sender.sendall(framed(b"still here"))
        assert received(taken, 10) == b"still here"
