"""What zworker's options say about one worker: its role, its addresses, where it keeps things."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from zstream.cli.addresses import listening, reachable
from zstream.cli.tool import at_least_one
from zstream.errors import UsageError
from zstream.stores.registry import store_url

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


def store_of(options: Mapping[str, Any], role: str) -> dict[str, Any]:
    """Where the cluster keeps its state and what it begins with, as fields of WorkerOptions.

    --store is taken from everybody, so that all workers may share one zstream.env; those that
    reach a running cluster are told its store. What it begins with is the initializer's to say.
    """
    fresh, savepoint = options["--fresh"], options["--from"] or ""
    names = ",".join(options["--leave-state"]).split(",")
    leave_state = tuple(name.strip() for name in names if name.strip())
    said = {"--fresh": fresh, "--from": savepoint, "--leave-state": leave_state}
    if role != "initializer":
        for option in [option for option, value in said.items() if value]:
            raise UsageError(
                f"{option} is for the worker that starts the cluster; the others are told."
            )
    if options["--leave-state"] and not leave_state:
        raise UsageError("--leave-state wants names of operators, tally,totals.")
    if leave_state and not savepoint and (fresh or not options["--store"]):
        begins = "--fresh begins" if fresh else "a cluster without --store or --from begins"
        raise UsageError(f"--leave-state has nothing to leave: {begins} without any state.")
    return {
        "store": store_url(options["--store"]) if options["--store"] else "",
        "fresh": fresh,
        "savepoint": store_url(savepoint) if savepoint else "",
        "leave_state": leave_state,
    }


def log_format_of(said: str | None) -> str:
    """--log-format; left out, text for a person at a terminal and json for a program."""
    if said not in (None, "text", "json"):
        raise UsageError(f"--log-format must be text or json, it is {said!r}.")
    return said or ("text" if sys.stderr.isatty() else "json")
