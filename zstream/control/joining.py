"""The joiner's side of joining: ask, be heard, wait for the batch, or be refused.

ASKING   nobody of a cluster answered -> an answer -> WAITING
                                     -> whom we ask asks us, or the deadline -> exit 1
WAITING  the cluster knows of us     -> the log names us -> the agent goes on as a member
                                     -> refused, or silence past the deadline -> exit 1
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from zstream.config import Config
from zstream.control.events import Effect, Say, Stop
from zstream.control.requests import SAY_EVERY, Software
from zstream.control.rescale import FirstPlacement
from zstream.model.ids import RequestId
from zstream.model.membership import Member
from zstream.model.records import Manifest
from zstream.wire.messages import PROTOCOL_VERSION, JoinReply, JoinRequest


def nothing_known(address: str) -> str:
    """The look at an address where there is nothing to look at."""
    return ""


@dataclass(frozen=True)
class Start:
    """How this worker comes to its cluster. role: see zstream.runtime.options.WorkerOptions.

    stateful: (name, name before or "", where) of each stateful operator.
    fresh, savepoint, leave_state: what the initializer does with what a store holds: leave all of
    it; begin from this; begin without the state of these operators.
    why_silent: looks at an address where nobody answered, and says why, as a clause; it takes
    seconds, so it is asked once, when this worker gives up.
    """

    role: str
    join: str  # control address to ask; "" for the initializer
    worker_count: int
    sources: Mapping[str, bool]  # source -> whether every starting worker reads it
    pinned: tuple[str, ...]
    key_groups: int
    stateful: tuple[tuple[str, str, str], ...] = ()
    fresh: bool = False
    savepoint: Manifest | None = None
    leave_state: tuple[str, ...] = ()
    why_silent: Callable[[str], str] = field(default=nothing_known, compare=False)

    def sources_here(self) -> list[str]:
        """Sources that the cluster's start places on this worker; none on joiners."""
        is_first, is_there = self.role == "initializer", self.role != "joiner"
        return [name for name, par in self.sources.items() if is_first or (par and is_there)]

    def placement(self, topology: str) -> FirstPlacement:
        """What a leader needs of it to place the first generation."""
        stateful = tuple(name for name, _, _ in self.stateful)
        return FirstPlacement(topology, self.sources, self.pinned, self.key_groups, stateful)


def _request(me: Member, software: Software, start: Start, config: Config) -> JoinRequest:
    """What a worker asks with to be let in; repeated as it is."""
    return JoinRequest(
        request=RequestId(f"join-{me.incarnation}"),
        kind="start" if start.role == "starter" else "join",
        member=me,
        topology=software.topology,
        fingerprint=software.fingerprint,
        outline=software.outline,
        version=software.version,
        protocol=PROTOCOL_VERSION,
        worker_count=start.worker_count,
        deadline_ms=config.join_deadline_ms,
    )


class Joining:
    """One worker on its way in. Times are monotonic seconds."""

    def __init__(
        self, me: Member, software: Software, start: Start, config: Config, now: float
    ) -> None:
        self.request = _request(me, software, start, config)
        self.address = start.join
        self._why_silent = start.why_silent
        self._option = "--control" if start.role == "starter" else "--join"
        self._deadline = self.request.deadline_ms / 1000
        self._repeat = config.join_repeat_ms / 1000
        self._began = now
        self._asked_at = float("-inf")
        self._said_at = now
        self._answered_at: float | None = None
        self._says = ""
        self._meets_joiner = False  # who answers knows no cluster either
        self._cluster = ""

    def next_timer(self) -> float:
        return self._asked_at + self._repeat

    def on_reply(self, reply: JoinReply, now: float) -> list[Effect]:
        """Heard: waiting, or refused for good. Only who knows a cluster answers for one."""
        self._meets_joiner = not reply.cluster
        if reply.cluster:
            self._answered_at = now
            self._cluster = reply.cluster
        if reply.state == "refused":
            return [Stop(1, f"{reply.says} {reply.do}".strip())]
        if not reply.says or reply.says == self._says:
            return []
        self._says = reply.says
        self._said_at = now
        return [Say("info", "join_waits", reply.says, {"joiner": self.request.member.name})]

    def on_asked(
        self, request: JoinRequest, reply: Callable[[str, JoinReply], None]
    ) -> list[Effect]:
        """Another one asks us to be let in, and we are not in ourselves. That we ask it, and it
        us, can come to nothing; in a longer circle all wait until their deadline.
        """
        me, other, asked = self.request.member, request.member, request.request
        if other.control != self.address:
            reply(other.control, JoinReply(asked, "waiting", "", "", "", self._cluster, ""))
            return []
        says = (
            f"{me.name} at {me.control} and {other.name} at {other.control} were told to ask each "
            "other to be let in, and neither is in a cluster."
        )
        do = "Give one of them the control address of a running worker."
        reply(other.control, JoinReply(asked, "refused", "crossed", says, do, "", ""))
        return [Stop(1, f"{says} {do}")]

    def due(self, now: float) -> bool:
        """Whether to ask (again) now."""
        if now < self.next_timer():
            return False
        self._asked_at = now
        return True

    def tick(self, now: float) -> list[Effect]:
        """Say what is waited for, or give up at the deadline."""
        last = self._began if self._answered_at is None else self._answered_at
        # Once heard of, the cluster ends the wait itself at the batch's deadline; a little more
        # than that much silence means that it is gone.
        grace = 0.0 if self._answered_at is None else 5.0
        if now - last > self._deadline + grace:
            return [Stop(1, self._nobody())]
        if self._answered_at is None and now - self._said_at >= SAY_EVERY:
            self._said_at = now
            text = f"waiting: nobody answers at {self.address} yet"
            if self._meets_joiner:
                text = f"waiting: the worker at {self.address} waits to be let in itself"
            return [Say("warning", "join_waits", text, {"address": self.address})]
        return []

    def _nobody(self) -> str:
        if self._answered_at is not None:
            return (
                f"the cluster at {self.address} stopped answering. Is it still running? "
                "Nothing was changed."
            )
        if self._meets_joiner:
            return (
                f"the worker at {self.address} has been waiting for {self._deadline:.0f} s to be "
                f"let in itself. {self._option} wants the control address of a running worker."
            )
        why = self._why_silent(self.address)
        return (
            f"nobody answered at {self.address} for {self._deadline:.0f} s{why and f': {why}'}. "
            f"{self._option} wants the control address of a running worker, not its external or "
            "data address."
        )
