"""From a plan to bound calls: each step becomes an operator that pushes into the next ones.

Built once, when the dataflow is made; from then on a batch runs through its stage without a look
at the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from zstream.dataflow.errors import OperatorErrors
from zstream.dataflow.exchange import Exchange
from zstream.dataflow.keyed_state import KeyedState
from zstream.dataflow.operators.stateful import StatefulFlatMap, StatefulMap
from zstream.dataflow.operators.stateless import (
    Branch,
    Filter,
    FlatMap,
    Items,
    KeyBy,
    Map,
    MapBatches,
    MapItems,
    Peek,
    SinkEncode,
    Values,
)
from zstream.model.batch import Batch
from zstream.model.ids import EntryId
from zstream.model.keys import KeyGroups
from zstream.topology.node import Node
from zstream.topology.plan import Edge, Plan, Step
from zstream.wire.values import Registry

Push = Callable[[Batch], None]

_CALLED_PER_RECORD: Mapping[
    str, type[Map] | type[Filter] | type[FlatMap] | type[Peek] | type[MapItems]
] = {
    "map": Map,
    "filter": Filter,
    "flat_map": FlatMap,
    "peek": Peek,
    "map_items": MapItems,
}
_STATEFUL = {"stateful_map": StatefulMap, "stateful_flat_map": StatefulFlatMap}


@dataclass(frozen=True)
class Chains:
    """A plan in its running form.

    entries: what runs behind each entry. sources: what undecoded records go into.
    stateful: by operator name.
    """

    entries: Mapping[EntryId, Push]
    sources: Mapping[str, Push]
    stateful: Mapping[str, StatefulMap]


class Compiler:
    """Makes the operators of one plan, each once, from the sinks up.

    is_here: whether records of a key group may come to this worker now.
    emit: a sink's name and its encoded records. raw_sinks, raw_sources: those whose encode and
    decode functions are left out.
    """

    def __init__(
        self,
        plan: Plan,
        registry: Registry,
        groups: KeyGroups,
        is_here: Callable[[int], bool],
        exchange: Exchange,
        errors_of: Callable[[Node], OperatorErrors],
        emit: Callable[[str, list[Any]], None],
        raw_sinks: frozenset[str],
        raw_sources: frozenset[str],
    ) -> None:
        self._plan = plan
        self._registry = registry
        self._groups = groups
        self._is_here = is_here
        self._exchange = exchange
        self._errors_of = errors_of
        self._emit = emit
        self._raw_sinks = raw_sinks
        self._raw_sources = raw_sources
        self._steps = {step.id: step for step in plan.steps}
        self._entries = {entry.id: entry for entry in plan.entries}
        self._made: dict[int, Push] = {}
        self._stateful: dict[str, StatefulMap] = {}

    def compile(self) -> Chains:
        entries = {
            entry.id: self._all([self._step(step) for step in entry.steps])
            for entry in self._plan.entries
        }
        sources = {
            name: self._decoded(name, entries[source.entry])
            for name, source in self._plan.sources.items()
        }
        return Chains(entries, sources, self._stateful)

    def _decoded(self, name: str, push: Push) -> Push:
        source = self._plan.sources[name]
        decode = source.spec.decode
        if decode is None or name in self._raw_sources:
            return push
        return Map(decode, self._errors_of(source.node), push).on_batch

    def _step(self, number: int) -> Push:
        if number not in self._made:
            self._made[number] = self._operator(self._steps[number])
        return self._made[number]

    def _operator(self, step: Step) -> Push:
        node = step.node
        errors = self._errors_of(node)
        if node.kind == "sink":
            return self._sink(node, errors)
        pushes = [self._all([self._edge(edge) for edge in port]) for port in step.outputs]
        push = pushes[0]
        if node.kind in _CALLED_PER_RECORD:
            return _CALLED_PER_RECORD[node.kind](node.function, errors, push).on_batch
        if node.kind in _STATEFUL:
            return self._stateful_operator(node, errors, push)
        if node.kind == "map_batches":
            limit = node.options.get("max_records")
            return MapBatches(node.function, limit, errors, push).on_batch
        if node.kind == "key_by":
            return KeyBy(node.function, self._groups, errors, push).on_batch
        if node.kind == "branch":
            meets = bool(self._reach(step.outputs[0]) & self._reach(step.outputs[1]))
            return Branch(node.function, errors, push, pushes[1], meets=meets).on_batch
        if node.kind == "items":
            return Items(push).on_batch
        if node.kind == "values":
            return Values(push).on_batch
        return push  # merge and rebalance are places in the graph; nothing is done there

    def _sink(self, node: Node, errors: OperatorErrors) -> Push:
        sink = self._plan.sinks[node.name]
        encode = None if node.name in self._raw_sinks else sink.spec.encode
        return SinkEncode(encode, errors, partial(self._emit, node.name)).on_batch

    def _stateful_operator(self, node: Node, errors: OperatorErrors, push: Push) -> Push:
        operator = _STATEFUL[node.kind](
            node.function,
            node.options.get("initial"),
            KeyedState(self._groups, self._registry, self._is_here),
            self._registry,
            errors,
            push,
        )
        self._stateful[node.name] = operator
        return operator.on_batch

    def _edge(self, edge: Edge) -> Push:
        if edge.step is not None:
            return self._step(edge.step)
        assert edge.entry is not None, "an edge leads to a step or to an entry"
        entry = self._entries[edge.entry]
        routes = {
            "keyed": self._exchange.push_keyed,
            "pinned": self._exchange.push_pinned,
            "balanced": self._exchange.push_balanced,
        }
        return partial(routes[entry.route], entry)

    def _all(self, pushes: list[Push]) -> Push:
        """One push for all edges of a port. Each but the last gets a copy: it owns its lists."""
        if len(pushes) == 1:
            return pushes[0]

        def push_to_all(batch: Batch) -> None:
            for push in pushes[:-1]:
                push(_copied(batch))
            for push in pushes[-1:]:
                push(batch)

        return push_to_all

    def _reach(self, port: tuple[Edge, ...]) -> set[Edge]:
        """All edges that lead on from a port, up to and with those that enter an exchange."""
        reached: set[Edge] = set()
        waiting = list(port)
        while waiting:
            edge = waiting.pop()
            if edge not in reached:
                reached.add(edge)
                if edge.step is not None:
                    waiting += [
                        next_edge for p in self._steps[edge.step].outputs for next_edge in p
                    ]
        return reached


def _copied(batch: Batch) -> Batch:
    return Batch(
        list(batch.values),
        None if batch.keys is None else list(batch.keys),
        None if batch.times is None else list(batch.times),
    )
