"""Tools' requests on a worker: who asked, and what they are told."""

from __future__ import annotations

from typing import Any

from zstream.control.events import AnswerClient, Effect
from zstream.control.leader import Leader
from zstream.control.requests import Software, answer, outcome_data
from zstream.control.state import ClusterState
from zstream.control.status import (
    dead_letters_data,
    eligible_data,
    rescales_data,
    status_data,
)
from zstream.model.ids import RequestId
from zstream.model.records import RescaleClosed, ShutdownClosed
from zstream.wire.messages import (
    Answer,
    ClientRequest,
    SavepointRequest,
    ShrinkRequest,
    ShutdownRequest,
    StatusRequest,
)

ASKERS_MAX = 1000  # tools that wait at one worker; the oldest are forgotten, and ask again


class Desk:
    """Remembers which tool asked what, so that the end of a request is told at once."""

    def __init__(self) -> None:
        self._askers: dict[RequestId, tuple[bytes, ClientRequest]] = {}

    def asked(self, client: bytes, request: ClientRequest) -> None:
        self._askers.pop(request.request, None)
        self._askers[request.request] = (client, request)
        while len(self._askers) > ASKERS_MAX:
            self._askers.pop(next(iter(self._askers)))

    def answers(self, given: Answer, client: bytes = b"") -> list[Effect]:
        """The effect that tells the asker, if it asked here."""
        asker = self._askers.get(given.request)
        to = client or (asker[0] if asker else b"")
        if not to:
            return []
        if given.state not in ("waiting", "running"):
            self._askers.pop(given.request, None)
        return [AnswerClient(to, given)]

    def closed(self, record: RescaleClosed) -> list[Effect]:
        """A rescale has ended: tell those who asked for it here."""
        effects: list[Effect] = []
        for request in record.requests:
            effects.extend(self.answers(_outcome(request, record)))
        return effects

    def stopped(self, record: ShutdownClosed) -> list[Effect]:
        """The cluster has stopped: tell all who asked for that here, or for what it cannot do
        any more."""
        effects: list[Effect] = []
        for _, what in list(self._askers.values()):
            if not isinstance(what, StatusRequest):
                effects.extend(self.answers(_after_the_end(what, record)))
        return effects

    def without_leader(
        self, request: ClientRequest, state: ClusterState, software: Software
    ) -> Answer:
        """What a worker can say that knows no leader: only how it stands itself."""
        if isinstance(request, StatusRequest):
            if request.what == "status":
                return answer(request.request, "done", data=status_data(state, {}, software))
            if request.what == "eligible":
                return answer(request.request, "done", data=eligible_data(state))
            return answer(request.request, "done", data={request.what: []})
        return answer(request.request, "waiting", "The cluster is not up yet.")

    def answer(
        self,
        request: ClientRequest,
        state: ClusterState,
        leader: Leader,
        software: Software,
        now: float,
    ) -> Answer:
        """The leader's answer, for the whole cluster."""
        if isinstance(request, StatusRequest):
            told = _told(request, state, leader, software)
            return answer(request.request, "done", data=told)
        if isinstance(request, SavepointRequest):
            return leader.savepoints.on_request(request, state, now)
        if found := in_log(request, state):
            return found
        if isinstance(request, ShutdownRequest):
            return leader.on_shutdown(request, state)
        if state.open is not None and request.request in state.open.requests:
            return answer(request.request, "running", state.open.says, data={"id": state.open.id})
        return leader.requests.on_shrink(request, state)


def _told(
    request: StatusRequest, state: ClusterState, leader: Leader, software: Software
) -> dict[str, Any]:
    if request.what == "eligible":
        return eligible_data(state)
    if request.what == "rescales":
        return rescales_data(state)
    if request.what == "dead_letters":
        return dead_letters_data(leader.reports)
    lacks = leader.start_lacks(state)
    return status_data(state, leader.reports, software, leader.phase, lacks)


def in_log(request: ClientRequest, state: ClusterState) -> Answer | None:
    """The final answer, where it stands in the log: then anybody can give it, and the leader has
    perhaps ended. None while there is none. A savepoint's end is known to the leader only.
    """
    if not isinstance(request, ShrinkRequest | ShutdownRequest):
        return None
    for closed in state.closed:
        if request.request in closed.requests:
            return _outcome(request.request, closed)
    return None if state.stopped is None else _after_the_end(request, state.stopped)


def _after_the_end(request: ClientRequest, record: ShutdownClosed) -> Answer:
    """The cluster has stopped: that was asked for, or nothing more can come of what was."""
    is_done = record.drained and isinstance(request, ShutdownRequest)
    return answer(request.request, "done" if is_done else "failed", record.says)


def _outcome(request: RequestId, closed: RescaleClosed) -> Answer:
    return answer(request, closed.outcome, closed.says, data=outcome_data(closed))
