"""When a follower tries to lead. The control log decides who does; this only decides who asks.

    FOLLOWING --(no leader heard for lease + rank x stagger)--> PROBING
    PROBING   --(leader heard, or the log has grown, or a member hears the leader)--> FOLLOWING
    PROBING   --(all others say that they hear nobody either, or a whole lease has passed)--> TRYING
    TRYING    --(the append was won: a leader; lost: somebody else is)--> FOLLOWING

A lease is for liveness only: however wrong a clock is, a term is won by an append, and a leader
without the newest term can append nothing. A leader that misses a member appends `Renewed`
records, so a worker that is cut off from everybody but the store sees the log grow and waits.
"""

from __future__ import annotations

from zstream.config import Config
from zstream.control.state import ClusterState
from zstream.model.ids import Incarnation, LogNumber

FOLLOWING = "following"
PROBING = "probing"
TRYING = "trying"


class Election:
    """One worker's view of the leader's lease. Times are monotonic seconds."""

    def __init__(self, config: Config, now: float) -> None:
        self._lease = config.lease_ms / 1000
        self._stagger = config.stagger_ms / 1000
        self.phase = FOLLOWING
        self.heard_at = now
        self._tail_at_probe = LogNumber(0)
        self._probe_ends = 0.0
        self._silent: set[Incarnation] = set()

    def leader_heard(self, now: float) -> None:
        """A sign of life of the current leader, or of a log that grows."""
        self.heard_at = now
        self.phase = FOLLOWING

    def member_answers(self, member: Incarnation, ago: float, now: float) -> None:
        """A member answered the probe: so many seconds ago it heard the leader."""
        if ago < self._lease:
            self.leader_heard(now - ago)
        else:
            self._silent.add(member)

    def next_timer(self, rank: int) -> float:
        """When `step` wants to be called."""
        if self.phase == FOLLOWING:
            return self.heard_at + self._lease + rank * self._stagger
        return self._probe_ends

    def step(self, now: float, rank: int, tail: LogNumber, others: set[Incarnation]) -> str:
        """Go on. Returns "probe" (ask the members, read the log), "try" (append a term) or "".

        rank: how many members would try before this one. others: members that could answer.
        """
        if self.phase == FOLLOWING:
            if now < self.next_timer(rank):
                return ""
            self.phase = PROBING
            self._tail_at_probe = tail
            self._probe_ends = now + self._lease
            self._silent = set()
            return "probe"
        if tail != self._tail_at_probe:
            self.leader_heard(now)
            return ""
        if self.phase == PROBING and (
            now >= self._probe_ends or (others and others <= self._silent)
        ):
            self.phase = TRYING
            self._probe_ends = now + self._lease
            return "try"
        if self.phase == TRYING and now >= self._probe_ends:
            self.phase = FOLLOWING  # the store does not answer: look again from the start
            self.heard_at = now
        return ""


def rank(state: ClusterState, me: Incarnation) -> int:
    """How many members would try to lead before this one: the senior ones, leavers last."""
    leaving = {member.incarnation for member in state.open.leavers} if state.open else set()
    order = [m.incarnation for m in state.table.members if m.incarnation != state.leader]
    order.sort(key=lambda incarnation: incarnation in leaving)
    return order.index(me) if me in order else 0
