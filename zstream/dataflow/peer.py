"""All that one worker keeps about another: the four ends of the links between the two."""

from __future__ import annotations

from zstream.config import Config
from zstream.dataflow.links import DATA, LANES, SNAPSHOTS, LinkName, ReceiveLink, SendLink
from zstream.model.ids import Epoch, Generation, Incarnation, Run
from zstream.wire.frames import FrameKind
from zstream.wire.messages import LinkReport

REST = 10  # heartbeats come so many times farther apart where neither side waits for anything


class Peer:
    """Data and snapshot lane, in both directions, since the link was opened.

    hello: the generation that this worker is at, encoded, or nothing before its first one: a new
    link starts with the marker of what was switched to before it was opened.
    marker: the highest generation whose marker came from there; markers of older ones are in.
    barrier: the highest epoch whose barrier came from there.
    batches_sent, batches_applied: BATCH frames pushed to it and applied from it.
    """

    def __init__(
        self, me: Incarnation, other: Incarnation, run: Run, config: Config, hello: bytes
    ) -> None:
        self.incarnation = other
        self.marker = Generation(0)
        self.barrier = Epoch(0)
        self.batches_sent = 0
        self.batches_applied = 0
        self.send = tuple(SendLink(LinkName(me, other, run, lane), config) for lane in LANES)
        self.receive = tuple(ReceiveLink(lane, config) for lane in LANES)
        self._run = run
        self._ack_interval = config.ack_interval_ms / 1000
        self._heartbeat_interval = config.pulse_interval_ms / 1000
        self._reported = float("-inf")
        self._report_at: float | None = None  # None: something happened since it was known
        self._next_lane = SNAPSHOTS
        self._watched = 0  # a data frame that was the newest when it was looked at
        self._watched_at = 0.0
        self.send[DATA].push(FrameKind.HELLO, hello)
        self.send[SNAPSHOTS].push(FrameKind.HELLO, b"")

    def is_connected(self) -> bool:
        """Hello went both ways on both lanes."""
        sends, receives = self.send, self.receive
        return bool(
            sends[DATA].settled
            and sends[SNAPSHOTS].settled
            and receives[DATA].received
            and receives[SNAPSHOTS].received
        )

    def push(self, kind: FrameKind, body: bytes) -> None:
        """Queue a frame on the lane where its kind belongs."""
        self._report_at = None
        self.send[SNAPSHOTS if kind is FrameKind.SNAPSHOT else DATA].push(kind, body)
        if kind is FrameKind.BATCH:
            self.batches_sent += 1

    def next_frame(self) -> bytes | None:
        """What credit lets go now; the lanes take turns."""
        for lane in (self._next_lane, 1 - self._next_lane):
            frame = self.send[lane].peek()
            if frame is not None:
                self._next_lane = lane
                return frame
        return None

    def frame_sent(self) -> None:
        """What `next_frame` showed is out."""
        self.send[self._next_lane].frame_sent()
        self._next_lane = 1 - self._next_lane

    def is_next(self, lane: int, number: int) -> bool:
        """Whether this is the frame of the lane to take now; what is not is dropped."""
        self._report_at = None
        return self.receive[lane].is_next(number)

    def settle(self, lane: int, size: int, now: float) -> None:
        """The next frame of the lane was taken, and is applied or on hold."""
        self._report_at = None
        self.receive[lane].settle(size, now)

    def on_report(self, report: LinkReport, now: float) -> None:
        self._report_at = None
        for ack in report.acks:
            if ack.lane in LANES:
                self.send[ack.lane].on_ack(ack)
        for sent in report.sent:
            if sent.lane in LANES:
                self.receive[sent.lane].on_sent(sent, now)

    def report_at(self) -> float:
        """When a report is due: soon after something came, when to ask for what did not, or when
        what was told before is told again, because it may have been lost.
        """
        if self._report_at is None:
            due = min(self.receive[DATA].due_at(), self.receive[SNAPSHOTS].due_at())
            heartbeat = self._heartbeat_interval * (REST if self._rests else 1)
            soonest, latest = self._reported + self._ack_interval, self._reported + heartbeat
            self._report_at = min(max(due, soonest), latest)
        return self._report_at

    def report(self, now: float, pressure: str) -> LinkReport:
        self._reported, self._report_at = now, None
        return LinkReport(
            run=self._run,
            to=self.incarnation,
            acks=tuple(link.report(now) for link in self.receive),
            sent=tuple(link.report() for link in self.send),
            pressure=pressure,
        )

    @property
    def _rests(self) -> bool:
        """As far as this side knows, nothing is under way on the links in either direction."""
        return all(link.rests for link in self.send) and all(link.rests for link in self.receive)

    def watch(self, now: float) -> None:
        """Remember when what is under way on the data lane was seen first, for `waiting_for`."""
        link = self.send[DATA]
        if link.settled >= self._watched:
            self._watched, self._watched_at = link.pushed, now

    def waiting_for(self, now: float) -> float:
        """For about how many seconds the oldest frame of the data lane has been under way."""
        return 0.0 if self.send[DATA].settled == self.send[DATA].pushed else now - self._watched_at

    def is_settled(self) -> bool:
        """Whether nothing at all is under way to this peer."""
        data, snapshots = self.send
        return data.settled == data.pushed and snapshots.settled == snapshots.pushed
