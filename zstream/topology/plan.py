"""A topology compiled: steps chained within a worker, and entries where batches come in.

A *stage* is what runs between two exchanges. It has no object of its own: a batch enters a worker
at an entry, and the steps behind that entry call each other directly until a step ends in an
exchange (a key boundary) or a sink. Every worker compiles the same topology to the same plan,
so entry ids mean the same everywhere.

What becomes of the nodes:

- source: an entry. Its `decode` is no step: it is applied at the entry, in the source's name.
- sink: a step without outputs. Its `encode` is applied there, in the sink's name.
- key_by: a step whose one edge goes to a keyed entry. A key_by without a function keeps the keys
  that records have: it stands before a stateful step whose records have left the worker that
  owns their key, because a step with parallel=False was on the way.
- merge: nothing. All its inputs list the same steps.
- rebalance: a balanced entry; the edges of the step before it go there.
- parallel=False: a pinned entry, unless all that comes in is in one pinned place already.

Edges go from steps, and an entry names steps. So where an entry's records go straight through
another exchange (a source that is rebalanced, a key_by before parallel=False), a step of kind
rebalance without a function stands between: it passes records on as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from zstream.model.ids import EntryId
from zstream.topology.node import Node

Route = Literal["source", "keyed", "pinned", "balanced"]


@dataclass(frozen=True)
class Edge:
    """Where a step's output goes: to another step on this worker, or through an exchange.

    Exactly one of the two is set.
    """

    step: int | None = None
    entry: EntryId | None = None


@dataclass(frozen=True)
class Step:
    """One operator. `outputs[port]` lists the edges of that output; a branch has two ports.

    A key_by has one port with one edge, an exchange by key. A sink has none.
    """

    id: int
    node: Node
    outputs: tuple[tuple[Edge, ...], ...]


@dataclass(frozen=True)
class Entry:
    """Where a batch comes in on a worker, and the steps that get it, in order.

    route: "source" from a reader placed here; "keyed" by owners[group]; "pinned" to the worker
    where `name` is placed; "balanced" over the workers in turn.
    """

    id: EntryId
    name: str
    route: Route
    steps: tuple[int, ...]


@dataclass(frozen=True)
class SourcePlan:
    name: str
    spec: Any  # zstream.topology.specs.Source
    node: Node
    entry: EntryId
    parallel: bool


@dataclass(frozen=True)
class SinkPlan:
    name: str
    spec: Any  # zstream.topology.specs.Sink
    node: Node


@dataclass(frozen=True)
class Plan:
    """What every worker of a cluster runs."""

    topology: str
    key_groups: int
    steps: tuple[Step, ...]
    entries: tuple[Entry, ...]
    sources: Mapping[str, SourcePlan]
    sinks: Mapping[str, SinkPlan]
    pinned: tuple[str, ...]  # names of the steps with parallel=False that have an entry
    fingerprint: str
    outline: tuple[tuple[str, str, str], ...]  # (what, what it is, where); see outline.py
