"""What a worker does as the log tells who is in the cluster: links, generations, and its own end.

opened rescale with us    links with all who take part
generation with us        the dataflow switches, or recovers; links with the gone are closed
generation without us     a leaver ends with 0; anybody else was taken for dead and ends with 1
rescale undone            its joiners end with 1
shutdown closed           everybody ends
"""

from __future__ import annotations

from collections.abc import Iterable

from zstream.config import Config
from zstream.control.answers import Desk
from zstream.control.events import (
    ConnectPeers,
    DisconnectPeers,
    Recover,
    Stop,
    SwitchGeneration,
)
from zstream.control.state import ClusterState
from zstream.control.voice import Voice
from zstream.model.ids import Incarnation, RequestId, Run
from zstream.model.records import (
    GenerationOpened,
    LogRecord,
    RescaleClosed,
    RescaleOpened,
    ShutdownClosed,
    TermOpened,
)


class Membership:
    """One worker's part in the cluster. Times are monotonic seconds."""

    def __init__(self, voice: Voice, desk: Desk, config: Config, is_first: bool) -> None:
        """is_first: it starts the cluster, so there is no generation of its time without it."""
        self._voice = voice
        self._linger = config.linger_ms / 1000
        self._desk = desk
        self._is_first = is_first
        self._run = Run(0)  # whose links were opened
        self._linked: set[Incarnation] = set()
        self._leaves = False  # this worker is a leaver of a rescale that was opened
        self.waits_at_door = False  # what it reads may be of a time before it was let in
        self.ends: tuple[float, Stop] | None = None  # when this worker stops, and how

    @property
    def _state(self) -> ClusterState:
        return self._voice.log.state

    @property
    def takes_part(self) -> bool:
        """Whether the log names this worker, as a member or as a joiner whose turn has come."""
        return self._state.person(self._voice.me.incarnation) is not None

    def connect(self) -> None:
        """Open links with all who take part, if we do."""
        if not self.takes_part:
            return
        mine = self._voice.me.incarnation
        new = tuple(
            person
            for person in self._state.people
            if person.incarnation != mine and person.incarnation not in self._linked
        )
        if new or self._run != self._state.link_run:
            self._run = self._state.link_run
            self._linked.update(person.incarnation for person in new)
            self._voice.do(ConnectPeers(self._run, new))

    def disconnect(self, cause: str, now: float) -> None:
        """Close links with those who take no part any more, unless we are the one who goes."""
        if not self.takes_part:
            is_out = self._state.generation is not None and not self.waits_at_door
            if is_out and self.ends is None:  # why stood in records that were cleaned away
                self._end(Stop(1, "the cluster goes on without this worker."), now)
            return
        gone = self._linked - {person.incarnation for person in self._state.people}
        if gone:
            self._linked -= gone
            self._voice.do(DisconnectPeers(tuple(sorted(gone)), cause))

    def switch(self, opened: GenerationOpened, now: float) -> None:
        """A generation stands in the log: route by it, or go."""
        voice = self._voice
        if opened.table.generation <= voice.generation:
            return
        if opened.table.member(voice.me.incarnation) is None:
            if opened.table.generation <= self._state.table.generation:
                self._without_us(opened, now)
            return  # by a peer's marker: why, only the log will tell
        first = voice.generation == 0
        voice.generation = opened.table.generation
        if not opened.recovers:
            voice.do(SwitchGeneration(opened))
            return
        voice.do(Recover(opened))
        members = {member.incarnation for member in opened.table.members}
        self._linked |= members - {voice.me.incarnation}  # some perhaps gone again by now
        if first:
            return
        voice.say("warning", "recovers", opened.cause, {"run": opened.run})
        for source, workers in opened.placement.sources.items():
            if not workers:
                text = (
                    f"source {source} was read by a worker that died, and nobody else here can "
                    f"read it. It waits for a worker with --in {source}@HOST:PORT."
                )
                voice.say("error", "source_waits", text)

    def began_anew(self, records: Iterable[LogRecord], now: float) -> None:
        """Somebody else has taken the cluster for ended, and has started it again; or has started
        it when we meant to."""
        mine = self._voice.me.incarnation
        starts = self._is_first and self._voice.generation == 0 and not self.takes_part
        for record in records:
            if not isinstance(record, TermOpened) or record.author == mine:
                continue
            if (record.begins or starts) and self.ends is None and not self.waits_at_door:
                again = "again " if record.begins else ""
                by = f"{record.name} at {record.control}"
                says = f"the cluster was started {again}by {by}, without this worker."
                self._end(Stop(1, says), now)

    def opened(self, record: RescaleOpened) -> None:
        """A rescale has begun. A joiner reads of those before its own, too, and keeps silent."""
        mine = self._voice.me.incarnation
        if any(leaver.incarnation == mine for leaver in record.leavers):
            self._leaves = True
        joins = any(joiner.incarnation == mine for joiner in record.joiners)
        if record.kind != "start" and (joins or self._voice.generation > 0):
            text = f"{record.id}: {record.says} ({record.cause})"
            self._voice.say("info", "rescale_opened", text)

    def closed(self, record: RescaleClosed, now: float) -> None:
        """A rescale has ended."""
        voice = self._voice
        if voice.generation > 0 or self.ends is not None:
            self._say_closed(record)
        voice.do_all(self._desk.closed(record))
        if self.takes_part:
            self._leaves = False
        if self.ends is not None:
            self.ends = (now, self.ends[1])  # nothing is left to be passed on
        elif not self.takes_part and RequestId(f"join-{voice.me.incarnation}") in record.requests:
            self._end(Stop(1, record.says), now)

    def _say_closed(self, record: RescaleClosed) -> None:
        voice = self._voice
        event = "cluster_up" if record.kind == "start" else "rescale_closed"
        level = "info" if record.outcome == "done" else "warning"
        text = record.says
        if voice.me.name in record.joined:
            text += f", external {voice.me.external}"
        voice.say(level, event, text, {"id": record.id})

    def stopped(self, record: ShutdownClosed, now: float) -> None:
        """The cluster has stopped."""
        self._voice.do_all(self._desk.stopped(record))
        self._end(Stop(0 if record.drained else 1, record.says), now)

    def _without_us(self, opened: GenerationOpened, now: float) -> None:
        if self.ends is not None or (self._voice.generation == 0 and not self._is_first):
            return  # ending already, or a generation from before we were let in
        if self._leaves or self._leaves_by_base():
            says = "left the cluster; its key groups are with those who stay."
            self._end(Stop(0, says), now)
            return
        says = (
            "the cluster goes on without this worker since generation "
            f"{opened.table.generation}: {opened.cause}"
        )
        self._end(Stop(1, says), now)

    def _leaves_by_base(self) -> bool:
        """Whether we were let go by a shrink that was read of in a base record only."""
        state, me = self._state, self._voice.me
        if state.open is not None and me in state.open.leavers:
            return True
        return bool(state.closed) and me.name in state.closed[-1].left

    def _end(self, stop: Stop, now: float) -> None:
        self.ends = (now + self._linger, stop)
