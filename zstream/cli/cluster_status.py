"""Show a running cluster.

Usage:
  cluster_status --external ADDR [--watch] [--rescales] [--dead-letters] [--timeout SECONDS] [--json]

  -e --external ADDR    external address of any worker
     --watch            redraw every second
     --rescales         the history of rescales: id, cause, timeline, outcome
     --dead-letters     the newest records that a function refused
     --timeout SECONDS  (default 5)
     --json
"""  # noqa: E501 -- the usage text as people read it

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from zstream.cli.status_text import letters_text, rescales_text, status_text
from zstream.cli.tool import DONE, cluster_at, run_tool, show_json
from zstream.cli.usage import parse
from zstream.client.cluster import Cluster

PROGRAM = "cluster_status"
REDRAW_SECONDS = 1.0
CLEAR = "\x1b[H\x1b[2J"  # ANSI: cursor home, clear the screen


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parse(__doc__ or "", argv, program=PROGRAM)
    work = watch if options["--watch"] else once
    return run_tool(PROGRAM, options, lambda: work(options))


def once(options: Mapping[str, Any]) -> int:
    """Show it once."""
    draw(reached(options), options, "")
    return DONE


def watch(options: Mapping[str, Any]) -> int:
    """Show it each second until Ctrl-C; with --json one object a line."""
    cluster = reached(options)
    try:
        while True:
            draw(cluster, options, "" if options["--json"] else CLEAR)
            time.sleep(REDRAW_SECONDS)
    except KeyboardInterrupt:
        return DONE


def reached(options: Mapping[str, Any]) -> Cluster:
    return cluster_at("--external", options["--external"], options, "5", PROGRAM)


def draw(cluster: Cluster, options: Mapping[str, Any], before: str) -> None:
    """The status, or instead of it the histories that were asked for."""
    rescales = cluster.rescales() if options["--rescales"] else None
    letters = cluster.dead_letters() if options["--dead-letters"] else None
    if rescales is None and letters is None:
        status = cluster.status()
        if options["--json"]:
            show_json(status.json())
        else:
            print(before + status_text(status), flush=True)
        return
    asked = {"rescales": rescales, "dead_letters": letters}
    if options["--json"]:
        show_json({name: entries for name, entries in asked.items() if entries is not None})
        return
    texts = [] if rescales is None else [rescales_text(rescales)]
    texts += [] if letters is None else [letters_text(letters)]
    print(before + "\n".join(texts), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
