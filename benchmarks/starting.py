"""How long it takes from the start of a process to its first output, and to import the library."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks import peer
from benchmarks.case import Case
from benchmarks.options import Options
from benchmarks.peer import PEERS

RECORDS = 10
IMPORT = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"
LIBRARIES = {"zstream": "zstream", "bytewax": "bytewax.operators"}


def measure(options: Options) -> Iterator[dict[str, Any]]:
    """Seconds, by peer, in turns."""
    names = [name for name in LIBRARIES if name in options.peers]
    starts: dict[str, list[float]] = {name: [] for name in names}
    imports: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.runs):
        for name in names:
            result = peer.run(PEERS[name], Case("counting", RECORDS))
            starts[name].append(round(result["start_seconds"], 4))
            imports[name].append(round(_import(name), 4))
            print(f"  start: {name} {starts[name][-1]} s", file=sys.stderr, flush=True)
    yield {
        "says": "from the start of one worker to its first output",
        "start_seconds": starts,
        "import_seconds": imports,
    }


def _import(name: str) -> float:
    program = [peer.interpreter(PEERS[name].environment), "-c", IMPORT.format(LIBRARIES[name])]
    done = subprocess.run(program, cwd=peer.ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)
