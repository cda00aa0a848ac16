"""A topology in words: stages, exchanges, state, and what it promises when a worker dies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from zstream.topology.graph import Graph
from zstream.topology.node import Node
from zstream.topology.plan import Edge, Entry, Plan, Step

ROUTES = {
    "source": "read from source {name}",
    "keyed": "by key, to the worker that owns the key ({name})",
    "pinned": "to the one worker where {name} is placed",
    "balanced": "to all workers in turn ({name})",
}


def describe(plan: Plan, state_types: Mapping[Node, str], graph: Graph) -> str:
    """Several lines of text."""
    return "\n".join(
        [
            f"topology {plan.topology} {plan.fingerprint}, {plan.key_groups:,} key groups",
            "",
            *_stages(plan),
            "",
            *_states(graph, state_types),
            "growing and shrinking: no record is lost or doubled, each key keeps its order.",
            "a worker that dies: the others go on; what follows is lost with it.",
            *_promises(plan),
        ]
    )


def _stages(plan: Plan) -> Iterator[str]:
    for number, entry in enumerate(plan.entries, 1):
        yield f"stage {number}: {ROUTES[entry.route].format(name=entry.name)}"
        for step in entry.steps:
            yield from _chain(plan, plan.steps[step], 1)


def _chain(plan: Plan, step: Step, depth: int) -> Iterator[str]:
    """A step and all behind it on the same worker, one a line, deeper where it branches."""
    node = step.node
    indent = "  " * depth
    alone = ", in one place" if not node.parallel else ""
    yield f"{indent}{node.name} ({node.label}{alone}{_at(node)}){_exchange(plan, step)}"
    for port, edges in enumerate(step.outputs):
        if node.kind == "branch":
            yield f"{indent}  {'the rest' if port else 'those that pass'}:"
        for edge in edges:
            if edge.step is not None:
                deeper = depth + (2 if node.kind == "branch" else 1)
                yield from _chain(plan, plan.steps[edge.step], deeper)


def _exchange(plan: Plan, step: Step) -> str:
    entries = [_entry(plan, edge) for edges in step.outputs for edge in edges]
    numbers = [f"stage {entry.id + 1}" for entry in entries if entry is not None]
    return f" -> {', '.join(numbers)}" if numbers else ""


def _entry(plan: Plan, edge: Edge) -> Entry | None:
    return None if edge.entry is None else plan.entries[edge.entry]


def _at(node: Node) -> str:
    return f", {node.where}" if node.where else ""


def _states(graph: Graph, state_types: Mapping[Node, str]) -> Iterator[str]:
    for node in graph.stateful():
        yield f"state of {node.name}: {state_types[node]} for each key"


def _promises(plan: Plan) -> Iterator[str]:
    for source in plan.sources.values():
        yield f"  source {source.name}: {source.spec.after_crash}"
    if any(entry.route == "keyed" for entry in plan.entries):
        yield "  state: of the keys that it owned; they start anew on another worker"
    for sink in plan.sinks.values():
        yield f"  sink {sink.name}: {sink.spec.after_crash}"
