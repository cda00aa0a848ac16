"""Links at their edges: gaps, lost last frames, hello before the link is open, old reports."""

from __future__ import annotations

from zstream.config import Config
from zstream.dataflow.links import DATA, LinkName, ReceiveLink, SendLink
from zstream.model.ids import FrameNumber, Incarnation, Run
from zstream.wire.frames import FrameKind, decode_frame
from zstream.wire.messages import LinkAck, LinkSent

CONFIG = Config()


def sender_with(count: int, body: bytes = b"x", config: Config = CONFIG) -> SendLink:
    link = SendLink(LinkName(Incarnation(1), Incarnation(2), Run(1), DATA), config)
    for _ in range(count):
        link.push(FrameKind.BATCH, body)
    return link


def send_all(link: SendLink) -> list[int]:
    numbers = []
    while (frame := link.peek()) is not None:
        link.frame_sent()
        numbers.append(decode_frame(frame).number)
    return numbers


def ack(received: int, settled: int, window: int = 10**6, resend: bool = False) -> LinkAck:
    return LinkAck(DATA, FrameNumber(received), FrameNumber(settled), window, resend)


def take(link: ReceiveLink, number: int, now: float) -> bool:
    if not link.is_next(number):
        return False
    link.settle(100, now)
    return True


def opened(now: float = 0.0) -> ReceiveLink:
    """A receiver's end whose first report is out."""
    link = ReceiveLink(DATA, CONFIG)
    link.report(now)
    return link


def test_settled_frames_are_forgotten_and_the_rest_is_sent_again() -> None:
    """The receiver has 2 of 5 and asks again: 3, 4, 5 go out once more, 1 and 2 are gone."""
    link = sender_with(5)
    assert send_all(link) == [1, 2, 3, 4, 5]
    link.on_ack(ack(2, 2, resend=True))
    assert send_all(link) == [3, 4, 5]
    link.on_ack(ack(5, 5))
    assert link.outbox_bytes == link.in_flight_bytes == 0


def test_frames_settled_before_they_went_out_again_are_not_sent() -> None:
    """After going back, the first transmission arrives late after all."""
    link = sender_with(4)
    send_all(link)
    link.on_ack(ack(0, 0, resend=True))
    link.on_ack(ack(3, 3))
    assert send_all(link) == [4]
    assert link.in_flight_bytes == link.outbox_bytes > 0


def test_an_old_report_changes_nothing() -> None:
    """The control lane reorders: a report from before is neither a settle nor a going back."""
    link = sender_with(4)
    send_all(link)
    link.on_ack(ack(4, 3))
    kept = link.outbox_bytes
    link.on_ack(ack(1, 1, resend=True))
    assert link.settled == 3
    assert link.outbox_bytes == kept
    assert send_all(link) == []


def test_a_report_about_frames_that_never_went_out_is_ignored() -> None:
    link = sender_with(2)
    link.on_ack(ack(2, 2))
    assert link.settled == 0
    assert send_all(link) == [1, 2]


def test_credit_is_in_bytes_and_a_large_frame_goes_alone() -> None:
    """Two frames of 300 KB do not go together through a window of 256 KB, but each goes."""
    link = sender_with(2, b"x" * 300_000)
    assert send_all(link) == [1]
    link.on_ack(ack(1, 0, window=256 * 1024))
    assert send_all(link) == []  # received is not settled
    link.on_ack(ack(1, 1, window=256 * 1024))
    assert send_all(link) == [2]


def test_only_the_next_number_is_taken() -> None:
    link = opened()
    assert take(link, 1, 0.0)
    assert not take(link, 1, 0.0)
    assert not take(link, 3, 0.0)
    assert take(link, 2, 0.0)
    assert link.received == 2


def test_a_gap_is_asked_for_at_once_and_not_again_before_the_answer_had_time() -> None:
    link = opened()
    take(link, 1, 1.0)
    take(link, 3, 1.0)
    assert link.due_at() <= 1.0
    assert link.report(1.0).resend
    take(link, 4, 1.001)
    assert not link.report(1.001).resend
    later = link.ask_at()
    assert 1.0 < later < 1.2
    assert link.report(later).resend


def test_a_lost_last_frame_is_asked_for_after_a_heartbeat() -> None:
    """No later frame shows the gap; the number in the heartbeat does, with time for the frame."""
    link = opened()
    take(link, 1, 1.0)
    link.report(1.0)
    link.on_sent(LinkSent(DATA, FrameNumber(2), FrameNumber(1)), 1.1)
    assert link.due_at() > 1.1
    at = link.ask_at()
    assert link.due_at() <= at
    assert link.report(at).resend
    take(link, 2, at)
    assert link.ask_at() == float("inf")


def test_frames_under_way_are_not_asked_for_while_frames_come() -> None:
    """Heartbeats tell numbers that are still under way; as long as frames come, all is well."""
    link = opened()
    now = 1.0
    for number in range(1, 50):
        link.on_sent(LinkSent(DATA, FrameNumber(number + 5), FrameNumber(number - 1)), now)
        assert not link.report(now).resend
        take(link, number, now)
        now += 0.1


def test_the_first_report_asks_for_what_was_sent_before_the_link_was_open() -> None:
    """Hello came too early and was dropped. The sender sends it again without any heartbeat."""
    sender, receiver = sender_with(1), ReceiveLink(DATA, CONFIG)
    assert send_all(sender) == [1]
    assert receiver.due_at() <= 0.0
    sender.on_ack(receiver.report(0.0))
    assert send_all(sender) == [1]


def test_the_window_follows_the_pace_within_its_bounds() -> None:
    """A fast link gets a wide window at once, a slow one bit by bit the narrowest."""
    link = opened()
    now = 1.0
    for number in range(1, 100):
        now += 0.001
        assert link.is_next(number)
        link.settle(1_000_000, now)
    wide = link.report(now).window_bytes
    assert CONFIG.link_window_bytes_min < wide <= CONFIG.link_window_bytes_max
    for number in range(100, 300):
        now += 1.0
        assert link.is_next(number)
        link.settle(10, now)
    assert link.report(now).window_bytes == CONFIG.link_window_bytes_min


def test_a_link_is_full_with_its_window() -> None:
    """What is under way counts, too: a marker stands behind all of it."""
    frame = sender_with(1).outbox_bytes
    link = sender_with(0)
    link.on_ack(ack(0, 0, window=2 * frame))
    link.push(FrameKind.BATCH, b"x")
    assert send_all(link) == [1]
    assert not link.is_full(1.0)
    assert link.is_full(0.5), "while key groups move, half is enough"
    link.push(FrameKind.BATCH, b"x")
    assert link.is_full(1.0)
    assert send_all(link) == [2]
    assert link.is_full(1.0)
    link.on_ack(ack(1, 1, window=2 * frame))
    assert not link.is_full(1.0)
