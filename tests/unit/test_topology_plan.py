"""The compiler: where exchanges are, what runs behind each entry, and what a joiner is told."""

from __future__ import annotations

from typing import Any

import pytest

from zstream import End, Generate, KeyedStream, Memory, Stdout, Stream, source
from zstream.topology.outline import difference
from zstream.topology.plan import Edge, Plan
from zstream.topology.topology import TopologyValue


def words(name: str = "words", **settings: Any) -> Stream[str]:
    return source(name, Memory(["a"]))


def keyed(name: str = "words") -> KeyedStream[str, str]:
    return words(name).key_by(str.lower)


def out(stream: Stream[Any], name: str = "out") -> End[Any]:
    return stream.sink(name, Stdout())


def plan_of(*streams: Stream[Any]) -> Plan:
    ends = [out(stream, f"out{at}") for at, stream in enumerate(streams)]
    return TopologyValue("t", *ends).plan


def shape(plan: Plan) -> list[str]:
    """ "keyed lower: count > out0", a line for each entry: its steps and all that they call."""

    def target(edge: Edge) -> str:
        if edge.step is None:
            entry = plan.entries[edge.entry or 0]
            return f"({entry.route} {entry.name})"
        return walk(edge.step)

    def walk(step: int) -> str:
        ports = [" + ".join(target(edge) for edge in port) for port in plan.steps[step].outputs]
        behind = f" > {' | '.join(ports)}" if ports else ""
        return plan.steps[step].node.name + behind

    return [
        f"{entry.route} {entry.name}: {' + '.join(walk(step) for step in entry.steps)}"
        for entry in plan.entries
    ]


def single(value: Any) -> Any:
    return value


def test_ids_are_places_in_the_lists() -> None:
    """Every worker compiles the same ids, and they can be used as indexes."""
    plan = plan_of(keyed().count().map(single, parallel=False).rebalance().map(str))
    assert [step.id for step in plan.steps] == list(range(len(plan.steps)))
    assert [entry.id for entry in plan.entries] == list(range(len(plan.entries)))


def test_a_stage_ends_at_each_key_by() -> None:
    """Source to key_by, key_by to key_by, key_by to sink: three entries."""
    plan = plan_of(words().map(single).key_by(str.lower).count().key_by(str).count(name="again"))
    assert shape(plan) == [
        "source words: single > lower > (keyed lower)",
        "keyed lower: count > str > (keyed str)",
        "keyed str: again > out0",
    ]


def test_a_stream_used_twice_feeds_both() -> None:
    """One step, two edges; the sinks are steps without outputs."""
    base = words().map(single)
    assert shape(plan_of(base.map(str), base.map(len))) == [
        "source words: single > str > out0 + len > out1"
    ]


def test_a_branch_has_two_ports() -> None:
    """Port 0 for those that pass, port 1 for the rest, whichever is used first."""
    passed, rest = words().branch(str.isupper)
    assert shape(plan_of(rest, passed)) == ["source words: isupper > out1 | out0"]


def test_a_merge_is_no_step() -> None:
    """All inputs of a merge, of a merge too, list the same steps."""
    three = words("a").merge(words("b").map(str)).merge(words("c"))
    assert shape(plan_of(three.map(single))) == [
        "source a: single > out0",
        "source b: str > single > out0",
        "source c: single > out0",
    ]


def test_a_stream_merged_with_itself_comes_twice() -> None:
    """Two inputs are two edges, although they are the same."""
    base = words().map(single)
    assert shape(plan_of(base.merge(base).map(str))) == [
        "source words: single > str > out0 + str > out0"
    ]


def test_a_step_in_one_place_has_a_pinned_entry() -> None:
    """Once: what follows it with parallel=False is in that place already."""
    plan = plan_of(
        words().map(str).map(single, parallel=False).map(len).filter(bool, parallel=False)
    )
    assert shape(plan) == [
        "source words: str > (pinned single)",
        "pinned single: single > len > bool > out0",
    ]
    assert plan.pinned == ("single",)


def test_two_places_meet_in_a_third() -> None:
    """A step behind a merge of two pinned places cannot be in both: it gets its own."""
    one = words("a").map(str, name="one", parallel=False)
    two = words("b").map(str, name="two", parallel=False)
    plan = plan_of(one.merge(two).map(single, parallel=False))
    assert plan.pinned == ("one", "two", "single")


def test_an_entry_that_leads_straight_to_an_exchange_passes_on() -> None:
    """An entry names steps, so a step that does nothing stands between the two."""
    assert shape(plan_of(words().rebalance().map(single))) == [
        "source words: words-on > (balanced rebalance)",
        "balanced rebalance: single > out0",
    ]
    assert shape(plan_of(keyed().map(single, parallel=False))) == [
        "source words: lower > (keyed lower)",
        "keyed lower: lower-on > (pinned single)",
        "pinned single: single > out0",
    ]
    plan = plan_of(words().rebalance().map(single))
    (between,) = [step for step in plan.steps if step.node.name == "words-on"]
    assert (between.node.kind, between.node.function) == ("rebalance", None)


def test_rebalance_behind_a_step_is_an_edge() -> None:
    """The step before it leads to the balanced entry."""
    assert shape(plan_of(words().map(str).rebalance(name="spread").map(single))) == [
        "source words: str > (balanced spread)",
        "balanced spread: single > out0",
    ]


def test_state_behind_one_place_goes_back_to_the_owners() -> None:
    """After parallel=False a record is no longer with its key's owner: a key_by that keeps keys."""
    plan = plan_of(keyed().map(single, parallel=False).count())
    assert shape(plan) == [
        "source words: lower > (keyed lower)",
        "keyed lower: lower-on > (pinned single)",
        "pinned single: single > count-key > (keyed count)",
        "keyed count: count > out0",
    ]
    (rekey,) = [step.node for step in plan.steps if step.node.name == "count-key"]
    assert (rekey.kind, rekey.function) == ("key_by", None)


def test_of_two_ways_to_a_state_only_the_strayed_one_is_keyed_again() -> None:
    """The other one is with the owner already, and is called directly."""
    base = keyed()
    strayed = base.map(single, parallel=False)
    assert shape(plan_of(base.map(str).merge(strayed).count())) == [
        "source words: lower > (keyed lower)",
        "keyed lower: str > count > out0 + lower-on > (pinned single)",
        "pinned single: single > count-key > (keyed count)",
        "keyed count: count > out0",
    ]


def test_state_after_state_needs_no_exchange() -> None:
    """Keys stay through stateless and stateful steps, so nothing moves."""
    assert shape(plan_of(keyed().count().map(str).reduce(max))) == [
        "source words: lower > (keyed lower)",
        "keyed lower: count > str > max > out0",
    ]


def test_stateless_repeats_are_numbered() -> None:
    """In the order of the graph; a stateful operator of the name keeps it."""
    stream = words().map(single).map(single).map(single).map(str, name="count")
    plan = plan_of(stream.key_by(str).count())
    names = [step.node.name for step in plan.steps]
    assert names == ["single", "single-2", "single-3", "count-2", "str", "count", "out0"]


def test_sources_and_sinks_are_found_by_name() -> None:
    """With their specs; decode and encode are no steps."""
    stream = source("numbers", Generate(str, count=3))
    plan = TopologyValue("t", out(stream)).plan
    assert plan.entries[plan.sources["numbers"].entry].route == "source"
    assert plan.sources["numbers"].spec == Generate(str, count=3)
    assert plan.sinks["out"].spec == Stdout()
    assert [step.node.kind for step in plan.steps] == ["sink"]


# ---------------------------------------------------------------- fingerprints


def tally(total: int, word: str) -> tuple[int, str]:
    return total + 1, word


def other(text: str, word: str) -> tuple[str, str]:
    return text + word, word


def many(total: int, word: str) -> tuple[int, list[str]]:
    return total + 1, [word]


def usual(**settings: Any) -> TopologyValue:
    return TopologyValue("t", out(keyed().stateful_map(tally, int)), **settings)


def test_the_same_topology_has_the_same_fingerprint() -> None:
    """Made twice on different lines, with another function body: the same eight digits."""
    other = out(keyed().stateful_map(lambda total, word: (total, word), int, name="tally"))
    assert usual().fingerprint == TopologyValue("t", other).fingerprint
    assert len(usual().fingerprint) == 8
    assert difference(usual().plan.outline, TopologyValue("t", other).plan.outline) == ""


@pytest.mark.parametrize(
    ("build", "clause"),
    [
        (
            lambda: TopologyValue("t", out(keyed().stateful_flat_map(many, int, name="tally"))),
            "operator tally is a stateful_map there ({there}) "
            "and a stateful_flat_map here ({here})",
        ),
        (
            lambda: TopologyValue("t", out(keyed().stateful_map(other, str, name="tally"))),
            "the state of tally is int there ({there}) and str here ({here})",
        ),
        (
            lambda: TopologyValue("t", out(keyed().stateful_map(tally, int, name="sum"))),
            "operator tally ({there}) is there and not here",
        ),
        (
            lambda: TopologyValue("t", out(keyed().map(single).stateful_map(tally, int))),
            "operator single ({here}) is here and not there",
        ),
        (lambda: usual(key_groups=512), "key_groups is 1024 there and 512 here"),
        (lambda: usual(version="2"), "version is not given there and 2 here"),
        (
            lambda: TopologyValue("u", out(keyed().stateful_map(tally, int))),
            "the topology is t there and u here",
        ),
    ],
)
def test_a_difference_is_named(build: Any, clause: str) -> None:
    """The joiner is here, the cluster is there; each with its line."""
    there, here = usual().plan, build().plan
    assert there.fingerprint != here.fingerprint
    says = difference(here.outline, there.outline)
    for plan, side in ((here, "({here})"), (there, "({there})")):
        for _, _, where in plan.outline:
            says = says.replace(f"({where})", side) if where else says
    assert says == clause


def test_another_input_is_a_difference() -> None:
    """Names and kinds are equal and one edge is not."""

    def made(first: bool) -> TopologyValue:
        upper, lower = words().map(str.upper), words("more").map(str.lower)
        one, two = (upper, lower) if first else (lower, upper)
        return TopologyValue("t", out(one.map(len), "one"), out(two, "two"))

    there, here = made(True).plan, made(False).plan
    assert there.fingerprint != here.fingerprint
    assert difference(here.outline, there.outline).startswith("the input of operator len is upper")


def test_one_place_is_a_difference() -> None:
    """parallel=False changes the plan, so it must change the fingerprint."""
    there, here = plan_of(words().map(str)), plan_of(words().map(str, parallel=False))
    says = difference(here.outline, there.outline)
    assert says.startswith("operator str is a map there")
    assert "a map with parallel=False here" in says
