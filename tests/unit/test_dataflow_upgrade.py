"""A recovery with another version of the topology: operators renamed, new, gone; states evolved."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.dataflow_one import Several, generation
from zstream.dataflow.engine import Dataflow
from zstream.errors import WireError
from zstream.model.ids import Epoch, Run
from zstream.topology.topology import TopologyValue
from zstream.wire.parts import Part, open_part
from zstream.wire.values import record

GROUPS = 8


def started(build: Any, *classes: type) -> Several:
    several = Several(build, [1], list(classes), key_groups=GROUPS)
    several.switch(generation(1, [1], [1] * GROUPS))
    return several


def written(several: Several, epoch: int) -> Part:
    """Cut, written and in a manifest."""
    worker = several.workers[1]
    assert worker.cut(worker.run, Epoch(epoch), several.now)
    while (data := worker.part(Epoch(epoch))) is None:
        worker.flush(several.now)
    part = open_part(worker.part_name(Epoch(epoch)), data)
    worker.manifest_appended(Epoch(epoch))
    return part


def upgraded(build: Any, *parts: Part, classes: tuple[type, ...] = (), run: int = 2) -> Several:
    """Another process with another version of the topology goes on with these parts."""
    after = Several(build, [1], list(classes), key_groups=GROUPS)
    opened = replace(generation(run, [1], [1] * GROUPS), run=Run(run), recovers=True)
    by_name = {part.name: part for part in parts}
    after.workers[1].restore(Run(run), opened, by_name, after.now)
    return after


def said(several: Several, *records: Any) -> list[Any]:
    several.out.clear()
    several.workers[1].feed("in", list(records))
    return [record for _, record in several.out]


def counting(name: str, was: str | None = None) -> Any:
    return lambda stream: stream.key_by(lambda value: value).count(name=name, was=was).items()


# ---------------------------------------------------------------- operators


def test_a_renamed_operator_finds_its_state_by_its_name_before() -> None:
    before = started(counting("visits"))
    said(before, "a", "a", "b")
    part = written(before, 1)
    after = upgraded(counting("calls", was="visits"), part)
    assert said(after, "a", "b", "c") == [("a", 3), ("b", 2), ("c", 1)]


def test_what_had_the_name_before_is_not_needed_once_there_is_a_manifest() -> None:
    """All is written under the new name in the first epoch, so `was` may be taken out again."""
    before = started(counting("visits"))
    said(before, *range(50))
    first = written(before, 1)
    after = upgraded(counting("calls", was="visits"), first)
    said(after, 1)
    second = written(after, 2)
    assert second.history.names == {second.name}
    assert second.operators == ("calls",)
    last = upgraded(counting("calls"), second, run=3)
    assert said(last, 1, 2) == [(1, 3), (2, 2)]


def test_nothing_is_written_again_where_the_operators_are_the_same() -> None:
    before = started(counting("visits"))
    said(before, *range(50))
    first = written(before, 1)
    after = upgraded(counting("visits"), first)
    said(after, 1)
    second = written(after, 2)
    assert second.history.names == {first.name, second.name}
    assert sum(len(rows.keys) for rows in second.rows(_registry(after), range(GROUPS))) == 1


def _registry(several: Several) -> Any:
    topology: TopologyValue = several.topology
    return topology.registry


def two(first: str, second: str, **was: str) -> Any:
    """Two operators; the second one counts what the first one gives."""

    def build(stream: Any) -> Any:
        by_value = stream.key_by(lambda value: value).count(name=first, was=was.get(first))
        again = by_value.items().key_by(lambda pair: pair[0])
        return again.count(name=second, was=was.get(second)).items()

    return build


def test_an_operator_that_is_new_starts_empty_and_one_that_is_gone_is_passed_over() -> None:
    before = started(two("kept", "gone"))
    assert said(before, "a", "a") == [("a", 1), ("a", 2)]
    part = written(before, 1)
    after = upgraded(two("new", "kept"), part)
    assert after.workers[1].states("new") == {}
    assert after.workers[1].states("kept") == {"a": 2}
    assert after.workers[1].keys == 1


def test_state_of_an_operator_that_was_gone_for_a_while_does_not_come_back() -> None:
    """It would be old: the operator was not there to change it."""
    before = started(two("kept", "gone"))
    said(before, *range(30))
    first = written(before, 1)
    without = upgraded(two("kept", "other"), first)
    said(without, 1)
    second = written(without, 2)
    back = upgraded(two("kept", "gone"), second, run=3)
    assert back.workers[1].states("gone") == {}
    assert len(back.workers[1].states("kept")) == 30


def test_an_operator_that_takes_the_name_of_a_renamed_one_starts_empty() -> None:
    """Until there is a part that knows both names; from then on each has its own."""
    before = started(counting("visits"))
    said(before, "a", "b")
    first = written(before, 1)
    build = two("visits", "calls", calls="visits")
    after = upgraded(build, first)
    worker = after.workers[1]
    assert (worker.states("visits"), worker.states("calls")) == ({}, {"a": 1, "b": 1})
    said(after, "a")
    again = upgraded(build, written(after, 2), run=3).workers[1]
    assert (again.states("visits"), again.states("calls")) == ({"a": 1}, {"a": 2, "b": 1})


def test_renamed_state_that_moves_before_the_first_epoch_is_written_whole_by_its_new_holder() -> (
    None
):
    before = started(counting("visits"))
    said(before, *range(40))
    part = written(before, 1)
    after = Several(counting("calls", was="visits"), [1, 2], key_groups=GROUPS)
    opened = replace(generation(2, [1, 2], [1] * GROUPS), run=Run(2), recovers=True)
    for worker in after.workers.values():
        worker.restore(Run(2), opened, {part.name: part}, after.now)
    after.settle()
    after.switch(replace(generation(3, [1, 2], [2] * GROUPS), run=Run(2)))
    after.settle()
    second: Dataflow = after.workers[2]
    assert second.keys == 40
    for worker in after.workers.values():
        worker.cut(Run(2), Epoch(2), after.now)
    after.settle()
    data = second.part(Epoch(2))
    assert data is not None
    part = open_part(second.part_name(Epoch(2)), data)
    assert part.history.names == {part.name}
    assert sum(len(rows.keys) for rows in part.rows(_registry(after), range(GROUPS))) == 40


# ---------------------------------------------------------------- records in flight


def with_one_in_flight(build: Any) -> Part:
    """Worker 2 owns all; "x" is on its way to it when it cuts. Its part of epoch 1."""
    several = Several(build, [1, 2], key_groups=GROUPS)
    several.switch(generation(1, [1, 2], [2] * GROUPS))
    several.settle()
    first, second = several.workers[1], several.workers[2]
    second.cut(second.run, Epoch(1), several.now)
    first.feed("in", ["x"])
    first.flush(several.now)
    first.cut(first.run, Epoch(1), several.now)
    several.settle()
    data = second.part(Epoch(1))
    assert data is not None
    part = open_part(second.part_name(Epoch(1)), data)
    assert len(list(part.in_flight())) == 1
    return part


def test_a_record_in_flight_finds_its_operator_behind_a_new_exchange() -> None:
    """The number of its entry is another operator's by now: what it was on its way to counts."""
    part = with_one_in_flight(counting("visits"))

    def build(stream: Any) -> Any:
        by_length = stream.key_by(len).count(name="lengths").items().map(lambda pair: "x")
        return by_length.key_by(lambda value: value).count(name="visits").items()

    after = upgraded(build, part)
    assert (after.workers[1].states("lengths"), after.workers[1].states("visits")) == ({}, {"x": 1})


def test_a_record_in_flight_finds_an_operator_that_was_renamed() -> None:
    part = with_one_in_flight(counting("visits"))
    after = upgraded(two("new", "calls", calls="visits"), part)
    assert (after.workers[1].states("new"), after.workers[1].states("calls")) == ({}, {"x": 1})


def test_a_record_in_flight_to_what_is_gone_is_dropped_and_counted() -> None:
    """The operator and its sink are no more; it is not handed to who has its number now."""
    part = with_one_in_flight(counting("visits"))
    after = Several(counting("other"), [1], key_groups=GROUPS)
    opened = replace(generation(2, [1], [1] * GROUPS), run=Run(2), recovers=True)
    assert after.workers[1].restore(Run(2), opened, {part.name: part}, after.now) == 1
    assert after.workers[1].states("other") == {}


def test_a_record_in_flight_that_could_go_two_ways_is_refused() -> None:
    """Two exchanges lead to the sink, and neither has the name of the one before."""

    def before(stream: Any) -> Any:
        return stream.key_by(lambda value: value, name="old").items()

    def twice(stream: Any) -> Any:
        one = stream.key_by(lambda value: value, name="one")
        return one.items().key_by(lambda pair: pair[0], name="two").items()

    part = with_one_in_flight(before)
    with pytest.raises(WireError, match=r"on their way from old to out, .* shut it down"):
        upgraded(twice, part)


# ---------------------------------------------------------------- states


def tallies(tally: Any) -> Any:
    """State of a class; every version of it is called Tally, has a total, and can be shown."""

    def step(state: Any, value: tuple[str, int]) -> tuple[Any, Any]:
        state.total += value[1]
        return state, vars(state).copy()

    return lambda stream: (
        stream.key_by(lambda value: value[0]).stateful_map(step, tally, name="tally").items()
    )


def first_version() -> Part:
    @record(name="Tally")
    @dataclass
    class Tally:
        total: int = 0
        unit: str = "pence"

    before = started(tallies(Tally), Tally)
    said(before, ("a", 3), ("b", 4))
    return written(before, 1)


def test_a_new_field_with_a_default_is_read() -> None:
    @record(name="Tally")
    @dataclass
    class Later:
        total: int = 0
        unit: str = "pence"
        notes: list[str] = field(default_factory=list)

    after = upgraded(tallies(Later), first_version(), classes=(Later,))
    assert said(after, ("a", 1)) == [("a", {"total": 4, "unit": "pence", "notes": []})]


def test_a_new_field_without_a_default_is_refused() -> None:
    @record(name="Tally")
    @dataclass
    class Later:
        total: int
        unit: str
        count: int

    with pytest.raises(WireError, match=r"part parts/r1/e1/1\.part .*a field count .*a default"):
        upgraded(tallies(lambda: Later(0, "", 0)), first_version(), classes=(Later,))


def test_a_field_that_vanished_is_refused_unless_it_is_named() -> None:
    @record(name="Tally")
    @dataclass
    class Without:
        total: int = 0

    @record(name="Tally", dropped=["unit"])
    @dataclass
    class Dropped:
        total: int = 0

    with pytest.raises(WireError, match="has no field unit on this worker"):
        upgraded(tallies(Without), first_version(), classes=(Without,))
    after = upgraded(tallies(Dropped), first_version(), classes=(Dropped,))
    assert said(after, ("b", 1)) == [("b", {"total": 5})]


def test_a_hook_migrates_what_an_older_version_wrote_and_nothing_else() -> None:
    def in_pounds(fields: dict[str, Any], version: int) -> dict[str, Any]:
        assert version == 1
        return {"total": fields["total"] * 100, "unit": "pounds"}

    @record(name="Tally", version=2, migrate=in_pounds)
    @dataclass
    class Later:
        total: int = 0
        unit: str = "pounds"

    first = first_version()
    after = upgraded(tallies(Later), first, classes=(Later,))
    assert said(after, ("a", 1)) == [("a", {"total": 301, "unit": "pounds"})]
    second = written(after, 2)
    again = upgraded(tallies(Later), first, second, classes=(Later,), run=3)
    assert said(again, ("a", 0), ("b", 0)) == [
        ("a", {"total": 301, "unit": "pounds"}),
        ("b", {"total": 400, "unit": "pounds"}),
    ]


def test_what_a_later_version_wrote_is_refused() -> None:
    @record(name="Tally", version=2)
    @dataclass
    class Later:
        total: int = 0

    @record(name="Tally")
    @dataclass
    class Sooner:
        total: int = 0

    before = started(tallies(Later), Later)
    said(before, ("a", 3))
    with pytest.raises(WireError, match=r"version 1 on this worker.*written by version 2"):
        upgraded(tallies(Sooner), written(before, 1), classes=(Sooner,))
