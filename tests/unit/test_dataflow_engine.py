"""The dataflow as the driver sees it: routes, limits, links that are not open, figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.dataflow_one import One, Several, generation
from zstream.config import Config
from zstream.errors import InvariantBroken, WireError
from zstream.model.ids import Incarnation
from zstream.topology.per_worker import PerWorker
from zstream.wire.frames import FrameKind, decode_frame, encode_frame

CONFIG = Config()


def counted(stream: Any) -> Any:
    return stream.key_by(lambda value: value).count().items()


class Stranger:
    """Not marked as one that travels."""


def kinds(frames: list[bytes]) -> list[FrameKind]:
    return [decode_frame(frame).kind for frame in frames]


def test_records_go_to_the_owner_of_their_key_and_own_ones_are_applied_at_once() -> None:
    several = Several(counted, [1, 2])
    several.switch(generation(1, [1, 2], [1, 2, 1, 2]))
    several.workers[1].feed("in", list(range(40)))
    mine = [record for number, record in several.out]
    assert 0 < len(mine) < 40, "no turn was needed for those owned here"
    several.settle()
    assert sorted(record for _, record in several.out) == [(value, 1) for value in range(40)]
    assert {number for number, _ in several.out} == {1, 2}


def test_a_pinned_step_runs_where_it_is_placed() -> None:
    several = Several(lambda s: s.map(str, name="alone", parallel=False), [1, 2])
    several.switch(generation(1, [1, 2], [1] * 4, pinned={"alone": "w2"}))
    several.workers[1].feed("in", [1, 2, 3])
    several.settle()
    assert several.out == [(2, "1"), (2, "2"), (2, "3")]


def test_balanced_batches_go_in_turn_to_those_that_take_them() -> None:
    several = Several(lambda s: s.rebalance().map(str), [1, 2])
    several.switch(generation(1, [1, 2], [1] * 4))
    for value in range(10):
        several.workers[1].feed("in", [value])
    several.settle()
    assert sorted(number for number, _ in several.out) == [1] * 5 + [2] * 5


def test_a_value_that_cannot_be_sent_is_a_dead_letter_and_its_neighbours_go_on() -> None:
    """One among many; it is named, and nothing else of the batch is touched or reordered."""
    several = Several(lambda s: s.key_by(lambda v: "k", name="spread").map(str), [1, 2])
    several.switch(generation(1, [1, 2], [2] * 4))
    bad = Stranger()
    several.workers[1].feed("in", [*range(10), bad, *range(10, 20)])
    several.settle()
    assert several.out == [(2, str(value)) for value in range(20)]
    assert [(letter.operator, letter.record) for letter in several.letters] == [("spread", bad)]
    assert "Stranger" in several.letters[0].error


def test_a_record_above_its_limit_is_a_dead_letter_that_names_the_limit() -> None:
    config = replace(CONFIG, record_bytes_max=1000)
    several = Several(lambda s: s.key_by(lambda v: "k").map(len), [1, 2], config=config)
    several.switch(generation(1, [1, 2], [2] * 4))
    several.workers[1].feed("in", ["a", "b" * 2000, "c"])
    several.settle()
    assert several.out == [(2, 1), (2, 1)]
    assert "limit record_bytes_max" in several.letters[0].error


def test_no_frame_is_larger_than_the_smallest_window_nor_has_too_many_records() -> None:
    """Large records after small ones mislead the guess of their size; halves go instead."""
    config = replace(CONFIG, batch_records_max=100)
    several = Several(lambda s: s.key_by(lambda v: "k"), [1, 2], config=config)
    several.switch(generation(1, [1, 2], [2] * 4))
    several.workers[1].feed("in", ["x"] * 1000)
    several.workers[1].feed("in", ["y" * 50_000] * 100)
    sizes = []
    while several.workers[1].next_frame(Incarnation(2), several.now) or several.report():
        several.workers[1].flush(several.now)
        for frame in several.frames(1, 2):
            sizes.append(len(frame))
            several.workers[2].receive(frame, several.now)
        several.now += 0.01
    assert max(sizes) <= CONFIG.link_window_bytes_min + 100
    assert len(sizes) >= 10 + 100 * 50_000 // CONFIG.link_window_bytes_min
    assert len(several.out) == 1100


def test_a_frame_of_a_link_that_is_not_open_is_dropped_and_sent_again_later() -> None:
    """Worker 2 opens late: the hello it missed comes when its first report asks for it."""
    several = Several(counted, [1, 2])
    several.workers[2].close_link(Incarnation(1))
    several.workers[1].close_link(Incarnation(2))
    several.workers[1].open_link(Incarnation(2))
    several.workers[1].flush(several.now)
    for frame in several.frames(1, 2):
        several.workers[2].receive(frame, several.now)
    assert several.workers[2].frames_dropped == 2
    several.workers[2].open_link(Incarnation(1))
    several.settle()
    assert several.workers[1].connected() == (2,)
    assert several.workers[2].connected() == (1,)


def test_frames_of_another_receiver_run_or_lane_are_dropped() -> None:
    several = Several(counted, [1, 2])
    worker = several.workers[2]
    for receiver, run, lane in ((3, 1, 0), (2, 9, 0), (2, 1, 5)):
        frame = encode_frame(
            Incarnation(1),
            Incarnation(receiver),
            run,
            lane,
            2,
            FrameKind.HELLO,
            b"",  # type: ignore[arg-type]
        )
        worker.receive(frame, several.now)
    assert worker.frames_dropped == 3


@pytest.mark.parametrize(
    ("lane", "kind", "body"),
    [
        (0, FrameKind.BATCH, b"rubbish"),
        (0, FrameKind.SNAPSHOT, b"x" * 40),
        (1, FrameKind.BATCH, b""),
        (0, FrameKind.GENERATION, b"rubbish"),
        (0, FrameKind.BARRIER, b""),
    ],
)
def test_a_damaged_frame_is_refused_and_does_not_count(
    lane: int, kind: FrameKind, body: bytes
) -> None:
    """The same number comes again, sound, and is taken."""
    several = Several(counted, [1, 2])
    worker = several.workers[2]
    one, two, number = Incarnation(1), Incarnation(2), 2
    with pytest.raises(WireError):
        worker.receive(
            encode_frame(one, two, 1, lane, number, kind, body),
            several.now,  # type: ignore[arg-type]
        )
    several.switch(generation(1, [1, 2], [2] * 4))
    several.workers[1].feed("in", [1])
    several.settle()
    assert several.out == [(2, (1, 1))]


def test_records_for_a_worker_without_a_link_are_a_bug_and_not_a_loss() -> None:
    several = Several(counted, [1, 2])
    several.switch(generation(1, [1, 2], [2] * 4))
    several.workers[1].close_link(Incarnation(2))
    several.workers[1].feed("in", [1])
    with pytest.raises(InvariantBroken, match="no link is open"):
        several.workers[1].flush(several.now)


def test_full_outboxes_are_told_and_the_loop_goes_on_applying() -> None:
    """Nobody takes what is for worker 2; what worker 1 owns is applied all the same."""
    config = replace(CONFIG, outbox_bytes_max=10_000)
    several = Several(lambda s: s.key_by(lambda v: v % 40), [1, 2], config=config)
    several.switch(generation(1, [1, 2], [1, 1, 2, 2]))
    worker = several.workers[1]
    assert worker.pressure() == ""
    for _ in range(40):
        worker.feed("in", list(range(1000)))
        worker.flush(several.now)
    assert worker.pressure() == "outboxes"
    assert not worker.empty()
    applied = len(several.out)
    assert applied > 0
    worker.feed("in", list(range(1000)))
    assert len(several.out) > applied
    several.settle()
    assert worker.pressure() == ""
    assert len(several.out) == 41_000


def test_a_full_link_stops_sources_here_long_before_outboxes_stop_them_everywhere() -> None:
    """Worker 2 settles slowly: one window waits for it, not 8 MiB, and others may read on."""
    several = Several(lambda s: s.key_by(lambda v: "k"), [1, 2], config=CONFIG)
    several.switch(generation(1, [1, 2], [2, 2, 2, 2]))
    worker = several.workers[1]
    fed = 0
    for _ in range(100):
        if worker.is_full(1.0):
            break
        worker.feed("in", ["x" * 1000] * 100)
        worker.flush(several.now)
        fed += 100 * 1000
    assert worker.is_full(1.0) and worker.pressure() == ""
    assert worker.is_full(0.5)
    assert CONFIG.link_window_bytes_min < fed + 100_000 < 2 * CONFIG.link_window_bytes_min
    several.settle()
    assert not worker.is_full(1.0)


def test_batches_sent_and_applied_add_up_over_the_open_links() -> None:
    several = Several(counted, [1, 2, 3])
    several.switch(generation(1, [1, 2, 3], [1, 2, 3, 2]))
    several.workers[1].feed("in", list(range(30)))
    several.settle()
    assert sum(worker.frames_sent for worker in several.workers.values()) == 2
    assert sum(worker.frames_applied for worker in several.workers.values()) == 2
    for number in (1, 2):
        several.workers[number].close_link(Incarnation(3))
    assert several.workers[1].frames_sent == several.workers[2].frames_applied == 1


def test_records_that_branch_and_meet_again_keep_their_order() -> None:
    """Odd and even ones go different ways to the same key: none overtakes another."""

    def build(stream: Any) -> Any:
        odd, even = stream.branch(lambda value: value % 2)
        return odd.map(lambda v: v).merge(even).key_by(lambda v: "k").stateful_map(listed, list)

    def listed(seen: list[int], value: int) -> tuple[list[int], list[int]]:
        return [*seen, value], [*seen, value]

    one = One(build)
    one.feed([1, 2, 4, 3, 5, 6])
    assert one.out[-1] == [1, 2, 4, 3, 5, 6]


def test_what_a_function_needs_is_made_before_and_closed_after() -> None:
    story: list[str] = []
    model = PerWorker(lambda: story.append("made") or "model", lambda thing: story.append("closed"))
    one = One(lambda s: s.map(lambda value: (value, model()), needs=[model]))
    assert story == ["made"]
    one.feed([1])
    assert one.out == [(1, "model")]
    one.dataflow.close()
    assert story == ["made", "closed"]


def test_figures_of_a_worker() -> None:
    several = Several(counted, [1])
    several.switch(generation(1, [1], [1] * 4))
    worker = several.workers[1]
    worker.feed("in", ["a", "b", "a"])
    several.now += 10.0
    worker.flush(several.now)
    assert (worker.records_in, worker.records_out, worker.keys) == (3, 3, 2)
    assert 0 < worker.state_bytes < 100
    assert sum(size for _, size in worker.sizes()) == worker.state_bytes
    assert worker.empty()
    assert worker.oldest_ms(several.now) == 0.0


def test_a_batch_that_is_full_becomes_a_frame_before_the_turn_ends() -> None:
    """What is being filled for a peer stays below one frame, however long the turn is."""
    config = replace(CONFIG, batch_records_max=100)
    several = Several(lambda s: s.key_by(lambda v: "k"), [1, 2], config=config)
    several.switch(generation(1, [1, 2], [2] * 4))
    several.settle()
    worker = several.workers[1]
    worker.feed("in", [1] * 60)
    assert worker.ready_peers() == []
    worker.feed("in", [1] * 60)
    assert worker.frames_sent == 2
    assert worker.ready_peers() == [2]
    several.settle()
    assert len(several.out) == 120
