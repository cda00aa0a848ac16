"""One direction of a link, at its two ends: numbers, repeats, and credit.

A link is named by sender, receiver, run and lane (0 data, 1 snapshots). Its frames are numbered
from 1, markers and HELLO too. The network under it may lose frames without a word, double them
and change their order; what comes out of `ReceiveLink` is every frame, once, in order.

    SendLink     keeps frames until they are settled, and goes back to the first that is missing
    ReceiveLink  takes only the next number, drops the rest, asks again where there is a gap

Repair: a frame with a number too high shows a gap at once. A lost *last* frame leaves none, so
heartbeats repeat the last number sent; and the last acknowledgement, until the sender is heard to
know it. Then the link rests, and heartbeats come far apart. What was sent before this side opened
the link is lost, so the first report about a link asks for all of it.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from zstream.config import Config
from zstream.model.ids import FrameNumber, Incarnation, Run
from zstream.wire.frames import FrameKind, encode_frame
from zstream.wire.messages import LinkAck, LinkSent

DATA = 0
SNAPSHOTS = 1
LANES = (DATA, SNAPSHOTS)


class LinkName(NamedTuple):
    sender: Incarnation
    receiver: Incarnation
    run: Run
    lane: int


class SendLink:
    """The sender's end. Frames wait here, in order: settled ones gone, sent ones, unsent ones.

    Credit: a frame may go while all that is sent and not settled stays within the window, or when
    nothing is; so a frame larger than the window goes alone.
    """

    def __init__(self, name: LinkName, config: Config) -> None:
        self.name = name
        self.pushed = 0  # number of the newest frame
        self.sent = 0  # highest number that ever went out
        self.settled = 0
        self.outbox_bytes = 0  # of all frames kept
        self.in_flight_bytes = 0  # of those sent and not settled
        self._received = 0
        self._told = 0  # the highest settled number that the receiver was told
        self._window = config.link_window_bytes_min
        self._in_flight: deque[bytes] = deque()  # settled + 1 and so on
        self._waiting: deque[bytes] = deque()

    def push(self, kind: FrameKind, body: bytes) -> None:
        """Number the frame and keep it."""
        self.pushed += 1
        sender, receiver, run, lane = self.name
        frame = encode_frame(sender, receiver, run, lane, FrameNumber(self.pushed), kind, body)
        self._waiting.append(frame)
        self.outbox_bytes += len(frame)

    def peek(self) -> bytes | None:
        """The next frame to send, if there is one and credit for it."""
        if not self._waiting:
            return None
        frame = self._waiting[0]
        if self._in_flight and self.in_flight_bytes + len(frame) > self._window:
            return None
        return frame

    def frame_sent(self) -> None:
        """The frame that `peek` showed is out."""
        frame = self._waiting.popleft()
        self._in_flight.append(frame)
        self.in_flight_bytes += len(frame)
        self.sent = max(self.sent, self.settled + len(self._in_flight))

    def on_ack(self, ack: LinkAck) -> None:
        """Cumulative, so an old or doubled one changes nothing."""
        if ack.settled > self.sent or ack.received > self.sent:
            return  # speaks of frames that never went out: not about this link
        while self.settled < ack.settled:
            # After going back, a frame may be settled before it went out again.
            if self._in_flight:
                frame = self._in_flight.popleft()
                self.in_flight_bytes -= len(frame)
            else:
                frame = self._waiting.popleft()
            self.outbox_bytes -= len(frame)
            self.settled += 1
        if ack.received < self._received:
            return
        self._received = ack.received
        self._window = ack.window_bytes
        if ack.resend:
            self._go_back(ack.received)

    def _go_back(self, received: int) -> None:
        """Everything behind `received` is unsent again."""
        while self._in_flight and self.settled + len(self._in_flight) > received:
            frame = self._in_flight.pop()
            self.in_flight_bytes -= len(frame)
            self._waiting.appendleft(frame)

    @property
    def rests(self) -> bool:
        """Whether all was settled, and the receiver told so."""
        return self._told == self.pushed

    def is_full(self, share: float) -> bool:
        """Whether so much is under way or waits: this share of what passes in the time that a
        marker may take.
        """
        return self.outbox_bytes >= self._window * share

    def report(self) -> LinkSent:
        self._told = self.settled
        return LinkSent(self.name.lane, FrameNumber(self.sent), FrameNumber(self.settled))


class ReceiveLink:
    """The receiver's end: which number is next, what to acknowledge, and how wide the window is.

    `now` is monotonic seconds.
    """

    def __init__(self, lane: int, config: Config) -> None:
        self.lane = lane
        self.received = 0
        self._config = config
        self._window = config.link_window_bytes_min
        self._reported = -1  # what the newest report acknowledged
        self._dropped = 0  # highest number that came too early
        self._told = 0  # highest number the sender says it has sent
        self._known = 0  # highest number the sender knows to be settled
        self._still_since = float("-inf")  # when a frame came, or the news of one that has not
        self._asked = float("-inf")  # when the newest request to send again went out
        self._settled_bytes = 0  # since `_measured`
        self._measured = 0.0

    def is_next(self, number: int) -> bool:
        """Whether this is the frame to take now; what is not is dropped by the caller."""
        if number == self.received + 1:
            return True
        self._dropped = max(self._dropped, number)
        return False

    def settle(self, size: int, now: float) -> None:
        """The next frame was taken: each of its records is applied or on hold."""
        self.received += 1
        self._still_since = now
        self._settled_bytes += size
        elapsed = now - self._measured
        target = self._config.link_delay_target_ms / 1000
        if elapsed >= target:
            self._adapt(int(self._settled_bytes * target / elapsed))
            self._settled_bytes = 0
            self._measured = now

    def _adapt(self, wanted: int) -> None:
        """What passes in the target time may be under way; wider at once, narrower bit by bit."""
        if wanted < self._window:
            wanted = self._window - (self._window - wanted) // 8
        config = self._config
        self._window = min(max(wanted, config.link_window_bytes_min), config.link_window_bytes_max)

    def on_sent(self, sent: LinkSent, now: float) -> None:
        """A heartbeat: the sender has sent up to this number; it may still be under way."""
        if self._told <= self.received < sent.last:
            self._still_since = now
        self._told = max(self._told, sent.last)
        self._known = max(self._known, sent.settled)

    @property
    def rests(self) -> bool:
        """Whether the sender knows that what came was settled."""
        return self._known == self.received

    def ask_at(self) -> float:
        """When to ask the sender to send again, unless frames come; inf: nothing is missing.

        A frame that came too early is proof, and is asked for at once; a number that the sender
        told may be under way. Neither is asked for twice in a row without time for the answer.
        """
        config = self._config
        if self._reported < 0:
            return self._still_since
        patience = config.link_delay_target_ms / 500
        if self._dropped > self.received:
            return self._asked + patience
        if self._told > self.received:
            if self.received:
                patience = config.pulse_interval_ms / 1000
            return max(self._asked, self._still_since) + patience
        return float("inf")

    def due_at(self) -> float:
        """When there is something to report: -inf for what is new, or when to ask."""
        return float("-inf") if self.received > self._reported else self.ask_at()

    def report(self, now: float) -> LinkAck:
        """What to tell the sender now."""
        resend = self.ask_at() <= now
        if resend:
            self._asked = now
        self._reported = self.received
        number = FrameNumber(self.received)
        return LinkAck(self.lane, number, number, self._window, resend)
