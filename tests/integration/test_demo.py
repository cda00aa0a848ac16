"""What bin/demo shows, with the commands of the installed package."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.live import ROOT

INSTALLED = (Path(sys.executable).parent / "zworker").exists()


@pytest.mark.skipif(not INSTALLED, reason="zstream's commands are not installed here")
@pytest.mark.parametrize(
    ("words", "workers"),
    [
        ([], "w0: 0, w1: 0, w2: 0, w3: 0, w4: 0"),
        (["--chaos"], "w0: -9, w1: -9, w2: 0, w3: 0, w4: 0"),
    ],
    ids=["plain", "chaos"],
)
def test_the_demo(tmp_path: Path, words: list[str], workers: str) -> None:
    """Every total comes once, whether workers come and go or are killed; it ends with 0."""
    line = [sys.executable, str(ROOT / "examples" / "demo.py"), *words]
    shown = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=150)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert ": 0 lost, 0 doubled" in shown.stdout
    assert f"Workers ended with {workers}." in shown.stdout
    assert "\nExactly once. " in shown.stdout


@pytest.mark.skipif(not INSTALLED, reason="zstream's commands are not installed here")
def test_ctrl_c_in_the_demo(tmp_path: Path) -> None:
    """A person stops it while votes flow: it says that it stopped, and nothing else."""
    demo = subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / "demo.py")],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C goes to the demo and to its workers
    )
    try:
        assert demo.stdout is not None
        shown = next(
            line for line in demo.stdout if "votes sent" in line and " 0 votes" not in line
        )
        os.killpg(demo.pid, signal.SIGINT)
        rest, err = demo.communicate(timeout=60)
    finally:
        demo.kill()
    assert demo.returncode == 130, shown + rest + err
    assert rest.endswith("\nstopped\n")
    assert err == ""
