"""Savepoints that the leader was asked for: one at a time, each of the next checkpoint.

    ASKED      a manifest of an epoch that was opened later, and its output committed by all
                                                              -> COPYING
    COPYING    beside the loop, from the cluster's store to the other one
               copied                                         -> done
               it cannot be                                   -> failed, and why
    ...        the deadline, or the cluster stops             -> failed

Nothing of it stands in the log. A new leader knows of no savepoint; whoever asks repeats the
request until its end is known, and so lets it begin anew: with a later checkpoint, unless the
description stands in its place already.

While one is under way no parts are cleaned away, and the cluster is not shut down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from zstream.config import Config
from zstream.control.epochs import all_committed
from zstream.control.events import CopySavepoint, Effect, SavepointCopied
from zstream.control.reports import Seen
from zstream.control.requests import Software, answer
from zstream.control.state import ClusterState
from zstream.model.ids import Epoch, Incarnation, RequestId
from zstream.model.savepoint import Savepoint
from zstream.wire.messages import Answer, SavepointRequest


@dataclass(frozen=True)
class _Asked:
    """A savepoint to be. after: it is of a later epoch than this one."""

    request: SavepointRequest
    since: float
    after: Epoch


class Savepoints:
    """The leader's memory of them. Times are monotonic seconds."""

    def __init__(self, config: Config, software: Software) -> None:
        self._deadline = config.savepoint_deadline_ms / 1000
        self._outcomes_kept = config.outcomes_kept
        self._software = software
        self._line: dict[RequestId, _Asked] = {}  # in the order in which they came
        self._turn_at = 0.0  # since when the first of them is the first
        self._copying = RequestId("")  # the first of them, once its copy was begun
        self._outcomes: dict[RequestId, Answer] = {}

    @property
    def under_way(self) -> bool:
        return bool(self._line)

    def is_copied(self, request: RequestId) -> bool:
        """Whether its copy is under way and still wanted. Also asked from beside the loop."""
        return request == self._copying

    def wants_epoch(self, state: ClusterState) -> bool:
        """Whether one waits for an epoch."""
        first = next(iter(self._line.values()), None)
        return first is not None and not self._copying and state.committed <= first.after

    def next_timer(self) -> float:
        return self._turn_at + self._deadline if self._line else float("inf")

    def on_request(self, request: SavepointRequest, state: ClusterState, now: float) -> Answer:
        """Where it stands; the first time it is refused, or gets in line."""
        me = request.request
        if me in self._outcomes:
            return self._outcomes[me]
        if me not in self._line:
            if state.generation is None:
                says, do = "The cluster is not up yet.", "Ask again when it is."
                return answer(me, "refused", says, "not_up", do)
            if state.shutdown is not None:
                return answer(me, "refused", "The cluster is shutting down.", "shutting_down")
            self._turn_at = self._turn_at if self._line else now
            self._line[me] = _Asked(request, now, state.epochs)
        if me != next(iter(self._line)):
            return answer(me, "waiting", "Another savepoint is under way; this one waits its turn.")
        return answer(me, "running", f"Saving the next checkpoint to {request.to}.")

    def effects(
        self, state: ClusterState, reports: Mapping[Incarnation, Seen], now: float
    ) -> list[Effect]:
        """What there is to do now: the copy of the first one, when its checkpoint is there."""
        first = next(iter(self._line.values()), None)
        if first is not None and now >= self._turn_at + self._deadline:
            self._fail(first, f"it was not done after {self._deadline:.0f} s.", now)
            first = next(iter(self._line.values()), None)
        if state.stopped is not None:
            for asked in list(self._line.values()):
                self._fail(asked, "the cluster has stopped.", now)
            return []
        if first is None or self._copying or state.manifest is None:
            return []
        if state.manifest.epoch <= first.after or not all_committed(state, reports):
            return []
        self._copying = first.request.request
        savepoint = Savepoint(
            request=first.request.request,
            asked_at=first.request.asked_at,
            cluster=state.cluster,
            topology=self._software.topology,
            fingerprint=self._software.fingerprint,
            outline=self._software.outline,
            version=self._software.version,
            parts=0,
            bytes=0,
            manifest=replace(state.manifest, committed=True),
        )
        return [CopySavepoint(savepoint, first.request.to)]

    def on_copied(self, event: SavepointCopied, now: float) -> None:
        """A copy has ended; that of one which was given up counts for nothing."""
        asked = self._line.get(event.request)
        if asked is None or event.request != self._copying:
            return
        if event.savepoint is None:
            self._fail(asked, event.failed, now)
            return
        data = savepoint_data(event.savepoint, asked.request.to, now - asked.since)
        says = (
            f"Savepoint of epoch {data['epoch']} in {asked.request.to}: {data['parts']:,} "
            f"{'part' if data['parts'] == 1 else 'parts'}, {data['bytes']:,} bytes, "
            f"{data['seconds']:.1f} s."
        )
        self._end(answer(event.request, "done", says, data=data), now)

    def _fail(self, asked: _Asked, why: str, now: float) -> None:
        says = f"There is no savepoint: {why}"
        self._end(answer(asked.request.request, "failed", says, "failed"), now)

    def _end(self, outcome: Answer, now: float) -> None:
        self._line.pop(outcome.request)
        self._turn_at = now
        if self._copying == outcome.request:
            self._copying = RequestId("")
        self._outcomes[outcome.request] = outcome
        while len(self._outcomes) > self._outcomes_kept:
            self._outcomes.pop(next(iter(self._outcomes)))


def savepoint_data(savepoint: Savepoint, to: str, seconds: float) -> dict[str, Any]:
    """A savepoint that was written, as the tools show it."""
    return {
        "to": to,
        "epoch": savepoint.manifest.epoch,
        "parts": savepoint.parts,
        "bytes": savepoint.bytes,
        "seconds": round(seconds, 3),
    }
