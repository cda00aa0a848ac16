"""Run benchmarks, write what they measured, and show it beside the goals: python -m benchmarks ...

Usage:
  benchmarks [options] <name>...
  benchmarks report
  benchmarks --list

Names are those of --list. `report` makes docs/performance.md from benchmarks/results.

  --runs N       turns of each peer; medians are shown [default: 5]
  --peers NAMES  only these, with commas between them
  --workers N    only with so many workers
  --keys N       only with so many keys
  --wire NAME    only over a connection of this kind: tcp
  --small        only see that it runs: a small input, one turn
  --results DIR  where to write them [default: benchmarks/results]
  --list         the benchmarks and the peers
"""

from __future__ import annotations

import json
import sys
from typing import Any

from docopt import docopt

from benchmarks import throughput
from benchmarks.case import Case
from benchmarks.jobs import JOBS
from benchmarks.machine import machine
from benchmarks.peer import PEERS, ROOT


def main() -> int:
    options = docopt(__doc__ or "")
    if options["--list"]:
        for name, job in JOBS.items():
            print(f"{name:<16}{job.says}")
        print(f"\npeers: {', '.join(PEERS)}")
        return 0
    unknown = [name for name in options["<name>"] if name not in JOBS]
    if unknown:
        print(f"There is no benchmark {unknown[0]}; --list names them.", file=sys.stderr)
        return 2
    folder = ROOT / options["--results"]
    folder.mkdir(parents=True, exist_ok=True)
    for name in options["<name>"]:
        result = {"machine": machine(), **run(name, options)}
        (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    return 0


def run(name: str, options: dict[str, Any]) -> dict[str, Any]:
    names = options["--peers"].split(",") if options["--peers"] else list(PEERS)
    runs = 1 if options["--small"] else int(options["--runs"])

    def wanted(case: Case) -> bool:
        return all(
            options[f"--{what}"] in (None, str(getattr(case, what)))
            for what in ("workers", "keys", "wire")
        )

    return throughput.measure(name, runs, names, options["--small"], wanted)


if __name__ == "__main__":
    sys.exit(main())
