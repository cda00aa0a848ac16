"""A usage text and a command line in, a dict of options out; wrong usage is one sentence, exit 2.

docopt decides what fits a usage text; this module lays the environment and `zstream.env` under
the command line, and says what is wrong in a sentence where docopt would print the whole text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Any

from docopt import DocoptExit, docopt

from zstream.cli.arguments import Option, Said, either, options_of, split
from zstream.cli.settings import Setting, read_settings, variable
from zstream.errors import UsageError

CHOICE = re.compile(r"([\[(])([^\[\]()]*\|[^\[\]()]*)[\])]")


def parse(
    doc: str, argv: Sequence[str] | None, *, program: str, version: str | None = None
) -> dict[str, Any]:
    """What docopt gives for `argv` (None: sys.argv), with settings for what it does not say.

    Ends the process: 0 after --help and --version, 2 after one sentence about what is wrong.
    version: what --version says, by default that of the installed package.
    """
    options = options_of(doc)
    try:
        said, words, rest = split(sys.argv[1:] if argv is None else argv, options)
        names = {option.name: value for option, value in said}
        if "--help" in names:
            print(doc.strip())
            raise SystemExit(0)
        if "--version" in names:
            print(program, version or installed_version())
            raise SystemExit(0)
        said += from_settings(doc, options, names, read_settings(names.get("--config")))
        line = [
            f"{option.name}={value}" if option.argument else option.name for option, value in said
        ]
        try:
            return dict(docopt(doc, [*line, *words, *rest], default_help=False))
        except DocoptExit:
            raise UsageError(what_is_wrong(doc, said, words, bool(rest))) from None
    except UsageError as error:
        print(f"{program}: {error}", file=sys.stderr)
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


def choices(doc: str) -> list[tuple[bool, list[str]]]:
    """Groups of options of which a usage text takes one: (must one be there?, long names)."""
    usage = doc.partition("Usage:")[2].partition("\n\n")[0]
    return [(mark == "(", re.findall(r"--[\w-]+", inner)) for mark, inner in CHOICE.findall(usage)]


def what_is_wrong(doc: str, said: Said, words: Sequence[str], dashes: bool) -> str:
    """Why docopt refused, as a sentence."""
    names = [option.name for option, _ in said]
    for must, group in choices(doc):
        given = [name for name in group if name in names]
        if len(given) > 1:
            return f"{' and '.join(given)} exclude each other; give one of them."
        if must and not given:
            return f"one of {either(group)} is missing."
    usage = doc.partition("Usage:")[2].strip().partition("\n")[0]
    needed = re.sub(r"\[[^\]]*\]|\([^)]*\)", " ", usage)
    for name, argument in re.findall(r"(--[\w-]+) ([A-Z]+)", needed):
        if name not in names:
            return f"{name} {argument} is missing (or {variable(name)} in the environment)."
    places = re.findall(r"<[\w-]+>", needed)
    if len(words) < len(places):
        return f"{places[len(words)]} is missing."
    if len(words) > len(places):
        return f"nothing is asked for where {words[len(places)]!r} stands."
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        return f"{twice} is given more than once."
    return "nothing is asked for behind --." if dashes else "this fits none of the ways in --help."
