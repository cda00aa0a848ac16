"""When epochs are opened, and how each ends: with its manifest, or abandoned.

    DUE    the interval is over, and half of one since the epoch before ended, or somebody waits
           for an epoch; no wave is under way; all members have committed what the manifest before
           names; in a shutdown, all have stopped reading       -> EpochOpened
    OPEN   every member has a durable part                      -> Manifest
           the deadline                                         -> EpochAbandoned
           a death: the run ends, and the epoch with it

Because an epoch waits until the one before is committed everywhere, output of two epochs is never
committed in the wrong order, whichever workers do it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from zstream.config import Config
from zstream.control.reports import Seen
from zstream.control.state import ClusterState
from zstream.model.ids import Epoch, Incarnation, Run
from zstream.model.membership import Member
from zstream.model.records import EpochAbandoned, EpochOpened, LogRecord, Manifest

AFTER_RECOVERY = 0.25  # of an interval, to the first epoch: sinks hold back what was waited for
AFTER_EPOCH = 0.5  # of an interval, at least: where epochs take long, rescales get on in between

UNCOMMITTED = "uncommitted output of"  # how a report's pressure begins that an epoch relieves


class Epochs:
    """The leader's view. What is kept here in memory is time only. Times are monotonic seconds."""

    def __init__(
        self, config: Config, operators: Sequence[str], draw: Callable[[], int], now: float
    ) -> None:
        self._interval = config.checkpoint_interval_ms / 1000
        self._deadline = config.epoch_deadline_ms / 1000
        self._operators = tuple(operators)
        self._draw = draw
        self._opened_at = now
        self._due_at = now + self._interval
        self._is_open = False
        self._epoch = Epoch(0)
        self._run = Run(0)

    def next_timer(self, state: ClusterState) -> float:
        """When `step` may have something to do although nothing came in."""
        return self._due_at if state.epoch is None else self._opened_at + self._deadline

    def step(
        self,
        state: ClusterState,
        reports: Mapping[Incarnation, Seen],
        wanted: bool,
        now: float,
    ) -> LogRecord | None:
        """The next record to append. wanted: somebody waits for an epoch, so open it at once."""
        if state.generation is None:
            return None
        if state.epoch is not None:
            if self._epoch != state.epoch.epoch:
                self._epoch, self._opened_at = state.epoch.epoch, now
            self._is_open = True
            return self._close(state, state.epoch, reports, now)
        if self._is_open:
            self._is_open = False
            earliest = now + AFTER_EPOCH * self._interval
            self._due_at = max(self._opened_at + self._interval, earliest)
        if state.run != self._run:
            self._run = state.run
            if state.generation.recovers:
                self._due_at = now + AFTER_RECOVERY * self._interval
        if not wanted and now < self._due_at:
            return None
        if not between_waves(state, reports) or not all_committed(state, reports):
            return None
        if state.shutdown is not None and not _all_stopped(state, reports):
            return None
        return EpochOpened(state.term, self._draw(), state.run, Epoch(state.epochs + 1))

    def _close(
        self,
        state: ClusterState,
        opened: EpochOpened,
        reports: Mapping[Incarnation, Seen],
        now: float,
    ) -> LogRecord | None:
        waits_for = [m for m in state.table.members if not _has_part(m, opened, reports)]
        if not waits_for:
            members = [member.incarnation for member in state.table.members]
            return Manifest(
                term=state.term,
                nonce=self._draw(),
                run=opened.run,
                epoch=opened.epoch,
                authors=tuple(members),
                oldest=min(reports[member].report.oldest for member in members),
                operators=self._operators,
                key_groups=len(state.table.owners),
            )
        if now < self._opened_at + self._deadline:
            return None
        who = ", ".join(member.name for member in waits_for)
        cause = f"no part from {who} for {self._deadline:.0f} s"
        return EpochAbandoned(state.term, self._draw(), opened.run, opened.epoch, cause)


def all_committed(state: ClusterState, reports: Mapping[Incarnation, Seen]) -> bool:
    """Whether every member has committed what the newest manifest names, in this run."""
    for member in state.table.members:
        seen = reports.get(member.incarnation)
        if seen is None or seen.report.run != state.run:
            return False
        if seen.report.committed < state.committed:
            return False
    return True


def _all_stopped(state: ClusterState, reports: Mapping[Incarnation, Seen]) -> bool:
    """Whether no member reads its sources any more, so that positions are the last ones."""
    seen = [reports.get(member.incarnation) for member in state.table.members]
    return all(s is not None and s.report.run == state.run and s.report.draining for s in seen)


def between_waves(state: ClusterState, reports: Mapping[Incarnation, Seen]) -> bool:
    """Whether every member has switched, installed and settled all of the newest generation."""
    for member in state.table.members:
        seen = reports.get(member.incarnation)
        if seen is None or seen.report.run != state.run:
            return False
        if seen.report.generation < state.table.generation:
            return False
        if not (seen.report.installed and seen.report.settled):
            return False
    return True


def _has_part(member: Member, opened: EpochOpened, reports: Mapping[Incarnation, Seen]) -> bool:
    seen = reports.get(member.incarnation)
    return (
        seen is not None and seen.report.run == opened.run and seen.report.durable >= opened.epoch
    )
