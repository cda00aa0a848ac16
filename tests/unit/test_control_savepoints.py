"""The leader's savepoints where a transcript cannot look: parts, commits, the description."""

from __future__ import annotations

from dataclasses import replace

from tests.savepoint_kit import MANIFEST, SAVEPOINT
from zstream.config import Config
from zstream.control.events import CleanParts, CopySavepoint, SavepointCopied
from zstream.control.leader import Leader
from zstream.control.requests import Software
from zstream.control.rescale import FirstPlacement
from zstream.control.state import ClusterState
from zstream.model.ids import Epoch, Generation, Incarnation, RequestId, Run, Term, WorkerName
from zstream.model.membership import NOTHING_PLACED, Member, RoutingTable
from zstream.model.records import GenerationOpened
from zstream.wire.codec import decode_plain
from zstream.wire.messages import NO_LOAD, Report, SavepointRequest, WorkerStatistics

ME = Member(WorkerName("w0"), Incarnation(1), "h:1", "h:2", "h:3")
TABLE = RoutingTable(Generation(1), (ME,), (0, 0, 0, 0), (0,))
OPENED = GenerationOpened(
    Term(1),
    1,
    Run(1),
    TABLE,
    NOTHING_PLACED,
    "",
    0,
    0,
    False,
    None,
    "start",  # type: ignore[arg-type]
)
OURS = replace(MANIFEST, oldest=Epoch(20), epoch=Epoch(30), committed=False)
STATE = ClusterState(
    term=Term(1),
    leader=ME.incarnation,
    cluster="votes-1",
    run=Run(1),
    generation=OPENED,
    epochs=Epoch(30),
    manifests=(OURS,),
)
LATER = replace(STATE, epochs=Epoch(31), manifests=(OURS, replace(OURS, epoch=Epoch(31))))
REQUEST = SavepointRequest(RequestId("s1"), "file:///save", 1_700_000_000)
NO_FIGURES = WorkerStatistics(0, 0, 0.0, 0.0, 0, 0, 0.0, 0, 0, 0.0, 0, ())


def leader() -> Leader:
    software = Software("votes", "9f2c01e7", SAVEPOINT.outline, "1.0")
    first = FirstPlacement("votes", {}, (), 4, ("tally",))
    return Leader(Config(), ME, software, first, 1, lambda: 1, {}, 0.0)


def report(committed: int, run: int = 1) -> Report:
    return Report(
        name=ME.name,
        run=Run(run),
        generation=Generation(1),
        connected=(),
        installed=True,
        settled=True,
        empty=True,
        draining=False,
        sent=0,
        applied=0,
        ended=False,
        pressure="",
        sizes=(),
        costs=None,
        durable=Epoch(committed),
        oldest=Epoch(20),
        committed=Epoch(committed),
        damaged="",
        readable=(),
        load=NO_LOAD,
        statistics=NO_FIGURES,
        newest_dead_letters=(),
    )


def test_a_checkpoint_is_copied_when_its_output_is_committed_by_all() -> None:
    """Not the one from before the question; not before it is committed; nor by word of a run that
    has ended. The description says what it is of, and that its output was shown."""
    us = leader()
    us.on_report(ME.incarnation, report(30), 0.0)
    assert us.savepoints.on_request(REQUEST, STATE, 0.0).state == "running"
    assert us.savepoints.wants_epoch(STATE)
    assert us.effects(STATE, 0.1) == []
    assert us.effects(LATER, 0.2) == []
    us.on_report(ME.incarnation, report(31, run=0), 0.3)
    assert us.effects(LATER, 0.3) == []
    us.on_report(ME.incarnation, report(31), 0.4)
    [copy] = us.effects(LATER, 0.4)
    assert isinstance(copy, CopySavepoint)
    manifest = replace(OURS, epoch=Epoch(31), committed=True)
    wanted = replace(SAVEPOINT, request=RequestId("s1"), manifest=manifest)
    assert (copy.savepoint, copy.to) == (wanted, "file:///save")
    assert us.effects(LATER, 0.5) == [] and not us.savepoints.wants_epoch(LATER)


def test_no_part_is_cleaned_away_while_a_savepoint_is_under_way() -> None:
    """The checkpoint that is copied is none of the newest ones for long."""
    us = leader()
    us.on_report(ME.incarnation, report(31), 0.0)
    us.savepoints.on_request(REQUEST, STATE, 0.0)
    [copy] = us.effects(LATER, 0.1)
    assert isinstance(copy, CopySavepoint)
    newer = replace(OURS, epoch=Epoch(60), oldest=Epoch(50))
    much_later = replace(STATE, epochs=Epoch(60), manifests=(newer,))
    assert us.effects(much_later, 0.2) == []
    there = replace(copy.savepoint, parts=3, bytes=700)
    us.savepoints.on_copied(SavepointCopied(RequestId("s1"), there, ""), 2.5)
    assert us.effects(much_later, 2.6) == [CleanParts(Epoch(50))]
    done = us.savepoints.on_request(REQUEST, much_later, 3.0)
    assert done.state == "done"
    assert decode_plain(done.data) == {
        "to": "file:///save",
        "epoch": 31,
        "parts": 3,
        "bytes": 700,
        "seconds": 2.5,
    }


def test_who_was_given_up_is_not_copied_any_more() -> None:
    """The thread that copies asks; its answer, should it come all the same, counts for nothing."""
    us = leader()
    us.on_report(ME.incarnation, report(31), 0.0)
    us.savepoints.on_request(REQUEST, STATE, 0.0)
    us.effects(LATER, 0.1)
    assert us.savepoints.is_copied(RequestId("s1"))
    assert us.next_timer(LATER) <= 600.0 == us.savepoints.next_timer()
    us.effects(LATER, 600.0)
    assert not us.savepoints.is_copied(RequestId("s1"))
    us.savepoints.on_copied(SavepointCopied(RequestId("s1"), SAVEPOINT, ""), 601.0)
    ended = us.savepoints.on_request(REQUEST, LATER, 602.0)
    assert (ended.state, ended.says) == (
        "failed",
        "There is no savepoint: it was not done after 600 s.",
    )
