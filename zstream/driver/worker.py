"""One worker: the two pure cores joined, over the ports of whatever shell it runs in.

    shell hands in      on_control  on_client  on_data  on_log  on_desk  on_store_opened
                        on_store_failed  on_leave_signal
    shell calls         turn(now) -> when to call again, at the latest
    beside the loop     pulses()
    it ends             when `exit` is set

A turn: control first, then sources up to their limits, then what was filled becomes frames and
goes out, then what control wants to know. Data frames are applied as they are handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zstream.config import Config
from zstream.control.agent import Agent
from zstream.control.events import (
    AbandonEpoch,
    AnswerClient,
    CleanParts,
    ClientAsked,
    CommitEpoch,
    ConnectPeers,
    CopySavepoint,
    CutEpoch,
    DisconnectPeers,
    Effect,
    Event,
    GenerationSeen,
    LeaveAsked,
    LogAnswered,
    MessageReceived,
    OpenStore,
    Recover,
    Say,
    SendMessage,
    Stop,
    StoreOpened,
    SubmitLog,
    SwitchGeneration,
    TimePassed,
)
from zstream.control.joining import Start
from zstream.control.requests import Software
from zstream.dataflow.engine import Dataflow
from zstream.dataflow.peer import REST
from zstream.driver.checkpoints import Checkpoints
from zstream.driver.figures import Figures
from zstream.driver.outputs import Outputs
from zstream.driver.partitions import Partitions
from zstream.driver.waits import Waits
from zstream.errors import ConnectorError, UserFunctionError, WireError
from zstream.model.ids import Incarnation, RequestId
from zstream.model.membership import Member
from zstream.model.records import GenerationOpened, Manifest
from zstream.ports.desk import DeskAnswer
from zstream.ports.log import LogAnswer
from zstream.ports.shell import Exit, Shell
from zstream.topology.plan import Plan
from zstream.wire.codec import decode_message, encode_message
from zstream.wire.messages import (
    ClientRequest,
    Envelope,
    LinkReport,
)
from zstream.wire.values import Registry

SHARE_WHILE_MOVING = 0.5  # of a link's window, in a rescale: markers stand behind all of it
TIMER_STEP = 0.005  # seconds; a timer that could not be served yet is looked at again so soon


def software_of(plan: Plan, version: str) -> Software:
    """What a joiner's topology is compared with."""
    return Software(plan.topology, plan.fingerprint, plan.outline, version)


def start_of(
    plan: Plan,
    role: str,
    join: str,
    worker_count: int,
    *,
    fresh: bool = False,
    savepoint: Manifest | None = None,
    leave_state: tuple[str, ...] = (),
) -> Start:
    """How a worker comes to its cluster; see zstream.runtime.options for the roles."""
    return Start(
        role=role,
        join=join,
        worker_count=worker_count,
        sources={name: source.parallel for name, source in plan.sources.items()},
        pinned=plan.pinned,
        key_groups=plan.key_groups,
        stateful=tuple(
            (step.node.name, step.node.options.get("was") or "", step.node.where)
            for step in plan.steps
            if step.node.kind in ("stateful_map", "stateful_flat_map")
        ),
        fresh=fresh,
        savepoint=savepoint,
        leave_state=leave_state,
    )


class WorkerDriver:
    """Joins agent and dataflow. `now` is monotonic seconds wherever it stands."""

    def __init__(
        self,
        config: Config,
        identity: Member,
        plan: Plan,
        registry: Registry,
        agent: Agent,
        shell: Shell,
        on_error: Any = "dead_letter",
    ) -> None:
        self.exit: Exit | None = None
        self.agent = agent
        self.partitions = Partitions(config, plan, shell, identity.name)
        self.outputs = Outputs(config, plan, shell)
        self.checkpoints = Checkpoints(
            config, identity, shell, self.partitions, self.outputs, self._restored
        )
        self.dataflow = self.checkpoints.dataflow = Dataflow(
            plan,
            registry,
            config,
            identity.incarnation,
            emit=self.outputs.emit,
            refuse=shell.dead_letters.add,
            on_error=on_error,
            at_cut=self.checkpoints.at_cut,
            moved=self.outputs.moved,
        )
        self._config = config
        self._shell = shell
        self._figures = Figures(config, shell)
        self._waits = Waits(config, shell)
        self._turns = 0
        self._turned_at = float("inf")
        self._woken_at = float("inf")  # before the first turn nothing has come in
        self._peers: dict[Incarnation, Member] = {}
        self._pressed: dict[Incarnation, str] = {}  # peers at a limit: sources stop everywhere
        self._pressure = ""  # here, as of this turn
        self._pressure_told = ""
        self._pressure_told_at = float("-inf")
        self._pressed_at = float("-inf")  # when something was at its limit here last

    # ---- what the shell hands in

    def begin(self, now: float, store: str = "") -> None:
        """Open what must be open before anybody is asked for anything.

        store: where the initializer keeps the control log; "" on all others, who are told.
        Raises ConnectorError: a port in use, a file missing.
        """
        self.dataflow.open()
        self.partitions.open(self.agent.may_be_placed_here())
        if store:
            self._shell.open_log(store)

    def on_control(self, payload: bytes, now: float) -> None:
        """One control message of another worker."""
        try:
            envelope = decode_message(payload)
        except WireError as error:
            self._cannot_read("a message of a worker", error)
            return
        if not isinstance(envelope, Envelope):
            self._cannot_read("a message of a worker", WireError("it is a tool's."))
        elif isinstance(envelope.message, LinkReport):
            report = envelope.message
            if envelope.sender in self._peers:  # a late word of one who left is none
                self._pressed[envelope.sender] = report.pressure
                self.dataflow.on_link_report(envelope.sender, report, now)
        else:
            self._give(MessageReceived(envelope), now)

    def on_client(self, client: bytes, payload: bytes, now: float) -> None:
        """One request of a tool."""
        try:
            request = decode_message(payload)
        except WireError as error:
            self._cannot_read("a message of a tool", error)
            return
        if isinstance(request, ClientRequest):
            self._give(ClientAsked(client, request), now)

    def on_data(self, frame: bytes, now: float) -> None:
        """One data frame: applied at once, in its link's order."""
        if self.exit is not None:
            return
        try:
            self._guarded(lambda: self.dataflow.receive(frame, now))
        except WireError as error:
            self._cannot_read("records of a worker", error)  # sent again, until they can be
        self._tell_switches(now)

    def on_log(self, answer: LogAnswer, now: float) -> None:
        """The store has answered."""
        self._give(LogAnswered(answer), now)

    def on_desk(self, answer: DeskAnswer, now: float) -> None:
        """An operation of a checkpoint was done, or has failed."""
        self.checkpoints.on_answer(answer, now)
        for saved in self.checkpoints.take_saved():
            self._give(saved, now)
        self._guarded(lambda: self.checkpoints.try_restore(now))

    def on_store_opened(self, url: str, now: float) -> None:
        """The cluster's store is within reach."""
        self._give(StoreOpened(url), now)

    def on_store_failed(self, error: ConnectorError, now: float) -> None:
        """It is not: this worker can be of no use."""
        self.exit = self.exit or Exit(1, str(error))

    def on_leave_signal(self, now: float, cause: str = "stopped by a signal") -> None:
        """SIGINT or SIGTERM: leave the cluster if that may be."""
        self._give(LeaveAsked(cause), now)

    def pulses(self) -> list[tuple[str, bytes]]:
        """Signs of life to send, (control address, payload); called from beside the loop."""
        pulses = self.agent.pulse(self._turns, self.dataflow.running)
        return [(address, encode_message(envelope)) for address, envelope in pulses]

    def waited(self, since: float, until: float) -> None:
        """The newest turn ended at `since`, and then the loop had nothing to do until `until`."""
        self._figures.waited(until - since)
        self._woken_at = until
        self.partitions.pace(since - self._turned_at)

    # ---- the turn

    def turn(self, now: float) -> float | None:
        """Go round once. Returns when to call again at the latest; `now` for at once."""
        self._turns += 1
        self._turned_at = now
        self._figures.took_in(max(0.0, now - self._woken_at))
        self._woken_at = now
        if self.agent.next_timer() <= now:
            self._give(TimePassed(), now)
        self._pressure = self.dataflow.pressure() or self.outputs.pressure()
        read_all = True
        if self._may_read():
            read_all = self._guarded(
                lambda: self.partitions.read(self.dataflow.feed, now), default=True
            )
        self._guarded(lambda: self.dataflow.flush(now))
        self._guarded(lambda: self.checkpoints.turn(now))
        self._waits.look(self._under_way(), now)
        self._tell_switches(now)
        self._send_frames(now)
        self._send_link_reports(now)
        self._guarded(lambda: self.outputs.flush(now))
        self._tell_local(now)
        if self.exit is not None:
            return None
        return now if not read_all else self._wake_at(now)

    def _may_read(self) -> bool:
        """Sources are read while the cluster is up and no worker is at a limit (I5)."""
        if not self.agent.reading or self.checkpoints.recovering:
            return False
        share = SHARE_WHILE_MOVING if self.agent.state.open else 1.0
        if self.dataflow.is_full(share) or self.dataflow.is_moving:
            return False
        return not self._pressure and not any(self._pressed.values())

    def _send_frames(self, now: float) -> None:
        for peer in self.dataflow.ready_peers():
            while (frame := self.dataflow.next_frame(peer, now)) is not None:
                if not self._shell.transport.send_data(peer, frame):
                    break
                self.dataflow.frame_sent(peer)

    def _send_link_reports(self, now: float) -> None:
        self._pressure = self.dataflow.pressure() or self.outputs.pressure()
        if self._pressure:
            self._pressed_at = now
        is_new = self._pressure != self._pressure_told
        tell_all = is_new or now >= self._tell_pressure_at()
        if tell_all:
            self._pressure_told = self._pressure
            self._pressure_told_at = now
        for peer, report in self.dataflow.link_reports(now, tell_all, self._pressure):
            if peer in self._peers:
                control = self._peers[peer].control
                payload = encode_message(self.agent.envelope(report))
                self._shell.transport.send_control(control, payload)

    def _tell_pressure_at(self) -> float:
        """When to repeat it; that it is over, for some time, too, lest sources stop for ever."""
        interval = self._config.pulse_interval_ms / 1000
        at = self._pressure_told_at + interval
        return at if at < self._pressed_at + REST * interval else float("inf")

    def _cannot_read(self, what: str, error: WireError) -> None:
        text = f"{what} cannot be read here: {error}"
        self._shell.say("warning", "cannot_read", text, {})

    def _tell_switches(self, now: float) -> None:
        for opened in self.dataflow.take_switched():
            self._give(GenerationSeen(opened), now)

    def _tell_local(self, now: float) -> None:
        """Let control know how the dataflow stands, when that may have changed what it knows."""
        local = self._figures.local(self, self._pressure, self.agent.planning, now)
        if local is not None:
            self._give(local, now)

    def _under_way(self) -> dict[str, str]:
        under_way = self.checkpoints.under_way
        if (operation := self.agent.log.pending) is not None:
            under_way[f"log {operation.token}"] = "reading or writing the control log"
        return under_way

    def _wake_at(self, now: float) -> float | None:
        times = [max(self.agent.next_timer(), now + TIMER_STEP), self.dataflow.next_timer(now)]
        times.append(self._tell_pressure_at())
        checkpoint_timer = self.checkpoints.next_timer()
        if checkpoint_timer is not None:
            times.append(max(checkpoint_timer, now + TIMER_STEP))
        times.extend(self.outputs.wake_times(now))
        if self._may_read():
            times.extend(self.partitions.wake_times(now))
        return min(times)

    # ---- effects

    def _give(self, event: Event, now: float) -> None:
        """Hand an event to the agent and perform what comes of it, in order."""
        if self.exit is None:
            for effect in self.agent.handle(event, now):
                self._perform(effect, now)

    def _perform(self, effect: Effect, now: float) -> None:
        shell = self._shell
        if isinstance(effect, SendMessage):
            shell.transport.send_control(effect.address, encode_message(effect.envelope))
        elif isinstance(effect, SubmitLog):
            shell.log.submit(effect.operation)
        elif isinstance(effect, SwitchGeneration):
            if effect.opened.run == self.dataflow.run and not self.checkpoints.recovering:
                self.checkpoints.takes_part(effect.opened)
                self._guarded(self.outputs.open)
                self._guarded(lambda: self.dataflow.switch(effect.opened, now))
        elif isinstance(effect, Recover):
            self._recover(effect.opened, now)
        elif isinstance(effect, CutEpoch):
            self._guarded(lambda: self.checkpoints.cut(effect.opened, now))
        elif isinstance(effect, CommitEpoch):
            self.checkpoints.decided(effect.manifest)
        elif isinstance(effect, AbandonEpoch):
            abandoned = effect.abandoned
            text = f"epoch {abandoned.epoch} is not in any checkpoint: {abandoned.cause}"
            shell.say("warning", "epoch_abandoned", text, {"epoch": abandoned.epoch})
            self.checkpoints.abandoned(abandoned)
        elif isinstance(effect, CleanParts):
            self.checkpoints.clean(effect.below)
        elif isinstance(effect, CopySavepoint):
            request = effect.savepoint.request
            self.checkpoints.save(effect, lambda: self._is_copied(request))
        elif isinstance(effect, ConnectPeers):
            if effect.run > self.dataflow.run:
                self.dataflow.begin(effect.run)
            for peer in effect.peers:
                self._connect(peer)
                if not self.checkpoints.recovering:
                    self.dataflow.open_link(peer.incarnation)
        elif isinstance(effect, DisconnectPeers):
            for incarnation in effect.peers:
                self._pressed.pop(incarnation, None)
                self.dataflow.close_link(incarnation)
                shell.transport.close_data(incarnation)
                self._peers.pop(incarnation, None)
        elif isinstance(effect, AnswerClient):
            shell.transport.answer_client(effect.client, encode_message(effect.answer))
        elif isinstance(effect, OpenStore):
            shell.open_log(effect.path)
        elif isinstance(effect, Say):
            shell.say(effect.level, effect.event, effect.text, effect.fields)
        elif isinstance(effect, Stop):
            self.exit = self.exit or Exit(effect.code, effect.says)

    def _is_copied(self, request: RequestId) -> bool:
        """Whether this worker still is to copy that savepoint; also asked from beside the loop."""
        leader = self.agent.leader
        return self.exit is None and leader is not None and leader.savepoints.is_copied(request)

    def _connect(self, peer: Member) -> None:
        self._peers[peer.incarnation] = peer
        self._shell.transport.open_data(peer.incarnation, peer.data)

    def _recover(self, opened: GenerationOpened, now: float) -> None:
        """A new run: all is dropped at once, and restored when its parts have been read."""
        self._pressed.clear()
        self._guarded(self.outputs.open)
        for member in opened.table.members:
            if member.incarnation != self.agent.me.incarnation:
                self._connect(member)
        self.checkpoints.recover(opened, now)
        self._guarded(lambda: self.checkpoints.try_restore(now))

    def _restored(self) -> None:
        """Links with members are open again; those with joiners on their way in are not yet."""
        for peer in self._peers:
            self.dataflow.open_link(peer)

    def _guarded(self, action: Callable[[], Any], default: Any = None) -> Any:
        """Do it; what the user's code or the outside refuses ends this worker with its sentence."""
        try:
            return action()
        except UserFunctionError as error:
            self._shell.say("error", "stopped_by_user_error", str(error), {})
            self.exit = self.exit or Exit(1, 'stopped by on_error="stop".')
        except ConnectorError as error:
            self.exit = self.exit or Exit(1, str(error))
        return default
