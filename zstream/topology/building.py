"""What every chained call does: find its name and line, check its arguments, make a node."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

from zstream.errors import TopologyError
from zstream.topology.aggregate import Aggregate
from zstream.topology.errors_policy import policy_problem
from zstream.topology.node import Input, Kind, Node
from zstream.topology.per_worker import PerWorker

PACKAGE = __file__[: -len("topology/building.py")]  # frames in here are not the user's
NAME_STOPS = frozenset("@,=: \t\n")  # they mean something in --in and --out


def where_called() -> str:
    """ "app.py:12", the innermost line on the stack that is not zstream's own; "" for none."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(PACKAGE):
        if frame.f_back is None:
            return ""
        frame = frame.f_back
    filename = frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f"{filename}:{frame.f_lineno}"


def name_of(function: Any, label: str) -> str:
    """The function's own name; the operator's for a lambda; a partial's is its function's."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", "") or type(function).__name__
    return label if name.startswith("<") else str(name)


def make(
    kind: Kind,
    inputs: tuple[Input, ...],
    function: Any,
    *,
    label: str = "",
    name: str | None = None,
    named_after: Any = None,
    keyed: bool,
    parallel: bool = True,
    on_error: object = None,
    needs: Sequence[PerWorker[Any]] = (),
    **options: Any,
) -> Node:
    """A node from what a method was given, checked. Raises TopologyError with the line.

    named_after: whose name it gets where `name` is not given; the function's if that is not given.
    """
    label = label or kind
    where = where_called()
    after = function if named_after is None else named_after  # the one that the person gave
    called = name if name is not None else label if after is None else name_of(after, label)
    problem = (
        _name_problem(called)
        or (policy_problem(on_error) if on_error is not None else "")
        or _needs_problem(needs)
    )
    if not problem and after is not None and not callable(after):
        problem = f"it needs a function, it got {after!r:.60}."
    if problem:
        raise TopologyError(f"{label} ({where}): {problem}", operator=called, where=where)
    node = Node(
        kind,
        called,
        where,
        inputs,
        label=label,
        function=function,
        keyed=keyed,
        parallel=parallel,
        options={**options, "on_error": on_error, "needs": tuple(needs)},
    )
    for entered in inputs:
        entered.node.fate.consumers.append(node)
    return node


def refusal(who: str, wanted: str, got: object) -> TopologyError:
    """For an argument that is no function: "sink totals (app.py:9) needs ..., it got ..."."""
    where = where_called()
    says = f"{who} ({where}) needs {wanted}, it got {got!r:.60}."
    return TopologyError(says, operator=who.rpartition(" ")[2], where=where)


def _name_problem(name: object) -> str:
    if not isinstance(name, str) or not name:
        return f"a name must be a text that is not empty, it is {name!r:.60}."
    if NAME_STOPS & set(name):
        return f"a name must not hold blanks or any of @ , = : and it is {name!r}."
    return ""


def _needs_problem(needs: object) -> str:
    if isinstance(needs, (list, tuple)) and all(isinstance(need, PerWorker) for need in needs):
        return ""
    return f"needs must be a list of PerWorker(...), it is {needs!r:.60}."


# ---------------------------------------------------------------- lowered to a stateful_map


def reducing(f: Callable[[Any, Any], Any]) -> Callable[[Any, Any], tuple[Any, Any]]:
    """The step of `reduce`: state and output are the value so far."""

    def reduce(so_far: Any, value: Any) -> tuple[Any, Any]:
        so_far = value if so_far is None else f(so_far, value)
        return so_far, so_far

    return reduce


def aggregating(how: Aggregate[Any, Any, Any]) -> Callable[[Any, Any], tuple[Any, Any]]:
    """The step of `aggregate`: the state is the accumulator."""
    add, result = how.add, how.result

    def aggregate(so_far: Any, value: Any) -> tuple[Any, Any]:
        so_far = add(so_far, value)
        return so_far, result(so_far)

    return aggregate


def counting(so_far: int, _value: object) -> tuple[int, int]:
    """The step of `count`."""
    return so_far + 1, so_far + 1
