"""The words of a command line sorted: options with their values, other words, what follows `--`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import NamedTuple

from zstream.errors import UsageError

OPTION = re.compile(r"^ +(?:(-\w) )?(--[\w-]+)(?: ([A-Z]+))?(?=  |$)", re.MULTILINE)


class Option(NamedTuple):
    """One option of a usage text. argument: "ADDR", or "" for a switch."""

    short: str
    name: str
    argument: str


Said = list[tuple[Option, str]]  # in order; "" for a switch


def options_of(doc: str) -> list[Option]:
    """The options that a usage text describes, and --help and --version, which all have."""
    found = {name: Option(short, name, argument) for short, name, argument in OPTION.findall(doc)}
    always = {"--help": Option("-h", "--help", ""), "--version": Option("", "--version", "")}
    return list({**always, **found}.values())


def split(
    argv: Sequence[str], options: Sequence[Option], places: Sequence[str] = ()
) -> tuple[Said, list[str], list[str]]:
    """Options with their values, other words, and what stands from "--" on.

    places: what a command line must have beside options, such as "<address>", for a refusal.
    """
    said: Said = []
    words: list[str] = []
    waiting = list(argv)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            return said, words, [word, *waiting]
        if word == "-" or not word.startswith("-"):
            words.append(word)
        elif word.startswith("--"):
            name, equals, value = word.partition("=")
            option = find(name, options, places)
            if equals and not option.argument:
                raise UsageError(f"{option.name} takes no value, it was given {value!r}.")
            said.append((option, value if equals else take(option, waiting, options)))
        else:
            option = find(word[:2], options, places)
            if option.argument and word[2:]:
                said.append((option, word[2:].removeprefix("=")))
            else:
                if word[2:]:
                    waiting.insert(0, f"-{word[2:]}")
                said.append((option, take(option, waiting, options)))
    return said, words, []


def find(name: str, options: Sequence[Option], places: Sequence[str] = ()) -> Option:
    """The option of this name, or the only one that begins so."""
    exact = [option for option in options if name in (option.name, option.short)]
    fits = exact or [o for o in options if name.startswith("--") and o.name.startswith(name)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise UsageError(f"{name} may be {either([option.name for option in fits])}; write it out.")
    close = difflib.get_close_matches(name, [option.name for option in options], 1)
    if close:
        raise UsageError(f"there is no option {name}; did you mean {close[0]}?")
    alone = f" {places[0]} stands alone, without an option before it." if places else ""
    raise UsageError(f"there is no option {name}.{alone}")


def take(option: Option, waiting: list[str], options: Sequence[Option]) -> str:
    """The option's value: the next word. An option there means that the value was forgotten."""
    if not option.argument:
        return ""
    if not waiting:
        raise UsageError(f"{option.name} wants {option.argument} behind it.")
    names = {name for other in options for name in (other.short, other.name) if name}
    if waiting[0] == "--" or waiting[0].partition("=")[0] in names:
        raise UsageError(f"{option.name} wants {option.argument} behind it, not {waiting[0]}.")
    return waiting.pop(0)


def either(names: Sequence[str]) -> str:
    """ "--a, --b or --c"."""
    return ", ".join(names[:-1]) + f" or {names[-1]}" if len(names) > 1 else "".join(names)
