"""The command `zworker`: one worker of the topology in a module or file."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from zstream.cli.settings import variable
from zstream.cli.start import start
from zstream.cli.usage import parse
from zstream.cli.worker_usage import MODULE, USAGE
from zstream.embedded import load

PROGRAM = "zworker"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parse(USAGE, argv, program=PROGRAM)
    module = options[MODULE]
    if not module:
        missing = f"{MODULE} MODULE is missing (or {variable(MODULE)} in the environment). "
        missing += f"See {PROGRAM} --help."
        print(f"{PROGRAM}: {missing}", file=sys.stderr)
        return 2
    return start(PROGRAM, options, lambda arguments: load(module, arguments))


if __name__ == "__main__":
    raise SystemExit(main())
