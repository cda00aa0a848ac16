"""Who is busy, and not dead: signs of life come in, and the loop beside them does not turn.

The leader hears all members, and they hear the leader; so of two or more workers each is watched.
"""

from __future__ import annotations

from zstream.config import Config
from zstream.control.voice import Voice
from zstream.model.ids import Incarnation
from zstream.wire.messages import Pulse

SAID_EVERY = 5.0  # seconds between two lines about the same worker


class Busy:
    """One worker's view of the others. Times are monotonic seconds."""

    def __init__(self, voice: Voice, config: Config) -> None:
        self._voice = voice
        self._after = config.busy_after_ms / 1000
        self._turns: dict[Incarnation, tuple[int, float]] = {}  # count, and since when
        self._said_at: dict[Incarnation, float] = {}

    def heard(self, member: Incarnation, pulse: Pulse, now: float) -> None:
        """A sign of life. Says so when the member's loop is held by user code."""
        turns, since = self._turns.get(member, (-1, now))
        if pulse.turns != turns:
            self._turns[member] = (pulse.turns, now)
            return
        said_at = self._said_at.get(member, float("-inf"))
        if now - since < self._after or now - said_at < SAID_EVERY:
            return
        self._said_at[member] = now
        where = f"{pulse.operator} holds" if pulse.operator else "something holds"
        text = f"{pulse.name} is busy, not dead: {where} its loop for {now - since:.0f} s now"
        self._voice.say("warning", "worker_busy", text)
