"""A cluster of two grows to five and shrinks to two while votes flow; every total counts.

Usage:
  demo [--chaos]

  --chaos  kill workers by SIGKILL instead, the leader among them, while numbered votes flow

It starts real workers with the commands that a person would type, shows what they do, and exits
with 0 only if every vote gave its output exactly once and all workers that were not killed ended
well.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docopt import docopt
from traffic import NumberedTraffic, Traffic, Verdict, Votes

from zstream.client import Cluster, Status

BIN = Path(sys.executable).parent
EXAMPLES = Path(__file__).parent
LETTERS = [bytes([letter]) for letter in b"abcdefghijklmnopqrstuvwxyz"]
PER_SECOND = 20_000
NUMBERED_PER_SECOND = 10_000  # the producer and the consumer are Python, on the same machine
PATIENCE = 30.0  # seconds for any one step


def free_address() -> str:
    """A loopback address that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Screen:
    """A table that is redrawn in place on a terminal; elsewhere, a line now and then."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._drawn = 0
        self._line_at = 0.0

    def tell(self, text: str) -> None:
        """A line that stays."""
        self._wipe()
        print(text, flush=True)

    def show(self, status: Status, traffic: Votes) -> None:
        """How the cluster stands."""
        under_way = traffic.sent - traffic.received
        head = f"{traffic.sent:>11,} votes sent, {under_way:>6,} under way"
        if not self._is_terminal:
            if time.monotonic() - self._line_at >= 1.0:
                self._line_at = time.monotonic()
                workers = "  ".join(
                    f"{w.name}: {w.key_groups} groups, {w.records_out_per_second or 0:,.0f}/s"
                    for w in status.workers
                )
                print(f"  {head}   {workers}", flush=True)
            return
        self._wipe()
        rows = [head, "  worker  key groups                            records out/s"]
        for worker in status.workers:
            bar = "#" * round(worker.key_groups / 32)
            rate = worker.records_out_per_second or 0.0
            rows.append(f"  {worker.name:<6}  {worker.key_groups:>5} {bar:<32} {rate:>12,.0f}")
        if status.rescale is not None:
            rows.append(f"  {status.rescale['says']}")
        print("\n".join(rows), flush=True)
        self._drawn = len(rows)

    def _wipe(self) -> None:
        if self._drawn:
            print(f"\x1b[{self._drawn}A\x1b[J", end="")
            self._drawn = 0


class Demo:
    """The cluster under demonstration, its workers, and what was seen of them."""

    def __init__(
        self,
        folder: Path,
        application: Path = EXAMPLES / "alphabet.py",
        source: str = "alphabet",
        traffic: Votes | None = None,
    ) -> None:
        self.screen = Screen()
        self.traffic = traffic or Traffic(LETTERS, PER_SECOND)
        self.source, self.control, self.external = (free_address() for _ in range(3))
        self._folder = folder
        self._application = application
        self._source_name = source
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._externals: dict[str, str] = {}
        self._told: set[str] = set()

    @property
    def cluster(self) -> Cluster:
        return Cluster(self.external)

    def start_worker(self, name: str, *how: str) -> None:
        """Start one as a person would."""
        how = how if "--external" in how else (*how, "--external", free_address())
        self._externals[name] = how[how.index("--external") + 1]
        command = ["zworker", "--application-module", str(self._application)]
        command += ["--in", f"{self._source_name}@{self.source}", "--out", self.traffic.address]
        command += ["--name", name, "--log-format", "json", *how]
        log = (self._folder / f"{name}.log").open("wb")
        self._workers[name] = subprocess.Popen(
            [BIN / command[0], *command[1:]], stdout=log, stderr=log, cwd=self._folder
        )

    def run_tool(self, *command: str) -> None:
        """Run a command of zstream and show it with what it printed."""
        done = subprocess.run(
            [BIN / command[0], *command[1:]], capture_output=True, text=True, timeout=PATIENCE
        )
        text = (done.stdout + done.stderr).strip()
        self.screen.tell(f"$ {' '.join(command)}\n{text}\n")
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} ended with {done.returncode}: {text}")

    def send_kill(self, name: str) -> float:
        """SIGKILL to a worker; returns when that was. The tools ask one of the others then."""
        killed_at = time.monotonic()
        self._workers[name].send_signal(signal.SIGKILL)
        self._workers[name].wait(PATIENCE)
        del self._externals[name]
        self.external = next(iter(self._externals.values()))
        return killed_at

    def kill(self, name: str) -> None:
        """SIGKILL to a worker; returns when new votes come out again, and says how it went."""
        killed_at = self.send_kill(name)
        self.watch(0.0, lambda status: self.traffic.first_out(killed_at) is not None)
        seconds = (self.traffic.first_out(killed_at) or 0.0) - killed_at
        says = next(line["text"] for line in self.said() if f"{name} died: " in line["text"])
        self.screen.tell(f"  {says}")
        self.screen.tell(f"  {seconds:.1f} s after the kill new votes were counted and out.\n")

    def said(self) -> list[dict[str, Any]]:
        """What the workers say that were not killed: the lines of their logs."""
        logs = [(self._folder / f"{name}.log").read_text() for name in self._externals]
        lines = [line for log in logs for line in log.splitlines()]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def watch(self, seconds: float, until: Callable[[Status], bool] | None = None) -> None:
        """Show the cluster for so long, or until something is so (at most PATIENCE seconds)."""
        began = time.monotonic()
        while True:
            status = self.cluster.status()
            self.screen.show(status, self.traffic)
            self._tell_rescale(status)
            elapsed = time.monotonic() - began
            if until is None and elapsed >= seconds:
                return
            if until is not None and until(status):
                return
            if elapsed > max(seconds, PATIENCE):
                raise RuntimeError(f"the cluster did not get there in {elapsed:.0f} s: {status}")
            time.sleep(0.2)

    def _tell_rescale(self, status: Status) -> None:
        last = status.last_rescale
        if last is not None and last["id"] not in self._told:
            self._told.add(last["id"])
            self.screen.tell(f"  {last['says']}\n")

    def start_cluster(self, count: int = 2) -> None:
        """Start so many workers, w0, w1 and on, and wait until they are a cluster."""
        first = ["--cluster-initializer", "--worker-count", str(count), "--control", self.control]
        first += ["--data", free_address(), "--external", self.external]
        self.start_worker("w0", *first)
        for number in range(1, count):
            self.start_worker(f"w{number}", "--control", self.control)
        self._await_cluster(count)

    def run(self) -> Verdict:
        """The story."""
        tell = self.screen.tell
        tell(f"Two workers of the alphabet application, {PER_SECOND:,} votes a second.\n")
        self.start_cluster()
        self.traffic.start(self.source)
        self.watch(3.0)
        tell("Three more join, as one batch:\n")
        for name in ("w2", "w3", "w4"):
            self.start_worker(name, "--join", self.control, "--worker-count", "3")
        self.watch(0.0, lambda status: status.worker_count == 5 and status.rescale is None)
        self.watch(3.0)
        self.run_tool("cluster_shrinker", "--external", self.external, "--query")
        self.run_tool("cluster_shrinker", "--external", self.external, "--workers", "w3")
        self.watch(2.0)
        self.run_tool("cluster_shrinker", "--external", self.external, "--count", "2")
        self.watch(3.0)
        verdict = self.traffic.stop()
        self.run_tool("cluster_shutdown", self.external)
        return verdict

    def run_chaos(self) -> Verdict:
        """The story with deaths."""
        tell = self.screen.tell
        tell(f"Three workers, {NUMBERED_PER_SECOND:,} numbered votes a second.\n")
        self.start_cluster(3)
        self.traffic.start(self.source)
        self.watch(4.0)
        tell("w1 is killed:\n$ kill -9 w1")
        self.kill("w1")
        self.watch(2.0)
        tell("Two more join, as one batch:\n")
        for name in ("w3", "w4"):
            self.start_worker(name, "--join", self.control, "--worker-count", "2")
        self.watch(0.0, lambda status: status.worker_count == 4 and status.rescale is None)
        self.watch(3.0)
        tell("w0 leads and reads the source. It is killed:\n$ kill -9 w0")
        self.kill("w0")
        self.watch(2.0)
        self.run_tool("cluster_shrinker", "--external", self.external, "--count", "1")
        self.watch(3.0)
        verdict = self.traffic.stop()
        self.run_tool("cluster_shutdown", self.external)
        return verdict

    def _await_cluster(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            dead = [name for name, worker in self._workers.items() if worker.poll() is not None]
            if dead:
                text = (self._folder / f"{dead[0]}.log").read_text()
                raise RuntimeError(f"{dead[0]} did not start:\n{text}")
            status = self.cluster.status()
            if status.worker_count == count and status.rescale is None:
                return
            time.sleep(0.05)
        raise RuntimeError("the cluster did not come up")

    def exit_codes(self) -> dict[str, int]:
        """How each worker ended; waits for those that are about to."""
        return {name: worker.wait(PATIENCE) for name, worker in self._workers.items()}

    def clean_up(self) -> None:
        for worker in self._workers.values():
            if worker.poll() is None:
                worker.send_signal(signal.SIGKILL)
                worker.wait(PATIENCE)


def numbered_demo(folder: Path) -> Demo:
    """With ends that lose nothing when workers die."""
    traffic = NumberedTraffic(LETTERS, NUMBERED_PER_SECOND)
    return Demo(folder, EXAMPLES / "numbered_alphabet.py", traffic=traffic)


def main() -> int:
    """Run the demo; 0 when every output came exactly once and every worker ended as it should."""
    chaos = docopt(__doc__ or "")["--chaos"]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="zstream-demo-") as folder:
        demo = numbered_demo(Path(folder)) if chaos else Demo(Path(folder))
        try:
            verdict = demo.run_chaos() if chaos else demo.run()
            codes = demo.exit_codes()
        except KeyboardInterrupt:
            print("\nstopped")
            return 130
        finally:
            demo.clean_up()
    killed = dict.fromkeys(("w0", "w1") if chaos else (), -signal.SIGKILL)
    well = verdict.is_exact and all(code == killed.get(name, 0) for name, code in codes.items())
    print(f"{verdict}.")
    print(
        "Workers ended with " + ", ".join(f"{name}: {code}" for name, code in codes.items()) + "."
    )
    print(f"{'Exactly once.' if well else 'NOT exactly once!'} {time.monotonic() - began:.0f} s")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
