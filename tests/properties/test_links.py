"""Links over a network that loses, doubles and reorders: every frame once, in order, in bounds."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from zstream.config import Config
from zstream.dataflow.links import DATA, LinkName, ReceiveLink, SendLink
from zstream.model.ids import Incarnation, Run
from zstream.wire.frames import FrameKind, decode_frame

SMALL = replace(Config(), link_window_bytes_min=400, link_window_bytes_max=1600)
NAME = LinkName(Incarnation(1), Incarnation(2), Run(1), DATA)


class Wire:
    """Both ends of one link, the network between them, and a clock."""

    def __init__(self, seed: int, loss: float, double: float, reorder: float) -> None:
        self.random = Random(seed)
        self.loss, self.double, self.reorder = loss, double, reorder
        self.sender = SendLink(NAME, SMALL)
        self.receiver = ReceiveLink(DATA, SMALL)
        self.frames: list[bytes] = []
        self.got: list[bytes] = []
        self.now = 1.0
        self.sent_frames = 0

    def put(self, frame: bytes) -> None:
        self.sent_frames += 1
        if self.random.random() < self.loss:
            return
        self.frames.append(frame)
        if self.random.random() < self.double:
            self.frames.insert(self.random.randrange(len(self.frames)), frame)
        if self.random.random() < self.reorder:
            self.random.shuffle(self.frames)

    def send(self) -> None:
        while (frame := self.sender.peek()) is not None:
            self.sender.frame_sent()
            self.put(frame)
            in_bounds = self.sender.in_flight_bytes <= SMALL.link_window_bytes_max
            assert in_bounds or self.sender.in_flight_bytes == len(frame)

    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.frames))):
            frame = decode_frame(self.frames.pop(0))
            if self.receiver.is_next(frame.number):
                self.got.append(frame.body)
                self.receiver.settle(44 + len(frame.body), self.now)

    def report(self, heartbeat: bool) -> None:
        if self.random.random() >= self.loss and (heartbeat or self.receiver.due_at() <= self.now):
            ack = self.receiver.report(self.now)
            self.sender.on_ack(ack)
            if self.random.random() < self.double:
                self.sender.on_ack(ack)
        if heartbeat and self.random.random() >= self.loss:
            self.receiver.on_sent(self.sender.report(), self.now)


@settings(max_examples=300)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(0, 600), min_size=1, max_size=80),
    loss=st.floats(0, 0.4),
    double=st.floats(0, 0.4),
    reorder=st.floats(0, 0.4),
)
def test_every_frame_comes_once_and_in_order(
    seed: int, sizes: list[int], loss: float, double: float, reorder: float
) -> None:
    """Whatever the network does, the link ends with all delivered, all settled and nothing kept."""
    wire = Wire(seed, loss, double, reorder)
    bodies = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    left = list(bodies)
    for turn in range(4000):
        if left and wire.random.random() < 0.5:
            wire.sender.push(FrameKind.BATCH, left.pop(0))
        wire.send()
        wire.deliver(wire.random.randrange(6))
        wire.now += 0.01
        wire.report(heartbeat=turn % 20 == 0)
        if not left and wire.sender.settled == wire.sender.pushed:
            break
    assert wire.got == bodies
    assert wire.sender.settled == len(bodies)
    assert wire.sender.outbox_bytes == wire.sender.in_flight_bytes == 0
    assert wire.sender.peek() is None


@settings(max_examples=50)
@given(sizes=st.lists(st.integers(0, 600), min_size=1, max_size=80))
def test_a_perfect_network_carries_each_frame_once(sizes: list[int]) -> None:
    """Without loss nothing is sent twice, but what went out before the first report."""
    wire = Wire(0, 0.0, 0.0, 0.0)
    wire.report(heartbeat=False)  # the link is open before anything is sent
    for size in sizes:
        wire.sender.push(FrameKind.BATCH, b"x" * size)
    for turn in range(400):
        wire.send()
        wire.deliver(100)
        wire.now += 0.005
        wire.report(heartbeat=turn % 20 == 0)
    assert len(wire.got) == wire.sent_frames == len(sizes)
