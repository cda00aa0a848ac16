"""Drain and stop a whole cluster.

Usage:
  cluster_shutdown <address> [--no-wait] [--timeout SECONDS] [--json]

  <address>             external address of any worker
     --no-wait          return when the request is accepted
     --timeout SECONDS  how long to wait (default 60)
     --json
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zstream.cli.tool import DONE, cluster_at, run_tool, show_json
from zstream.cli.usage import parse

PROGRAM = "cluster_shutdown"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parse(__doc__ or "", argv, program=PROGRAM)
    return run_tool(PROGRAM, options, lambda: shut_down(options))


def shut_down(options: Mapping[str, Any]) -> int:
    """Ask, and print each state of it once."""
    as_json, wait = options["--json"], not options["--no-wait"]

    def told(state: str, says: str) -> None:
        if says and not as_json:
            print(f"Cluster shutdown response: {says}", flush=True)

    cluster = cluster_at("<address>", options["<address>"], options, "60", PROGRAM)
    says = cluster.shutdown(wait, told=told)
    if as_json:
        show_json({"outcome": "done" if wait else "accepted", "says": says})
    elif wait:
        print(says or "The cluster has stopped.")
    return DONE


if __name__ == "__main__":
    raise SystemExit(main())
