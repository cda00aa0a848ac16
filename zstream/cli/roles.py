"""What zworker's options say about one worker: its role, its addresses, where it keeps things."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from zstream.cli.addresses import listening, reachable
from zstream.cli.tool import at_least_one
from zstream.errors import UsageError

ANY_PORT = "127.0.0.1:0"


def place_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Role, name, addresses and count, as fields of WorkerOptions.

    With --join a joiner; with --control alone one of the workers that a cluster starts with;
    with --cluster-initializer, or none of the three, the worker that starts the cluster.
    """
    join, control = options["--join"], options["--control"]
    first = options["--cluster-initializer"]
    if join and first:
        raise UsageError("--join and --cluster-initializer exclude each other.")
    if join and control:
        raise UsageError("--join and --control exclude each other: a joiner asks at --join.")
    count = at_least_one("--worker-count", options["--worker-count"] or "1")
    if control and not first and options["--worker-count"]:
        raise UsageError("--worker-count goes with --cluster-initializer or --join.")
    if not (join or control or first) and count > 1:
        raise UsageError(f"--worker-count {count} wants --cluster-initializer or --join.")
    if not first and options["--data"]:
        raise UsageError("--data goes with --cluster-initializer; else say --my-data.")
    for own, instead in (("--my-control", "--control"), ("--my-data", "--data")):
        if first and options[own]:
            raise UsageError(f"with --cluster-initializer, say {instead} and not {own}.")
    reaches_others = bool(join or control) and not first
    if reaches_others and not options["--name"]:
        raise UsageError("--name is missing: every worker of a cluster has its own.")
    control_option, data_option = (
        ("--control", "--data") if first else ("--my-control", "--my-data")
    )
    place = {
        "role": "joiner" if join else "starter" if reaches_others else "initializer",
        "name": options["--name"] or "w0",
        "control": listening(control_option, options[control_option] or ANY_PORT),
        "data": listening(data_option, options[data_option] or ANY_PORT),
        "external": listening("--external", options["--external"] or ANY_PORT),
        "worker_count": count,
    }
    if reaches_others:
        place["join"] = reachable("--join" if join else "--control", join or control)
    return place


def log_format_of(said: str | None) -> str:
    """--log-format; left out, text for a person at a terminal and json for a program."""
    if said not in (None, "text", "json"):
        raise UsageError(f"--log-format must be text or json, it is {said!r}.")
    return said or ("text" if sys.stderr.isatty() else "json")
