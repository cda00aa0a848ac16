"""The invariants of the control log find what they are there for."""

from __future__ import annotations

from dataclasses import replace

from zstream.control.invariants import broken
from zstream.control.state import ClusterState, apply
from zstream.model.ids import (
    Generation,
    Incarnation,
    KeyGroup,
    LogNumber,
    RescaleId,
    Run,
    Term,
    WorkerName,
)
from zstream.model.membership import NOTHING_PLACED, Member, RoutingTable
from zstream.model.records import GenerationOpened, LogRecord, RescaleClosed, RescaleOpened

W0, W1, W2 = (
    Member(WorkerName(f"w{n}"), Incarnation(n + 1), f"h{n}:1", f"h{n}:2", f"h{n}:3")
    for n in range(3)
)
TERM = Term(1)


def generation(
    number: int, members: tuple[Member, ...], owners: tuple[int, ...], fresh: tuple[int, ...] = ()
) -> GenerationOpened:
    table = RoutingTable(Generation(number), members, owners, tuple(range(len(members))))
    groups = tuple(KeyGroup(group) for group in fresh)
    rescale = RescaleId("grow-2")
    return GenerationOpened(TERM, 1, Run(1), table, NOTHING_PLACED, rescale, 1, 1, groups, "")


GROW = RescaleOpened(TERM, 1, RescaleId("grow-2"), "grow", "", (), (W2,), (), "")
UP = ClusterState(term=TERM, generation=generation(1, (W0, W1), (0, 0, 1, 1)))
GROWING = apply(UP, LogNumber(1), GROW, 9)
UNDONE = RescaleClosed(
    TERM, 1, RescaleId("grow-2"), "grow", "", "undone", "", (), (), (), 0, 0.0, 0.0, 0, (), ()
)


def what(state: ClusterState, record: LogRecord) -> str:
    """The number of the invariant that the record breaks."""
    return broken(state, record, apply(state, LogNumber(2), record, 9))[:2]


def test_a_wave_that_is_right_breaks_nothing() -> None:
    """The joiner takes one group of each; a removal names the groups of the dead."""
    assert what(GROWING, generation(2, (W0, W1, W2), (0, 2, 1, 2))) == ""
    assert what(UP, generation(2, (W0,), (0, 0, 0, 0), fresh=(2, 3))) == ""


def test_each_invariant_is_found_broken() -> None:
    """One record for each."""
    twin = replace(W1, incarnation=Incarnation(9))
    assert what(UP, generation(3, (W0, W1), (0, 0, 1, 1))) == "C1"
    assert what(GROWING, generation(2, (W0, W1, twin), (0, 0, 1, 1))) == "C2"
    assert what(UP, generation(2, (W0,), (0, 0, 0, 0))) == "C3"
    assert what(GROWING, generation(2, (W0, W2), (0, 0, 1, 1))) == "C3"
    assert what(GROWING, GROW) == "C4"
    assert what(UP, UNDONE) == "C4"
    assert what(UP, generation(2, (W0, W1, W2), (0, 2, 1, 2))) == "C5"
    begun = apply(GROWING, LogNumber(2), generation(2, (W0, W1, W2), (0, 2, 1, 2)), 9)
    assert what(begun, UNDONE) == "C6"
