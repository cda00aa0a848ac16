"""How the parts of a worker's control core speak: effects in order, messages in envelopes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from zstream.control.events import Effect, Say, SendMessage
from zstream.control.log import ControlLog
from zstream.model.ids import Generation
from zstream.model.membership import Member
from zstream.wire.messages import Envelope, Pulse, WorkerMessage


class Voice:
    """Collects the effects of one event. The only thing that agent and its parts share."""

    def __init__(self, me: Member, log: ControlLog) -> None:
        self.me = me
        self.log = log
        self.generation = Generation(0)  # the newest that was handed to the dataflow
        self._effects: list[Effect] = []

    def take(self) -> list[Effect]:
        """The effects since the last call, in order."""
        effects, self._effects = self._effects, []
        return effects

    def do(self, effect: Effect) -> None:
        self._effects.append(effect)

    def do_all(self, effects: Iterable[Effect]) -> None:
        self._effects.extend(effects)

    def send(self, address: str, message: WorkerMessage) -> None:
        self.do(SendMessage(address, self.envelope(message)))

    def say(
        self, level: str, event: str, text: str, fields: Mapping[str, Any] | None = None
    ) -> None:
        self.do(Say(level, event, text, fields or {}))

    def pulse(self, is_leader: bool, turns: int, operator: str) -> list[tuple[str, Envelope]]:
        """A sign of life: the leader's to all, a member's to its leader."""
        state = self.log.state
        envelope = self.envelope(Pulse(self.me.name, is_leader, state.tail, turns, operator))
        if is_leader:
            others = [p for p in state.people if p.incarnation != self.me.incarnation]
            return [(other.control, envelope) for other in others]
        leader = state.person(state.leader)
        return [] if leader is None else [(leader.control, envelope)]

    def envelope(self, message: WorkerMessage) -> Envelope:
        """What every message of this worker carries."""
        state = self.log.state
        return Envelope(
            self.me.incarnation,
            self.me.control,
            state.cluster,
            state.term,
            self.generation,
            message,
        )
