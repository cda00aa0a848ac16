"""From options to a running worker: which role it has, what it is told, and how it ended."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from itertools import dropwhile
from pathlib import Path
from typing import Any

from zstream.cli.addresses import bind, demand, unbound
from zstream.cli.roles import log_format_of, place_of, store_of
from zstream.cli.settings import config_from, read_settings
from zstream.cli.tool import seconds_of
from zstream.errors import UsageError, ZstreamError
from zstream.runtime.options import WorkerOptions
from zstream.runtime.worker import run_worker
from zstream.topology.topology import TopologyValue

Make = Callable[[list[str]], TopologyValue]


def start(program: str, options: Mapping[str, Any], make: Make) -> int:
    """Run one worker of the topology that `make` gives for the arguments after "--"."""
    try:
        place = place_of(options)
        store = store_of(options, place["role"])
        form = log_format_of(options["--log-format"])
        said = {}
        for option in ("--join-deadline", "--checkpoint-interval"):
            if options[option] is not None:
                milliseconds = round(seconds_of(option, options[option]) * 1000)
                said[option[2:].replace("-", "_") + "_ms"] = max(1, milliseconds)
        config = config_from(read_settings(options["--config"]), **said)
        ignored = [name for name in ("--metrics", "--ponythreads") if options[name] is not None]
        if ignored:
            verb = "are" if len(ignored) > 1 else "is"
            print(f"{program}: {' and '.join(ignored)} {verb} ignored.", file=sys.stderr)
        topology = loaded(program, make, list(options["<argument>"]))
        if topology is None:
            return 1
        inputs, outputs = ends_of(options, topology, place["role"])
    except UsageError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    worker = WorkerOptions(
        **place,
        **store,
        inputs=inputs,
        outputs=outputs,
        dead_letters=options["--dead-letters"] or WorkerOptions.dead_letters,
        log_format=form,
        json=options["--json"],
        config=config,
    )
    try:
        return run_worker(topology, worker)
    except UsageError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except ZstreamError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1


def loaded(program: str, make: Make, arguments: list[str]) -> TopologyValue | None:
    """The topology; None when there is none to run, which has been said."""
    try:
        return make(arguments)
    except UsageError:  # arguments that nobody takes
        raise
    except ZstreamError as error:
        print(users_traceback(error.__cause__), end="", file=sys.stderr)
        print(f"{program}: {error}", file=sys.stderr)
        return None


def users_traceback(error: BaseException | None) -> str:
    """The traceback of what a person's module raised, from their file on; "" when none did."""
    if error is None:
        return ""
    loading = (
        f"{Path(__file__).parent.parent}{os.sep}",
        "<frozen importlib",
        importlib.__path__[0],
    )
    frames = traceback.extract_tb(error.__traceback__)
    users = list(dropwhile(lambda frame: frame.filename.startswith(loading), frames))
    if not users:
        return ""
    lines = traceback.format_list(users) + traceback.format_exception_only(error)
    return "Traceback (most recent call last):\n" + "".join(lines)


def ends_of(
    options: Mapping[str, Any], topology: TopologyValue, role: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Addresses of sources and of sinks. Only who reads a source must know where."""
    plan = topology.plan
    inputs = bind("--in", "source", options["--in"], plan.sources)
    outputs = bind("--out", "sink", options["--out"], plan.sinks)
    read_here = {
        name: source
        for name, source in plan.sources.items()
        if role == "initializer" or (role == "starter" and source.parallel)
    }
    demand("--in", "source", unbound(read_here, inputs))
    demand("--out", "sink", unbound(plan.sinks, outputs))
    return inputs, outputs
