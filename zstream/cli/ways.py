"""What the `Usage:` line of a text asks for, and what a command line lacks or has too much."""

from __future__ import annotations

import re
from collections.abc import Sequence

from zstream.cli.arguments import Said, either
from zstream.cli.settings import variable

ADDRESS = re.compile(r"\S+:\d+")
CHOICE = re.compile(r"([\[(])([^\[\]()]*\|[^\[\]()]*)[\])]")


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
    for name, argument in needed_options(doc, words):
        if name not in names:
            return f"{name} {argument} is missing (or {variable(name)} in the environment)."
    places = places_of(doc, words)
    if len(words) < len(places):
        return f"{places[len(words)]} is missing."
    once = set(names) - set(re.findall(r"(--[\w-]+) [A-Z]+\]?\.\.\.", doc))
    twice = next((name for name in names if name in once and names.count(name) > 1), None)
    if twice:
        return f"{twice} is given more than once."
    return "nothing is asked for behind --." if dashes else "this fits none of the ways to use it."


def one_too_many(doc: str, said: Said, words: Sequence[str]) -> str:
    """A sentence for the first word that has no place; docopt takes some for what follows --."""
    places = places_of(doc, words)
    if len(words) <= len(places):
        return ""
    word = words[len(places)]
    hint = " What is for the topology stands behind --." if "[-- <" in doc else ""
    names = [option.name for option, _ in said]
    lacking = [n for n, kind in needed_options(doc, words) if kind == "ADDR" and n not in names]
    if lacking and ADDRESS.fullmatch(word):
        hint = f" Say {lacking[0]} {word}."
    return f"nothing is asked for where {word!r} stands.{hint}"


def needed_options(doc: str, words: Sequence[str]) -> list[tuple[str, str]]:
    """Options that must be there, each with what stands behind it: ("--external", "ADDR")."""
    return re.findall(r"(--[\w-]+) ([A-Z]+)", needed_of(doc, words))


def way_of(doc: str, words: Sequence[str]) -> str:
    """One way to use the program: the one that begins with the first word, else the first one."""
    ways = doc.partition("Usage:")[2].partition("\n\n")[0].strip().splitlines()
    return next((way for way in ways if words and way.split()[1:2] == words[:1]), ways[0])


def needed_of(doc: str, words: Sequence[str]) -> str:
    """That way, without what may be left out and without choices."""
    return re.sub(r"\[[^\]]*\]|\([^)]*\)", " ", way_of(doc, words))


def places_of(doc: str, words: Sequence[str]) -> list[str]:
    """What must stand there beside options: a word as it is, or the name of one."""
    return re.findall(r"(?<= )(?:[a-z]+|<[\w-]+>)(?= |$)", needed_of(doc, words))
