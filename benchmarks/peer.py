"""The peers as the driver sees them: a program each, in an environment of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.case import Case
from benchmarks.held import LAUNCHED
from benchmarks.jobs import JOBS

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / ".bench"
PATIENCE = 600.0  # seconds for one run of a peer, or for making its environment


class Missing(Exception):
    """A peer cannot be installed or does not run; the sentence goes into the report."""


@dataclass(frozen=True)
class Peer:
    """One way to do a job.

    module: in benchmarks.peers. mode: what the case tells it. environment: the name of its
    requirements, "" for the driver's own environment.
    workers: the numbers of workers that it can do. wires: over what. is_paced: whether it can read
    at a rate. jobs: those that a slow one does, with how many records. keys_max: with at most so
    many keys.
    checked: what must be as the plain loop has it.
    """

    title: str
    module: str
    mode: str = ""
    environment: str = ""
    workers: tuple[int, ...] = (1, 2)
    wires: tuple[str, ...] = ("",)
    is_paced: bool = False
    jobs: Mapping[str, int] | None = None
    keys_max: int = 1_000_000
    checked: tuple[str, ...] = ("records", "outputs", "found")

    def told(self, case: Case) -> Case:
        """The case as this peer is told it: a slow one reads less."""
        size = (self.jobs or {}).get(case.job, 0)
        if size and not case.size:
            return replace(case, mode=self.mode, size=size, rounds=1)
        return replace(case, mode=self.mode)

    def takes(self, case: Case) -> bool:
        """Whether it can do this at all."""
        if self.module == "bare" and case.workers > 1 and not JOBS[case.job].is_plain:
            return False  # its exchange is made for plain types
        if (self.jobs and case.job not in self.jobs) or case.keys > self.keys_max:
            return False
        return case.workers in self.workers and case.wire in self.wires


SIZES = (1, 2, 4, 8, 16, 32)  # workers, where it is shown what more of them bring and cost
FLINK_JOBS = {"alphabet": 40_000}
PEERS = {
    "bare": Peer("bare interpreter", "bare", wires=("", "tcp")),
    "zstream": Peer("zstream", "zstream", workers=SIZES, wires=("", "tcp"), is_paced=True),
    "bytewax": Peer(
        "Bytewax, per item", "bytewax", environment="bytewax", workers=SIZES[:4], is_paced=True
    ),
    "bytewax-batch": Peer(
        "Bytewax, batches", "bytewax", "batch", "bytewax", workers=SIZES[:4], is_paced=True
    ),
    "flink": Peer(
        "PyFlink, process mode",
        "flink",
        "process",
        "flink",
        jobs=FLINK_JOBS,
        keys_max=1000,
        checked=("outputs", "found"),
    ),
    "flink-thread": Peer(
        "PyFlink, thread mode",
        "flink",
        "thread",
        "flink",
        jobs=FLINK_JOBS,
        keys_max=1000,
        checked=("outputs", "found"),
    ),
    "pathway": Peer(
        "Pathway",
        "pathway",
        "",
        "pathway",
        workers=(1,),
        jobs={"alphabet": 500_000},
        keys_max=1000,
        checked=("records", "found"),
    ),
}


def run(peer: Peer, case: Case) -> dict[str, Any]:
    """What the peer says of the case. Raises Missing with a sentence where it does not."""
    program = [interpreter(peer.environment), "-m", f"benchmarks.peers.{peer.module}"]
    process = subprocess.Popen(
        [*program, json.dumps(asdict(case))],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), LAUNCHED: str(time.monotonic())},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise Missing(f"{peer.title} was not done after {PATIENCE:.0f} s.") from None
    finally:
        with suppress(ProcessLookupError):  # with all workers that it has left, however it ended
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        why = _last_line(errors) or _last_line(said)
        raise Missing(f"{peer.title} ended with {process.returncode}: {why}")
    result: dict[str, Any] = json.loads(_last_line(said))
    return result


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


@cache
def interpreter(environment: str) -> str:
    """The peer's interpreter; its environment is made when there is none, or an older one."""
    if not environment:
        return sys.executable
    requirements = ROOT / "requirements" / f"bench-{environment}.txt"
    folder = ENVIRONMENTS / environment
    stamp, wanted = folder / "stamp", f"{sys.version}\n{requirements.read_text()}"
    python = str(folder / "bin" / "python")
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    print(f"making {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
    venv.create(folder, clear=True, with_pip=True)
    command = [python, "-m", "pip", "install", "--quiet", "-r", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = (errors or ["pip says nothing"])[-1].removeprefix("ERROR: ")
        raise Missing(f"{environment} could not be installed: {why}")
    stamp.write_text(wanted)
    return python
