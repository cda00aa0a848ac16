"""What a key costs in memory beside the key and its state, which are the user's own.

One worker counts one vote for each key. The keys are held by the source, and 1 is one object for
all, so all by which the process grows between its first record and its last output is the engine's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from benchmarks import peer
from benchmarks.case import Case
from benchmarks.options import Options
from benchmarks.peer import PEERS

KEYS = 1_000_000
NAMES = ("bare", "zstream", "bytewax")


def measure(options: Options) -> Iterator[dict[str, Any]]:
    """Bytes for each key, by peer, in turns."""
    keys = 10_000 if options.small else KEYS
    names = [name for name in NAMES if name in options.peers]
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.runs):
        for name in names:
            result = peer.run(PEERS[name], Case("counting", keys))
            found[name].append(round(result["grown_bytes"] / keys, 1))
            print(f"  memory: {name} {found[name][-1]} bytes a key", file=sys.stderr, flush=True)
    yield {
        "says": "bytes of memory for each key beside the key and its state",
        "keys": keys,
        "bytes": found,
    }
