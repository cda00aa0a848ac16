"""From the graph that a person made to the plan that every worker runs; see plan.py for its rules.

Nodes are gone through in order, inputs first. For each the compiler knows *where* its records
are: on the worker that reads a source, with the owner of their key, in a pinned place, or spread
in turn. An exchange is put where a node needs them to be somewhere else.
"""

from __future__ import annotations

from dataclasses import replace

from zstream.model.ids import EntryId
from zstream.topology.graph import STATEFUL, Graph
from zstream.topology.node import Node
from zstream.topology.outline import Outline, fingerprint_of
from zstream.topology.plan import Edge, Entry, Plan, Route, SinkPlan, SourcePlan, Step

KEYED = "with the owner of the key"


def compile_plan(topology: str, graph: Graph, key_groups: int, outline: Outline) -> Plan:
    """The plan of a graph that has no problems."""
    compiler = _Compiler(graph)
    compiler.find_places()
    compiler.make_entries()
    compiler.connect()
    entries = tuple(compiler.entries)
    of_source = {entry.name: entry.id for entry in entries if entry.route == "source"}
    sources = {
        node.name: SourcePlan(
            node.name,
            node.options["source"],
            node,
            of_source[node.name],
            node.options["source"].parallel,
        )
        for node in graph.of_kind("source")
    }
    sinks = {
        node.name: SinkPlan(node.name, node.options["sink"], node) for node in graph.of_kind("sink")
    }
    return Plan(
        topology=topology,
        key_groups=key_groups,
        steps=tuple(compiler.steps),
        entries=entries,
        sources=sources,
        sinks=sinks,
        pinned=tuple(entry.name for entry in entries if entry.route == "pinned"),
        fingerprint=fingerprint_of(outline),
        outline=outline,
    )


class _Compiler:
    """Steps and entries in the making; ids are places in their lists."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.steps: list[Step] = []
        self.entries: list[Entry] = []
        self.step_of: dict[Node, int] = {}
        self.entry_of: dict[Node, EntryId] = {}
        self.rekey_of: dict[Node, int] = {}  # the key_by before a stateful node
        self.come_from: dict[Node, frozenset[str]] = {}  # places where a node's input may be
        self.stand_at: dict[Node, frozenset[str]] = {}  # places where its output may be

    def find_places(self) -> None:
        """Give every node its places, every step its id."""
        for node in self.graph.nodes:
            come_from = frozenset(
                place for entered in node.inputs for place in self.stand_at[entered.node]
            )
            self.come_from[node] = come_from
            self.stand_at[node] = self._output_places(node, come_from)
            if node.kind not in ("source", "merge", "rebalance"):
                self.step_of[node] = self._add_step(self._named(node))

    def _output_places(self, node: Node, come_from: frozenset[str]) -> frozenset[str]:
        if node.kind == "key_by" or node.kind in STATEFUL:
            return frozenset({KEYED})
        if node.kind in ("source", "rebalance"):
            return frozenset({f"{node.kind} {self.graph.names[node]}"})
        if self._is_pinned_here(node):
            return frozenset({f"pinned {self.graph.names[node]}"})
        return come_from

    def _is_pinned_here(self, node: Node) -> bool:
        """Whether a step needs a pinned entry of its own."""
        if node.parallel or node.kind == "source":
            return False
        places = self.come_from[node]
        return len(places) != 1 or not next(iter(places)).startswith("pinned ")

    def make_entries(self) -> None:
        """One entry for each source, key_by, rebalance and pinned step."""
        for node in self.graph.nodes:
            if node.kind == "source":
                self._add_entry(node, "source")
            elif node.kind == "key_by":
                self._add_entry(node, "keyed")
            elif node.kind == "rebalance":
                self._add_entry(node, "balanced")
            if self._is_pinned_here(node):
                self._add_entry(node, "pinned")
            elif node.kind in STATEFUL and self._has_strayed(node):
                self._add_entry(node, "keyed")

    def _has_strayed(self, node: Node) -> bool:
        """Whether some records may come to a stateful node from elsewhere than their owner."""
        return self.come_from[node] != {KEYED}

    def connect(self) -> None:
        """Fill in where steps and entries go."""
        for node in self.graph.nodes:
            if node in self.step_of and node.kind != "key_by":
                ports = {"branch": 2, "sink": 0}.get(node.kind, 1)
                outputs = tuple(self._edges(node, port) for port in range(ports))
                self._set_outputs(self.step_of[node], outputs)
            if node.kind == "key_by":
                self._set_outputs(self.step_of[node], ((Edge(entry=self.entry_of[node]),),))
            if node.kind in ("source", "key_by", "rebalance"):
                self._fill_entry(self.entry_of[node], self._edges(node, 0))
            elif node in self.entry_of:  # pinned, or stateful behind a new exchange
                self._fill_entry(self.entry_of[node], (Edge(step=self.step_of[node]),))

    def _edges(self, node: Node, port: int) -> tuple[Edge, ...]:
        """Where an output goes."""
        edges: list[Edge] = []
        for consumer in self._consumers(node, port):
            if consumer.kind in STATEFUL and consumer in self.entry_of:
                owned = self.stand_at[node] == {KEYED}
                step = self.step_of[consumer] if owned else self._rekey(consumer)
                edges.append(Edge(step=step))
            elif consumer.kind != "key_by" and consumer in self.entry_of:
                edges.append(Edge(entry=self.entry_of[consumer]))
            else:
                edges.append(Edge(step=self.step_of[consumer]))
        return tuple(edges)

    def _consumers(self, node: Node, port: int) -> list[Node]:
        """Who gets an output; for a merge, who gets the merge's."""
        found = []
        for consumer in self.graph.consumers.get((node, port), ()):
            found += self._consumers(consumer, 0) if consumer.kind == "merge" else [consumer]
        return found

    def _rekey(self, stateful: Node) -> int:
        """The step that sends records back to the owners of the keys they have."""
        if stateful not in self.rekey_of:
            name = f"{self.graph.names[stateful]}-key"
            node = Node(
                "key_by", name, stateful.where, (), label="key_by", keyed=True, options=NO_OPTIONS
            )
            step = self._add_step(node)
            self._set_outputs(step, ((Edge(entry=self.entry_of[stateful]),),))
            self.rekey_of[stateful] = step
        return self.rekey_of[stateful]

    def _fill_entry(self, entry: EntryId, edges: tuple[Edge, ...]) -> None:
        steps = tuple(
            self._pass_on(entry, edge) if edge.step is None else edge.step for edge in edges
        )
        self.entries[entry] = replace(self.entries[entry], steps=steps)

    def _pass_on(self, entry: EntryId, edge: Edge) -> int:
        """A step between an entry and an exchange."""
        name = f"{self.entries[entry].name}-on"
        step = self._add_step(
            Node("rebalance", name, "", (), label="rebalance", options=NO_OPTIONS)
        )
        self._set_outputs(step, ((edge,),))
        return step

    def _add_step(self, node: Node) -> int:
        self.steps.append(Step(len(self.steps), node, ()))
        return len(self.steps) - 1

    def _set_outputs(self, step: int, outputs: tuple[tuple[Edge, ...], ...]) -> None:
        self.steps[step] = replace(self.steps[step], outputs=outputs)

    def _add_entry(self, node: Node, route: Route) -> None:
        entry = EntryId(len(self.entries))
        self.entries.append(Entry(entry, self.graph.names[node], route, ()))
        self.entry_of[node] = entry

    def _named(self, node: Node) -> Node:
        name = self.graph.names[node]
        return node if name == node.name else replace(node, name=name)


NO_OPTIONS = {"on_error": None, "needs": ()}
