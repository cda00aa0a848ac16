"""What two workers compare before one joins the other: rows, their fingerprint, their difference.

A row is (what, what it is, where). The fingerprint covers the first two: names, kinds, edges,
types of state, key groups and version; never addresses, lines or the bodies of functions.
"""

from __future__ import annotations

import hashlib

from zstream.topology.graph import Graph
from zstream.topology.node import Node

Outline = tuple[tuple[str, str, str], ...]

FINGERPRINT_DIGITS = 8
INPUT = "the input of"


def outline_of(
    topology: str, graph: Graph, state_types: dict[Node, str], key_groups: int, version: str
) -> Outline:
    """The rows of a topology: operators first, then what is between and around them."""
    names = graph.names
    operators = [(_called(node, names[node]), _kind(node), node.where) for node in graph.nodes]
    states = [
        (f"the state of {names[node]}", state_types[node], node.where) for node in graph.stateful()
    ]
    inputs = [
        (f"{INPUT} {_called(node, names[node])}", _inputs(graph, node), node.where)
        for node in graph.nodes
        if node.inputs
    ]
    settings = [
        ("key_groups", str(key_groups), ""),
        ("version", version or "not given", ""),
    ]
    return (("the topology", topology, ""), *operators, *states, *inputs, *settings)


def fingerprint_of(outline: Outline) -> str:
    """Eight hexadecimal digits."""
    text = "\n".join(f"{what}\t{is_what}" for what, is_what, _ in outline)
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_DIGITS]


def difference(mine: Outline, theirs: Outline) -> str:
    """The first thing that differs, as a clause; "" when nothing does.

    "operator tally is a stateful_map there (alphabet.py:16) and a stateful_flat_map here
    (alphabet.py:18)": `theirs` is there, `mine` is here.
    """
    here = {what: (is_what, where) for what, is_what, where in mine}
    there = {what: (is_what, where) for what, is_what, where in theirs}
    # An operator that is only on one side explains the inputs that differ because of it.
    for what in sorted(dict.fromkeys([*there, *here]), key=lambda what: what.startswith(INPUT)):
        if what not in here:
            return f"{what}{_at(there[what][1])} is there and not here"
        if what not in there:
            return f"{what}{_at(here[what][1])} is here and not there"
        if here[what][0] != there[what][0]:
            return (
                f"{what} is {there[what][0]} there{_at(there[what][1])} "
                f"and {here[what][0]} here{_at(here[what][1])}"
            )
    if [row[:2] for row in mine] != [row[:2] for row in theirs]:
        return "the same operators stand in another order there than here"
    return ""


def _at(where: str) -> str:
    return f" ({where})" if where else ""


def _called(node: Node, name: str) -> str:
    return f"{node.kind} {name}" if node.kind in ("source", "sink") else f"operator {name}"


def _kind(node: Node) -> str:
    article = "an" if node.label[0] in "aeiou" else "a"
    alone = "" if node.parallel else " with parallel=False"
    return f"{article} {node.label}{alone}"


def _inputs(graph: Graph, node: Node) -> str:
    outputs = []
    for entered in node.inputs:
        rest = " (the rest)" if entered.port else ""
        outputs.append(f"{graph.names[entered.node]}{rest}")
    return " and ".join(outputs)
