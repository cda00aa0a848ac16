"""Producer and ZmqSource over real sockets of this machine: nothing lost, nothing read twice."""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from zstream.client import Producer, offering
from zstream.client.offering import Offering
from zstream.config import Config
from zstream.connectors import zmq_producers
from zstream.connectors.registry import open_reader
from zstream.connectors.zmq_producers import WINDOW_BYTES_MAX, ProducerBook
from zstream.connectors.zmq_source import ZmqReader
from zstream.errors import (
    ClusterTimeout,
    ClusterUnreachable,
    ConnectorError,
    Refused,
    UsageError,
)
from zstream.topology.specs import ZmqSource
from zstream.wire.outside import Offer, Refusal, SourceState, decode, encode

DEADLINE = 10.0  # seconds for what takes milliseconds


def open_source(address: str = "127.0.0.1:0", config: Config | None = None) -> ZmqReader:
    reader = open_reader(ZmqSource(bytes.decode), "prices", address, config)
    assert isinstance(reader, ZmqReader)
    return reader


@contextlib.contextmanager
def reading(address: str = "127.0.0.1:0") -> Iterator[ZmqReader]:
    with contextlib.closing(open_source(address)) as reader:
        yield reader


def turn(reader: ZmqReader, limit: int = 4096) -> list[Any]:
    """As the loop: read, then wait for the descriptor or for what wake_at says."""
    records = reader.read(limit)
    assert len(records) <= limit
    now = time.monotonic()
    if not records and reader.wake_at(now) is None:
        select.select(reader.descriptors(), [], [], 0.2)
    return records


def read_until(reader: ZmqReader, done: Callable[[list[Any]], object]) -> list[Any]:
    records: list[Any] = []
    deadline = time.monotonic() + DEADLINE
    while not done(records):
        assert time.monotonic() < deadline, f"only {len(records)}: {records!r:.200}"
        records += turn(reader)
    return records


class Engine:
    """Reads a source in a thread, and takes a checkpoint after each read, as a cluster does."""

    def __init__(self, reader: ZmqReader) -> None:
        self.records: list[Any] = []
        self._reader = reader
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Engine:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while not self._ends.is_set():
            self.records += turn(self._reader)
            self._reader.acknowledge(self._reader.position())


def numbered(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last + 1)]


def send_all(producer: Producer, records: list[bytes]) -> None:
    for record in records:
        producer.send(record)


def test_what_a_producer_sends_is_read_once_and_in_order() -> None:
    """Thousands of records; flush ends when the last is in a checkpoint."""
    with reading() as reader, Engine(reader) as engine:
        assert "no producer has connected" in reader.waits_for()
        with Producer(reader.address, "prices", "desk") as producer:
            assert producer.resume_from == 1
            for record in numbered(1, 20_000):
                producer.send(record)
            producer.flush(DEADLINE)
            assert producer.acknowledged == 20_000
        assert engine.records == numbered(1, 20_000)
        assert reader.position() == {"desk": 20_000}
        assert reader.waits_for() == ""


def test_several_producers_keep_an_order_each() -> None:
    """Their positions are kept apart."""
    with reading() as reader, contextlib.ExitStack() as stack:
        engine = stack.enter_context(Engine(reader))
        producers = [
            stack.enter_context(Producer(reader.address, "prices", f"desk-{n}")) for n in range(3)
        ]
        for number in range(1, 301):
            for n, producer in enumerate(producers):
                producer.send(b"%d %d" % (n, number))
        for producer in producers:
            producer.flush(DEADLINE)
        assert reader.position() == {f"desk-{n}": 300 for n in range(3)}
        for n in range(3):
            mine = [record for record in engine.records if record.startswith(b"%d " % n)]
            assert mine == [b"%d %d" % (n, number) for number in range(1, 301)]


def test_a_reader_that_died_is_followed_by_one_that_seeks() -> None:
    """What was read after the checkpoint comes again, what was before it never does."""
    with contextlib.ExitStack() as stack:
        first = open_source()
        producer = stack.enter_context(Producer(first.address, "prices", "desk"))
        with contextlib.closing(first):
            with Engine(first):
                for record in numbered(1, 50):
                    producer.send(record)
                producer.flush(DEADLINE)
            checkpoint = first.position()
            for record in numbered(51, 90):
                producer.send(record)
            assert read_until(first, lambda got: len(got) == 40) == numbered(51, 90)
        second = stack.enter_context(reading(first.address))
        assert second.seek(checkpoint) == 0
        for record in numbered(91, 100):
            producer.send(record)
        assert read_until(second, lambda got: len(got) >= 50) == numbered(51, 100)
        second.acknowledge(second.position())
        producer.flush(DEADLINE)
        assert producer.acknowledged == 100
        assert turn(second) == []


def test_an_engine_that_goes_back_is_given_the_same_again() -> None:
    """seek on the open reader, with records queued and under way."""
    with reading() as reader, Producer(reader.address, "prices", "desk") as producer:
        sender = threading.Thread(target=send_all, args=(producer, numbered(1, 5000)))
        sender.start()
        before = read_until(reader, lambda got: len(got) >= 100)
        reader.seek(None)
        again = read_until(reader, lambda got: len(got) >= 5000)
        sender.join(DEADLINE)
        assert before == numbered(1, len(before))
        assert again == numbered(1, 5000)
        reader.acknowledge(reader.position())


def test_a_position_of_another_kind_of_source_is_refused() -> None:
    """The source's spec was changed between two starts."""
    with reading() as reader, pytest.raises(ConnectorError, match=r"source prices: .* holds 7"):
        reader.seek(7)


def test_credit_stops_a_producer_that_nobody_reads() -> None:
    """Its buffer fills, and then `send` says so; once somebody reads, all arrives."""
    record = bytes(1024)
    with reading() as reader:
        producer = Producer(
            reader.address, "prices", "desk", buffer_bytes_max=4 * WINDOW_BYTES_MAX, timeout=1
        )
        with contextlib.closing(producer):
            connecting = threading.Thread(target=lambda: producer.resume_from)
            connecting.start()
            read_until(reader, lambda _: not connecting.is_alive())
            sent = 0
            with pytest.raises(ClusterTimeout, match="has not acknowledged"):
                while True:
                    producer.send(record)
                    sent += 1
            assert sent * 1024 <= 4 * WINDOW_BYTES_MAX
            got = len(turn(reader, 1_000_000))
            assert got * 1024 <= WINDOW_BYTES_MAX + 64 * 1024
            with Engine(reader) as engine:
                producer.flush(DEADLINE)
            assert got + len(engine.records) == sent


def test_a_program_that_starts_again_goes_on_where_its_records_are_safe() -> None:
    """It waits for a checkpoint with what its predecessor sent; `resume_from` is what follows."""
    with reading() as reader:
        with contextlib.closing(Producer(reader.address, "prices", "desk", timeout=1)) as old:
            adding = threading.Thread(target=send_all, args=(old, numbered(1, 30)))
            adding.start()
            assert read_until(reader, lambda got: len(got) == 30) == numbered(1, 30)
            adding.join(DEADLINE)
        with contextlib.closing(Producer(reader.address, "prices", "desk")) as new:
            asking = threading.Thread(target=lambda: new.resume_from)
            asking.start()
            deadline = time.monotonic() + DEADLINE
            while not new._offering.is_held_back and time.monotonic() < deadline:
                turn(reader)
            assert asking.is_alive()
            with pytest.raises(ClusterTimeout, match="in no checkpoint yet"):
                new._wait_until(lambda: False, 0.0)
            reader.acknowledge(reader.position())
            asking.join(DEADLINE)
            assert new.resume_from == 31
            assert new.acknowledged == 30
            new.send(b"31")
            assert read_until(reader, len) == [b"31"]
            assert reader.position() == {"desk": 31}


def test_the_newest_of_two_programs_with_one_id_wins() -> None:
    """The other is told so, and raises from then on."""
    with reading() as reader, Engine(reader) as engine:
        with contextlib.closing(Producer(reader.address, "prices", "desk")) as old:
            old.send(b"old")
            old.flush(DEADLINE)
            with Producer(reader.address, "prices", "desk") as new:
                assert new.resume_from == 2
                with pytest.raises(Refused, match="another producer with the id desk") as refused:
                    while True:
                        old.flush(DEADLINE)
                        old.send(b"late")
                        time.sleep(0.001)
                assert refused.value.code == "displaced"
                new.send(b"new")
        assert engine.records[0] == b"old"
        assert engine.records[-1] == b"new"


def test_the_wrong_name_of_a_source_is_refused() -> None:
    """In a sentence, to the program; the source goes on."""
    with (
        reading() as reader,
        Engine(reader),
        contextlib.closing(Producer(reader.address, "votes", "desk")) as producer,
        pytest.raises(Refused, match="this is the source prices, and not votes"),
    ):
        producer.send(b"1")


def test_a_source_that_lost_its_checkpoints_is_said_and_nothing_is_lost_silently(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cluster that was started anew asks for what was acknowledged and let go."""
    monkeypatch.setattr(offering, "BEHIND_SECONDS", 0.6)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(reading())
        address = first.address
        producer = stack.enter_context(
            contextlib.closing(Producer(address, "prices", "desk", timeout=DEADLINE))
        )
        with Engine(first):
            producer.send(b"1")
            producer.flush()
        first.close()
        second = stack.enter_context(reading(address))
        with Engine(second), pytest.raises(ConnectorError, match="asks for record 1 of producer"):
            producer.send(b"2")
            producer.flush()
        assert second.position() == {}


def test_a_source_that_has_more_than_was_ever_sent_is_said() -> None:
    """An id that another cluster's producer has used."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(reading())
        address = first.address
        producer = stack.enter_context(contextlib.closing(Producer(address, "prices", "desk")))
        with Engine(first):
            producer.send(b"1")
            producer.flush()
        first.close()
        second = stack.enter_context(reading(address))
        second.seek({"desk": 5000})
        with Engine(second), pytest.raises(ConnectorError, match="has 5,000 records of producer"):
            producer.send(b"2")
            producer.flush()


def test_a_source_that_acknowledges_what_it_was_not_sent_again_does_no_harm() -> None:
    """After it went back; ours does not, another one might."""
    kept = Offering("prices", "desk", 1)
    kept.on_message(encode(SourceState(1, 1, 0, 10_000)), 0.0)
    for record in numbered(1, 4):
        kept.add(record)
    kept.on_message(encode(SourceState(2, 1, 3, 10_000)), 0.0)
    offer = kept.next_offer()
    assert offer is not None
    assert (offer.first, offer.records) == (4, [b"4"])


def test_a_source_of_before_that_answers_for_a_moment_does_no_harm() -> None:
    """Worker a reads the source and stands still; b takes over and acknowledges more; b dies, and
    a, which wakes, is who listens. It asks for what is safe, until it learns that it is out.
    """
    kept = Offering("prices", "desk", 1)
    kept.on_message(encode(SourceState(1, 1, 0, 10_000)), 0.0)
    for record in numbered(1, 8):
        kept.add(record)
    kept.on_message(encode(SourceState(70, 1, 0, 10_000)), 5.0)
    while (offer := kept.next_offer()) is not None:
        kept.sent(offer)
    kept.on_message(encode(SourceState(70, 1, 6, 10_000)), 6.0)
    for now in (7.0, 7.5):
        kept.on_message(encode(SourceState(2, 3, 2, 10_000)), now)
    assert (kept.fault, kept.acknowledged) == (None, 6)
    kept.on_message(encode(SourceState(70, 1, 7, 10_000)), 8.0)
    assert kept.acknowledged == 7, "what b said comes late, and counts"
    kept.on_message(encode(SourceState(2, 3, 2, 10_000)), 30.0)
    assert kept.fault is None, "b was heard in between"
    kept.on_message(encode(SourceState(900, 8, 7, 10_000)), 60.0)
    offer = kept.next_offer()
    assert offer is not None
    assert (offer.attempt, offer.first, offer.records) == (900, 8, [b"8"])
    kept.on_message(encode(SourceState(2, 3, 2, 10_000)), 61.0)
    assert kept.fault is None, "that it was so before does not count any more"
    kept.on_message(encode(SourceState(2, 3, 2, 10_000)), 71.0)
    assert "asks for record 3" in str(kept.fault)


def test_rubbish_is_refused_and_the_source_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """Foreign bytes, a newer version, a message of many parts; each is answered in a sentence."""
    newer = encode(Offer("prices", "desk", 1, 0, 1, [])).replace(b"zo\x01", b"zo\x09")
    with reading() as reader, Engine(reader) as engine:
        with raw_producer(reader.address) as dealer:
            for rubbish in (b"GET /", newer, encode(SourceState(1, 1, 0, 0)), b""):
                dealer.send(rubbish)
                refusal = decode(dealer.recv())
                assert isinstance(refusal, Refusal)
                assert refusal.says
            dealer.send_multipart([b"a", b"b"])
            assert isinstance(decode(dealer.recv()), Refusal)
        with Producer(reader.address, "prices", "desk") as producer:
            producer.send(b"good")
        assert engine.records == [b"good"]
    assert reader.refused_messages == 5
    assert "source prices refused a message" in caplog.text


@contextlib.contextmanager
def raw_producer(address: str) -> Iterator[zmq.Socket[bytes]]:
    """A DEALER as another language would have it."""
    context = zmq.Context()
    try:
        dealer = context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.RCVTIMEO, int(DEADLINE * 1000))
        dealer.connect(f"tcp://{address}")
        yield dealer
    finally:
        context.destroy(linger=0)


def test_a_gap_is_answered_with_a_new_attempt_and_seen_records_are_dropped() -> None:
    """What a producer in another language has to reckon with."""
    with reading() as reader, Engine(reader) as engine, raw_producer(reader.address) as dealer:

        def say(attempt: int, first: int, *records: bytes) -> None:
            dealer.send(encode(Offer("prices", "desk", 7, attempt, first, list(records))))

        def hear() -> SourceState:
            state = decode(dealer.recv())
            assert isinstance(state, SourceState)
            return state

        say(0, 1)
        began = hear()
        assert (began.resume_from, began.acknowledged) == (1, 0)
        assert began.bytes_allowed > 0
        say(began.attempt, 1, b"1", b"2")
        say(began.attempt, 4, b"4")  # 3 was left out
        again = hear()
        while again.attempt == began.attempt:
            again = hear()  # it acknowledged 2 first
        assert again.resume_from == 3
        say(began.attempt, 3, b"old attempt")
        say(again.attempt, 2, b"2", b"3")  # 2 was seen
        state = again
        while state.acknowledged < 3:
            state = hear()
        assert engine.records == [b"1", b"2", b"3"]


def test_who_sends_more_than_allowed_is_refused() -> None:
    """Memory of the worker is not at the mercy of a producer."""
    with reading() as reader, raw_producer(reader.address) as dealer:
        dealer.send(encode(Offer("prices", "desk", 7, 0, 1, [])))
        read_until(reader, lambda _: dealer.poll(0))
        state = decode(dealer.recv())
        assert isinstance(state, SourceState)
        for number in (1, 2):  # the first one is more than everything that is allowed
            large = [bytes(state.bytes_allowed)]
            dealer.send(encode(Offer("prices", "desk", 7, state.attempt, number, large)))
        deadline = time.monotonic() + DEADLINE
        while not reader.refused_messages and time.monotonic() < deadline:
            reader._receive()  # as `read`, but nothing is given to the engine: no more is allowed
        reader.read(1)
        refusal = decode(dealer.recv())
        while isinstance(refusal, SourceState):
            refusal = decode(dealer.recv())
        assert isinstance(refusal, Refusal)
        assert refusal.code == "more_than_allowed"


def test_a_port_in_use_is_said_as_for_tcp() -> None:
    """With the option that chooses another."""
    with reading() as reader:
        says = f"source prices cannot listen on {reader.address}: the port is in use by another"
        with pytest.raises(ConnectorError, match=says) as refused:
            open_source(reader.address)
        assert "--in prices@HOST:PORT" in str(refused.value)


def test_nobody_there_is_said_after_the_timeout() -> None:
    """Neither `send` nor `resume_from` wait for ever."""
    with reading() as reader:
        address = reader.address
    with contextlib.closing(Producer(address, "prices", "desk", timeout=0.05)) as producer:
        with pytest.raises(ClusterUnreachable, match=f"--in prices@{address}"):
            producer.send(b"1")
        with pytest.raises(ClusterUnreachable):
            producer.resume_from  # noqa: B018 - a property that waits
        producer.flush()
    with pytest.raises(UsageError, match="closed"):
        producer.send(b"1")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Producer("here", "prices", "desk"), "no address"),
        (lambda: Producer("127.0.0.1:1", "", "desk"), "source must be text"),
        (lambda: Producer("127.0.0.1:1", "prices", "d" * 256), "producer_id must be text"),
    ],
)
def test_what_can_never_work_is_refused_at_once(call: Callable[[], object], says: str) -> None:
    """Before a thread is started."""
    with pytest.raises(UsageError, match=says):
        call()


def test_a_record_must_be_bytes() -> None:
    """A str would have to be encoded, and only the program knows how."""
    with (
        contextlib.closing(Producer("127.0.0.1:1", "prices", "desk")) as producer,
        pytest.raises(UsageError, match="a record must be bytes, it is str"),
    ):
        producer.send("text")  # type: ignore[arg-type]


def test_a_program_that_forgets_to_close_can_end() -> None:
    """Its exit does not hang on the producer's thread."""
    code = (
        "from zstream.client import Producer\n"
        "producer = Producer('127.0.0.1:1', 'prices', 'desk')\n"
        "print('done')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert run.stdout == "done\n"


def book() -> ProducerBook:
    return ProducerBook("prices", 1000)


def answers(of: ProducerBook) -> list[object]:
    outbox, of.outbox = of.outbox, []
    return [decode(message) for _, message in outbox]


def hello(producer: str, attempt: int = 0, *records: bytes) -> bytes:
    return encode(Offer("prices", producer, 7, attempt, 1, list(records)))


def test_a_new_producer_above_the_limit_is_refused_and_no_old_one_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only an id that never sent anything makes room, when its connection is silent."""
    monkeypatch.setattr(zmq_producers, "PRODUCERS_MAX", 2)
    source = book()
    source.on_message(b"1", hello("a"), 0.0)
    source.on_message(b"2", hello("b"), 0.0)
    (first, _) = answers(source)
    assert isinstance(first, SourceState)
    source.on_message(b"1", hello("a", first.attempt, b"record"), 0.0)
    source.on_message(b"3", hello("c"), 0.0)
    (refusal,) = answers(source)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "too_many_producers"
    source.forget_silent(100.0)
    source.on_message(b"3", hello("c"), 100.0)
    assert isinstance(answers(source)[0], SourceState)
    source.on_message(b"4", hello("d"), 100.0)
    assert isinstance(answers(source)[0], Refusal)
    assert source.take(10, 1000) == [b"record"]
    assert source.position() == {"a": 1}


def test_many_producers_share_what_may_be_sent_ahead() -> None:
    """Each has less than one alone, and never too little to work with."""
    source = book()
    allowed = []
    for number in range(1000):
        source.on_message(b"%d" % number, hello(f"desk-{number}"), 0.0)
        (state,) = answers(source)
        assert isinstance(state, SourceState)
        allowed.append(state.bytes_allowed)
    assert allowed[0] == WINDOW_BYTES_MAX
    assert allowed == sorted(allowed, reverse=True)
    assert allowed[-1] == zmq_producers.WINDOW_BYTES_MIN


def test_the_spec_needs_a_function_and_an_address() -> None:
    """As the specs of other systems do; the sentences name the option."""
    with pytest.raises(UsageError, match="ZmqSource: decode must be a function"):
        ZmqSource("utf-8")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="Say --in prices@HOST:PORT"):
        open_reader(ZmqSource(bytes.decode), "prices", None)
    with contextlib.closing(
        open_reader(ZmqSource(bytes.decode, address="127.0.0.1:0"), "prices", None)
    ) as reader:
        assert reader.position() == {}
