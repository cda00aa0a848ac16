"""A topology's module as its own program: `python alphabet.py --in ... --out ...`."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from zstream.cli.start import Make, start
from zstream.cli.usage import parse
from zstream.cli.worker_usage import usage_of_program


def main(make: Make, argv: Sequence[str] | None = None) -> NoReturn:
    """Run one worker of the topology that `make` gives for what stands behind "--"; then exit.

    zworker's options but --application-module. argv: without the program's name; None: sys.argv.
    """
    program = re.sub(r"\s", "_", Path(sys.argv[0]).name) or "program"
    options = parse(usage_of_program(program), argv, program=program)
    raise SystemExit(start(program, options, make))
