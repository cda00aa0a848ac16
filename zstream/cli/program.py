"""A topology's module as its own program: `python alphabet.py --in ... --out ...`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from zstream.cli.start import start
from zstream.cli.usage import parse
from zstream.cli.worker_usage import usage_of_program
from zstream.topology.topology import TopologyValue


def main(
    topology: TopologyValue | Callable[[list[str]], TopologyValue],
    argv: Sequence[str] | None = None,
) -> NoReturn:
    """Run one worker of this topology, with zworker's options but --application-module; then exit.

    A function is given what stands behind "--", the same on every worker.
    argv: the command line without the program's name, by default the process's own.
    """
    program = re.sub(r"\s", "_", Path(sys.argv[0]).name) or "program"
    options = parse(usage_of_program(program), argv, program=program)

    def make(arguments: list[str]) -> TopologyValue:
        return topology if isinstance(topology, TopologyValue) else topology(arguments)

    raise SystemExit(start(program, options, make))
