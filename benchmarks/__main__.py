"""Run benchmarks, write what they measured, and show it beside the goals: python -m benchmarks ...

Usage:
  benchmarks [options] report
  benchmarks [options] <name>...
  benchmarks --list

Names are those of --list. `report` makes docs/performance.md from benchmarks/results.

  --runs N       turns of each peer; medians are shown [default: 5]
  --peers NAMES  only these, with commas between them
  --workers N    only with so many workers; more than one with commas, as of the next two
  --keys N       only with so many keys
  --wire NAME    only over a connection of this kind: tcp
  --whole        also what takes many minutes: Bytewax's restart with a million keys
  --small        only see that it runs: a small input, one turn
  --results DIR  where to write them, and report reads them [default: benchmarks/results]
  --docs DIR     where report writes [default: docs]
  --list         the benchmarks and the peers
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from docopt import docopt

from benchmarks import (
    checkpoint,
    goals,
    growth,
    latency,
    memory,
    recovery,
    rescale,
    starting,
    throughput,
)
from benchmarks.machine import machine
from benchmarks.options import Options
from benchmarks.peer import PEERS, ROOT
from benchmarks.report import report
from benchmarks.results import Results
from benchmarks.tables import table

# Each gives what it has measured so far, one time or more.
BENCHMARKS: dict[str, Callable[[Options], Iterator[dict[str, Any]]]] = {
    **{name: partial(throughput.measure, name) for name in throughput.NAMES},
    "workers": throughput.measure_sizes,
    "rescale": rescale.measure,
    "latency": latency.measure,
    "start": starting.measure,
    "memory": memory.measure,
    "checkpoint": checkpoint.measure,
    "recovery": recovery.measure,
    "growth": lambda options: iter([growth.measure(options.small)]),
}
ONLY = ("workers", "keys", "wire")


def main() -> int:
    said = docopt(__doc__ or "")
    if said["--list"]:
        print(f"benchmarks: {', '.join(BENCHMARKS)}\npeers: {', '.join(PEERS)}")
        return 0
    options = Options(
        runs=1 if said["--small"] else int(said["--runs"]),
        peers=tuple(said["--peers"].split(",")) if said["--peers"] else tuple(PEERS),
        small=said["--small"],
        whole=said["--whole"],
        only={name: said[f"--{name}"].split(",") for name in ONLY if said[f"--{name}"] is not None},
    )
    for name in [*said["<name>"], *options.peers]:
        if name not in BENCHMARKS and name not in PEERS:
            print(f"There is no {name}; --list says what there is.", file=sys.stderr)
            return 2
    # Who stops the driver stops what it has started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    folder = ROOT / said["--results"]
    if said["report"]:
        return write_report(folder, ROOT / said["--docs"])
    folder.mkdir(parents=True, exist_ok=True)
    for name in said["<name>"]:
        where = machine()
        for result in BENCHMARKS[name](options):
            text = json.dumps({"machine": where, **result}, indent=1)
            (folder / f"{name}.json").write_text(f"{text}\n")
    found = goals.rows(Results.read(folder), said["<name>"])
    if found:
        print(table(("", "goal", "measured", "reached"), found))
    return 0


def write_report(folder: Path, docs: Path) -> int:
    """The page and its plots."""
    # What draws them is needed here only, and heavy.
    from benchmarks.plots import draw

    results = Results.read(folder)
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "performance.md").write_text(report(results))
    draw(results, docs / "performance")
    return 0


if __name__ == "__main__":
    sys.exit(main())
