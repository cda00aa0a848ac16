"""One rule of a migration at a time, by hand: who waits for what, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.dataflow_one import Several, generation
from zstream.config import Config
from zstream.errors import InvariantBroken
from zstream.model.ids import Incarnation, KeyGroup
from zstream.model.keys import KeyGroups
from zstream.wire.frames import FrameKind, decode_frame

ONE, TWO, THREE = (Incarnation(number) for number in (1, 2, 3))


def counted(stream: Any) -> Any:
    return stream.key_by(lambda value: value).count().items()


def step(several: Several, sender: int, receiver: int) -> list[FrameKind]:
    """One turn of the sender; what it sends comes in at the receiver."""
    several.workers[sender].flush(several.now)
    frames = several.frames(sender, receiver)
    for frame in frames:
        several.workers[receiver].receive(frame, several.now)
    return [decode_frame(frame).kind for frame in frames]


def test_a_group_is_shipped_when_all_markers_are_in_and_all_is_settled() -> None:
    """Worker 2 hands over to 3: not before the markers of 1 and 3, not before it is settled."""
    several = Several(counted, [1, 2, 3])
    several.switch(generation(1, [1, 2, 3], [2] * 4))
    several.workers[1].feed("in", ["a"] * 3)
    several.settle()
    moving = generation(2, [1, 2, 3], [3] * 4)
    several.workers[2].switch(moving, several.now)
    step(several, 2, 3)
    step(several, 2, 1)
    step(several, 3, 2)  # worker 3 has switched by the marker of 2, and sends its own
    several.now += 0.01
    several.report()
    assert step(several, 2, 3) == [], "the marker of 1 is not in"
    assert several.workers[2].key_groups == {0, 1, 2, 3}
    assert not several.workers[2].progress().installed
    assert not several.workers[2].is_moving, "it waits for others: sources are read"
    step(several, 1, 2)
    several.now += 0.01
    several.report()
    assert step(several, 2, 3) == [FrameKind.SNAPSHOT] * 4
    assert several.workers[2].key_groups == frozenset()
    assert several.workers[2].keys == 0
    several.workers[1].feed("in", ["a"])
    several.settle()
    assert several.out[-1] == (3, ("a", 4))


def test_a_group_is_not_shipped_while_something_sent_before_is_not_settled() -> None:
    """The second stage is at worker 3; a frame to it is on its way, so 2 waits with the first."""
    several = Several(lambda s: counted(s).key_by(lambda pair: pair[0] * 2), [1, 2, 3])
    several.switch(generation(1, [1, 2, 3], [2, 2, 2, 2]))
    several.settle()
    several.workers[1].feed("in", list("abcdef"))
    several.settle()
    several.switch(generation(2, [1, 2, 3], [2, 2, 3, 3]))
    step(several, 1, 2)
    step(several, 3, 2)
    held_back = several.frames(2, 3)
    several.workers[2].flush(several.now)
    assert several.workers[2].key_groups == {0, 1, 2, 3}, "its own marker is not settled"
    for frame in held_back:
        several.workers[3].receive(frame, several.now)
    several.settle()
    assert several.workers[2].key_groups == {0, 1}
    assert several.workers[3].key_groups == {2, 3}


def test_what_comes_for_a_group_on_hold_waits_and_is_settled_all_the_same() -> None:
    """The target takes the frame, gives its credit back, and applies it after the snapshot."""
    several = Several(counted, [1, 2, 3])
    several.switch(generation(1, [1, 2, 3], [2] * 4))
    several.workers[1].feed("in", ["a", "a"])
    several.settle()
    several.workers[1].switch(generation(2, [1, 2, 3], [3] * 4), several.now)
    several.workers[1].feed("in", ["a"])
    step(several, 1, 3)
    several.now += 0.01
    several.report()
    assert several.workers[3].key_groups == frozenset()
    assert several.out == [(2, ("a", 1)), (2, ("a", 2))]
    several.now += 0.5
    assert several.workers[3].oldest_ms(several.now) >= 500
    assert not several.workers[3].empty()
    several.settle()
    assert several.out[-1] == (3, ("a", 3))
    costs = several.workers[3].costs()
    assert costs is not None
    assert (costs.generation, costs.records_held) == (2, 1)
    assert {group for group, _ in costs.pauses} == {KeyGroup(group) for group in range(4)}
    assert all(500 <= pause < 1000 for _, pause in costs.pauses)


def test_the_marker_stands_behind_what_was_being_filled() -> None:
    """No turn between feed and switch: the batch of the old table goes first all the same."""
    several = Several(counted, [1, 2])
    several.switch(generation(1, [1, 2], [2] * 4))
    several.settle()
    several.workers[1].feed("in", ["a"])
    several.workers[1].switch(generation(2, [1, 2], [1] * 4), several.now)
    kinds = [decode_frame(frame).kind for frame in several.frames(1, 2)]
    assert kinds == [FrameKind.BATCH, FrameKind.GENERATION]


def test_a_marker_switches_before_anything_behind_it_and_is_told_once() -> None:
    """Worker 2 never hears the leader."""
    several = Several(counted, [1, 2])
    several.switch(generation(1, [1, 2], [1] * 4))
    several.settle()
    several.workers[2].take_switched()
    moving = generation(2, [1, 2], [2] * 4)
    several.workers[1].switch(moving, several.now)
    several.workers[1].feed("in", ["a"])
    step(several, 1, 2)
    assert several.workers[2].take_switched() == [moving]
    assert several.workers[2].take_switched() == []
    several.workers[2].switch(moving, several.now)  # the leader's word, late
    several.settle()
    assert several.out == [(2, ("a", 1))]


def test_a_joiner_learns_the_table_from_the_hellos() -> None:
    """It is at the generation of the others before the first one that is with it."""
    several = Several(counted, [1, 2])
    several.switch(generation(1, [1, 2], [1, 1, 2, 2]))
    several.workers[1].feed("in", list("abcdefgh"))
    several.settle()
    several.start(3)
    several.settle()
    assert several.workers[3].progress() == (1, True, True)
    assert several.workers[3].key_groups == frozenset()
    several.workers[3].switch(generation(2, [1, 2, 3], [1, 3, 3, 2]), several.now)
    several.settle()
    assert several.workers[3].key_groups == {1, 2}
    several.workers[1].feed("in", list("abcdefgh"))
    several.settle()
    assert sorted(record for _, record in several.out if record[1] == 2) == [
        (letter, 2) for letter in "abcdefgh"
    ]


def a_hundred_held() -> Several:
    """Worker 1 has the state of the only key, and a hundred records of it wait; a batch is ten."""
    config = replace(Config(), batch_records_max=10)
    several = Several(lambda s: s.key_by(lambda v: "k").count(), [1, 2], config=config)
    several.switch(generation(1, [1, 2], [2] * 4))
    several.settle()
    several.workers[1].switch(generation(2, [1, 2], [1] * 4), several.now)
    several.workers[1].feed("in", list(range(100)))
    step(several, 1, 2)
    step(several, 2, 1)
    several.now += 0.01
    several.report()
    step(several, 2, 1)
    return several


def test_a_long_queue_of_held_records_does_not_hold_the_loop() -> None:
    """Some records a turn; what comes meanwhile stands behind them; sources give way to them."""
    several = a_hundred_held()
    for turn in range(1, 4):
        assert several.workers[1].is_moving
        several.workers[1].flush(several.now)
        assert len(several.out) == 10 * turn
        assert several.workers[1].next_timer(several.now) == several.now
    several.workers[1].feed("in", [0])
    several.settle()
    assert not several.workers[1].is_moving
    assert several.out == [(1, count) for count in range(1, 102)]


def test_held_records_are_applied_faster_than_more_of_them_come() -> None:
    """A key group with most of the records: what comes in a turn is more than a batch."""
    several = a_hundred_held()
    for _ in range(3):
        assert not several.workers[1].progress().installed
        several.workers[1].feed("in", list(range(30)))
        several.workers[1].flush(several.now)
    assert several.workers[1].progress().installed
    assert several.out == [(1, count) for count in range(1, 191)]


def test_a_large_state_is_shipped_in_chunks_a_bounded_part_a_turn() -> None:
    config = replace(Config(), snapshot_chunk_bytes=1000, part_slice_bytes=1000)
    several = Several(
        lambda s: s.key_by(lambda v: v % 40).stateful_map(lambda s, v: ("x" * 500, v)),
        [1, 2],
        config=config,
    )
    several.switch(generation(1, [1, 2], [1] * 4))
    several.workers[1].feed("in", list(range(40)))
    several.switch(generation(2, [1, 2], [2] * 4))
    step(several, 1, 2)
    step(several, 2, 1)
    several.now += 0.01
    several.report()
    turns = 0
    while several.workers[1].key_groups:
        assert several.workers[1].is_moving or not turns, "sources give way"
        before = len(several.workers[1].key_groups)
        kinds = step(several, 1, 2)
        assert len(kinds) > 1
        assert before - len(several.workers[1].key_groups) == 1
        turns += 1
    assert turns == 4
    assert not several.workers[1].is_moving
    several.settle()
    assert several.workers[2].keys == 40


def test_the_hold_queue_has_a_limit_that_is_told() -> None:
    config = replace(Config(), hold_bytes_max=20_000)
    several = Several(lambda s: s.key_by(lambda v: "k").map(len), [1, 2], config=config)
    several.switch(generation(1, [1, 2], [2] * 4))
    several.settle()
    several.workers[1].switch(generation(2, [1, 2], [1] * 4), several.now)
    for _ in range(500):
        several.workers[1].feed("in", ["x" * 100])
    assert several.workers[1].pressure() == "hold queue"
    several.settle()
    assert several.workers[1].pressure() == ""
    assert len(several.out) == 500


def test_installed_is_not_settled() -> None:
    """The target's own output waits at a peer that says nothing; the wave is not done."""
    several = Several(counted, [1, 2])
    several.switch(generation(1, [1, 2], [1] * 4))
    several.settle()
    several.workers[1].switch(generation(2, [1, 2], [1, 1, 1, 1]), several.now)
    several.workers[1].flush(several.now)
    assert several.workers[1].progress() == (2, True, False), "its marker is not settled"
    several.settle()
    assert several.workers[1].progress() == (2, True, True)


def test_a_record_for_a_group_that_is_nowhere_near_is_a_bug() -> None:
    """It is never dropped in silence."""
    several = Several(counted, [1, 2])
    several.workers[1].switch(generation(1, [1, 2], [2] * 4), several.now)
    several.workers[2].switch(generation(1, [1, 2], [1] * 4), several.now)
    several.workers[1].feed("in", ["a"])
    with pytest.raises(InvariantBroken, match="neither holds nor owns"):
        step(several, 1, 2)


def test_what_is_being_filled_counts_as_sent_before_the_ship() -> None:
    """A record and the last marker come in one turn: its output has to be settled first, too."""
    several = Several(lambda s: counted(s).key_by(lambda pair: "to-3").map(str), [1, 2, 3])
    letters = [*"abcdefgh", "to-3"]
    group_of = dict(zip(letters, KeyGroups(4).of(letters), strict=True))
    first = next(letter for letter in letters if group_of[letter] != group_of["to-3"])
    owners = [3 if group == group_of["to-3"] else 2 for group in range(4)]
    several.switch(generation(1, [1, 2, 3], owners))
    several.settle()
    several.workers[1].feed("in", [first])
    after = [1 if group == group_of[first] else owner for group, owner in enumerate(owners)]
    several.switch(generation(2, [1, 2, 3], after))
    held_back = several.frames(1, 2)
    for sender, receiver in ((2, 1), (2, 3), (3, 1), (3, 2), (1, 3)):
        step(several, sender, receiver)
    several.now += 0.01
    several.report()
    for frame in held_back:
        several.workers[2].receive(frame, several.now)
    several.workers[2].flush(several.now)
    assert group_of[first] in several.workers[2].key_groups, "its output is not settled"
    several.settle()
    assert group_of[first] in several.workers[1].key_groups
    assert several.out == [(3, str((first, 1)))]
