"""The processes of a soak: workers that come and go on the hosts of a network, and two kinds of
program outside. What each says is in a file of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.soak.network import Loopback, Namespaces, with_the_driver
from tests.soak.topology import RECORDS, TWOS

ROOT = Path(__file__).resolve().parents[2]
FIRST_PORTS = 3  # control, data, external
JOIN_DEADLINE = 20  # seconds
OF_MEMBERS = ("cluster_up", "rescale_closed", "recovers", "restored")
OUTSIDE = 0  # the host of producers and consumer


class Program:
    """One process. log: what it says; asleep: it was stopped by us and not continued."""

    def __init__(self, name: str, line: Sequence[str], folder: Path) -> None:
        self.name = name
        self.asleep = False
        self.started_at = time.monotonic()
        number = 1
        while (log := folder / f"{name}.{number}.log").exists():
            number += 1
        self.log = log
        plain = {k: v for k, v in os.environ.items() if not k.startswith("ZSTREAM_")}
        env = {**plain, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1", "TMPDIR": str(folder)}
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                line, cwd=folder, env=env, stdout=out, stderr=out, preexec_fn=with_the_driver
            )

    @property
    def is_over(self) -> bool:
        return self.process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        if not self.is_over:
            self.process.send_signal(number)
            if number in (signal.SIGSTOP, signal.SIGCONT):
                self.asleep = number == signal.SIGSTOP

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()

    def last_line(self) -> str:
        """What it said last."""
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            return file.read().decode(errors="replace").rstrip("\n").rpartition("\n")[2]

    def memory(self) -> int:
        """Bytes that it holds in memory now, 0 when it has ended."""
        with suppress(OSError):
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE")
        return 0


class Worker(Program):
    """A zworker on a host."""

    def __init__(
        self, name: str, host: int, control: str, external: str, line: Sequence[str], folder: Path
    ) -> None:
        super().__init__(name, line, folder)
        self.host = host
        self.control = control
        self.external = external
        self._was_let_in = False

    @property
    def is_member(self) -> bool:
        """Whether it has said what only a member says."""
        if not self._was_let_in:
            said = self.log.read_text(errors="replace")
            self._was_let_in = any(f'"event": "{event}"' in said for event in OF_MEMBERS)
        return self._was_let_in


class Soaked:
    """The cluster and what is around it. workers: all that have not ended yet, oldest first."""

    def __init__(self, folder: Path, network: Loopback | Namespaces, producers: int) -> None:
        self.folder = folder
        self.network = network
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.taken = folder / "taken"
        self.taken.touch()
        self.ones, self.files = folder / "ones", folder / "files"
        self.workers: list[Worker] = []
        self.names_of_dead: list[str] = []
        self.endings: Counter[str] = Counter()
        self.memory_most = 0
        self._consumed_at = network.addresses(OUTSIDE, 1)[0]
        self._named = 0
        self._first: Worker | None = None
        self.consumer: Program | None = None
        self.producers: dict[str, Program | None] = {f"p{n}": None for n in range(producers)}

    # ---- workers

    def start(self, count: int) -> None:
        """Start the whole cluster, on the store and what it holds."""
        free = self._free_hosts()[:count]
        control, data, external = self.network.addresses(free[0], FIRST_PORTS)
        how = ["--cluster-initializer", "--worker-count", str(count)]
        how += ["--control", control, "--data", data, "--store", str(self.folder / "store")]
        self._first = self._worker(self._new_name(), free[0], control, external, how)
        for host in free[1:]:
            mine, data, external = self.network.addresses(host, FIRST_PORTS)
            how = ["--control", control, "--my-control", mine, "--my-data", data]
            self._worker(self._new_name(), host, mine, external, how)

    def join(self, at: Worker, count: int, name: str = "") -> list[Worker]:
        """Let a batch join, as far as there are hosts. name: of a batch of one, or a new one."""
        free = self._free_hosts()[:count]
        joiners = []
        for host in free:
            mine, data, external = self.network.addresses(host, FIRST_PORTS)
            how = ["--join", at.control, "--worker-count", str(len(free))]
            how += ["--join-deadline", str(JOIN_DEADLINE)]
            how += ["--my-control", mine, "--my-data", data]
            joiners.append(self._worker(name or self._new_name(), host, mine, external, how))
        return joiners

    def reap(self) -> list[Worker]:
        """Workers that have ended since the last call."""
        for worker in self.workers:
            self.memory_most = max(self.memory_most, worker.memory())
        ended = [worker for worker in self.workers if worker.is_over]
        for worker in ended:
            self.workers.remove(worker)
            code = worker.process.returncode
            says = "killed" if code == -signal.SIGKILL else f"{code}: {worker.last_line()}"
            self.endings[plain(says)] += 1
        return ended

    @property
    def members(self) -> list[Worker]:
        """Those who live and have been let in; without any the cluster is dead."""
        return [worker for worker in self.workers if worker.is_member and not worker.is_over]

    @property
    def first_is_over(self) -> bool:
        """Whether who started the cluster has ended; before it is up, nothing comes of it then."""
        return self._first is None or self._first.is_over

    @property
    def awake(self) -> list[Worker]:
        return [worker for worker in self.workers if not worker.asleep and not worker.is_over]

    def _new_name(self) -> str:
        self._named += 1
        return f"w{self._named}"

    def _free_hosts(self) -> list[int]:
        taken = {worker.host for worker in self.workers if not worker.is_over}
        return [host for host in range(1, self.network.hosts) if host not in taken]

    def _worker(
        self, name: str, host: int, control: str, external: str, how: Sequence[str]
    ) -> Worker:
        line = [sys.executable, "-m", "zstream.cli.zworker", "--log-format", "json"]
        line += ["--application-module", "tests.soak.topology", "--name", name, *how]
        line += ["--external", external, "--in", f"{RECORDS}@{self.network.source}"]
        line += ["--out", f"{TWOS}@{self._consumed_at}"]
        line += ["--", str(self.ones), str(self.files)]
        line = self.network.command(host, line)
        worker = Worker(name, host, control, external, line, self.logs)
        self.workers.append(worker)
        return worker

    # ---- outside

    def start_consumer(self) -> None:
        """Start it, or start it again where it was."""
        words = ["consumer", self._consumed_at, TWOS, str(self.taken)]
        self.consumer = self._outside("consumer", words)

    def start_producer(self, name: str, rate: float) -> None:
        """The same."""
        words = ["producer", self.network.source, RECORDS, name, str(rate)]
        self.producers[name] = self._outside(name, [*words, str(self.folder / name)])

    def sent(self) -> dict[str, int]:
        """How many records of each producer are acknowledged, as it has noted."""
        paths = {name: self.folder / name for name in self.producers}
        return {name: int(path.read_text()) for name, path in paths.items() if path.exists()}

    def _outside(self, name: str, words: Sequence[str]) -> Program:
        line = [sys.executable, "-m", "tests.soak.outside", *words]
        return Program(name, self.network.command(OUTSIDE, line), self.logs)

    def everybody(self) -> list[Program]:
        outside = [self.consumer, *self.producers.values()]
        return [*self.workers, *(program for program in outside if program is not None)]

    def end(self) -> None:
        """Kill what is left."""
        for program in self.everybody():
            program.kill()

    # ---- what was said

    def events(self) -> tuple[Counter[str], int, list[str]]:
        """How often each event is in the workers' logs, how many recoveries there were, and the
        logs that hold a traceback."""
        counts: Counter[str] = Counter()
        recoveries: set[tuple[int, str]] = set()
        broken = []
        for path in sorted(self.logs.glob("*.log")):
            has_traceback = False
            with path.open(errors="replace") as file:
                for text in file:
                    if "Traceback" in text or "Fatal Python" in text:
                        has_traceback = True
                    with suppress(ValueError):
                        line = json.loads(text)
                        counts[line["event"]] += 1
                        if line["event"] == "recovers":
                            recoveries.add((line["run"], line["text"]))
            if has_traceback:
                broken.append(path.name)
        return counts, len({run for run, _ in recoveries}), broken


def plain(sentence: str) -> str:
    """Without names and figures, so that equal ones can be counted."""
    sentence = re.sub(r"\b[0-9a-f]{8,}\b", "X", sentence[:300])
    sentence = re.sub(r"\bw\d+(( and|,) w\d+)*", "W", sentence)
    return re.sub(r"\d[\d.,:]*", "N", sentence)
