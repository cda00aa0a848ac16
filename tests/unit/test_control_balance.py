"""When key groups move because some workers have more to do than others."""

from __future__ import annotations

from dataclasses import replace

from tests.dataflow_one import generation
from tests.unit.test_control_savepoints import report
from zstream.config import Config
from zstream.control.balance import BALANCE, Balance, relieved, work_of
from zstream.control.reports import Seen
from zstream.control.state import ClusterState
from zstream.model.ids import Incarnation, KeyGroup, Run, WorkerName
from zstream.model.membership import Placement
from zstream.wire.messages import NO_LOAD, WorkerLoad

ONE, TWO = Incarnation(1), Incarnation(2)
CONFIG = Config(balance_after_ms=1000, balance_gain_percent=10)
BY_TWO = generation(1, [1, 2], [1, 1, 2, 2])
EVEN = ((KeyGroup(2), 0.5), (KeyGroup(3), 0.5))

Reports = dict[Incarnation, Seen]


def state(*readers: str) -> ClusterState:
    """Two workers with two key groups each; the source is read by these."""
    placed = Placement({"in": tuple(map(WorkerName, readers))}, {})
    return ClusterState(run=Run(1), generation=replace(BY_TWO, placement=placed))


def reports(one: WorkerLoad, two: WorkerLoad) -> Reports:
    return {who: Seen(replace(report(0), load=load), 0.0) for who, load in ((ONE, one), (TWO, two))}


def load(busy: float, keyed: float, heaviest: tuple[tuple[KeyGroup, float], ...]) -> WorkerLoad:
    """All came from the peer, and nothing else was done: a record takes a thousandth."""
    return WorkerLoad(busy, keyed / 1000, keyed, keyed, heaviest, 0.0)


HOT = load(0.95, 950, ((KeyGroup(0), 0.5), (KeyGroup(1), 0.5)))
COOL = load(0.3, 300, EVEN)
UNEVEN = reports(HOT, COOL)


def test_they_move_when_it_has_been_uneven_for_long_enough() -> None:
    """Not at once, and not where it was even in between."""
    balance = Balance(CONFIG, 0.0)
    assert balance.cause(state("w1"), UNEVEN, 10.0) is None
    assert balance.cause(state("w1"), reports(HOT, HOT), 10.6) is None
    assert balance.cause(state("w1"), UNEVEN, 10.7) is None
    assert balance.cause(state("w1"), UNEVEN, 11.6) is None
    assert balance.cause(state("w1"), UNEVEN, 11.8) == "work of w1 95%, w2 30%"


def test_nobody_is_helped_who_is_not_held_up() -> None:
    """One has three times as much to do, and half of its time is left."""
    balance = Balance(CONFIG, 0.0)
    idle = reports(load(0.45, 450, HOT.heaviest), load(0.15, 150, EVEN))
    assert balance.cause(state("w1"), idle, 1.0) is None
    assert balance.cause(state("w1"), idle, 9.0) is None


def test_one_heavy_group_stays_where_it_is() -> None:
    """It would only change sides; and what is not done for records by key cannot move at all."""
    balance = Balance(CONFIG, 0.0)
    for hot in (
        load(0.95, 950, ((KeyGroup(0), 1.0),)),
        WorkerLoad(0.95, 0.05, 50, 50, HOT.heaviest, 0.0),
    ):
        for now in (1.0, 2.5, 4.0):
            assert balance.cause(state("w1"), reports(hot, COOL), now) is None


def test_each_balance_is_followed_by_a_longer_rest_until_none_is_needed_for_long() -> None:
    """Load that goes to and fro is not run after for ever."""
    balance = Balance(CONFIG, 0.0)
    now, rests = 0.0, []
    for _ in range(8):
        began = now
        while balance.cause(state("w1"), UNEVEN, now) is None:
            now += 0.25
        rests.append(now - began)
        balance.ended(BALANCE, now)
    assert rests == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    now += 1000.0
    balance.cause(state("w1"), UNEVEN, now)
    assert balance.cause(state("w1"), UNEVEN, now + 1.0)
    balance.ended(BALANCE, now + 1.0)
    balance.cause(state("w1"), UNEVEN, now + 1.1)
    assert balance.cause(state("w1"), UNEVEN, now + 3.1)


def test_where_all_are_full_reading_is_taken_to_be_shared_evenly() -> None:
    """Worker 1 gets most records and has no time left to read its source; worker 2 does nothing
    but read its own. Both are busy all the time.
    """
    full = reports(
        WorkerLoad(1.0, 0.8, 800, 800, HOT.heaviest, 0.0),
        WorkerLoad(1.0, 0.2, 200, 200, EVEN, 0.0),
    )
    work = work_of(state("w1", "w2"), full)
    assert [round(one.total, 6) for one in work.values()] == [1.3, 0.7]
    assert round(relieved(BY_TWO.table, work).most, 6) == 1.0
    only_one_reads = work_of(state("w2"), full)
    assert [round(one.total, 6) for one in only_one_reads.values()] == [1.0, 1.0]


def test_where_no_worker_sends_to_another_all_of_its_time_is_taken_to_be_for_keys() -> None:
    """One reads the source and has all the keys; some must go, and then it is known better."""
    alone = WorkerLoad(1.0, 0.001, 500, 0, HOT.heaviest, 0.0)
    work = work_of(state("w1"), reports(alone, NO_LOAD))
    assert [round(one.total, 6) for one in work.values()] == [1.0, 0.0]
    assert relieved(BY_TWO.table, work).owners.count(ONE) == 1


def test_nothing_is_known_before_all_have_told_of_this_run() -> None:
    """What a worker told before a recovery is of another table."""
    one, two = UNEVEN[ONE], UNEVEN[TWO]
    assert work_of(state("w1"), {ONE: one}) == {}
    before = Seen(replace(two.report, run=Run(0)), 0.0)
    assert work_of(state("w1"), {ONE: one, TWO: before}) == {}
    assert relieved(BY_TWO.table, {}).owners == (ONE, ONE, TWO, TWO)
