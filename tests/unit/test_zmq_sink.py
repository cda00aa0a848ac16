"""ZmqSink and Consumer over real sockets of this machine: each record once, epoch after epoch."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
import zmq

from zstream.client import Consumer
from zstream.client.intake import Intake
from zstream.connectors import zmq_sink
from zstream.connectors.registry import open_writer
from zstream.connectors.staged import pack
from zstream.connectors.zmq_delivery import WINDOW_BYTES, Delivery
from zstream.connectors.zmq_sink import ZmqWriter
from zstream.errors import ConnectorError, UsageError
from zstream.topology.specs import ZmqSink
from zstream.wire.outside import Output, OutputState, Refusal, decode, encode

DEADLINE = 10.0  # seconds for what takes milliseconds


@contextlib.contextmanager
def sinking(address: str, name: str = "totals") -> Iterator[ZmqWriter]:
    writer = open_writer(ZmqSink(str.encode), name, address)
    assert isinstance(writer, ZmqWriter)
    with contextlib.closing(writer):
        yield writer


class Committing:
    """One commit in a thread, as the engine has it, again until it is done."""

    def __init__(self, writer: ZmqWriter, epoch: int, author: int, outputs: list[Any]) -> None:
        self.failed: list[str] = []
        self._gives_up = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(writer, epoch, author, outputs), daemon=True
        )
        self._thread.start()

    def _run(self, writer: ZmqWriter, epoch: int, author: int, outputs: list[Any]) -> None:
        while not self._gives_up.is_set():
            try:
                writer.commit(epoch, author, outputs)
            except ConnectorError as error:
                self.failed.append(str(error))
            else:
                return

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def join(self) -> None:
        self._thread.join(DEADLINE)
        assert self.is_done

    def give_up(self) -> None:
        """As when its worker dies."""
        self._gives_up.set()
        self.join()


def prepared(writer: ZmqWriter, epoch: int, records: list[bytes]) -> list[Any]:
    writer.write(list(records))
    output = writer.prepare(epoch)
    return [] if output is None else [output]


def take(consumer: Consumer, count: int) -> list[bytes]:
    """So many records; the last one is not acknowledged yet."""
    records: list[bytes] = []
    for _ in range(count):
        record = consumer.receive(DEADLINE)
        assert record is not None, f"only {records!r:.200}"
        records.append(record)
    return records


def take_until(consumer: Consumer, done: Callable[[], object]) -> list[bytes]:
    """What comes until then, each acknowledged by asking for the next."""
    records: list[bytes] = []
    deadline = time.monotonic() + DEADLINE
    while not done():
        assert time.monotonic() < deadline, f"only {len(records)}: {records!r:.200}"
        record = consumer.receive(0.05)
        if record is not None:
            records.append(record)
    return records


def wait_until(done: Callable[[], object]) -> bool:
    """For what happens without the consumer, which is not asked meanwhile."""
    deadline = time.monotonic() + DEADLINE
    while not done() and time.monotonic() < deadline:
        time.sleep(0.001)
    return bool(done())


def numbered(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last + 1)]


def test_epochs_of_two_workers_come_once_and_in_order() -> None:
    """Both commit an epoch at once; a commit ends when the consumer is done with it."""
    with (
        Consumer("127.0.0.1:0", "totals") as consumer,
        sinking(consumer.address) as one,
        sinking(consumer.address) as two,
    ):
        for epoch in (3, 4):
            mine = numbered(1, 1000)
            commits = [
                Committing(writer, epoch, author, prepared(writer, epoch, mine))
                for author, writer in ((11, one), (22, two))
            ]
            got = take_until(consumer, lambda: all(commit.is_done for commit in commits))  # noqa: B023
            assert sorted(got) == sorted(mine * 2)
            assert consumer.position[0] == epoch
            assert sorted(consumer.position[1]) == [[11, 1000], [22, 1000]]
        assert all(not commit.failed for commit in commits)


def test_nothing_is_sent_before_it_is_committed_and_nothing_for_nothing() -> None:
    """An empty epoch needs no consumer at all."""
    with sinking("127.0.0.1:1") as writer:
        writer.write([b"1"])
        assert writer.uncommitted_bytes() == 1
        writer.abort()
        assert writer.prepare(1) is None
        writer.commit(1, 5, [])
        assert writer.waits_for() == ""


def test_a_commit_is_not_done_before_the_program_asks_for_more() -> None:
    """The last record of an epoch is in the program's hands; it may die with it."""
    with (
        Consumer("127.0.0.1:0", "totals") as consumer,
        sinking(consumer.address) as writer,
    ):
        commit = Committing(writer, 1, 5, prepared(writer, 1, numbered(1, 3)))
        assert take(consumer, 3) == numbered(1, 3)
        assert not commit.is_done
        assert take_until(consumer, lambda: commit.is_done) == []


def test_what_was_not_finished_comes_again_to_the_next_consumer() -> None:
    """The program died: with its position it goes on, without it the epoch is repeated."""
    with (
        contextlib.closing(Consumer("127.0.0.1:0", "totals")) as first,
        sinking(first.address) as writer,
    ):
        address = first.address
        commit = Committing(writer, 7, 5, prepared(writer, 7, numbered(1, 100)))
        assert take(first, 40) == numbered(1, 40)
        position = msgpack.unpackb(msgpack.packb(first.position))
        assert position == [7, [[5, 40]]]
        first.close()
        with Consumer(address, "totals") as forgetful:
            assert take(forgetful, 5) == numbered(1, 5)
        with Consumer(address, "totals", after=position) as second:
            assert take_until(second, lambda: commit.is_done) == numbered(41, 100)
            assert second.position == [7, [[5, 100]]]


def test_a_commit_that_another_worker_repeats_shows_nothing_twice() -> None:
    """The committer died with half of it sent: the same author's output, another connection."""
    records = [b"%07d" % n for n in range(3 * WINDOW_BYTES // 23)]
    with Consumer("127.0.0.1:0", "totals") as consumer:
        with sinking(consumer.address) as dead:
            outputs = prepared(dead, 2, records)
            commit = Committing(dead, 2, 5, outputs)
            got = take(consumer, len(records) // 2)
            dead.close()
            commit.give_up()
        with sinking(consumer.address) as other:
            for _ in range(2):  # and once more, when all is done
                again = Committing(other, 2, 5, outputs)
                got += take_until(consumer, lambda: again.is_done)  # noqa: B023
            assert again.failed == []
        assert got == records


def test_another_author_of_the_same_epoch_is_not_a_repetition() -> None:
    """Its first commit may come after others of the epoch are done."""
    with Consumer("127.0.0.1:0", "totals") as consumer, sinking(consumer.address) as writer:
        got = []
        for author in (5, 6, 5):
            commit = Committing(writer, 2, author, prepared(writer, 2, [b"%d" % author]))
            got += take_until(consumer, lambda: commit.is_done)  # noqa: B023
        assert got == [b"5", b"6"]


def test_an_older_epoch_is_refused_because_the_cluster_was_started_anew(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Dropping its output would be silent loss; both sides say what to do."""
    monkeypatch.setattr(zmq_sink, "COMMIT_SECONDS", DEADLINE)
    with (
        Consumer("127.0.0.1:0", "totals", after=[57, [[5, 1]]]) as consumer,
        sinking(consumer.address) as writer,
    ):
        commit = Committing(writer, 3, 6, prepared(writer, 3, [b"1"]))
        assert take_until(consumer, lambda: commit.failed) == []
        closing = threading.Thread(target=commit.give_up)
        closing.start()
        assert take_until(consumer, lambda: not closing.is_alive()) == []
        assert "epoch 3 of sink totals comes after epoch 57" in commit.failed[0]
        assert "start its consumer anew too" in writer.waits_for()
        assert "consumer of sink totals refused a message" in caplog.text


def test_the_wrong_name_of_a_sink_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sinks, and the addresses mixed up."""
    monkeypatch.setattr(zmq_sink, "COMMIT_SECONDS", DEADLINE)
    with (
        Consumer("127.0.0.1:0", "totals") as consumer,
        sinking(consumer.address, "alerts") as writer,
    ):
        commit = Committing(writer, 3, 6, prepared(writer, 3, [b"1"]))
        assert take_until(consumer, lambda: commit.failed) == []
        writer.close()
        commit.give_up()
        assert "this is the consumer of the sink totals, and not of alerts" in commit.failed[0]


def test_a_commit_without_a_consumer_says_who_is_missing_and_is_made_up_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """First nobody listens, then the program does not get on, then all is well."""
    monkeypatch.setattr(zmq_sink, "COMMIT_SECONDS", 0.1)
    with Consumer("127.0.0.1:0", "totals") as consumer:
        address = consumer.address
    with sinking(address) as writer:
        outputs = prepared(writer, 1, [b"1", b"2"])
        with pytest.raises(ConnectorError, match=f"sink totals: nobody listens at {address}; try"):
            writer.commit(1, 5, outputs)
        assert "nobody listens" in writer.waits_for()
        with Consumer(address, "totals") as consumer:
            with pytest.raises(ConnectorError, match=r"does not answer|nobody listens"):
                writer.commit(1, 5, outputs)
            monkeypatch.setattr(zmq_sink, "COMMIT_SECONDS", 1.0)
            commit = Committing(writer, 1, 5, outputs)
            assert take(consumer, 2) == [b"1", b"2"]
            assert wait_until(lambda: commit.failed)
            assert not commit.is_done
            assert "is not done with its output" in commit.failed[0]
            assert take_until(consumer, lambda: commit.is_done) == []
        assert writer.waits_for() == ""


def test_closing_ends_a_commit() -> None:
    """The worker ends; its thread must not wait for a consumer."""
    with Consumer("127.0.0.1:0", "totals") as consumer:
        address = consumer.address
    with sinking(address) as writer:
        commit = Committing(writer, 1, 5, prepared(writer, 1, [b"1"]))
        writer.close()
        commit.give_up()
        assert "was closed while it committed" in commit.failed[0]


def test_commits_may_come_from_any_thread() -> None:
    """One after the other, each in another thread, on one connection."""
    with Consumer("127.0.0.1:0", "totals") as consumer, sinking(consumer.address) as writer:
        for epoch in range(1, 30):
            commit = Committing(writer, epoch, 5, prepared(writer, epoch, [b"%d" % epoch]))
            assert take_until(consumer, lambda: commit.is_done) == [b"%d" % epoch]  # noqa: B023
            assert commit.failed == []


def test_a_program_that_acknowledges_by_itself_may_take_many_at_once() -> None:
    """More than the window, in one transaction; asking for more does not count as being done."""
    records = [bytes(1000)] * (3 * WINDOW_BYTES // 1000)
    with (
        Consumer("127.0.0.1:0", "totals", finishes_by_asking=False) as consumer,
        sinking(consumer.address) as writer,
    ):
        commit = Committing(writer, 1, 5, prepared(writer, 1, records))
        assert take(consumer, len(records)) == records
        assert consumer.receive(0.3) is None
        assert not commit.is_done
        consumer.acknowledge()
        assert take_until(consumer, lambda: commit.is_done) == []


def test_rubbish_is_refused_and_the_consumer_goes_on() -> None:
    """Foreign bytes, another version, another kind of message."""
    question = encode(Output("totals", 1, 5, 1, 1, []))
    newer = question.replace(b"zo\x01", b"zo\x09")
    other = encode(OutputState(1, 5, 1, 0, 0, 0, False))
    context = zmq.Context()
    try:
        with Consumer("127.0.0.1:0", "totals") as consumer:
            dealer = context.socket(zmq.DEALER)
            dealer.connect(f"tcp://{consumer.address}")
            for rubbish in (b"GET /", newer, other):
                dealer.send(rubbish)
                assert take_until(consumer, lambda: dealer.poll(0)) == []
                assert isinstance(decode(dealer.recv()), Refusal)
            dealer.send(question)
            assert take_until(consumer, lambda: dealer.poll(0)) == []
            assert decode(dealer.recv()) == OutputState(1, 5, 1, 0, 0, 0, False)
    finally:
        context.destroy(linger=0)


@pytest.mark.parametrize("after", [7, [1], ["1", []], [1, [[5, "2"]]], [1, [5]], {"epoch": 1}])
def test_what_is_no_position_is_refused(after: object) -> None:
    """Also what another program stored."""
    with pytest.raises(UsageError, match="is not what a Consumer's position was"):
        Intake("totals", after, True)


def test_a_consumer_that_is_closed_says_so() -> None:
    """And a port in use, as everywhere."""
    with Consumer("127.0.0.1:0", "totals") as consumer:
        with pytest.raises(ConnectorError, match="consumer of sink totals cannot listen on"):
            Consumer(consumer.address, "totals")
        assert consumer.position == [0, []]
    with pytest.raises(UsageError, match="is closed"):
        consumer.receive(0)


def states(intake: Intake) -> list[object]:
    outbox, intake.outbox = intake.outbox, []
    return [decode(message) for _, message in outbox]


def output(first: int, *records: bytes) -> bytes:
    return encode(Output("totals", 1, 5, 3, first, list(records)))


def test_what_came_in_and_was_not_handed_out_is_not_finished() -> None:
    """Asking for the third record finishes two of four."""
    intake = Intake("totals", None, True)
    intake.on_message(b"c", output(1, b"1", b"2"))
    intake.on_message(b"c", output(3, b"3", b"4"))
    assert states(intake) == []
    assert [intake.next_record() for _ in range(3)] == [b"1", b"2", b"3"]
    assert states(intake) == [OutputState(1, 5, 3, taken=4, given=2, finished=2, is_gap=False)]


def test_pieces_that_overlap_are_taken_once_and_a_gap_is_reported() -> None:
    """Another worker may cut the same output in other places."""
    intake = Intake("totals", None, True)
    intake.on_message(b"c", output(1, b"1", b"2"))
    intake.on_message(b"d", output(2, b"2", b"3"))
    intake.on_message(b"c", output(5, b"5"))
    assert states(intake) == [OutputState(1, 5, 3, 3, 0, 0, is_gap=True)]
    assert [intake.next_record() for _ in range(4)] == [b"1", b"2", b"3", None]


def test_a_delivery_skips_what_the_consumer_has_from_elsewhere() -> None:
    """Two workers commit the same output at once; the other one was faster."""
    delivery = Delivery("totals", 1, 5, [pack([b"%d" % n for n in range(1, 7)])], 1)
    delivery.on_state(OutputState(1, 5, 1, 0, 0, 0, False))
    delivery.on_state(OutputState(1, 5, 1, 4, 4, 0, False))
    following = delivery.next_output()
    assert following is not None
    assert (following.first, following.records) == (5, [b"5", b"6"])
    delivery.sent()
    assert not delivery.is_finished
    delivery.on_state(OutputState(1, 5, delivery.attempt, 6, 6, 6, False))
    assert delivery.is_finished
