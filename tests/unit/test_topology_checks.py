"""What is refused when a topology is built, which classes can travel, how it is shown."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, NamedTuple, TypeVar
from xml.etree import ElementTree

import pytest

from zstream import (
    End,
    LengthPrefix,
    Memory,
    Stdout,
    Stream,
    TcpSink,
    TcpSource,
    from_json,
    record,
    source,
)
from zstream.errors import TopologyError, UsageError
from zstream.topology.topology import TopologyValue

T = TypeVar("T")


def words(name: str = "words") -> Stream[str]:
    return source(name, Memory(["a"]))


def out(stream: Stream[Any], name: str = "out") -> End[Any]:
    return stream.sink(name, Stdout())


def refused(build: Callable[[], object]) -> TopologyError:
    with pytest.raises(TopologyError) as caught:
        build()
    return caught.value


def test_a_topology_needs_ends() -> None:
    """No end, a stream instead of an end: each is said."""
    assert "topology t has no ends" in refused(lambda: TopologyValue("t")).says
    stream: Any = words()
    assert "A stream becomes an end by .sink(" in refused(lambda: TopologyValue("t", stream)).says


@pytest.mark.parametrize("groups", [0, 65_537, -1, 1.5, True])
def test_key_groups_have_limits(groups: Any) -> None:
    """1 to 65,536, a whole number."""
    with pytest.raises(UsageError, match="key_groups must be"):
        TopologyValue("t", out(words()), key_groups=groups)


def test_the_limits_of_key_groups_are_taken() -> None:
    """Both ends of the range."""
    for groups in (1, 65_536):
        assert TopologyValue("t", out(words()), key_groups=groups).plan.key_groups == groups


def test_a_topology_refuses_an_unknown_policy() -> None:
    """on_error is checked where it is given."""
    policy: Any = "ignore"
    with pytest.raises(UsageError, match="on_error must be"):
        TopologyValue("t", out(words()), on_error=policy)


def test_two_stateful_operators_of_one_name_are_refused() -> None:
    """State is found by name, so both lines are named."""
    keyed = words().key_by(str)
    first, second = keyed.count(), keyed.count()
    error = refused(lambda: TopologyValue("t", out(first, "a"), out(second, "b")))
    assert error.says == (
        f"two stateful operators are called count ({first.node.where} and {second.node.where}). "
        "Give one a name=."
    )
    assert (error.operator, error.where) == ("count", second.node.where)


def test_two_sources_or_sinks_of_one_name_are_refused() -> None:
    """They are what addresses are bound by."""
    both = words().merge(words())
    assert "two sources are called words" in refused(lambda: TopologyValue("t", out(both))).says
    stream = words()
    twice = refused(lambda: TopologyValue("t", out(stream), out(stream)))
    assert "two sinks are called out" in twice.says


def test_an_end_handed_over_twice_is_one_end() -> None:
    """It is the same sink, not two of one name."""
    end = out(words())
    assert list(TopologyValue("t", end, end).plan.sinks) == ["out"]


def test_a_branch_whose_rest_goes_nowhere_is_refused() -> None:
    """Half of the records would vanish without a word."""
    passed, _ = words().branch(str.isupper)
    error = refused(lambda: TopologyValue("app", out(passed)))
    assert error.says == (
        f"the stream made at {error.where} (branch) reaches no sink of topology app. "
        "Add .sink(...) or hand its end to Topology(...)."
    )


def test_check_finds_what_was_forgotten() -> None:
    """A stream or a sink made from the topology's own and handed nowhere, also without a name."""
    base = words()
    topology = TopologyValue("app", out(base.map(str)))
    assert topology.check() == []
    base.map(len).filter(bool)
    out(base, "lost")
    says = [problem.says for problem in topology.check()]
    assert len(says) == 2
    assert "(filter) reaches no sink of topology app" in says[0]
    assert "(sink) reaches no sink of topology app" in says[1]


def test_what_another_topology_has_is_not_forgotten() -> None:
    """Two topologies may share a stream."""
    base = words()
    one, two = out(base.map(str), "one"), out(base.map(len), "two")
    first, second = TopologyValue("first", one), TopologyValue("second", two)
    assert first.check() == second.check() == []


# ---------------------------------------------------------------- state


@dataclass
class Guarded:
    lock: Any = field(default_factory=threading.Lock)


class Ballot:
    pass


@record
class Marked:
    pass


def keep(state: Any, value: str) -> tuple[Any, str]:
    return state, value


def keep_ballot(state: Ballot | None, value: str) -> tuple[Ballot | None, str]:
    return state, value


def with_state(initial: Any) -> Callable[[], TopologyValue]:
    return lambda: TopologyValue("t", out(words().key_by(str).stateful_map(keep, initial)))


def test_state_that_cannot_travel_is_refused_at_build() -> None:
    """The field is named, and the operator with its line."""
    error = refused(with_state(Guarded))
    assert error.says == (
        f"state of keep ({error.where}): the field lock is a _thread.lock, which cannot be moved "
        "to another worker. Keep such things in PerWorker(...)."
    )
    assert error.operator == "keep"


@pytest.mark.parametrize(
    "build",
    [
        with_state(Ballot),
        lambda: TopologyValue("t", out(words().key_by(str).stateful_map(keep_ballot))),
    ],
    ids=["by what initial gives", "by the step's hint"],
)
def test_a_class_that_is_not_known_is_refused_at_build(build: Any) -> None:
    """With the class's own line, and what to do."""
    says = refused(build).says
    assert says.startswith(
        "state of keep: class Ballot is not a dataclass"
        if "keep:" in says
        else "state of keep_ballot: class Ballot is not a dataclass"
    )
    assert "and not marked @zstream.record (test_topology_checks.py:" in says
    assert says.endswith("Mark it.")


def test_initial_that_raises_is_refused_at_build() -> None:
    """It would raise for each new key."""
    assert "initial() raised ZeroDivisionError" in refused(with_state(lambda: 1 / 0)).says


@pytest.mark.parametrize("initial", [int, dict, list, Marked, lambda: (1, {"a": [None]})])
def test_state_that_can_travel_is_taken(initial: Any) -> None:
    """Plain values, collections, marked classes."""
    assert with_state(initial)().check() == []


# ---------------------------------------------------------------- types that travel


class Color(Enum):
    RED = 1


@dataclass
class Deep:
    color: Color


class Vote(NamedTuple):
    letter: str
    inside: list[dict[str, Deep | None]]


@dataclass
class Box(Generic[T]):
    content: T


@dataclass
class Hidden:
    x: int


def decode(payload: bytes) -> Vote:
    return Vote(payload.decode(), [])


def boxed(vote: Vote) -> Box[Marked]:
    return Box(Marked())


def unannotated(box):  # type: ignore[no-untyped-def]
    return helper(box)


def helper(box: Any) -> Any:
    return Hidden(1)


def names_of(stream: Stream[Any]) -> set[str]:
    return set(TopologyValue("t", out(stream)).registry.names())


def test_types_are_found_in_annotations() -> None:
    """In decode, in fields of fields, in generics and unions."""
    stream = source("votes", TcpSource(LengthPrefix(), decode))
    assert names_of(stream) == {"Vote", "Deep", "Color"}
    assert names_of(stream.map(boxed)) == {"Vote", "Deep", "Color", "Box", "Marked"}


def test_types_are_found_in_specs_and_made_decoders() -> None:
    """from_json's type, and the class of records held in memory."""
    assert names_of(source("v", TcpSource(LengthPrefix(), from_json(Deep)))) == {"Deep", "Color"}
    assert names_of(source("v", Memory([Hidden(1)]))) == {"Hidden"}


def test_types_are_found_in_code_without_annotations() -> None:
    """Classes that a function names, or a function that it calls, or a lambda in it."""
    assert names_of(words().map(unannotated)) == {"Hidden"}
    assert names_of(words().map(lambda word: [Hidden(len(c)) for c in word])) == {"Hidden"}


def test_types_of_a_function_inside_a_function_are_found() -> None:
    """Their annotations are names that only the closure knows."""

    @dataclass
    class Local:
        x: int

    def make(word: str) -> Local:
        return Local(len(word))

    assert names_of(words().map(make)) == {
        "test_types_of_a_function_inside_a_function_are_found.Local"
    }


def other_vote() -> type:
    @record(name="Vote")
    @dataclass
    class Vote:
        x: int

    return Vote


def test_two_classes_of_one_name_are_refused() -> None:
    """On the wire they would be one."""
    cls: Any = other_vote()

    def wrong(vote: Vote) -> Any:
        return vote

    wrong.__annotations__["return"] = cls
    stream = source("votes", TcpSource(LengthPrefix(), decode)).map(wrong)
    assert "two classes are called Vote" in refused(lambda: TopologyValue("t", out(stream))).says


# ---------------------------------------------------------------- words and pictures


def shown() -> TopologyValue:
    passed, rest = words().branch(str.isupper)
    counts = passed.key_by(str).count()
    late = rest.map(len, parallel=False)
    return TopologyValue(
        "votes", counts.sink("counts", TcpSink(str)), out(late.rebalance().map(str), "late")
    )


def test_describe_says_stages_state_and_promises() -> None:
    """Every stage, what is kept for each key, and what a crash costs."""
    said = shown().describe()
    for part in [
        "topology votes ",
        "1,024 key groups",
        "stage 1: read from source words",
        "by key, to the worker that owns the key (str)",
        "to the one worker where len is placed",
        "to all workers in turn (rebalance)",
        "state of count: int for each key",
        "a worker that dies: the others go on",
        "sink counts: what was on its way out",
        "source words: what was read",
    ]:
        assert part in said


def test_every_form_of_picture_has_every_operator() -> None:
    """text, mermaid and dot by name; json and svg are read back."""
    topology = shown()
    names = {"words", "isupper", "str", "count", "counts", "len", "rebalance", "str-2", "late"}
    for form in ("text", "mermaid", "dot"):
        drawing = topology.draw(form)
        assert all(name in drawing for name in names), form
    value = json.loads(topology.draw("json"))
    assert {operator["name"] for operator in value["operators"]} == names
    assert {"from": "isupper", "to": "len", "label": "the rest"} in value["edges"]
    svg = ElementTree.fromstring(topology.draw("svg"))
    texts = {element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")}
    assert names <= texts


def test_names_are_escaped_in_pictures() -> None:
    """A name with a mark of the form's own stays a name."""
    topology = TopologyValue("t", out(words().map(str, name='<"&>')))
    ElementTree.fromstring(topology.draw("svg"))
    assert r'label="<\"&>\nmap"' in topology.draw("dot")


def test_an_unknown_form_is_refused() -> None:
    """With the forms there are."""
    form: Any = "gif"
    with pytest.raises(UsageError, match="text, mermaid, dot, svg, json"):
        shown().draw(form)
