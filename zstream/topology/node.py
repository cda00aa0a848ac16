"""A node of the graph that a person's chained calls build: immutable, named, with its line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "source",
    "map",
    "filter",
    "flat_map",
    "map_batches",
    "peek",
    "key_by",
    "items",
    "map_items",
    "values",
    "branch",
    "merge",
    "rebalance",
    "stateful_map",
    "stateful_flat_map",
    "sink",
]


@dataclass(frozen=True)
class Input:
    """An output of a node: port 0, or for a branch 0 for those that pass and 1 for the rest."""

    node: Node
    port: int = 0


@dataclass(eq=False)
class Fate:
    """What became of a node after it was made: all about it that changes.

    The graph is known upwards, from a sink to its sources; this is the way down, by which the
    loader finds what was made from a topology's streams and forgotten.
    """

    consumers: list[Node] = field(default_factory=list)
    taken: bool = False  # some topology has it


@dataclass(frozen=True, eq=False)
class Node:
    """One operator as a person wrote it. Compared by identity: a graph may hold equal twins.

    kind: reduce, aggregate and count are written as stateful_map; `label` keeps their own word.
    function: the person's function (the step of a stateful kind), or None.
    label: always set; the method's name where it is not the kind.
    options: per kind. source: source. sink: sink. map_batches: max_records. stateful_*: initial
    (callable or None), was (or None). All but merge and rebalance: on_error (or None), needs.
    parallel: False for a stateless step that must run in one place.
    where: "alphabet.py:16", the line that made it.
    keyed: whether records that leave it carry a key.
    """

    kind: Kind
    name: str
    where: str
    inputs: tuple[Input, ...] = field(repr=False)
    label: str = ""
    function: Any = None
    keyed: bool = False
    parallel: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    fate: Fate = field(default_factory=Fate, repr=False)
