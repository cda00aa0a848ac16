"""TCP source and sink over real loopback sockets, driven as the worker's loop drives them."""

from __future__ import annotations

import contextlib
import errno
import logging
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from zstream.config import Config
from zstream.connectors import tcp
from zstream.connectors.framing import make_cutter
from zstream.connectors.registry import open_reader, open_writer
from zstream.connectors.tcp import TcpReader, TcpWriter, listen
from zstream.errors import ConnectorError, UsageError
from zstream.topology.specs import Framing, LengthPrefix, Lines, TcpSink, TcpSource

DEADLINE = 10.0  # seconds for what takes milliseconds


def frame(*payloads: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(payload)) + payload for payload in payloads)


def make_reader(framing: Framing[Any] | None = None, config: Config | None = None) -> TcpReader:
    reader = open_reader(TcpSource(framing or LengthPrefix()), "votes", "127.0.0.1:0", config)
    assert isinstance(reader, TcpReader)
    return reader


@contextlib.contextmanager
def reading(framing: Framing[Any] | None = None) -> Iterator[TcpReader]:
    with contextlib.closing(make_reader(framing)) as reader:
        yield reader


def connect(reader: TcpReader) -> socket.socket:
    host, _, port = reader.address.rpartition(":")
    return socket.create_connection((host, int(port)), DEADLINE)


def read_until(
    reader: TcpReader, done: Callable[[list[Any]], object], limit: int = 4096
) -> list[Any]:
    """As the loop: read, and wait for the descriptors or for what wake_at says."""
    records: list[Any] = []
    deadline = time.monotonic() + DEADLINE
    while not done(records):
        assert time.monotonic() < deadline, f"only {records!r:.200}"
        got = reader.read(limit)
        assert len(got) <= limit
        records += got
        now = time.monotonic()
        wake = reader.wake_at(now)
        seconds = 0.05 if wake is None else min(0.05, max(0.0, wake - now))
        if not got:
            select.select(reader.descriptors(), [], [], seconds)
    return records


def test_records_of_several_senders_keep_the_order_of_each() -> None:
    """Three senders write torn frames in turn; every record comes once, in its sender's order."""
    with reading() as reader:
        with contextlib.ExitStack() as stack:
            senders = [stack.enter_context(connect(reader)) for _ in range(3)]
            streams = [frame(*[b"%d-%d" % (s, n) for n in range(200)]) for s in range(3)]
            records: list[bytes] = []
            for begin in range(0, max(map(len, streams)), 333):
                for sender, stream in zip(senders, streams, strict=True):
                    sender.sendall(stream[begin : begin + 333])
                records += reader.read(50)
            records += read_until(reader, lambda got: len(records) + len(got) >= 600)
        assert len(records) == 600
        for s in range(3):
            mine = [record for record in records if record.startswith(b"%d-" % s)]
            assert mine == [b"%d-%d" % (s, n) for n in range(200)]
        assert reader.position()[1] == 600


def test_a_record_broken_off_by_a_closing_connection_is_counted_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whole records before it are given; one line says how much was dropped."""
    with reading() as reader:
        with connect(reader) as sender:
            sender.sendall(frame(b"whole") + b"\0\0")
        assert read_until(reader, lambda _: reader.unfinished_records) == [b"whole"]
        assert "ended in the middle of a record (closed by the sender); the 2 bytes" in caplog.text
        assert reader.unfinished_records == 1


def test_an_unfinished_last_line_is_a_record() -> None:
    """Lines: the end of the connection ends the line too."""
    with reading(Lines()) as reader:
        with connect(reader) as sender:
            sender.sendall(b"one\ntwo")
        assert read_until(reader, lambda got: len(got) >= 2) == ["one", "two"]
        assert reader.unfinished_records == 0


def test_a_sender_of_rubbish_is_closed_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The refused sender sees a reset, not an orderly end; the log says who and why."""
    with reading() as reader, connect(reader) as good, connect(reader) as bad:
        good.sendall(frame(b"one"))
        bad.sendall(frame(b"last") + b"GET / HTTP/1.1\r\n")
        records = read_until(reader, lambda got: len(got) >= 2 and reader.refused_connections)
        assert sorted(records) == [b"last", b"one"]
        with pytest.raises(ConnectionResetError):
            bad.recv(1)
        peer = "{}:{}".format(*bad.getsockname())
        assert f"The connection from {peer} was closed." in caplog.text
        assert "source votes: a frame says that it has 1,195,725,856 bytes" in caplog.text
        good.sendall(frame(b"two"))
        assert read_until(reader, bool) == [b"two"]


def test_a_source_that_is_not_read_slows_its_sender_down() -> None:
    """Nobody calls read: the sender's socket fills up; then every record comes after all."""
    with reading() as reader, connect(reader) as sender:
        sender.setblocking(False)
        record = frame(b"x" * 996)
        sent = 0
        with pytest.raises(BlockingIOError):
            while sent < 100_000_000:
                sent += sender.send(record * 64)
        whole = sent // len(record)
        assert len(read_until(reader, lambda got: len(got) >= whole)) == whole


def test_each_pass_gives_every_sender_its_share() -> None:
    """A sender with a full pipe fills half of a pass while a second one has something too."""
    config = Config(source_read_bytes_max=16_384)
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(contextlib.closing(make_reader(config=config)))
        senders = [stack.enter_context(connect(reader)) for _ in range(2)]
        for name, sender in zip((b"left", b"rite"), senders, strict=True):
            sender.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sender.send(frame(name) * 1000)
        read_until(reader, lambda _: reader.connections_seen == 2)
        for _ in range(10):
            records = reader.read(1_000_000)
            for name in (b"left", b"rite"):
                assert 0 < records.count(name) <= 8192 // len(frame(name)) + 1


def test_a_full_source_accepts_again_when_a_sender_goes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With two connections allowed, the third waits in the backlog until one of them closes."""
    monkeypatch.setattr(tcp, "CONNECTIONS_MAX", 2)
    monkeypatch.setattr(tcp, "ACCEPT_AGAIN_SECONDS", 3600.0)
    with reading() as reader, connect(reader) as first, connect(reader) as second:
        read_until(reader, lambda _: reader.connections_seen == 2)
        with connect(reader) as third:
            third.sendall(frame(b"third"))
            second.sendall(frame(b"second"))
            assert read_until(reader, bool) == [b"second"]
            assert reader.connections_seen == 2
            assert "source votes takes no more connections for now: it has 2" in caplog.text
            first.close()
            assert read_until(reader, bool) == [b"third"]


def test_without_descriptors_left_the_source_tries_again_later(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """accept() fails as if the process had too many files open; wake_at says when to go on."""
    monkeypatch.setattr(tcp, "ACCEPT_AGAIN_SECONDS", 0.1)

    class Full(socket.socket):
        broken = True

        def accept(self) -> tuple[socket.socket, Any]:
            if self.broken:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    plain = listen("127.0.0.1:0", "source votes", "--in")
    listener = Full(fileno=plain.detach())
    cutter = lambda: make_cutter(LengthPrefix(), "source votes")  # noqa: E731
    reader = TcpReader("source votes", listener, cutter)
    with contextlib.closing(reader), connect(reader) as sender:
        sender.sendall(frame(b"one"))
        read_until(reader, lambda _: "Too many open files" in caplog.text)
        again_at = reader.wake_at(0.0)
        assert again_at is not None
        assert 0.0 < again_at <= time.monotonic() + tcp.ACCEPT_AGAIN_SECONDS
        assert reader.wake_at(again_at + 5) == again_at + 5
        listener.broken = False
        assert read_until(reader, bool) == [b"one"]


def test_a_limit_keeps_the_rest_for_the_next_call() -> None:
    """One record at a time; wake_at asks to be called at once while there are more."""
    with reading() as reader, connect(reader) as sender:
        sender.sendall(frame(b"a", b"b", b"c"))
        assert read_until(reader, bool, limit=1) == [b"a"]
        assert reader.wake_at(5.0) == 5.0
        assert [reader.read(1), reader.read(1), reader.read(1)] == [[b"b"], [b"c"], []]
        assert reader.wake_at(5.0) is None


def test_a_source_says_that_nobody_has_connected() -> None:
    """Until the first sender comes; after that, silence is nothing to tell a person."""
    with reading() as reader:
        assert reader.waits_for() == (
            f"source votes: nobody has connected to {reader.address} yet "
            f"(sender --host {reader.address} --file FILE)."
        )
        with connect(reader):
            read_until(reader, lambda _: reader.connections_seen)
        assert reader.waits_for() == ""


def test_a_port_in_use_is_said_with_what_to_do() -> None:
    """The sentence of the first hour, word for word."""
    with reading() as reader:
        with pytest.raises(ConnectorError) as caught:
            open_reader(TcpSource(Lines()), "alphabet", reader.address)
        assert str(caught.value) == (
            f"source alphabet cannot listen on {reader.address}: the port is in use by another "
            "process. Choose another with --in alphabet@HOST:PORT."
        )


@pytest.mark.parametrize(
    ("address", "error", "says"),
    [
        ("192.0.2.1:7010", ConnectorError, "this machine has no address 192.0.2.1"),
        ("no.such.host.invalid:7010", ConnectorError, "there is no host no.such.host.invalid"),
        ("7010", UsageError, "'7010' is no address. Write HOST:PORT"),
        ("", UsageError, "source votes has no address. Say --in votes@HOST:PORT."),
    ],
)
def test_an_address_that_cannot_work_is_refused(
    address: str, error: type[Exception], says: str
) -> None:
    """Each with its own sentence."""
    with pytest.raises(error, match=says):
        open_reader(TcpSource(Lines()), "votes", address)


# ---------------------------------------------------------------- the sink


def make_writer(address: str) -> TcpWriter:
    writer = open_writer(TcpSink(str.encode), "totals", address)
    assert isinstance(writer, TcpWriter)
    return writer


def flush_until(writer: TcpWriter, done: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not done():
        now = time.monotonic()
        assert now < deadline, writer.waits_for()
        writer.flush(now)
        wake = writer.wake_at(now)
        seconds = 0.05 if wake is None else min(0.05, max(0.0, wake - now))
        select.select([], writer.descriptors(), [], seconds)


def receive_all(receiver: socket.socket) -> bytes:
    receiver.settimeout(DEADLINE)
    return b"".join(iter(lambda: receiver.recv(1 << 20), b""))


@contextlib.contextmanager
def receiving(port: int = 0) -> Iterator[tuple[socket.socket, str]]:
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(DEADLINE)
        yield server, f"127.0.0.1:{server.getsockname()[1]}"


def test_records_arrive_in_order_as_bytes_and_text() -> None:
    """Bytes as they are, text as UTF-8; afterwards nothing is pending or waited for."""
    with receiving() as (server, address), contextlib.closing(make_writer(address)) as writer:
        writer.write([b"a\n", "ö\n"])
        writer.write([])
        writer.write([b"", b"c\n"])
        assert writer.pending_bytes() == 7
        flush_until(writer, lambda: not writer.pending_bytes())
        accepted, _ = server.accept()
        assert (writer.descriptors(), writer.wake_at(1.0)) == ((), None)
        writer.close()
        with accepted:
            assert receive_all(accepted) == "a\nö\nc\n".encode()


def test_a_receiver_that_is_not_there_is_told_and_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Records wait while nobody listens, with the sentence of the first hour; then they go."""
    caplog.set_level(logging.INFO)
    with receiving() as (_, address):
        pass
    with contextlib.closing(make_writer(address)) as writer:
        writer.write([b"early\n"])
        assert writer.wake_at(5.0) == 5.0
        flush_until(writer, writer.waits_for)
        assert writer.waits_for() == (
            f"sink totals: nobody listens at {address}; trying again, records wait "
            f"(data_receiver --listen {address})."
        )
        assert writer.pending_bytes() == 6
        assert writer.descriptors() == ()
        with receiving(int(address.rpartition(":")[2])) as (server, _):
            flush_until(writer, lambda: not writer.pending_bytes())
            assert writer.waits_for() == ""
            assert f"sink totals: connected to {address}." in caplog.text
            accepted, _ = server.accept()
            writer.close()
            with accepted:
                assert receive_all(accepted) == b"early\n"


def next_pause(writer: TcpWriter, now: float) -> float:
    """Let one attempt fail at `now`; the seconds until the next."""
    deadline = time.monotonic() + DEADLINE
    writer.flush(now)
    while writer.descriptors():
        assert time.monotonic() < deadline
        select.select([], writer.descriptors(), [], DEADLINE)
        writer.flush(now)
    wake = writer.wake_at(now)
    assert wake is not None
    return round(wake - now, 3)


def test_attempts_to_connect_become_rarer_up_to_a_second() -> None:
    """100, 200, 400, 800 ms, then each second; 100 again after one that succeeded."""
    with receiving() as (_, address):
        pass
    with contextlib.closing(make_writer(address)) as writer:
        now, pauses = 1000.0, []
        for _ in range(6):
            pauses.append(next_pause(writer, now))
            now += pauses[-1]
        assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
        writer.write([b"record\n"])
        with receiving(int(address.rpartition(":")[2])) as (server, _):
            writer.flush(now)
            accepted, _ = server.accept()
            while writer.descriptors():
                select.select([], writer.descriptors(), [], DEADLINE)
                writer.flush(now)
            accepted.recv(100)
            accepted.close()
        while not writer.broken_connections:
            writer.write([b"record\n"])
            writer.flush(now)
        assert next_pause(writer, now) == 0.1


def test_a_socket_that_connected_to_itself_is_no_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system gave the attempt the very port that it looks for: nobody listens there."""

    class Unlucky(socket.socket):
        def connect_ex(self, address: Any) -> int:
            self.bind(address)
            return super().connect_ex(address)

    with receiving() as (_, address):
        pass
    monkeypatch.setattr(socket, "socket", Unlucky)
    with contextlib.closing(make_writer(address)) as writer:
        writer.write([b"record\n"])
        assert next_pause(writer, 1000.0) == 0.1
        assert "nobody listens" in writer.waits_for()
        assert writer.pending_bytes() == 7


def test_closing_loses_nothing_though_the_receiver_spoke() -> None:
    """Unread bytes from the receiver would make the system drop what it still has to send."""
    with receiving() as (server, address), contextlib.closing(make_writer(address)) as writer:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        data = b"x" * 200_000
        writer.write([data])
        flush_until(writer, lambda: not writer.pending_bytes())
        accepted, _ = server.accept()
        with accepted:
            accepted.sendall(b"hello, sink")
            writer.close()
            assert receive_all(accepted) == data


def test_a_receiver_that_does_not_read_leaves_records_pending() -> None:
    """flush returns at once; what waits is counted, and goes when the receiver reads again."""
    with receiving() as (server, address), contextlib.closing(make_writer(address)) as writer:
        records = [b"%099d\n" % n for n in range(120_000)]
        writer.write(records)
        flush_until(writer, lambda: writer.pending_bytes() < 12_000_000)
        accepted, _ = server.accept()
        writer.flush(time.monotonic())
        assert writer.pending_bytes() > 1_000_000
        assert len(writer.descriptors()) == 1
        with accepted:
            accepted.setblocking(False)
            received = bytearray()

            def take_some() -> bool:
                with contextlib.suppress(BlockingIOError):
                    received.extend(accepted.recv(1 << 20))
                return len(received) == 12_000_000

            flush_until(writer, take_some)
        assert bytes(received) == b"".join(records)


def test_after_a_break_the_cut_record_is_sent_again_whole() -> None:
    """The first receiver dies in the middle; the second gets whole records, with none left out.

    What the operating system had taken is lost: records are missing only between what the first
    receiver read and where the second begins, and the second begins with a whole record.
    """
    with receiving() as (server, address), contextlib.closing(make_writer(address)) as writer:
        records = [b"<%088d>" % n for n in range(150_000)]
        writer.write(records)
        flush_until(writer, lambda: writer.pending_bytes() < 13_500_000)
        first, _ = server.accept()
        head = first.recv(100_000)
        writer.flush(time.monotonic())
        pending = writer.pending_bytes()
        first.close()
        flush_until(writer, lambda: writer.broken_connections)
        flush_until(writer, lambda: writer.descriptors())
        second, _ = server.accept()
        with second:
            second.setblocking(False)
            received = bytearray()

            def take_some() -> bool:
                with contextlib.suppress(BlockingIOError):
                    received.extend(second.recv(1 << 20))
                return not writer.pending_bytes()

            flush_until(writer, take_some)
            writer.close()
            received += receive_all(second)
        tail = bytes(received)
        assert head == b"".join(records)[: len(head)]
        assert len(tail) % 90 == 0
        assert tail == b"".join(records[len(records) - len(tail) // 90 :])
        assert pending <= len(tail) < pending + 90


def test_a_receiver_that_closed_while_nothing_was_sent_is_noticed_in_time() -> None:
    """The next record goes over a new connection, not into the closed one."""
    with receiving() as (server, address), contextlib.closing(make_writer(address)) as writer:
        writer.write([b"one\n"])
        flush_until(writer, lambda: not writer.pending_bytes())
        first, _ = server.accept()
        assert first.recv(100) == b"one\n"
        first.close()
        # Once a second connection stands, the first one's end has certainly arrived.
        with socket.create_connection(server.getsockname()):
            other, _ = server.accept()
            other.close()
        writer.write([b"two\n"])
        flush_until(writer, lambda: not writer.pending_bytes())
        second, _ = server.accept()
        writer.close()
        with second:
            assert receive_all(second) == b"two\n"


def test_an_encoder_that_gives_something_else_is_named() -> None:
    """Sink, type and value stand in the sentence."""
    with receiving() as (_, address), contextlib.closing(make_writer(address)) as writer:
        with pytest.raises(ConnectorError) as caught:
            writer.write([b"fine", 7])
        assert "sink totals: its encoder gave a int, 7." in str(caught.value)


def test_a_sink_without_address_is_refused() -> None:
    """It says how to give one."""
    with pytest.raises(
        UsageError, match=r"sink totals has no address\. Say --out totals@HOST:PORT"
    ):
        open_writer(TcpSink(str.encode), "totals", None)


def test_a_seek_says_once_how_many_records_are_lost_and_keeps_the_connections() -> None:
    """What was given since the position cannot come again; what was only received still comes."""
    with reading() as reader, connect(reader) as sender:
        sender.sendall(frame(b"1", b"2", b"3", b"4"))
        assert read_until(reader, lambda got: len(got) >= 1, 1) == [b"1"]
        position = reader.position()
        assert reader.read(2) == [b"2", b"3"]
        assert reader.seek(position) == 2
        assert reader.seek(position) == 0, "they were told already"
        assert reader.read(10) == [b"4"]
        sender.sendall(frame(b"5"))
        assert read_until(reader, lambda got: got) == [b"5"]
        assert reader.seek(position) == 2, "4 and 5"
        assert reader.seek(reader.position()) == 0
        sender.sendall(frame(b"6"))
        assert read_until(reader, lambda got: got) == [b"6"]
        assert reader.seek(None) == 1


def test_nobody_knows_what_another_reader_lost() -> None:
    """A position of one that is gone says nothing about this one's count."""
    with reading() as gone, connect(gone) as sender:
        sender.sendall(frame(b"1", b"2"))
        read_until(gone, lambda got: len(got) >= 2)
        position = gone.position()
    with reading() as reader, connect(reader) as sender:
        assert reader.seek(position) == 0
        sender.sendall(frame(b"3", b"4", b"5"))
        assert read_until(reader, lambda got: len(got) >= 3) == [b"3", b"4", b"5"]
        assert reader.seek(position) == 0


def test_what_no_receiver_took_is_in_the_checkpoint_and_sent_by_another_worker() -> None:
    """A worker cuts while nobody listens, and dies. Another one commits its part: it sends what
    waited. The living author's own commit sends nothing twice."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    first, second = (open_writer(TcpSink(str), "totals", address) for _ in range(2))
    first.write([b"a\n", b"b\n"])
    prepared = first.prepare(1)
    assert prepared is not None
    before = first.pending_bytes()
    first.commit(1, 7, [prepared])
    first.flush(time.monotonic())
    assert first.pending_bytes() == before
    second.commit(1, 7, [prepared])
    second.flush(time.monotonic())
    assert second.pending_bytes() == len(b"a\nb\n")
    assert second.prepare(2) is not None  # it is in the next part of who has it now
    first.close()
    second.close()
