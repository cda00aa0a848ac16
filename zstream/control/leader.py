"""What only the leader does: from the log and the members' reports to the next record.

`step` is called whenever something has changed and the log is idle. It looks at everything anew
and returns at most one record, in this order of need:

    1. somebody died            a rescale that has not begun is undone; then a recovery
    2. a manifest is damaged    a recovery from the one before
    3. a member is silent       Renewed, so that who is cut off sees the log grow (see election)
    4. an epoch is open or due  its manifest, its end, or its opening (see epochs)
    5. a rescale is open        its next step (see rescale); hand over first when we leave
    6. a shutdown is open       closed when all is drained and committed, or at its deadline
    7. the log has grown long   a base record
    8. a request is in line     opened; a shutdown waits for the rescale under way
    9. all sources have ended   a shutdown
   10. some do most of the work a rescale that moves key groups for it (see balance)

What is appended is the decision; the effects follow when it is read back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from zstream.config import Config
from zstream.control.balance import BALANCE, Balance
from zstream.control.epochs import UNCOMMITTED, Epochs, all_committed, between_waves
from zstream.control.events import CleanParts, Effect
from zstream.control.recovering import lost_groups, recovery, unread
from zstream.control.reports import Seen
from zstream.control.requests import SAY_EVERY, Requests, Software, answer, names, plural
from zstream.control.rescale import FirstPlacement, Rescale
from zstream.control.savepoints import Savepoints
from zstream.control.state import ClusterState, as_base
from zstream.model.ids import Epoch, Incarnation, LogNumber, RequestId, RescaleId
from zstream.model.membership import Member
from zstream.model.records import (
    END_OF_INPUT,
    EpochAbandoned,
    GenerationOpened,
    LogRecord,
    Manifest,
    Renewed,
    RescaleClosed,
    RescaleOpened,
    ShutdownClosed,
    ShutdownOpened,
)
from zstream.wire.messages import (
    Answer,
    JoinReply,
    JoinRequest,
    Report,
    ShutdownRequest,
)

CLEAN_EVERY = 8  # epochs; a listing of all parts is not free in a bucket


class Leader:
    """The leader's memory, which dies with its term. Times are monotonic seconds."""

    def __init__(
        self,
        config: Config,
        me: Member,
        software: Software,
        first: FirstPlacement,
        start_count: int,
        draw: Callable[[], int],
        heard: Mapping[Incarnation, float],
        now: float,
    ) -> None:
        """heard: when those were heard last of whom that is known already."""
        self.requests = Requests(config, software, start_count)
        self.savepoints = Savepoints(config, software)
        self.reports: dict[Incarnation, Seen] = {}
        self._config = config
        self._me = me
        self._first = first
        self._start_count = start_count
        self._draw = draw
        self._epochs = Epochs(config, first.stateful, draw, now)
        self._balance = Balance(config, now)
        self._heard = dict(heard)
        self._known: dict[Incarnation, float] = {}  # since when somebody is to be heard
        self._said_waiting_at = float("-inf")
        self._rescale: Rescale | None = None
        self._shutdown: ShutdownRequest | None = None
        self._round: dict[Incarnation, tuple[float, int, int]] | None = None  # of empty reports
        self._drained: Epoch | None = None  # the newest epoch when all had been drained
        self._shutdown_at = now
        self._log_grew = now
        self._after_epoch = False  # then it is the turn of what waits between epochs, and not else
        self._cleaned = Epoch(0)  # parts of lower epochs were deleted in this term
        self._recovering = 0  # the nonce of the newest recovery

    # ---- what comes in

    def heard(self, member: Incarnation, now: float) -> None:
        self._heard[member] = now

    def was_away(self, now: float) -> None:
        """The process itself stood still: nobody's silence in that time counts."""
        self._known.clear()
        self._heard.clear()

    def on_join(self, request: JoinRequest, state: ClusterState, now: float) -> JoinReply:
        """A joiner asks. One that has the name of a member may be that one, started again."""
        others = [m for m in state.table.members if m.incarnation != self._me.incarnation]
        heard = {m.name: self._last_sign(m.incarnation) for m in others}
        return self.requests.on_join(request, state, heard, now)

    def on_report(self, member: Incarnation, report: Report, now: float) -> None:
        self.reports[member] = Seen(report, now)
        self.heard(member, now)

    def on_shutdown(self, request: ShutdownRequest, state: ClusterState) -> Answer:
        self._shutdown = self._shutdown or request
        if state.open is not None:
            says = f"{state.open.id} is under way; the shutdown waits its turn."
            return answer(request.request, "waiting", says)
        if self.savepoints.under_way and state.shutdown is None:
            says = "A savepoint is under way; the shutdown waits for it."
            return answer(request.request, "waiting", says)
        return answer(request.request, "running", "Draining.")

    def on_appended(self, record: LogRecord, state: ClusterState, now: float) -> None:
        """A record of this leadership stands in the log."""
        self._log_grew = now
        if isinstance(record, RescaleOpened):
            self.requests.opened(record)
            self._rescale = Rescale(record, self._config, self._first, self._draw, now)
        elif isinstance(record, GenerationOpened):
            self._on_generation(record, now)
        elif isinstance(record, RescaleClosed):
            self._balance.ended(record.kind, now)
        elif isinstance(record, Manifest | EpochAbandoned):
            self._after_epoch = True
        elif isinstance(record, ShutdownOpened):
            self._shutdown_at = now

    def _on_generation(self, opened: GenerationOpened, now: float) -> None:
        self._after_epoch = False
        self.requests.let_in(opened.table.members)
        if opened.nonce == self._recovering:
            self._round = self._drained = None
            if self._rescale is not None:
                self._rescale.recovered()
        elif self._rescale is not None:
            self._rescale.appended(opened, now)

    @property
    def planning(self) -> bool:
        return self._rescale is not None and self._rescale.planning

    @property
    def phase(self) -> str:
        return self._rescale.phase if self._rescale else ""

    def next_timer(self, state: ClusterState) -> float:
        """When `step` may have something to do although nothing came in."""
        me, lease = self._me.incarnation, self._config.lease_ms / 1000
        signs = [self._last_sign(m.incarnation) for m in state.people if m.incarnation != me]
        oldest = min(signs, default=float("inf"))
        times = [oldest + lease, max(oldest, self._log_grew) + lease / 2]  # death comes later
        if self._rescale is not None and self._rescale.next_timer() is not None:
            times.append(self._rescale.next_timer() or 0.0)
        times.append(self._epochs.next_timer(state))
        times.append(self.savepoints.next_timer())
        requests = self.requests.next_timer()
        if requests is not None:
            times.append(requests)
        if state.shutdown is not None:
            times.append(self._shutdown_at + self._config.drain_deadline_ms / 1000)
        return min(times, default=float("inf"))

    # ---- what goes out

    def step(self, state: ClusterState, now: float) -> tuple[LogRecord | None, list[Answer]]:
        """The next record to append, and answers to requests that fell through meanwhile."""
        if state.stopped is not None:
            return None, []
        for person in state.people:
            self._known.setdefault(person.incarnation, now)
        self._follow(state, now)
        record = self._bury(state, now) or self._mend(state) or self._renew(state, now)
        if record is None and self._after_epoch and state.epoch is None:
            record = self._go_on(state, now)
        if record is None:
            record = self._epochs.step(state, self.reports, self._epoch_is_wanted(state), now)
        if record is None and not self._after_epoch and state.epoch is None:
            record = self._go_on(state, now)
        if record is None and state.tail - state.base >= self._config.log_records_before_base:
            record = as_base(state, LogNumber(state.tail + 1), self._draw())
        refused: list[Answer] = []
        if record is None and state.open is None and state.shutdown is None:
            record = self._open_next(state, refused, now)
        return record, refused

    def effects(self, state: ClusterState, now: float) -> list[Effect]:
        """What is to be done without a record of its own."""
        return self.savepoints.effects(state, self.reports, now) + self._clean_parts(state)

    def _clean_parts(self, state: ClusterState) -> list[Effect]:
        """Parts that no kept manifest needs are deleted, now and then; that they are needed no
        more stands in the log. Not while some are copied to a savepoint."""
        if self.savepoints.under_way or state.oldest < self._cleaned + CLEAN_EVERY:
            return []
        self._cleaned = state.oldest
        return [CleanParts(state.oldest)]

    def start_lacks(self, state: ClusterState) -> str:
        """Whom a start still waits for, and how to start them; or ""."""
        missing = self.requests.missing_to_start(state)
        if not missing:
            return ""
        workers = plural(missing, "more worker")
        return f"waiting for {workers}: zworker ... --control {self._me.control} --name NAME"

    def start_waits(self, state: ClusterState, now: float) -> str:
        """The same, to be said: at once and then every now and then."""
        says = self.start_lacks(state)
        if not says or now - self._said_waiting_at < SAY_EVERY:
            return ""
        self._said_waiting_at = now
        return says

    def hand_over_to(self, state: ClusterState) -> Member | None:
        """Who shall lead while this worker leaves, or None when it does not leave."""
        if state.open is None:
            return None
        leaving = {member.incarnation for member in state.open.leavers}
        if self._me.incarnation not in leaving:
            return None
        return next((m for m in state.table.members if m.incarnation not in leaving), None)

    def _follow(self, state: ClusterState, now: float) -> None:
        """A rescale that an earlier leader opened, or that has ended."""
        if state.open is None:
            self._rescale = None
        elif self._rescale is None or self._rescale.opened != state.open:
            self._rescale = Rescale(state.open, self._config, self._first, self._draw, now)

    def _last_sign(self, person: Incarnation) -> float:
        """When somebody was heard last, or is to be heard since."""
        return self._heard.get(person, self._known.get(person, float("inf")))

    def _silent(self, state: ClusterState, now: float, for_ms: float) -> list[Member]:
        limit = now - for_ms / 1000
        return [
            member
            for member in state.people
            if member.incarnation != self._me.incarnation
            and self._last_sign(member.incarnation) <= limit
        ]

    def _all_heard(self, state: ClusterState, now: float) -> bool:
        """Whether every member was heard by this leader, and lately."""
        since = now - self._config.lease_ms / 2000
        others = (m.incarnation for m in state.table.members if m != self._me)
        return all(self._heard.get(other, float("-inf")) > since for other in others)

    def _hears_few(self, state: ClusterState, now: float) -> bool:
        """Whether less than half of the members, ourselves among them, are heard: then it may be
        us who is cut off. So we let the others elect: nothing is renewed, and nobody is taken for
        dead until they have had the time.
        """
        silent = len(self._silent(state, now, self._config.lease_ms / 2))
        return 2 * (len(state.people) - silent) < len(state.people)

    def _bury(self, state: ClusterState, now: float) -> LogRecord | None:
        config = self._config
        patience = 2 if self._hears_few(state, now) else 1
        dead = self._silent(state, now, patience * config.dead_after_ms)
        at_the_door = self.requests.replacements()
        for member in self._silent(state, now, patience * config.lease_ms):
            if member.name in at_the_door and member not in dead:
                dead.append(member)  # who comes under its name knows that it is gone
        if not dead:
            return None
        who = names([member.name for member in dead])
        if self._rescale is not None and not state.begun:
            return self._rescale.undone(state, f"{who} died in {self._rescale.phase}", now)
        longest = max(now - self._last_sign(m.incarnation) for m in dead)
        return self._recovery(
            state, dead, state.manifest, f"{who} died: not heard for {longest:.1f} s"
        )

    def _mend(self, state: ClusterState) -> LogRecord | None:
        """A manifest that cannot be read: back to the one before. A source that nobody reads and
        somebody could: it is given to that one, with its position, by a recovery, too."""
        for member in state.table.members:
            seen = self.reports.get(member.incarnation)
            if seen is not None and seen.report.run == state.run and seen.report.damaged:
                return self._go_back(state, member, seen.report.damaged)
        if state.open is not None or state.shutdown is not None or state.epoch is not None:
            return None
        found = unread(state, self._first.sources, self.reports)
        if not found or not between_waves(state, self.reports):
            return None
        cause = "; ".join(f"source {source} is read by {who} now" for source, who in found.items())
        return self._recovery(state, [], state.manifest, cause)

    def _go_back(self, state: ClusterState, member: Member, damage: str) -> LogRecord:
        restore = state.generation.restore if state.generation else None
        epoch = restore.epoch if restore else Epoch(0)
        before = [manifest for manifest in state.manifests if manifest.epoch < epoch]
        if before:
            why = (
                f"{member.name} cannot read epoch {epoch}: {damage} "
                "Output of that epoch which was committed already comes twice"
            )
            return self._recovery(state, [], before[-1], why)
        says = (
            f"The cluster cannot go on: {member.name} cannot read its checkpoint: {damage} No "
            "earlier one is kept. Mend the store, or start anew with --fresh."
        )
        return ShutdownClosed(state.term, self._draw(), RequestId("recovery"), False, says)

    def _recovery(
        self, state: ClusterState, dead: list[Member], restore: Manifest | None, why: str
    ) -> GenerationOpened:
        gone = [member.incarnation for member in dead]
        doors = self.requests.replacements()
        replaced = {m.name: doors[m.name] for m in dead if m.name in doors}
        cause = f"{why}."
        if replaced:
            cause += f" Another worker has come under the name {names(list(replaced))}."
        elif count := len(lost_groups(state, gone)):
            cause += f" {plural(count, 'key group')} to those who stay."
        record = recovery(
            state,
            gone,
            replaced,
            self._first.sources,
            self.reports,
            restore,
            self._draw(),
            f"{cause} {_from_where(restore)}",
        )
        self._recovering = record.nonce
        return record

    def _epoch_is_wanted(self, state: ClusterState) -> bool:
        """Whether something waits for an epoch: a leaver, a savepoint, the end, a sink that holds
        much back."""
        waits = self._rescale is not None and self._rescale.wants_epoch(state)
        waits = waits or self.savepoints.wants_epoch(state)
        if self._drained is not None:
            waits = waits or state.committed <= self._drained
        if state.shutdown is not None and state.shutdown.request != END_OF_INPUT:
            waits = waits or state.committed <= state.shutdown.epoch  # then nobody goes back behind
        return waits or any(
            self.reports[member.incarnation].report.pressure.startswith(UNCOMMITTED)
            for member in state.table.members
            if member.incarnation in self.reports
        )

    def _renew(self, state: ClusterState, now: float) -> LogRecord | None:
        half = self._config.lease_ms / 2
        if now - self._log_grew < half / 1000 or not self._silent(state, now, half):
            return None
        if self._hears_few(state, now):
            return None
        return Renewed(state.term, self._draw())

    def _go_on(self, state: ClusterState, now: float) -> LogRecord | None:
        """The next step of a rescale or of the end, which no epoch may be open for."""
        if state.open is None:
            return self._close_shutdown(state, now)
        if self._rescale is None or self.hand_over_to(state) is not None:
            return None
        if self._shutdown is not None or self.requests.are_waiting:
            self._rescale.cut_short()
        return self._rescale.step(state, self.reports, now)

    def _open_next(
        self, state: ClusterState, refused: list[Answer], now: float
    ) -> LogRecord | None:
        up = state.generation is not None
        if self._shutdown is not None and up and not self.savepoints.under_way:
            request, cause = self._shutdown.request, self._shutdown.cause
            return ShutdownOpened(state.term, self._draw(), request, cause, state.epochs)
        if not self._all_heard(state, now):
            return None  # who is silent may be dead, and a rescale would come to nothing
        opening = self.requests.take_next(state, refused.append)
        if state.generation is None:
            if self._start_count > 1 and (opening is None or opening.kind != "start"):
                return None
            joiners = (self._me, *(opening.joiners if opening else ()))
            asked = opening.requests if opening else ()
            return self._opened(state, "start", "start", asked, joiners, (), "Starting.")
        if opening is not None:
            return self._opened(
                state,
                opening.kind,
                opening.cause,
                opening.requests,
                opening.joiners,
                opening.leavers,
                opening.says,
            )
        if self._all_ended(state) and not self.savepoints.under_way:
            cause = "all sources have ended"
            return ShutdownOpened(state.term, self._draw(), END_OF_INPUT, cause, state.epochs)
        if balance := self._balance.cause(state, self.reports, now):
            says = "Key groups move to who has less to do!"
            return self._opened(state, BALANCE, balance, (), (), (), says)
        return None

    def _opened(
        self,
        state: ClusterState,
        kind: str,
        cause: str,
        requests: tuple[RequestId, ...],
        joiners: tuple[Member, ...],
        leavers: tuple[Member, ...],
        says: str,
    ) -> RescaleOpened:
        number = state.rescales + 1
        return RescaleOpened(
            state.term,
            self._draw(),
            RescaleId(f"{kind}-{number}"),
            kind,
            cause,
            requests,
            joiners,
            leavers,
            says,
        )

    # ---- the end of all

    def _all_ended(self, state: ClusterState) -> bool:
        def ended(member: Member) -> bool:
            """Before a recovery it may have read nothing, or something else."""
            seen = self.reports.get(member.incarnation)
            return seen is not None and seen.report.run == state.run and seen.report.ended

        reading = {name for workers in state.placement.sources.values() for name in workers}
        readers = [member for member in state.table.members if member.name in reading]
        nobody_reads = not all(state.placement.sources.values())
        return bool(readers) and not nobody_reads and all(map(ended, readers))

    def _close_shutdown(self, state: ClusterState, now: float) -> LogRecord | None:
        """Closed when nothing is under way anywhere.

        One round of reports is not enough: each may be true at its own time only. When every
        member was empty in one round, and in a later round, taken after all of the first had
        come in, is empty still and has neither sent nor applied anything since, then at the
        moment between the rounds nothing was under way (Mattern's counting, two rounds).
        """
        if state.shutdown is None:
            return None
        request = state.shutdown.request
        if self._drained is None and self._quiet_twice(state, now):
            self._drained = state.epochs
        is_last = self._drained is not None and state.committed > self._drained
        if is_last and all_committed(state, self.reports):
            return self._drained_close(state, request)
        deadline = self._config.drain_deadline_ms / 1000
        if now - self._shutdown_at < deadline:
            return None
        says = f"Stopped after {deadline:.0f} s without being drained: {self._under_way(state)}."
        return ShutdownClosed(state.term, self._draw(), request, False, says)

    def _drained_close(self, state: ClusterState, request: RequestId) -> ShutdownClosed:
        """Nothing is under way. Where a recovery came before the positions at which sources had
        stopped were safe, they stand further back now, and have more to give.
        """
        says = "All is drained; the cluster has stopped."
        if state.back_to is not None:
            says = (
                "The cluster has stopped, but not where its sources had stopped: a recovery sent "
                f"them back to epoch {state.back_to} meanwhile. Start it again on its store to "
                "read the rest."
            )
        whole = state.back_to is None
        return ShutdownClosed(state.term, self._draw(), request, whole, says)

    def _quiet_twice(self, state: ClusterState, now: float) -> bool:
        round_: dict[Incarnation, tuple[float, int, int]] = {}
        for member in state.table.members:
            seen = self.reports.get(member.incarnation)
            if seen is None or seen.report.run != state.run:
                self._round = None
                return False
            if not (seen.report.draining and seen.report.empty):
                self._round = None
                return False
            round_[member.incarnation] = (seen.at, seen.report.sent, seen.report.applied)
        first = self._round
        if first is None or first.keys() != round_.keys():
            self._round = {who: (now, sent, applied) for who, (_, sent, applied) in round_.items()}
            return False
        for who, (at, sent, applied) in round_.items():
            if first[who][1:] != (sent, applied):
                self._round = None
                return False
            if at <= first[who][0]:
                return False
        return True

    def _under_way(self, state: ClusterState) -> str:
        clauses = []
        for member in state.table.members:
            seen = self.reports.get(member.incarnation)
            if seen is None or not seen.report.empty:
                waits = seen.report.statistics.waits_for if seen else ()
                clauses.append(
                    f"{member.name} still has records" + "".join(f" ({w})" for w in waits)
                )
        return "; ".join(clauses) or "reports were still coming in"


def _from_where(restore: Manifest | None) -> str:
    if restore is None:
        return "There is no checkpoint yet: all begins from nothing."
    return f"All goes on from epoch {restore.epoch}."
