"""Which of a person's classes can travel, found when the topology is built.

Classes are found in three ways: from the annotations of functions, from what `initial()` gives,
and, for functions without annotations, from the classes that their code names. The first two are
wishes: two classes of one wire name are refused. The third is a guess and never refuses.
"""

from __future__ import annotations

import functools
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from zstream.errors import CannotTravel
from zstream.model.keys import wire_name
from zstream.topology.node import Node
from zstream.wire.values import Registry


class Travellers:
    """Registers the classes of a topology's nodes, each once."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._seen: set[Any] = set()

    def add_declared(self, node: Node) -> None:
        """What annotations and specs say. Raises CannotTravel for two classes of one name."""
        for function in _functions(node):
            for hint in hints_of(function).values():
                self.add(hint)

    def add_guessed(self, node: Node) -> None:
        """What the code of the functions names."""
        for function in _functions(node):
            for cls in _named_in(function, set()):
                try:
                    self.add(cls)
                except CannotTravel:
                    continue  # named here and never sent, perhaps; else its first record says so

    def add(self, hint: Any, *, must: bool = False) -> None:
        """Register every class in a type hint, and those in its fields.

        must: the hint is of state, so raise CannotTravel for a class of the user's that cannot.
        """
        for cls in _classes_in(hint):
            if cls in self._seen or _package(cls) == "zstream":
                continue
            refused = must and _package(cls) not in sys.stdlib_module_names
            if not refused and not Registry.registrable(cls):
                continue
            self._seen.add(cls)
            self.registry.register(cls)
            for field_hint in hints_of(cls).values():
                self.add(field_hint)


def hints_of(thing: Any) -> dict[str, Any]:
    """Type hints by name; without those that cannot be resolved. {} for what has none."""
    thing = _unwrapped(thing)
    try:
        annotations = getattr(thing, "__annotations__", None)
    except Exception:  # from Python 3.14 they are computed when asked for, and may fail
        annotations = None
    if not isinstance(annotations, dict):
        return {}
    around = _closure_of(thing)
    try:
        return typing.get_type_hints(thing, localns=around)
    except Exception:
        # Some name in some annotation is unknown (a class inside a function): take the others.
        space = getattr(thing, "__globals__", {})
        return dict(_resolvable(annotations, space, around))


def state_hint(step: Any) -> Any:
    """The hint of a step's first parameter, or None when there is none."""
    code = getattr(_unwrapped(step), "__code__", None)
    hints = hints_of(step)
    if code is None or not code.co_argcount:
        return None
    return hints.get(code.co_varnames[0])


def type_label(hint: Any) -> str:
    """A type for the fingerprint: its name without its module, its arguments, unions sorted."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(sorted(type_label(arg) for arg in args))
    if hint is None or hint is type(None):
        return "None"
    if origin is not None:
        inside = ", ".join("..." if arg is Ellipsis else type_label(arg) for arg in args)
        return f"{type_label(origin)}[{inside}]"
    if isinstance(hint, type):
        return wire_name(hint)
    return str(hint).rpartition(".")[2]


def _resolvable(
    annotations: dict[str, Any], space: dict[str, Any], around: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    for name, annotation in annotations.items():
        alone = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            yield name, typing.get_type_hints(alone, globalns=space, localns=around)[name]
        except Exception:
            continue


def _functions(node: Node) -> Iterator[Any]:
    """All functions of a node that see or make records."""
    if node.function is not None:
        yield node.function
    if node.options.get("initial") is not None:
        yield node.options["initial"]
    for spec, function in (("source", "decode"), ("sink", "encode")):
        if spec in node.options and getattr(node.options[spec], function) is not None:
            yield getattr(node.options[spec], function)
    for record in getattr(node.options.get("source"), "records", ())[:1]:
        yield type(record)


def _classes_in(hint: Any) -> Iterator[type]:
    if isinstance(hint, type) and typing.get_origin(hint) is None:
        yield hint
    for arg in typing.get_args(hint):
        if not isinstance(arg, list):
            yield from _classes_in(arg)
        else:  # the parameters of a Callable
            for inner in arg:
                yield from _classes_in(inner)
    origin = typing.get_origin(hint)
    if isinstance(origin, type):
        yield origin


def _package(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _named_in(function: Any, seen: set[Any]) -> Iterator[type]:
    """Classes that a function's code names, and the functions it names, and so on."""
    function = _unwrapped(function)
    if isinstance(function, type):
        yield function
        return
    code = getattr(function, "__code__", None)
    if not isinstance(code, types.CodeType) or code in seen:
        return
    seen.add(code)
    space = function.__globals__
    things = [space[name] for name in _names_in(code) if name in space]
    for thing in [*things, *_closure_of(function).values(), *(function.__defaults__ or ())]:
        if isinstance(thing, (type, types.FunctionType, functools.partial)):
            yield from _named_in(thing, seen)


def _names_in(code: types.CodeType) -> Iterable[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _unwrapped(function: Any) -> Any:
    """The plain function in a partial or a method."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__func__", function)


def _closure_of(function: Any) -> dict[str, Any]:
    """Names and values that a function took from around it."""
    code = getattr(function, "__code__", None)
    cells: Iterable[Any] = getattr(function, "__closure__", None) or ()
    found = {}
    for name, cell in zip(getattr(code, "co_freevars", ()), cells, strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not set yet
            continue
    return found
