"""The invariants of the control log find what they are there for."""

from __future__ import annotations

from dataclasses import replace

from zstream.control.invariants import broken
from zstream.control.state import ClusterState, Kept, apply
from zstream.model.ids import Epoch, Generation, Incarnation, LogNumber, RescaleId, Run, Term
from zstream.model.ids import WorkerName as Name
from zstream.model.membership import NOTHING_PLACED, Member, RoutingTable
from zstream.model.records import (
    EpochAbandoned,
    EpochOpened,
    GenerationOpened,
    LogRecord,
    Manifest,
    RescaleClosed,
    RescaleOpened,
)

W0, W1, W2 = (
    Member(Name(f"w{n}"), Incarnation(n + 1), f"h{n}:1", f"h{n}:2", f"h{n}:3") for n in range(3)
)
TERM, RUN, KEPT = Term(1), Run(1), Kept(9, 2)


def generation(
    number: int, members: tuple[Member, ...], owners: tuple[int, ...], wave: int = 1
) -> GenerationOpened:
    table = RoutingTable(Generation(number), members, owners, tuple(range(len(members))))
    grow = RescaleId("grow-2")
    return GenerationOpened(TERM, 1, RUN, table, NOTHING_PLACED, grow, wave, wave, False, None, "")


def recovery(
    number: int, members: tuple[Member, ...], restore: Manifest | None = None, run: int = 2
) -> GenerationOpened:
    opened = generation(number, members, (0, 0, 0, 0), wave=0)
    return replace(opened, run=Run(run), recovers=True, restore=restore)


def manifest(epoch: int, authors: tuple[int, ...] = (1, 2)) -> Manifest:
    who = tuple(Incarnation(author) for author in authors)
    return Manifest(TERM, 1, RUN, Epoch(epoch), who, Epoch(1), ("tally",), 4)


def epoch(number: int) -> EpochOpened:
    return EpochOpened(TERM, 1, RUN, Epoch(number))


GROW = RescaleOpened(TERM, 1, RescaleId("grow-2"), "grow", "", (), (W2,), (), "")
FIRST = generation(1, (W0, W1), (0, 0, 1, 1), wave=0)
UP = ClusterState(term=TERM, run=RUN, generation=FIRST, newest=Generation(1))
GROWING = apply(UP, LogNumber(1), GROW, KEPT)
IN_EPOCH = apply(UP, LogNumber(1), epoch(1), KEPT)
UNDONE = RescaleClosed(
    TERM, 1, RescaleId("grow-2"), "grow", "", "undone", "", (), (), (), 0, 0.0, 0.0, 0, (), ()
)


def what(state: ClusterState, record: LogRecord) -> str:
    """The number of the invariant that the record breaks."""
    return broken(state, record, apply(state, LogNumber(2), record, KEPT))[:2]


def test_what_is_right_breaks_nothing() -> None:
    """The joiner takes one group of each; a recovery goes on without the dead, or with who came
    under its name; an epoch ends with the parts of all members."""
    assert what(GROWING, generation(2, (W0, W1, W2), (0, 2, 1, 2))) == ""
    assert what(UP, recovery(2, (W0,))) == ""
    assert what(UP, recovery(2, (W0, replace(W1, incarnation=Incarnation(9))))) == ""
    assert what(UP, epoch(1)) == ""
    assert what(IN_EPOCH, manifest(1)) == ""
    decided = apply(IN_EPOCH, LogNumber(2), manifest(1), KEPT)
    assert what(decided, recovery(2, (W0,), manifest(1))) == ""


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
    assert what(UP, recovery(2, (W0, W2))) == "C5"
    begun = apply(GROWING, LogNumber(2), generation(2, (W0, W1, W2), (0, 2, 1, 2)), KEPT)
    assert what(begun, UNDONE) == "C6"


def test_what_is_wrong_with_an_epoch_is_found() -> None:
    """Skipped, opened twice, ended twice, in a wave, of another run, without somebody's part."""
    assert what(UP, epoch(2)) == "C7"
    assert what(IN_EPOCH, epoch(2)) == "C7"
    assert what(UP, EpochAbandoned(TERM, 1, RUN, Epoch(1), "")) == "C7"
    assert what(IN_EPOCH, manifest(1, (1,))) == "C7"
    assert what(IN_EPOCH, replace(manifest(1), run=Run(2))) == "C7"
    growing = apply(IN_EPOCH, LogNumber(2), GROW, KEPT)
    assert what(growing, generation(2, (W0, W1, W2), (0, 2, 1, 2))) == "C7"


def test_what_is_wrong_with_a_run_is_found() -> None:
    """It skips a number, or begins from a manifest that was not kept."""
    assert what(UP, recovery(2, (W0,), run=3)) == "C8"
    assert what(UP, recovery(2, (W0,), manifest(1))) == "C8"
