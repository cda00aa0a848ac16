"""A signal to this worker: it leaves the cluster as if shrunk, if it may, and else says why not."""

from __future__ import annotations

from collections.abc import Callable

from zstream.config import Config
from zstream.control.voice import Voice
from zstream.model.ids import RequestId
from zstream.wire.messages import Answer, Forwarded, ShrinkRequest


class Leaving:
    """Asks the leader until it has answered. Times are monotonic seconds."""

    def __init__(self, voice: Voice, config: Config) -> None:
        self._voice = voice
        self._retry = config.retry_ms / 1000
        self._asked_at: float | None = None
        self.request = RequestId(f"leave-{voice.me.incarnation}")

    def ask(self, now: float, lead: Callable[[ShrinkRequest], Answer] | None) -> None:
        """Ask. lead: where to ask when this worker is the leader itself."""
        self._asked_at = now
        me = self._voice.me
        request = ShrinkRequest(self.request, (me.name,), 0, f"a signal to {me.name}")
        if lead is not None:
            self.on_answer(lead(request))
            return
        state = self._voice.log.state
        leader = state.person(state.leader)
        if leader is not None:
            self._voice.send(leader.control, Forwarded(me.control, b"", request))

    def due(self, now: float) -> bool:
        """Whether to ask again."""
        return self._asked_at is not None and now - self._asked_at >= self._retry

    def on_answer(self, answer: Answer) -> None:
        """The leader has answered: accepted, or why not."""
        if self._asked_at is None:
            return
        self._asked_at = None
        me = self._voice.me
        if answer.state != "refused":
            self._voice.say("info", "leaving", "leaving as if shrunk; again to stop at once.")
            return
        because = self._voice.log.state.placement.stays_because(me.name) or answer.says
        text = f"cannot leave, {because}; again to stop it, cluster_shutdown {me.external} for all."
        self._voice.say("warning", "cannot_leave", text)
