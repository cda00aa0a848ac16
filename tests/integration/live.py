"""A cluster of real worker processes for a test: start it, grow it, shrink it, watch it, end it."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from examples.traffic import Traffic, Verdict
from zstream.client.cluster import Cluster
from zstream.client.status import Rescale, Status

ROOT = Path(__file__).resolve().parents[2]
VOTES = ROOT / "benchmarks" / "votes.py"  # names of eight bytes; source "votes"
PATIENCE = 60.0  # seconds for any one step
TAIL = 40  # lines of a log that are shown when a test fails


def ports() -> itertools.cycle[int]:
    """Ports below those that the system gives to outgoing connections, apart for each process."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
    first = 12_000 + 4_000 * number + os.getpid() % 40 * 100
    return itertools.cycle(range(first, first + 4_000))


_PORTS = ports()


def free_address() -> str:
    """A loopback address that nobody listens at, and that no outgoing connection will take."""
    while True:
        address = ("127.0.0.1", next(_PORTS))
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError:
                continue
        return f"127.0.0.1:{address[1]}"


def until(what: Callable[[], object], story: Callable[[], object] = str) -> None:
    """Wait until something is so; after PATIENCE seconds the story says what was there instead."""
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, story()
        time.sleep(0.02)


def names_of(count: int) -> list[bytes]:
    """That many names of eight bytes, the keys of the votes topology."""
    return [b"key%05d" % number for number in range(count)]


def environment(folder: Path, settings: Mapping[str, object]) -> dict[str, str]:
    """This process's, with no setting of zstream but these: wave_bytes_max=4096. Key groups move
    for balance only where a test asks for it: the others count rescales.
    """
    settings = {"balance_gain_percent": 100, **settings}
    plain = {name: text for name, text in os.environ.items() if not name.startswith("ZSTREAM_")}
    said = {f"ZSTREAM_{name.upper()}": str(value) for name, value in settings.items()}
    return {**plain, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), **said}


class Process:
    """One process, a worker or a tool; what it says can be read while it runs.

    control, external: a worker's addresses, "" of a tool.
    """

    def __init__(
        self,
        name: str,
        line: Sequence[str],
        folder: Path,
        env: dict[str, str],
        control: str = "",
        external: str = "",
    ) -> None:
        self.name = name
        self.control = control
        self.external = external
        numbers = itertools.count(1)
        self._log = next(path for n in numbers if not (path := folder / f"{name}.{n}.log").exists())
        self._out = self._log.with_suffix(".out")
        with self._log.open("wb") as log, self._out.open("wb") as out:
            self.process = subprocess.Popen(
                line, cwd=folder, env=env, stdout=out, stderr=log, start_new_session=True
            )

    @property
    def log(self) -> str:
        """Its standard error so far."""
        return self._log.read_text()

    @property
    def out(self) -> str:
        """Its standard output so far."""
        return self._out.read_text()

    @property
    def last_line(self) -> str:
        return self.log.rstrip("\n").rpartition("\n")[2]

    def says(self, text: str) -> None:
        """Wait until it has said this, on either."""
        until(lambda: text in self.log + self.out or self.is_over, lambda: self.log)
        assert text in self.log + self.out, self.log

    @property
    def is_over(self) -> bool:
        return self.process.poll() is not None

    def ends(self) -> int:
        """Its exit code, awaited."""
        return self.process.wait(PATIENCE)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def memory(self) -> int:
        """Bytes that it holds in memory now."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def kill(self) -> None:
        """Kill it, if it still is there, with all that it has started."""
        if not self.is_over:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


class Live:
    """A cluster of one application. `sources` are the names that --in shall bind.

    out: what --out says. settings: fields of Config that all its workers get. store: URL for the
    workers that start it.
    As a context manager it kills what is left, and shows all logs when the test has failed.
    """

    def __init__(
        self,
        folder: Path,
        out: str,
        application: Path = VOTES,
        sources: Sequence[str] = ("votes",),
        arguments: Sequence[str] = (),
        store: str = "",
        **settings: object,
    ) -> None:
        self.folder = folder
        self.control, self.external = free_address(), free_address()
        self.sources = {name: free_address() for name in sources}
        self.workers: dict[str, Process] = {}
        self._application = application
        self._out = out
        self._arguments = list(arguments)
        self._store = ["--store", store] if store else []
        self._env = environment(folder, settings)
        self._started = 0

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        for worker in self.workers.values():
            worker.kill()
        if kind is not None:
            for worker in self.workers.values():
                lines = worker.log.splitlines()[-TAIL:]
                print(
                    f"--- {worker.name}, ended with {worker.process.returncode}", *lines, sep="\n"
                )

    # ---- workers

    def worker(self, *how: str, name: str = "", application: Path | None = None) -> Process:
        """Start one process, with these options more than application, name and ends."""
        name = name or f"w{self._started}"
        self._started += 1
        control, external = self.control, self.external
        if "--cluster-initializer" not in how:
            control, external = free_address(), free_address()
            how = (*how, "--my-control", control)
        line = [sys.executable, "-m", "zstream.cli.zworker"]
        line += ["--application-module", str(application or self._application)]
        if self.sources:
            bound = [f"{source}@{address}" for source, address in self.sources.items()]
            line += ["--in", ",".join(bound)]
        if self._out:
            line += ["--out", self._out]
        line += ["--external", external, "--name", name, "--log-format", "text", *how]
        line += ["--", *self._arguments] if self._arguments else []
        started = Process(name, line, self.folder, self._env, control, external)
        key = name
        while key in self.workers:
            key += "'"
        self.workers[key] = started
        return started

    def initializer(self, count: int = 1, *how: str) -> Process:
        """The worker that starts the cluster; w0, when it is the first time."""
        return self.worker(
            *("--cluster-initializer", "--worker-count", str(count), "--control", self.control),
            *("--data", free_address(), *self._store, *how),
        )

    def start(self, count: int = 1, *how: str) -> None:
        """Start the cluster with so many workers, w0 and others, and wait until it is up.

        Again after it has ended as a whole: the names go on, the addresses stay.
        how: further options of the initializer.
        """
        first = self.initializer(count, *how)
        for _ in range(count - 1):
            self.worker("--control", self.control)
        first.says(f"is up: {count} worker")

    def join(
        self, count: int, *how: str, batch: int = 0, at: str = "", name: str = ""
    ) -> list[Process]:
        """Start so many joiners of one batch, which ask at `at` or at w0; does not wait."""
        how = ("--join", at or self.control, "--worker-count", str(batch or count), *how)
        return [self.worker(*how, name=name) for _ in range(count)]

    def kill(self, *names: str) -> None:
        """SIGKILL to these, or to all; they are gone when it returns."""
        for worker in [self.workers[name] for name in names] or self.workers.values():
            worker.kill()

    def join_stopped(self) -> tuple[Process, Process]:
        """Two joiners of one batch. The first is stopped when the cluster knows it, so that the
        rescale, once it is open, cannot get beyond CONNECT until the first goes on or is dead.

        The cluster's joiner_silent_ms must be large.
        """
        first = self.join(1, batch=2)[0]
        first.says("waiting for 1 more worker")
        first.signal(signal.SIGSTOP)
        second = self.join(1, batch=2)[0]
        until(lambda: self.phase() == "CONNECT", self.status)
        return first, second

    def grow(self, count: int) -> list[Process]:
        """Let so many join as one batch, and wait until that has ended well."""
        wanted = self.status().worker_count + count
        joiners = self.join(count)

        def has_grown() -> bool:
            over = [joiner.last_line for joiner in joiners if joiner.is_over]
            assert not over, over
            status = self.status()
            return status.worker_count == wanted and status.rescale is None

        until(has_grown, self.status)
        return joiners

    def shrink(self, count: int | None = None, workers: Sequence[str] = ()) -> Rescale:
        """Let some leave; waits for the end, and for their processes to end with 0."""
        ended = self.cluster.shrink(count=count, workers=workers)
        assert ended.outcome == "done", ended.says
        for name in ended.left:
            assert self.workers[name].ends() == 0, self.workers[name].log
        return ended

    def shut_down(self) -> None:
        """Shut the cluster down; every worker that was still there must end with 0."""
        there = [worker for worker in self.workers.values() if not worker.is_over]
        self.cluster.shutdown()
        assert {worker.name: worker.ends() for worker in there} == {w.name: 0 for w in there}

    # ---- what it says

    @property
    def cluster(self) -> Cluster:
        """Asked through the first worker that has not ended."""
        there = [worker for worker in self.workers.values() if not worker.is_over]
        return self.through(there[0])

    def through(self, worker: Process) -> Cluster:
        """The cluster, asked through this worker."""
        return Cluster(worker.external, timedelta(seconds=PATIENCE))

    def status(self) -> Status:
        return self.cluster.status()

    def says(self, text: str) -> None:
        """Wait until any worker has said this."""
        until(lambda: text in self.said(), self.said)

    def said(self) -> str:
        """By all workers so far."""
        return "\n".join(worker.log for worker in self.workers.values())

    def checkpointed(self) -> None:
        """Wait for a checkpoint that holds all that is here now: the next but one for sure."""
        wanted = self.status().epoch + 2
        until(lambda: self.status().epoch >= wanted, self.status)

    def phase(self) -> str:
        """Of the rescale under way, or ""."""
        under_way = self.status().rescale
        return str(under_way["phase"]) if under_way else ""

    def tool(self, name: str, *words: str) -> Process:
        """Start a command of zstream, such as cluster_shrinker."""
        line = [sys.executable, "-m", f"zstream.cli.{name}", *words]
        return Process(name, line, self.folder, self._env)

    def run(self, name: str, *words: str) -> tuple[int, str, str]:
        """Run a command of zstream to its end: exit code, standard output, standard error."""
        tool = self.tool(name, *words)
        return tool.ends(), tool.out, tool.log


class Outlet:
    """An outside receiver that keeps each line it is sent, from any number of connections.

    It reads only while `reading` is set. keep: what to keep of a line. size: where not lines come
    but records of so many bytes.
    """

    def __init__(self, keep: Callable[[bytes], bytes] = bytes, size: int = 0) -> None:
        self.lines: list[bytes] = []
        self.reading = threading.Event()
        self.reading.set()
        self._keep = keep
        self._size = size
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Outlet:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE)

    def take(self, count: int) -> list[bytes]:
        """The next so many lines, awaited."""
        until(lambda: len(self.lines) >= count, lambda: f"{len(self.lines)} of {count} lines")
        taken, self.lines[:count] = self.lines[:count], []
        return taken

    def hung_up(self) -> None:
        """Wait until all who sent have hung up: what they sent is in `lines`."""
        for thread in self._threads[1:]:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _accept(self) -> None:
        with suppress(OSError):  # closed at the end of the test
            while True:
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._receive, args=(connection,), daemon=True)
                thread.start()
                self._threads.append(thread)

    def _receive(self, connection: socket.socket) -> None:
        rest = b""
        with connection, suppress(OSError):  # a worker that was killed
            while data := connection.recv(1 << 18):
                *lines, rest = self._cut(rest + data)
                self.lines += map(self._keep, lines)
                self.reading.wait(PATIENCE)

    def _cut(self, data: bytes) -> list[bytes]:
        """Whole lines or records, and last what is not whole yet."""
        if not self._size:
            return data.split(b"\n")
        return [data[start : start + self._size] for start in range(0, len(data) + 1, self._size)]


def connect(address: str) -> socket.socket:
    """A connection to a source."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), PATIENCE)


def framed(payloads: Iterable[bytes]) -> bytes:
    """Each payload behind its length, as LengthPrefix() reads it."""
    return b"".join(struct.pack(">I", len(payload)) + payload for payload in payloads)


def votes_of(names: Iterable[bytes]) -> bytes:
    """One vote for each, as the votes topology reads them."""
    return framed(struct.pack(">8sI", name, 1) for name in names)


def goes_on(traffic: Traffic, outputs: int) -> None:
    """Wait until so many more outputs have come, and none of them wrong."""
    wanted = traffic.received + outputs
    until(lambda: traffic.received >= wanted, lambda: f"{traffic.received} of {wanted} outputs")
    assert (traffic.doubled, traffic.fallen) == (0, 0)


def drained(traffic: Traffic) -> Verdict:
    """Stop the traffic and judge: exactly once, and rising."""
    verdict = traffic.stop()
    assert verdict.is_exact, verdict
    return verdict
