"""Each benchmark runs on a small input, without peers that must be installed, and is reported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.jobs import JOBS
from benchmarks.options import Options
from benchmarks.peer import PEERS, Peer
from benchmarks.report import report
from benchmarks.results import Results
from benchmarks.throughput import NAMES, measure

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs_on_a_small_input_and_is_reported(name: str, tmp_path: Path) -> None:
    """No peer failed, and the page can be made of what was written."""
    command = [sys.executable, "-m", "benchmarks", name, "--small", "--peers", "bare,zstream"]
    command += ["--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    results = Results.read(tmp_path)
    assert f"| {name}" in report(results)
    for _, case in results.cases():
        assert all(len(found["runs"]) == 1 for found in case["peers"].values()), case["peers"]


def test_a_peer_that_does_not_run_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are measured all the same."""
    monkeypatch.setitem(PEERS, "nobody", Peer("Nobody", "nobody"))
    only = {"workers": ["1"], "wire": [""]}
    options = Options(runs=2, peers=("nobody", "bare"), small=True, whole=False, only=only)
    (result,) = measure("stateless", options)
    (case,) = result["cases"]
    assert case["peers"]["nobody"]["failed"].endswith("No module named benchmarks.peers.nobody")
    assert len(case["peers"]["bare"]["runs"]) == 2


@pytest.mark.parametrize("name", NAMES)
def test_shares_of_workers_are_the_whole_input(name: str) -> None:
    """Two workers read together what one would read."""
    job = JOBS[name]
    records = job.make(job.keys[0])[:1000]
    shares = [job.share(records, index, 2) for index in (0, 1)]
    assert sorted(map(repr, [*shares[0], *shares[1]])) == sorted(map(repr, records))
