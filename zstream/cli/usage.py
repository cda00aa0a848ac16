"""A usage text and a command line in, a dict of options out; wrong usage is one sentence, exit 2.

docopt decides what fits a usage text; this module lays the environment and `zstream.env` under
the command line, and says what is wrong in a sentence where docopt would print the whole text.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Any

from docopt import DocoptExit, docopt

from zstream.cli.arguments import Option, Said, options_of, split
from zstream.cli.settings import Setting, read_settings, variable
from zstream.cli.ways import choices, one_too_many, places_of, way_of, what_is_wrong
from zstream.errors import UsageError


def parse(
    doc: str, argv: Sequence[str] | None, *, program: str, version: str | None = None
) -> dict[str, Any]:
    """What docopt gives for `argv` (None: sys.argv), with settings for what it does not say.

    Ends the process: 0 after --help and --version, 2 after one sentence about what is wrong.
    version: what --version says, by default that of the installed package.
    """
    options = options_of(doc)
    try:
        said, words, rest = split(
            sys.argv[1:] if argv is None else argv, options, places_of(doc, [])
        )
        names = {option.name: value for option, value in said}
        if "--help" in names:
            print(doc.strip())
            raise SystemExit(0)
        if "--version" in names:
            print(program, version or installed_version())
            raise SystemExit(0)
        way = way_of(doc, words)
        there = [option for option in options if "[options]" in way or option.name in way]
        said += from_settings(doc, there, names, read_settings(names.get("--config")))
        line = [
            f"{option.name}={value}" if option.argument else option.name for option, value in said
        ]
        needless = one_too_many(doc, said, words)
        if needless:
            raise UsageError(needless)
        try:
            return dict(docopt(doc, [*line, *words, *rest], default_help=False))
        except DocoptExit:
            raise UsageError(what_is_wrong(doc, said, words, bool(rest))) from None
    except UsageError as error:
        print(f"{program}: {error} See {program} --help.", file=sys.stderr)
        raise SystemExit(2) from None


def installed_version() -> str:
    """The version of the installed package, or that there is none."""
    try:
        return version_of("zstream")
    except PackageNotFoundError:
        return "(not installed)"


def from_settings(
    doc: str, options: Sequence[Option], names: Mapping[str, str], settings: Mapping[str, Setting]
) -> Said:
    """Options that the command line does not say, nor excludes by saying another."""
    excluded = {n for _, group in choices(doc) if names.keys() & set(group) for n in group}
    found: Said = []
    for option in options:
        name = variable(option.name)
        if name not in settings or option.name in excluded | names.keys() | {"--help", "--version"}:
            continue
        value, origin = settings[name]
        if option.argument:
            found.append((option, value))
        elif value.lower() in ("1", "true", "yes", "on"):
            found.append((option, ""))
        elif value.lower() not in ("0", "false", "no", "off"):
            raise UsageError(f"{name} must be 1 or 0, it is {value!r} ({origin}).")
    return found
