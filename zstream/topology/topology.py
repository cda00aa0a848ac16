"""The topology as a value: what a person's ends add up to, checked when it is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, Literal, NamedTuple

from zstream.errors import CannotTravel, TopologyError, UsageError, WireError
from zstream.topology.describing import describe
from zstream.topology.drawing import draw
from zstream.topology.errors_policy import ErrorPolicy, policy_problem
from zstream.topology.graph import Graph, forgotten, graph_of
from zstream.topology.node import Node
from zstream.topology.outline import outline_of
from zstream.topology.plan import Plan
from zstream.topology.stages import compile_plan
from zstream.topology.stream import End
from zstream.topology.travelling import Travellers, state_hint, type_label
from zstream.wire.values import Registry

KEY_GROUPS_MAX = 65_536  # a key group travels as an unsigned number of two bytes
Form = Literal["text", "mermaid", "dot", "svg", "json"]


class Problem(NamedTuple):
    """Something that keeps a topology from running. where: "app.py:12" or ""."""

    operator: str
    where: str
    says: str


class TopologyValue:
    """Name, ends and settings; from these the plan, the types that travel, the fingerprint.

    key_groups: into how many parts keys are divided, fixed for the topology's life.
    on_error: the policy where an operator has none of its own.
    version: any text; workers with different ones do not run together.

    Raises TopologyError for the first problem there is.
    """

    def __init__(
        self,
        name: str,
        *ends: End[Any],
        key_groups: int = 1024,
        on_error: ErrorPolicy = "dead_letter",
        version: str = "",
    ) -> None:
        self.name = name
        self.ends = ends
        self.key_groups = key_groups
        self.on_error: ErrorPolicy = on_error
        self.version = version
        self.registry = Registry()
        self._check_arguments()
        self.graph: Graph = graph_of(end.node for end in ends)
        self._state_types: dict[Node, str] = {}
        problems = [*self._problems_of_graph(), *self._problems_of_types()]
        if problems:
            raise _error(problems[0])
        for node in self.graph.nodes:
            node.fate.taken = True

    @cached_property
    def plan(self) -> Plan:
        """What every worker runs."""
        outline = outline_of(
            self.name, self.graph, self._state_types, self.key_groups, self.version
        )
        return compile_plan(self.name, self.graph, self.key_groups, outline)

    @property
    def fingerprint(self) -> str:
        """Eight digits, equal for topologies that may run as one cluster."""
        return self.plan.fingerprint

    def check(self) -> list[Problem]:
        """All problems: what the constructor would raise now, and streams that were forgotten.

        Forgotten are streams made from this topology's, and in no topology. The constructor
        cannot know: more may be built after it. `zworker` and `main` refuse them.
        """
        return [*self._problems_of_graph(), *self._problems_of_types(), *self.forgotten()]

    def forgotten(self, others: Iterable[Node] = ()) -> list[Problem]:
        """Streams and sinks made from this topology's streams, or `others`, and handed nowhere."""
        return [self._dangling(node) for node in forgotten(self.graph, others)]

    def describe(self) -> str:
        """Stages, exchanges, state, and what each source and sink promises after a crash."""
        return describe(self.plan, self._state_types, self.graph)

    def draw(self, form: Form = "text") -> str:
        """The graph as text, mermaid, dot, svg or json."""
        return draw(self.plan, self.graph, form)

    # ------------------------------------------------------------ checks

    def _check_arguments(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise UsageError(f"a topology's name must be a text, it is {self.name!r:.60}.")
        for end in self.ends:
            if not isinstance(end, End):
                raise TopologyError(
                    f"topology {self.name} needs ends, it got {end!r:.80}. "
                    "A stream becomes an end by .sink(name, ...)."
                )
        groups = self.key_groups
        if isinstance(groups, bool) or not isinstance(groups, int):
            raise UsageError(f"key_groups must be a whole number, it is {groups!r:.60}.")
        if not 1 <= groups <= KEY_GROUPS_MAX:
            raise UsageError(f"key_groups must be from 1 to {KEY_GROUPS_MAX}, it is {groups}.")
        if policy_problem(self.on_error):
            raise UsageError(f"topology {self.name}: {policy_problem(self.on_error)}")
        if not isinstance(self.version, str):
            raise UsageError(f"version must be a text, it is {self.version!r:.60}.")

    def _problems_of_graph(self) -> Iterator[Problem]:
        if not self.ends:
            yield Problem(
                "", "", f"topology {self.name} has no ends. Hand it what .sink(...) gives."
            )
        yield from _twins("stateful operators", "Give one a name=.", self.graph.stateful())
        yield from _twins("sources", "Give one another name.", self.graph.of_kind("source"))
        yield from _twins("sinks", "Give one another name.", self.graph.of_kind("sink"))
        for node in self.graph.of_kind("branch"):
            if any((node, port) not in self.graph.consumers for port in (0, 1)):
                yield self._dangling(node)

    def _dangling(self, node: Node) -> Problem:
        return Problem(
            node.name,
            node.where,
            f"the stream made at {node.where} ({node.label}) reaches no sink of topology "
            f"{self.name}. Add .sink(...) or hand its end to Topology(...).",
        )

    def _problems_of_types(self) -> Iterator[Problem]:
        """Register the types that travel, and try each operator's first state."""
        travellers = Travellers(self.registry)
        for node in self.graph.nodes:
            try:
                travellers.add_declared(node)
            except CannotTravel as error:
                yield Problem(node.name, node.where, f"{node.name} ({node.where}): {error.says}")
        for node in self.graph.stateful():
            yield from self._problem_of_state(node)
        for node in self.graph.nodes:
            travellers.add_guessed(node)

    def _problem_of_state(self, node: Node) -> Iterator[Problem]:
        try:
            self._state_types[node] = _state_type(self.registry, node)
        except CannotTravel as error:
            where = "" if error.says.startswith("class ") else f" ({node.where})"
            yield Problem(node.name, node.where, f"state of {node.name}{where}: {error.says}")
        except Exception as error:
            says = f"{node.name} ({node.where}): initial() raised {type(error).__name__}: {error}"
            yield Problem(node.name, node.where, says)


def _state_type(registry: Registry, node: Node) -> str:
    """The type of an operator's state, by its wire name. Raises CannotTravel."""
    initial = node.options["initial"]
    if initial is None:
        hint = state_hint(node.function)
        Travellers(registry).add(hint, must=True)
        return "not declared" if hint is None else type_label(hint)
    state = initial()
    try:
        registry.unpack(registry.pack(state))
    except WireError as error:
        raise CannotTravel(f"what initial() gives cannot be read again: {error}") from error
    return type_label(type(state))


def _twins(what: str, advice: str, nodes: tuple[Node, ...]) -> Iterator[Problem]:
    first: dict[str, Node] = {}
    for node in nodes:
        twin = first.setdefault(node.name, node)
        if twin is not node:
            yield Problem(
                node.name,
                node.where,
                f"two {what} are called {node.name} ({twin.where} and {node.where}). {advice}",
            )


def _error(problem: Problem) -> TopologyError:
    return TopologyError(problem.says, operator=problem.operator, where=problem.where)
