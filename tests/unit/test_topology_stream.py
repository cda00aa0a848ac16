"""Streams: what chained calls make, how operators are named, where they say they were made."""

from __future__ import annotations

import functools
import operator
from typing import Any

import pytest

from zstream import (
    Aggregate,
    KeyedStream,
    Memory,
    PerWorker,
    Retry,
    Stdout,
    Stream,
    TcpSource,
    mean,
    source,
)
from zstream.errors import TopologyError, UsageError


def words() -> Stream[str]:
    return source("words", Memory(["a"]))


def untyped() -> Any:
    """A stream on which mypy lets a mistake pass."""
    return words()


def double(text: str) -> str:
    return text * 2


untyped_source: Any = source


class Scorer:
    def __call__(self, text: str) -> int:
        return len(text)

    def score(self, text: str) -> int:
        return len(text)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (double, "double"),
        (lambda text: text, "map"),
        (str.upper, "upper"),
        ("{}".format, "format"),
        (len, "len"),
        (int, "int"),
        (functools.partial(double), "double"),
        (functools.partial(functools.partial(lambda text: text)), "map"),
        (Scorer(), "Scorer"),
        (Scorer().score, "score"),
        (operator.itemgetter(0), "itemgetter"),
    ],
)
def test_an_operator_is_named_after_its_function(function: Any, name: str) -> None:
    """The function's own name, a partial's inner one, and the operator's for a lambda."""
    assert words().map(function).node.name == name


def test_the_name_that_is_said_wins() -> None:
    """name= is taken over the function's name."""
    assert words().map(double, name="twice").node.name == "twice"


def test_running_operators_keep_their_own_word() -> None:
    """reduce, aggregate and count are stateful maps inside, and are called what was written."""
    keyed = words().key_by(str.lower)
    made = [
        keyed.reduce(max),
        keyed.reduce(lambda a, b: a),
        keyed.aggregate(mean(len)),
        keyed.count(),
        keyed.count(name="seen"),
    ]
    assert [stream.node.name for stream in made] == ["max", "reduce", "aggregate", "count", "seen"]
    assert [stream.node.label for stream in made] == ["reduce"] * 2 + ["aggregate"] + ["count"] * 2
    assert {stream.node.kind for stream in made} == {"stateful_map"}


def test_a_node_knows_the_line_that_made_it() -> None:
    """The line is the user's, not one inside zstream, however deep the call came."""
    here = words().map(double).node.where
    file, _, line = here.partition(":")
    assert file == "test_topology_stream.py"
    with open(__file__, encoding="utf-8") as text:
        assert "here = words().map(double)" in text.readlines()[int(line) - 1]


def test_an_operator_of_ones_own_is_placed_where_it_is_written() -> None:
    """pipe gives the stream to a function of the user's, and returns what that returns."""

    def twice(stream: Stream[str], times: int, *, name: str) -> Stream[str]:
        return stream.map(lambda text: text * times, name=name)

    piped = words().pipe(twice, 2, name="doubled")
    assert piped.node.name == "doubled"
    assert piped.node.function("ab") == "abab"


def test_a_stream_is_left_as_it_was() -> None:
    """Chaining twice from one stream gives two streams with one input."""
    base = words()
    first, second = base.map(double), base.map(len)
    assert first.node.inputs[0].node is second.node.inputs[0].node is base.node


def test_the_key_stays_until_it_is_dropped() -> None:
    """Stateless operators of a keyed stream give keyed streams; values and rebalance do not."""
    keyed = words().key_by(str.lower)
    passed, rest = keyed.branch(bool)
    stay = [
        keyed.map(double),
        keyed.filter(bool),
        keyed.flat_map(list),
        keyed.map_batches(list),
        keyed.peek(print),
        keyed.items(),
        keyed.merge(keyed.map(double)),
        passed,
        rest,
    ]
    assert all(isinstance(stream, KeyedStream) for stream in stay)
    drop: list[Any] = [keyed.values(), keyed.rebalance(), keyed.merge(words()), words()]
    assert not any(isinstance(stream, KeyedStream) for stream in drop)


def test_branch_gives_both_outputs_of_one_node() -> None:
    """Those that pass come from port 0, the rest from port 1."""
    passed, rest = words().branch(str.isupper)
    used = [passed.map(len), rest.map(len)]
    assert [stream.node.inputs[0].port for stream in used] == [0, 1]
    assert passed.node is rest.node


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: untyped().map("upper"), "it needs a function, it got 'upper'"),
        (lambda: untyped().key_by(str).reduce(3), "it needs a function, it got 3"),
        (lambda: untyped().map(double, on_error="ignore"), 'on_error must be "dead_letter"'),
        (lambda: untyped().map(double, needs=[double]), "needs must be a list of PerWorker"),
        (lambda: words().map(double, name=""), "a name must be a text that is not empty"),
        (lambda: source("a@b", Memory([])), "a name must not hold blanks or any of @"),
        (lambda: untyped_source("a", Stdout()), "source a (test_topology_stream.py:"),
        (lambda: untyped().sink("out", Memory([])), "needs a sink such as Stdout()"),
        (lambda: untyped().key_by(str).aggregate(len), "needs an Aggregate"),
        (lambda: untyped().merge("b"), "merge (test_topology_stream.py:"),
    ],
)
def test_a_wrong_argument_is_refused_with_the_line(build: Any, says: str) -> None:
    """Refused where it is written, with the line, before anything is run."""
    with pytest.raises(TopologyError) as refused:
        build()
    assert says in refused.value.says
    assert refused.value.where.startswith("test_topology_stream.py:")
    assert refused.value.where in refused.value.says


def test_a_source_needs_a_framing() -> None:
    """A spec refuses what it cannot be as soon as it is made."""
    with pytest.raises(UsageError, match="TcpSource needs a framing such as"):
        TcpSource(double)  # type: ignore[call-overload]


def test_reduce_counts_nothing_before_the_first_value() -> None:
    """The lowered step: the first value is the state, later ones are folded in."""
    step = words().key_by(str.lower).reduce(max).node.function
    state, output = step(None, "b")
    assert (state, output) == ("b", "b")
    assert step(state, "a") == ("b", "b")


def test_aggregate_steps_through_its_parts() -> None:
    """The lowered step: add, then the result of what there is."""
    how: Aggregate[str, list[str], int] = Aggregate(
        list, lambda so_far, value: [*so_far, value], len
    )
    step = words().key_by(str.lower).aggregate(how).node.function
    assert step(["a"], "b") == (["a", "b"], 2)


def test_retry_says_what_it_cannot_be() -> None:
    """times below 1 and an unknown last resort are refused when the policy is made."""
    with pytest.raises(UsageError, match="times must be at least 1, it is 0"):
        Retry(0)
    with pytest.raises(UsageError, match="then must be one of"):
        Retry(3, then="again")  # type: ignore[arg-type]


def test_per_worker_is_made_once_and_closed_by_the_last_user() -> None:
    """Two workers in one process share the thing; it closes when both have shut it."""
    made: list[str] = []
    closed: list[str] = []

    def make() -> str:
        made.append("model")
        return "model"

    model = PerWorker(make, close=closed.append)
    model.open()
    model.open()
    assert model() == "model"
    model.shut()
    assert (made, closed) == (["model"], [])
    model.shut()
    assert closed == ["model"]
    model.open()
    assert made == ["model", "model"]


def test_per_worker_without_needs_is_made_when_first_called() -> None:
    """Nothing is made while the topology is built; None is a thing like any other."""
    made: list[int] = []
    nothing = PerWorker(lambda: made.append(1))
    assert made == []
    nothing()
    nothing()
    assert made == [1]
