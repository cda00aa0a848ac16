"""Cuts, parts and recovery, one rule at a time, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.dataflow_one import Several, generation
from zstream.config import Config
from zstream.dataflow.engine import Dataflow
from zstream.errors import InvariantBroken, WireError
from zstream.model.ids import Epoch, Incarnation, Run
from zstream.model.records import GenerationOpened
from zstream.wire.frames import FrameKind, decode_frame, encode_frame
from zstream.wire.parts import Part, open_part

ONE, TWO = Incarnation(1), Incarnation(2)
RUN, NEXT_RUN = Run(1), Run(2)


def counted(stream: Any) -> Any:
    return stream.key_by(lambda value: value).count().items()


def gathered(stream: Any) -> Any:
    """Changes its state in place; "drop" in a record drops it."""

    def step(seen: list[Any], value: tuple[str, Any]) -> tuple[list[Any] | None, list[Any]]:
        seen.append(value[1])
        return (None if value[1] == "drop" else seen), list(seen)

    return stream.key_by(lambda value: value[0]).stateful_map(step, list, name="gather").items()


class Lock:
    """Cannot travel."""


def opened_by_epoch(worker: Dataflow, epoch: int) -> Part:
    data = worker.part(Epoch(epoch))
    assert data is not None
    return open_part(worker.part_name(Epoch(epoch)), data)


def written(worker: Dataflow, epoch: int) -> Part:
    """Cut, written and in a manifest; of a worker that is alone."""
    worker.cut(worker.run, Epoch(epoch), 0.0)
    while worker.part(Epoch(epoch)) is None:
        assert worker.next_timer(0.0) == 0.0, "there is something to do at once"
        worker.flush(0.0)
    part = opened_by_epoch(worker, epoch)
    worker.manifest_appended(Epoch(epoch))
    return part


def alone(build: Any, config: Config | None = None) -> Several:
    several = Several(build, [1], config=config)
    several.switch(generation(1, [1], [1] * 4))
    return several


def in_run(run: int, opened: GenerationOpened) -> GenerationOpened:
    return replace(opened, run=Run(run))


def recovered(several: Several, *parts: Part) -> Several:
    """Another cluster of one that goes on with these."""
    after = Several(lambda s: s, [])
    after.topology, after.config = several.topology, several.config
    after.start(1)
    restored = in_run(2, generation(2, [1], [1] * several.topology.key_groups))
    after.workers[1].restore(NEXT_RUN, restored, {part.name: part for part in parts}, 0.0)
    return after


def rows_of(part: Part, several: Several) -> dict[Any, Any]:
    rows = part.rows(several.topology.registry, range(several.topology.key_groups))
    return {key: s for row in rows for key, s in zip(row.keys, row.states, strict=True)}


def test_a_cut_is_made_once_an_epoch_and_only_in_its_run() -> None:
    several = alone(counted)
    cuts: list[int] = []
    worker = several.workers[1]

    def at_cut(epoch: Epoch) -> tuple[dict[str, Any], dict[str, Any]]:
        cuts.append(epoch)
        return {"in": 5}, {"out": "token"}

    worker._at_cut = at_cut
    assert not worker.cut(NEXT_RUN, Epoch(1), 0.0)
    assert worker.cut(RUN, Epoch(2), 0.0)
    assert not worker.cut(RUN, Epoch(2), 0.0)
    assert not worker.cut(RUN, Epoch(1), 0.0)
    assert cuts == [2]
    assert worker.part(Epoch(1)) is None
    worker.flush(0.0)
    part = opened_by_epoch(worker, 2)
    assert (part.positions, part.prepared) == ({"in": 5}, {"out": ["token"]})
    worker.abandon(Epoch(3))
    worker.cut(RUN, Epoch(3), 0.0)
    assert cuts == [2], "an epoch that was abandoned before its word came"


def test_prepared_output_is_kept_until_a_manifest() -> None:
    several = alone(counted)
    worker = several.workers[1]
    worker._at_cut = lambda epoch: ({}, {"out": f"t{epoch}", "quiet": None})
    worker.cut(RUN, Epoch(1), 0.0)
    worker.abandon(Epoch(1))
    assert written(worker, 2).prepared == {"out": ["t1", "t2"]}
    assert written(worker, 3).prepared == {"out": ["t3"]}
    worker.cut(RUN, Epoch(4), 0.0)
    worker.flush(0.0)
    assert worker.part(Epoch(4)) is not None
    assert worker.manifest_appended(Epoch(3)) == {}, "an epoch that is not open here"
    assert worker.manifest_appended(Epoch(4)) == {"out": ["t4"]}, "what to commit"
    assert worker.manifest_appended(Epoch(4)) == {}, "it is told once"


def test_a_part_waits_for_the_barriers_of_all_members_and_keeps_what_comes_before() -> None:
    """Worker 2 cuts at the barrier of 1, before what is behind it, and tells its agent."""
    several = Several(counted, [1, 2])
    several.switch(generation(1, [1, 2], [2] * 4))
    several.settle()
    first, second = several.workers[1], several.workers[2]
    second.cut(RUN, Epoch(1), 0.0)
    first.feed("in", ["before"])
    first.flush(several.now)
    first.cut(RUN, Epoch(1), 0.0)
    first.feed("in", ["behind"])
    first.flush(several.now)
    second.flush(several.now)
    assert second.part(Epoch(1)) is None, "the barrier of 1 is not in"
    kinds = []
    for frame in several.frames(1, 2):
        kinds.append(decode_frame(frame).kind)
        second.receive(frame, several.now)
    assert kinds == [FrameKind.BATCH, FrameKind.BARRIER, FrameKind.BATCH]
    part = opened_by_epoch(second, 1)
    assert len(list(part.in_flight())) == 1
    assert rows_of(part, several) == {}, "nothing was applied at the cut"
    assert second.take_cuts() == [], "it was cut at the leader's word"
    several.settle()
    assert [record for _, record in several.out] == [("before", 1), ("behind", 1)]


def test_a_cut_at_a_barrier_is_told_to_the_agent_once() -> None:
    several = Several(counted, [1, 2])
    several.switch(generation(1, [1, 2], [2] * 4))
    several.workers[1].cut(RUN, Epoch(4), 0.0)
    several.settle()
    assert several.workers[2].take_cuts() == [4]
    assert several.workers[2].take_cuts() == []
    assert all(worker.part(Epoch(4)) for worker in several.workers.values())


def test_a_late_barrier_in_the_midst_of_a_wave_is_no_cut() -> None:
    """No epoch is open in a wave, so it was abandoned; else changes would stay behind."""
    several = Several(counted, [1, 2])
    several.switch(generation(1, [1, 2], [1] * 4))
    first = several.workers[1]
    first.feed("in", ["a", "b"])
    several.settle()
    several.workers[2].cut(RUN, Epoch(1), 0.0)
    several.workers[2].abandon(Epoch(1))
    first.switch(generation(2, [1, 2], [2] * 4), several.now)
    several.settle()
    assert first.take_cuts() == []
    assert several.workers[2].key_groups == {0, 1, 2, 3}
    several.switch(generation(3, [1, 2], [2] * 4))
    several.workers[2].cut(RUN, Epoch(2), 0.0)
    several.settle()
    assert rows_of(opened_by_epoch(several.workers[2], 2), several) == {"a": 1, "b": 1}


def test_a_barrier_that_comes_after_its_manifest_is_no_cut() -> None:
    """A joiner switched at the leader's word, and the barrier was under way longer. With a wave the
    leader says that the epoch has a manifest; the joiner, who had no part in it, must not be asked.
    """
    several = Several(counted, [1])
    several.switch(generation(1, [1], [1] * 4))
    several.start(2)
    old, joiner = several.workers[1], several.workers[2]
    old.cut(RUN, Epoch(5), 0.0)
    old.flush(0.0)
    assert old.part(Epoch(5)) is not None
    old.manifest_appended(Epoch(5))
    in_it = replace(generation(2, [1, 2], [1] * 4), manifest=Epoch(5))
    joiner.switch(in_it, several.now)
    several.settle()
    assert joiner.take_cuts() == []
    old.switch(in_it, several.now)
    several.switch(replace(generation(3, [1, 2], [2] * 4), manifest=Epoch(5)))
    several.settle()
    assert joiner.key_groups == {0, 1, 2, 3}
    assert joiner.cut(RUN, Epoch(6), 0.0), "an epoch that it is in"


def test_what_is_written_is_the_state_at_the_cut_a_slice_at_a_time() -> None:
    """States change in place while they are being written, a few bytes each turn."""
    several = alone(gathered, replace(Config(), part_slice_bytes=10))
    worker = several.workers[1]
    keys = [f"k{number}" for number in range(50)]
    worker.feed("in", [(key, 1) for key in keys])
    assert rows_of(written(worker, 1), several) == {key: [1] for key in keys}
    worker.feed("in", [(key, 2) for key in keys[:30]])
    worker.cut(RUN, Epoch(2), 0.0)
    turns = 0
    while worker.part(Epoch(2)) is None:
        worker.feed("in", [(keys[turns % 50], "later"), (f"new{turns}", 3)])
        worker.feed("in", [(keys[49 - turns % 50], "drop")])
        worker.flush(0.0)
        turns += 1
    assert turns > 10
    part = opened_by_epoch(worker, 2)
    assert rows_of(part, several) == {key: [1, 2] for key in keys[:30]}


def test_what_a_step_changed_before_it_raised_is_written() -> None:
    """The state lives on changed, so a recovery must find it so."""

    def step(seen: list[Any], value: tuple[str, Any]) -> tuple[list[Any], int]:
        seen.append(value[1])
        return seen, 1 // value[1]

    several = alone(lambda s: s.key_by(lambda value: value[0]).stateful_map(step, list))
    worker = several.workers[1]
    worker.feed("in", [("a", 1), ("b", 1)])
    written(worker, 1)
    worker.feed("in", [("a", 0)])
    assert len(several.letters) == 1
    assert rows_of(written(worker, 2), several) == {"a": [1, 0]}


def test_states_that_cannot_change_in_place_are_not_copied() -> None:
    """They are written as they were, however often they are replaced meanwhile."""
    several = alone(counted, replace(Config(), part_slice_bytes=10))
    worker = several.workers[1]
    worker.feed("in", list(range(100)))
    written(worker, 1)
    worker.feed("in", list(range(50)))
    worker.cut(RUN, Epoch(2), 0.0)
    state = worker._chains.stateful["count"].state
    state._copied = None  # type: ignore[assignment, method-assign]
    while worker.part(Epoch(2)) is None:
        worker.feed("in", list(range(100)))
        worker.flush(0.0)
    assert rows_of(opened_by_epoch(worker, 2), several) == dict.fromkeys(range(50), 2)


def test_a_key_that_is_gone_is_gone_after_a_recovery() -> None:
    several = alone(gathered)
    worker = several.workers[1]
    worker.feed("in", [("a", 1), ("b", 1)])
    first = written(worker, 1)
    worker.feed("in", [("a", "drop")])
    second = written(worker, 2)
    assert rows_of(second, several) == {"a": None}
    after = recovered(several, first, second)
    assert after.workers[1].keys == 1
    after.workers[1].feed("in", [("a", 2), ("b", 2)])
    assert [record for _, record in after.out] == [("a", [2]), ("b", [1, 2])]


def test_a_key_that_went_is_not_taken_for_one_that_changed() -> None:
    """Where all keys have changed since the cut, changes are noted no more. Here as many keys are
    noted as there are, but one of them went, and one that is there has not changed yet.
    """
    several = alone(gathered)
    worker = several.workers[1]
    worker.feed("in", [("a", 1), ("b", 1), ("c", 1)])
    written(worker, 1)
    worker.feed("in", [("a", 2), ("a", "drop"), ("b", 2)])
    worker.feed("in", [("b", 3), ("c", 2)])
    assert rows_of(written(worker, 2), several) == {"a": None, "b": [1, 2, 3], "c": [1, 2]}


def test_bytes_written_follow_the_change() -> None:
    """100,000 keys of which one in a hundred changes: the part is about a hundredth of a full one,
    and what compaction adds is bounded: one in 64 of the groups that have changed.
    """
    several = Several(counted, [1], key_groups=1024)
    several.switch(generation(1, [1], [1] * 1024))
    worker = several.workers[1]
    keys = [f"customer {number:06}" for number in range(100_000)]
    worker.feed("in", keys)
    full = written_bytes(worker, 1)
    assert full > 1_500_000
    sizes = []
    for epoch in range(2, 8):
        worker.feed("in", keys[epoch::100])
        sizes.append(written_bytes(worker, epoch))
    assert max(sizes) < full * 0.04
    assert written_bytes(worker, 8) < full * 0.02, "nothing changed: only the turn of 16 groups"


def written_bytes(worker: Dataflow, epoch: int) -> int:
    worker.cut(worker.run, Epoch(epoch), 0.0)
    while (data := worker.part(Epoch(epoch))) is None:
        worker.flush(0.0)
    worker.manifest_appended(Epoch(epoch))
    return len(data)


def test_old_parts_are_let_go_of_within_two_cycles() -> None:
    """Every group that changes is written whole once a cycle, so its span stays short."""
    several = alone(counted, replace(Config(), part_cycle_epochs=8))
    worker = several.workers[1]
    named = []
    parts = []
    for epoch in range(1, 60):
        worker.feed("in", ["a", "b", "c", "d", "e", f"k{epoch}"])
        worker.cut(RUN, Epoch(epoch), 0.0)
        worker.flush(0.0)
        parts.append(opened_by_epoch(worker, epoch))
        names = parts[-1].history.names
        assert worker.oldest(Epoch(epoch)) == min(name.epoch for name in names)
        worker.manifest_appended(Epoch(epoch))
        named.append(len(names))
    assert max(named) <= 16
    needed = [part for part in parts if part.name in parts[-1].history.names]
    after = recovered(several, *needed)
    assert after.workers[1].keys == 5 + 59
    after.workers[1].feed("in", ["a", "k1"])
    assert [record for _, record in after.out] == [("a", 60), ("k1", 2)]


def test_a_group_whose_epoch_was_abandoned_is_written_whole_in_the_next() -> None:
    """It was written whole in turn, so its changes are not known one by one any more."""
    several = alone(counted, replace(Config(), part_cycle_epochs=8))
    worker = several.workers[1]
    worker.feed("in", list(range(100)))
    written(worker, 8)
    for epoch in (9, 10, 11):  # the turns of groups 1, 2 and 3
        worker.feed("in", list(range(50)))
        worker.cut(RUN, Epoch(epoch), 0.0)
        worker.flush(0.0)
        worker.abandon(Epoch(epoch))
    worker.feed("in", [1])
    part = written(worker, 13)
    expected = {value: 4 if value < 50 else 1 for value in range(100)}
    assert all(rows_of(part, several)[value] == 4 + (value == 1) for value in range(50))
    worker.feed("in", list(range(50)))
    worker.cut(RUN, Epoch(17), 0.0)  # the turn of group 1, which has changes in two parts
    worker.flush(0.0)
    worker.abandon(Epoch(17))
    part = written(worker, 20)
    assert {v: s for v, s in rows_of(part, several).items() if v < 50} == {
        value: 1 + expected[value] + (value == 1) for value in range(50)
    }


def test_a_recovery_that_lacks_a_part_is_refused() -> None:
    several = alone(counted)
    several.workers[1].feed("in", ["a"])
    written(several.workers[1], 1)
    several.workers[1].feed("in", ["a"])
    second = written(several.workers[1], 2)
    with pytest.raises(InvariantBroken, match=r"part parts/r1/e1/1\.part was not read"):
        recovered(several, second)


def test_a_recovery_drops_all_of_the_run_before() -> None:
    """State, records under way, links; frames and words of the ended run change nothing."""
    several = Several(counted, [1, 2])
    several.switch(generation(1, [1, 2], [1, 2, 1, 2]))
    values = list(range(20))
    several.workers[1].feed("in", values)
    several.workers[1].flush(several.now)
    stale = several.frames(1, 2)
    restored = in_run(2, generation(2, [1, 2], [2, 1, 2, 1]))
    for worker in several.workers.values():
        worker.restore(NEXT_RUN, restored, {}, several.now)
        assert (worker.keys, worker.run) == (0, 2)
    dropped = several.workers[2].frames_dropped
    for frame in stale:
        several.workers[2].receive(frame, several.now)
    assert several.workers[2].frames_dropped == dropped + len(stale)
    several.workers[1].cut(RUN, Epoch(9), several.now)
    assert several.workers[1].part(Epoch(9)) is None
    several.out.clear()
    several.workers[1].feed("in", values)
    several.settle()
    assert sorted(record for _, record in several.out) == [(value, 1) for value in values]
    several.workers[1].restore(NEXT_RUN, restored, {}, several.now)
    several.workers[1].restore(RUN, generation(3, [1], [1] * 4), {}, several.now)
    assert sum(worker.keys for worker in several.workers.values()) == 20, "restored once"


def test_between_begin_and_restore_all_calls_are_harmless() -> None:
    """Worker 2 reads its parts while 1 is restored already, reads its source and sends."""
    several = Several(counted, [1, 2])
    several.switch(generation(1, [1, 2], [2, 2, 1, 1]))
    first, second = several.workers.values()
    second.feed("in", ["under way", "b", "c"])
    for worker in (first, second):
        worker.begin(NEXT_RUN)
    restored = in_run(2, generation(2, [1, 2], [2] * 4))
    first.restore(NEXT_RUN, restored, {}, several.now)
    first.feed("in", ["a"])
    first.flush(several.now)
    several.out.clear()
    sent = several.frames(1, 2)
    assert sent
    for frame in sent:
        second.receive(frame, several.now)
    second.on_link_report(ONE, first.link_reports(several.now, heartbeat=True)[0][1], several.now)
    second.feed("in", ["read too early"])
    second.flush(several.now)
    second.switch(generation(3, [1, 2], [2] * 4), several.now)  # of the run before
    assert not second.cut(RUN, Epoch(1), several.now)
    assert not second.cut(NEXT_RUN, Epoch(1), several.now), "it is no member yet"
    assert second.frames_dropped == len(sent)
    assert second.link_reports(several.now, heartbeat=True) == []
    assert second.next_frame(ONE, several.now) is None and second.ready_peers() == []
    assert second.progress().generation == 0 and second.key_groups == frozenset()
    assert second.next_timer(several.now) == float("inf")
    assert second.empty() and second.pressure() == ""
    second.restore(NEXT_RUN, restored, {}, several.now)
    several.settle()
    assert several.out == [(2, ("a", 1))]
    assert second.keys == 1


def test_a_link_that_is_opened_before_the_run_is_restored_is_a_bug() -> None:
    """Its hello would be settled by a link that restore then drops; both would wait for ever."""
    several = Several(counted, [1, 2])
    several.workers[1].begin(NEXT_RUN)
    several.workers[1].open_link(TWO)
    with pytest.raises(InvariantBroken, match="before the run was restored"):
        several.workers[1].restore(NEXT_RUN, in_run(2, generation(1, [1], [1] * 4)), {}, 0.0)


def test_a_joiner_of_a_later_run_begins_it_before_it_opens_links() -> None:
    several = Several(counted, [1])
    several.workers[1].restore(NEXT_RUN, in_run(2, generation(2, [1], [1] * 4)), {}, several.now)
    several.workers[1].feed("in", ["a", "b", "c"])
    several.start(2)
    several.workers[2].begin(NEXT_RUN)
    several.workers[2].open_link(ONE)
    several.settle()
    assert several.workers[2].connected() == (ONE,)
    several.switch(in_run(2, generation(3, [1, 2], [2] * 4)))
    several.settle()
    assert several.workers[2].keys == 3


def test_a_state_that_cannot_travel_is_said_and_left_out() -> None:
    """It goes on living, until a recovery; its neighbours are written."""
    several = alone(gathered)
    worker = several.workers[1]
    worker.feed("in", [("a", 1), ("b", 1), ("c", 1)])
    worker.feed("in", [("b", Lock())])
    part = written(worker, 1)
    assert rows_of(part, several) == {"a": [1], "b": None, "c": [1]}
    assert [(letter.operator, letter.key) for letter in several.letters] == [("gather", "b")]
    assert worker.keys == 3


def test_a_manifest_without_this_workers_part_is_a_bug() -> None:
    several = Several(counted, [1, 2])
    several.switch(generation(1, [1, 2], [1] * 4))
    several.workers[1].cut(RUN, Epoch(1), 0.0)
    with pytest.raises(InvariantBroken, match="no part of worker 1"):
        several.workers[1].manifest_appended(Epoch(1))
    with pytest.raises(InvariantBroken, match="not open on worker 1"):
        several.workers[1].oldest(Epoch(2))


def test_a_barrier_that_names_no_epoch_is_refused() -> None:
    several = Several(counted, [1, 2])
    frame = encode_frame(ONE, TWO, RUN, 0, 2, FrameKind.BARRIER, b"rubbish")  # type: ignore[arg-type]
    with pytest.raises(WireError, match="names no epoch"):
        several.workers[2].receive(frame, several.now)


def test_nothing_is_tracked_before_the_first_epoch() -> None:
    """A run without checkpoints pays nothing for them."""
    several = alone(counted)
    several.workers[1].feed("in", ["a", "b"])
    assert not several.workers[1]._chains.stateful["count"].state.is_tracked
