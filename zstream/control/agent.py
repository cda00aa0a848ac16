"""The control half that every worker has: it follows the log, reports, and leads when it must.

    JOINING    asks a running worker to be let in (see joining)
               -> the log names it                                    -> MEMBER
    MEMBER     follows the log, switches generations, reports
               -> the leader's lease runs out                         -> probes (see election)
               -> its own term stands in the log                      -> LEADING
    LEADING    is a member, and steps through requests (see leader)
               -> a newer term in the log                             -> MEMBER
    STOPPED    a generation without it, the end of the cluster, or a refusal

Rules:

1. Nothing is acted on before it was read back from the log (I4). Records come from the store
   or, faster, from the leader; they are the same records.
2. A leader's word with a lower term than the newest known is not obeyed.
3. Reports are whole and repeated, so a new leader needs no memory of the old one.
4. Generations are switched to one by one, in the order of the log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from zstream.config import Config
from zstream.control.answers import Desk, in_log
from zstream.control.busy import Busy
from zstream.control.election import Election, rank
from zstream.control.events import (
    AbandonEpoch,
    ClientAsked,
    CommitEpoch,
    CutEpoch,
    Effect,
    Event,
    GenerationSeen,
    LeaveAsked,
    LocalChanged,
    LogAnswered,
    MessageReceived,
    SavepointCopied,
    Say,
    Stop,
    StoreOpened,
    SubmitLog,
    TimePassed,
)
from zstream.control.joining import Joining, Start
from zstream.control.leader import Leader
from zstream.control.leaving import Leaving
from zstream.control.log import ControlLog, Folded, since_it_began
from zstream.control.membership import Membership
from zstream.control.reports import matters, report_of
from zstream.control.requests import Software
from zstream.control.state import ClusterState, Kept
from zstream.control.terms import Terms
from zstream.control.voice import Voice
from zstream.errors import InvariantBroken
from zstream.model.ids import Generation, Incarnation, LogNumber
from zstream.model.membership import Member
from zstream.model.records import (
    Base,
    EpochAbandoned,
    EpochOpened,
    GenerationOpened,
    LogRecord,
    Manifest,
    RescaleClosed,
    RescaleOpened,
    ShutdownClosed,
    ShutdownOpened,
    TermOpened,
)
from zstream.wire.messages import (
    Answer,
    ClientRequest,
    Envelope,
    Forwarded,
    ForwardedAnswer,
    HandOver,
    JoinReply,
    JoinRequest,
    LeaderHeard,
    LeaderQuery,
    LogRequest,
    LogTail,
    Pulse,
    Report,
)


class Agent:
    """One worker's control core: `handle` is the only mutator. Times are monotonic seconds."""

    def __init__(
        self,
        config: Config,
        me: Member,
        software: Software,
        start: Start,
        draw: Callable[[], int],
        now: float,
    ) -> None:
        self.me = me
        self.log = ControlLog(Kept(config.outcomes_kept, config.manifests_kept))
        self.election = Election(config, now)
        self.leader: Leader | None = None
        self.local: LocalChanged | None = None
        self.planning = False  # reports shall carry sizes
        self._config = config
        self._software = software
        self._start = start
        self._draw = draw
        self._desk = Desk()
        self._voice = Voice(me, self.log)
        self._membership = Membership(self._voice, self._desk, config, start.role == "initializer")
        self._leaving = Leaving(self._voice, config)
        self._busy = Busy(self._voice, config)
        self._send = self._voice.send
        self._do = self._voice.do
        self.envelope = self._voice.envelope
        self._terms = Terms(self._voice, start, software, config, draw)
        self._last_turn = now
        self._reported_at = float("-inf")
        self._asked_log_at = float("-inf")
        self._handed_over_at = float("-inf")
        self._read_again_at: float | None = None
        self._follows = Incarnation(0)  # the leader before this worker led
        self._told: dict[Incarnation, Member] = {}  # whom the leader told of the rescale under way
        self._joining: Joining | None = None
        if start.role != "initializer":
            self._joining = Joining(me, software, start, config, now)

    # ---- what others may read

    @property
    def state(self) -> ClusterState:
        return self.log.state

    @property
    def generation(self) -> Generation:
        """The newest that was handed to the dataflow, 0 before the first."""
        return self._voice.generation

    @property
    def is_leader(self) -> bool:
        return self.leader is not None

    @property
    def reading(self) -> bool:
        """Whether sources may be read: the cluster is up, this worker is in it, nothing ends."""
        return self.generation > 0 and self.state.shutdown is None and self._membership.ends is None

    @property
    def draining(self) -> bool:
        return self.state.shutdown is not None

    def may_be_placed_here(self) -> list[str]:
        """Sources that the start places here."""
        return self._start.sources_here()

    def pulse(self, turns: int, operator: str) -> list[tuple[str, Envelope]]:
        """What to send from beside the loop: the leader to all, a member to its leader.

        Called from another thread: only reads, and each field only once or of frozen values.
        """
        return self._voice.pulse(self.is_leader, turns, operator)

    def next_timer(self) -> float:
        """When `handle(TimePassed())` is wanted, at the latest."""
        if self._membership.ends is not None:
            return self._membership.ends[0]
        times = [self._reported_at + self._config.report_interval_ms / 1000]
        if self._terms.look_at is not None:
            times.append(self._terms.look_at)
        if self._read_again_at is not None:
            times.append(self._read_again_at)
        if self._joining is not None:
            return min(*times, self._joining.next_timer())
        if self.leader is not None:
            times.append(self.leader.next_timer(self.state))
        elif self._is_member():
            times.append(self.election.next_timer(rank(self.state, self.me.incarnation)))
        return min(times)

    # ---- the one way in

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; returns what is to be done, in order."""
        self._notice_absence(now)
        if isinstance(event, MessageReceived):
            self._on_message(event.envelope, now)
        elif isinstance(event, LocalChanged):
            self._on_local(event, now)
        elif isinstance(event, TimePassed):
            self._tick(now)
        elif isinstance(event, LogAnswered):
            self._on_log(self.log.on_answer(event.answer), event.answer.outcome, now)
        elif isinstance(event, ClientAsked):
            self._on_client(event, now)
        elif isinstance(event, GenerationSeen):
            self._membership.switch(event.opened, now)
        elif isinstance(event, StoreOpened):
            self._terms.on_store(event.path)
        elif isinstance(event, SavepointCopied):
            if self.leader is not None:
                self.leader.savepoints.on_copied(event, now)
        else:
            self._on_leave(event, now)
        if self.leader is not None:
            self._lead(now)
        return self._voice.take()

    # ---- time

    def _notice_absence(self, now: float) -> None:
        """This process itself stood still: silence meanwhile tells nothing of the others."""
        away = now - self._last_turn > self._config.lease_ms / 2000
        self._last_turn = now
        if away:
            self._read_again_at = now  # what was decided meanwhile
            if self.leader is not None:
                self.leader.was_away(now)
            elif self.election.phase == "following":
                self.election.leader_heard(now)

    def _tick(self, now: float) -> None:
        ends = self._membership.ends
        if ends is not None:
            if now >= ends[0]:
                self._do(ends[1])
            return
        if self._terms.look_at is not None and now >= self._terms.look_at:
            self._terms.look()
            return
        if self._read_again_at is not None and now >= self._read_again_at and not self.log.busy:
            self._read_again_at = None
            self._do(SubmitLog(self.log.read()))
        if self._joining is not None:
            self._voice.do_all(self._joining.tick(now))
            if self._joining.due(now):
                self._send(self._joining.address, self._joining.request)
        self._mind_the_wait(now)
        if self._leaving.due(now):
            self._leaving.ask(now, self._answer if self.leader is not None else None)
        if now >= self._reported_at + self._config.report_interval_ms / 1000:
            self._report(now)
        if self.leader is None and self._is_member():
            self._seek_leader(now)

    def _mind_the_wait(self, now: float) -> None:
        """A start that waits says so. When all is silent, the log tells whether we were let in."""
        if self._is_member():
            return
        deadline = self._config.join_deadline_ms / 1000
        if self.leader is None:
            silent = now - self.election.heard_at
            if self._joining is None and self.state.term and silent > deadline:
                self._do(Stop(1, "the cluster fell silent before we were let in."))
            elif self._terms.store and silent > self._config.lease_ms / 1000 and self.log.idle:
                self._read_again_at = self._read_again_at or now + self._config.lease_ms / 1000
            return
        if says := self.leader.start_waits(self.state, now):
            self._voice.say("info", "start_waits", says)
            self._read_again_at = now  # perhaps another cluster was started on this store

    def _seek_leader(self, now: float) -> None:
        others = {
            member.incarnation
            for member in self.state.table.members
            if member.incarnation not in (self.me.incarnation, self.state.leader)
        }
        wish = self.election.step(
            now, rank(self.state, self.me.incarnation), self.state.tail, others
        )
        if wish == "probe":
            for member in self.state.table.members:
                if member.incarnation != self.me.incarnation:
                    self._send(member.control, LeaderQuery(self.state.tail))
            if self._terms.store and not self.log.busy:
                self._do(SubmitLog(self.log.read()))
        elif wish == "try":
            self._terms.open(f"{self.state.leader_name} was not heard for its lease")

    # ---- messages

    def _on_message(self, envelope: Envelope, now: float) -> None:
        ours = self.state.cluster
        if ours and envelope.cluster and envelope.cluster != ours:
            return
        message = envelope.message
        if isinstance(message, LogTail):
            self._on_tail(envelope, message, now)
        elif isinstance(message, Pulse):
            self._on_pulse(envelope, message, now)
        elif isinstance(message, Report):
            if self.leader is not None and self.state.person(envelope.sender) is not None:
                self.leader.on_report(envelope.sender, message, now)
                if bool(message.sizes) != self.leader.planning:  # it may have missed that word
                    self._send_tail(envelope.address, LogNumber(self.state.tail + 1))
        elif isinstance(message, JoinRequest):
            self._on_join(message, envelope.address, now)
        elif isinstance(message, JoinReply):
            self._on_join_reply(message, now)
        elif isinstance(message, Forwarded):
            self._on_forwarded(message, now)
        elif isinstance(message, ForwardedAnswer):
            self._on_forwarded_answer(message)
        elif isinstance(message, LogRequest):
            self._send_tail(envelope.address, message.first)
        elif isinstance(message, LeaderQuery):
            heard = 0.0 if self.leader is not None else now - self.election.heard_at
            if self._joining is not None:  # what it hears are answers of whoever it asks
                heard = max(heard, self._config.lease_ms / 1000)
            self._send(envelope.address, LeaderHeard(int(heard * 1000), self.state.tail))
        elif isinstance(message, LeaderHeard):
            # Another process may listen where a member has died: it hears perhaps only us.
            if self.state.is_known(envelope.sender):
                self._terms.is_alive()
                self.election.member_answers(envelope.sender, message.heard_ms_ago / 1000, now)
        elif isinstance(message, HandOver):
            if self._obeys(envelope) and self._is_member() and self.log.idle:
                self._terms.open(f"{self.state.leader_name} leaves and has handed over")
        else:
            raise InvariantBroken(f"no row for {type(message).__name__} in the agent's table")

    def _obeys(self, envelope: Envelope) -> bool:
        """Whether this is the word of the newest leader known (rule 2)."""
        return envelope.term == self.state.term and envelope.sender == self.state.leader

    def _on_pulse(self, envelope: Envelope, pulse: Pulse, now: float) -> None:
        if self.state.person(envelope.sender) is not None:
            self._busy.heard(envelope.sender, pulse, now)
            if self.leader is not None:
                self.leader.heard(envelope.sender, now)
        if self.leader is not None and pulse.tail < self.state.tail:
            self._send_tail(envelope.address, LogNumber(pulse.tail + 1))
        if pulse.is_leader and self._obeys(envelope):
            self.election.leader_heard(now)
        if pulse.tail > self.state.tail or envelope.term > self.state.term:
            self._ask_for_log(envelope.address, now)

    def _on_tail(self, envelope: Envelope, tail: LogTail, now: float) -> None:
        if envelope.term < self.state.term:
            return
        self._terms.open_store(tail.store)
        self._on_folded(self.log.on_records(tail.first, tail.records), now)
        if self._obeys(envelope):
            self.election.leader_heard(now)
            if self.planning != tail.planning:
                self.planning = tail.planning
                self._reported_at = float("-inf")
        if self.state.tail < tail.first + len(tail.records) - 1:
            self._ask_for_log(envelope.address, now)

    def _ask_for_log(self, address: str, now: float) -> None:
        if now - self._asked_log_at >= self._config.catch_up_ms / 1000:
            self._asked_log_at = now
            self._send(address, LogRequest(LogNumber(self.state.tail + 1)))

    def _send_tail(self, address: str, first: LogNumber) -> None:
        if self.state.tail == 0:
            return
        start, payloads = self.log.known_from(first)
        planning = self.leader is not None and self.leader.planning
        self._send(address, LogTail(start, payloads, planning, self._terms.store))

    # ---- joining, as the asked one and as the joiner

    def _on_join(self, request: JoinRequest, address: str, now: float) -> None:
        if self.leader is not None:
            reply = self.leader.on_join(request, self.state, now)
            self._reply_to_joiner(request.member.control, reply)
            if self.state.person(request.member.incarnation) is not None:
                self._send_tail(request.member.control, LogNumber(1))
            return
        if self._joining is not None:
            self._voice.do_all(self._joining.on_asked(request, self._send))
            return
        leader = self.state.person(self.state.leader)
        if leader is not None:
            self._send(leader.control, Forwarded("", b"", request))
        self._send(
            address, JoinReply(request.request, "waiting", "", "", "", self.state.cluster, "")
        )

    def _reply_to_joiner(self, address: str, reply: JoinReply) -> None:
        self._send(address, replace(reply, cluster=self.state.cluster, store=self._terms.store))

    def _on_join_reply(self, reply: JoinReply, now: float) -> None:
        if self._joining is None or reply.request != self._joining.request.request:
            return
        if reply.state == "waiting":
            self._terms.open_store(reply.store)
        self.election.leader_heard(now)
        self._voice.do_all(self._joining.on_reply(reply, now))

    # ---- tools

    def _on_client(self, event: ClientAsked, now: float) -> None:
        """A tool asks this worker: the leader answers, over us, where the log does not."""
        self._desk.asked(event.client, event.request)
        leader = self.state.person(self.state.leader)
        given = in_log(event.request, self.state) if self._is_member() else None
        if self.leader is not None:
            given = self._answer(event.request)
        elif given is None and (leader is None or self._joining is not None):
            given = self._desk.without_leader(event.request, self.state, self._software)
        if given is not None:
            self._voice.do_all(self._desk.answers(given))
        elif leader is not None:
            self._send(leader.control, Forwarded(self.me.control, event.client, event.request))

    def _on_forwarded(self, forwarded: Forwarded, now: float) -> None:
        if self.leader is None:
            return  # it asks again, and by then knows the new leader
        if isinstance(forwarded.request, JoinRequest):
            self._on_join(forwarded.request, forwarded.request.member.control, now)
            return
        given = ForwardedAnswer(forwarded.client, self._answer(forwarded.request))
        self._send(forwarded.via, given)

    def _on_forwarded_answer(self, message: ForwardedAnswer) -> None:
        if message.answer.request == self._leaving.request:
            self._leaving.on_answer(message.answer)
        else:
            self._voice.do_all(self._desk.answers(message.answer, message.client))

    def _answer(self, request: ClientRequest) -> Answer:
        if self.leader is None:
            raise InvariantBroken("only the leader answers for the cluster")
        return self._desk.answer(request, self.state, self.leader, self._software, self._last_turn)

    # ---- leaving

    def _on_leave(self, event: LeaveAsked, now: float) -> None:
        if self._joining is not None or self.state.generation is None:
            self._do(Stop(1, f"{event.cause} before it had joined; nothing changed."))
            return
        self._leaving.ask(now, self._answer if self.leader is not None else None)

    # ---- the log

    def _on_log(self, folded: Folded, outcome: str, now: float) -> None:
        if folded.failed:
            self._read_again_at = now + self._config.retry_ms / 1000
            text = f"the control log at {self._terms.store} cannot be used: {folded.failed}"
            self._do(Say("warning", "log_failed", text))
            return
        if outcome == "cleaned":
            return
        if self._terms.beginning:
            self._terms.on_read(now)
            return
        self._on_folded(folded, now)
        if not self.log.idle and not self.log.busy:
            self._read_again_at = now + self._config.catch_up_ms / 1000  # undecided: look again

    def _on_folded(self, folded: Folded, now: float) -> None:
        """Act on what stands in the log now."""
        if not folded.new:
            return
        self._membership.waits_at_door = self._joining is not None
        self._membership.began_anew(folded.new, now)
        self._membership.connect()
        if self._membership.takes_part:
            self._joining = None
        for record in since_it_began(folded.new):
            self._on_record(record, now)
        self._membership.connect()
        self._membership.disconnect(type(folded.new[-1]).__name__, now)
        if self.leader is None:
            self.election.leader_heard(now)
            return
        now_there = {p.incarnation: p for p in self.state.people}
        told = {**self._told, **now_there}  # those who have just left, too
        if self.state.open is None:
            self._told = now_there
        else:
            joiners = {p.incarnation: p for p in self.state.open.joiners}
            told.update(joiners)
            self._told = told
        told.pop(self.me.incarnation, None)
        for person in told.values():
            self._send_tail(person.control, folded.first)

    def _on_record(self, record: LogRecord, now: float) -> None:
        if isinstance(record, TermOpened):
            self._on_term(now)
        elif isinstance(record, RescaleOpened):
            self._membership.opened(record)
        elif isinstance(record, GenerationOpened):
            self._membership.switch(record, now)
        elif isinstance(record, EpochOpened):
            self._do(CutEpoch(record))
        elif isinstance(record, Manifest):
            self._do(CommitEpoch(record))
        elif isinstance(record, EpochAbandoned):
            self._do(AbandonEpoch(record))
        elif isinstance(record, RescaleClosed):
            self._membership.closed(record, now)
        elif isinstance(record, ShutdownOpened):
            self._voice.say("info", "draining", f"shutting down: {record.cause}")
        elif isinstance(record, ShutdownClosed):
            self._membership.stopped(record, now)
        elif isinstance(record, Base):
            self._on_base(now)
        if self.leader is not None and record.term == self.state.term:
            self.leader.on_appended(record, self.state, now)

    def _on_term(self, now: float) -> None:
        self._reported_at = float("-inf")  # a new leader knows nothing: report at once
        mine = self.state.leader == self.me.incarnation
        if mine and self.leader is None:
            self.leader = Leader(
                self._config,
                self.me,
                self._software,
                self._start.placement(self._software.topology),
                self._start.worker_count if self._start.role == "initializer" else 1,
                self._draw,
                {self._follows: self.election.heard_at},
                now,
            )
            self._report(now)
            self._voice.say("info", "leads", f"leads the cluster (term {self.state.term})")
        elif not mine and self.leader is not None:
            self.leader = None
            self.election.leader_heard(now)
            text = f"{self.state.leader_name} leads now (term {self.state.term})"
            self._voice.say("info", "follows", text)
        if not mine:
            self._follows = self.state.leader

    def _on_base(self, now: float) -> None:
        """The whole state at once: catch up with what the records before it would have told."""
        self._on_term(now)
        if self.state.generation is not None:
            self._membership.switch(self.state.generation, now)
        if self.state.manifest is not None:
            self._do(CommitEpoch(self.state.manifest))
        if self.state.epoch is not None:
            self._do(CutEpoch(self.state.epoch))
        if self.leader is not None and not self.log.busy:
            self._do(SubmitLog(self.log.clean()))

    # ---- reports

    def _is_member(self) -> bool:
        return self.state.table.member(self.me.incarnation) is not None

    def _on_local(self, local: LocalChanged, now: float) -> None:
        before, self.local = self.local, local
        close = self.state.open is not None or self.draining
        told = before is not None and matters(before, close) == matters(local, close)
        if self.leader is not None or not told:
            self._report(now)

    def _report(self, now: float) -> None:
        self._reported_at = now
        if self.local is None or self._joining is not None:
            return
        report = report_of(self.local, self.me.name, self.draining)
        leader = self.state.person(self.state.leader)
        if self.leader is not None:
            self.leader.on_report(self.me.incarnation, report, now)
        elif leader is not None:
            self._send(leader.control, report)

    # ---- leading

    def _lead(self, now: float) -> None:
        leader = self.leader
        if leader is None or (self._membership.ends and self.state.stopped is None):
            return
        for address, reply in leader.requests.expire(now):
            self._reply_to_joiner(address, reply)
        heir = leader.hand_over_to(self.state)
        if heir is not None and now - self._handed_over_at >= self._config.retry_ms / 1000:
            self._handed_over_at = now
            self._send(heir.control, HandOver(self.state.tail))
        self._voice.do_all(leader.effects(self.state, now))
        if not self.log.idle or not self._terms.store:
            return
        planning = leader.planning
        record, refused = leader.step(self.state, now)
        for given in refused:
            self._voice.do_all(self._desk.answers(given))
        if record is not None:
            self._do(SubmitLog(self.log.append(record)))
        if leader.planning != planning:
            self._tell_planning(leader.planning)

    def _tell_planning(self, planning: bool) -> None:
        self.planning = planning
        for person in self.state.people:
            if person.incarnation != self.me.incarnation:
                self._send_tail(person.control, LogNumber(self.state.tail + 1))
