"""The graph behind a topology's ends: its nodes in order, their names, who feeds whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from zstream.topology.node import Node

STATEFUL = frozenset({"stateful_map", "stateful_flat_map"})


@dataclass(frozen=True)
class Graph:
    """nodes: all that reach an end, each behind its inputs; the same order on every worker.

    names: each node's name. Sources, sinks and stateful operators keep their own; a stateless
    operator whose name is taken gets -2, -3 and so on.
    consumers: (node, port) -> the nodes that get this output.
    """

    nodes: tuple[Node, ...]
    names: Mapping[Node, str]
    consumers: Mapping[tuple[Node, int], tuple[Node, ...]]

    def of_kind(self, *kinds: str) -> tuple[Node, ...]:
        """The nodes of these kinds, in order."""
        return tuple(node for node in self.nodes if node.kind in kinds)

    def stateful(self) -> tuple[Node, ...]:
        """The nodes that keep state, in order."""
        return self.of_kind(*STATEFUL)


def graph_of(ends: Iterable[Node]) -> Graph:
    """Walk from the sinks up to the sources."""
    nodes = _in_order(ends)
    consumers: dict[tuple[Node, int], list[Node]] = {}
    for node in nodes:
        for entered in node.inputs:
            consumers.setdefault((entered.node, entered.port), []).append(node)
    return Graph(nodes, _names(nodes), {key: tuple(found) for key, found in consumers.items()})


def forgotten(graph: Graph, others: Iterable[Node] = ()) -> list[Node]:
    """Nodes made from the graph's, or among `others`, that no topology has: the last of each chain.

    A source that was handed nowhere counts as the last of a chain too.
    """
    seen: set[Node] = set()
    waiting = [*graph.nodes, *others]
    lost = []
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        waiting.extend(node.fate.consumers)
        if not node.fate.taken and not node.fate.consumers:
            lost.append(node)
    return sorted(lost, key=lambda node: (node.where, node.name))


def _in_order(ends: Iterable[Node]) -> tuple[Node, ...]:
    ordered: dict[Node, None] = {}
    for end in ends:
        waiting = [(end, False)]
        while waiting:
            node, inputs_done = waiting.pop()
            if node in ordered:
                continue
            if inputs_done:
                ordered[node] = None
            else:
                waiting.append((node, True))
                waiting.extend((entered.node, False) for entered in reversed(node.inputs))
    return tuple(ordered)


def _names(nodes: tuple[Node, ...]) -> dict[Node, str]:
    names = {}
    taken = {node.name for node in nodes if node.kind in STATEFUL}
    for node in nodes:
        name, repeat = node.name, 1
        if node.kind not in STATEFUL and node.kind not in ("source", "sink"):
            while name in taken:
                repeat += 1
                name = f"{node.name}-{repeat}"
            taken.add(name)
        names[node] = name
    return names
