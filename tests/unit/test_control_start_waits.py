"""A start that waits for workers: what its leader says, and what it tells cluster_status."""

from __future__ import annotations

from zstream.config import Config
from zstream.control.answers import Desk
from zstream.control.leader import Leader
from zstream.control.requests import SAY_EVERY, Software
from zstream.control.rescale import FirstPlacement
from zstream.control.state import ClusterState
from zstream.model.ids import Incarnation, RequestId, Term, WorkerName
from zstream.model.membership import Member
from zstream.wire.codec import decode_plain
from zstream.wire.messages import StatusRequest

ME = Member(WorkerName("w0"), Incarnation(1), "h:1", "h:2", "h:3")
SOFTWARE = Software("votes", "9f2c01e7", (), "1.0")
STATE = ClusterState(term=Term(1), leader=ME.incarnation, cluster="votes-1")
WAITS = "waiting for 2 more workers: zworker ... --control h:1 --name NAME"


def leader_of(count: int) -> Leader:
    first = FirstPlacement("votes", {}, (), 4, ())
    return Leader(Config(), ME, SOFTWARE, first, count, lambda: 1, {}, 100.0)


def status(leader: Leader) -> object:
    request = StatusRequest(RequestId("r"), "status")
    return decode_plain(Desk().answer(request, STATE, leader, SOFTWARE, 100.0).data)


def test_it_is_said_at_once_and_then_now_and_then() -> None:
    """Who starts one of three terminals sees what to type in the others, without waiting for it."""
    leader = leader_of(3)
    assert leader.start_waits(STATE, 100.0) == WAITS
    assert leader.start_waits(STATE, 100.0 + SAY_EVERY / 2) == ""
    assert leader.start_waits(STATE, 100.0 + SAY_EVERY) == WAITS
    assert leader_of(1).start_waits(STATE, 100.0) == ""


def test_a_status_tells_it_too() -> None:
    """Instead of "not up yet" alone; a start that waits for nobody has nothing to tell."""
    waiting, alone = status(leader_of(3)), status(leader_of(1))
    assert isinstance(waiting, dict)
    assert isinstance(alone, dict)
    assert waiting["waits_for"] == [WAITS]
    assert alone["waits_for"] == []
