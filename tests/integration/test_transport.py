"""The ZeroMQ transport over real sockets: no wait, no queue without a limit, loss is harmless."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import zmq

from zstream.config import Config
from zstream.errors import ConnectorError
from zstream.model.ids import Incarnation
from zstream.runtime.greeting import refuse_strangers
from zstream.runtime.pulse import PulseThread
from zstream.runtime.zmq_transport import ZmqTransport, split_address

PEER = Incarnation(7)
Opener = Callable[..., ZmqTransport]


@pytest.fixture
def open_transport() -> Iterator[Opener]:
    """Opens transports and closes them all at the end of the test."""
    opened: list[ZmqTransport] = []

    def opener(config: Config | None = None, **addresses: str) -> ZmqTransport:
        opened.append(ZmqTransport(config or Config(), **addresses))
        return opened[-1]

    yield opener
    for transport in opened:
        assert transport.close(), "the context did not end"


def until(what: Callable[[], object], seconds: float = 10) -> None:
    """Try until it is true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.002)


def readable(waiting: zmq.Socket[bytes]) -> bool:
    return bool(waiting.poll(10_000))


# ---------------------------------------------------------------- lanes


def test_control_reaches_the_other_worker(open_transport: Opener) -> None:
    """The first message, before any connection stands, is not lost."""
    one, two = open_transport(), open_transport()
    one.send_control(two.control, b"hello")
    assert readable(two.control_socket)
    assert two.receive_control(10) == [b"hello"]
    assert two.receive_control(10) == []


def test_a_worker_can_send_control_to_itself(open_transport: Opener) -> None:
    """A leader forwards to itself by the same way."""
    one = open_transport()
    one.send_control(one.control, b"me")
    assert readable(one.control_socket)
    assert one.receive_control(10) == [b"me"]


def test_data_comes_whole_and_in_order(open_transport: Opener) -> None:
    """Frames of very different sizes, one of 20 MB, through one connection."""
    one, two = open_transport(), open_transport()
    one.open_data(PEER, two.data)
    one.open_data(PEER, two.data)
    frames = [b"a", b"b" * 20_000_000, b"", b"c" * 70_000]
    came: list[bytes] = []
    for frame in frames:
        until(lambda frame=frame: one.send_data(PEER, frame))  # type: ignore[misc]
    while len(came) < 4:
        assert readable(two.data_socket)
        came += two.receive_data(10, 1 << 30)
    assert came == frames


def test_a_drain_of_data_is_bounded_by_number_and_by_bytes(open_transport: Opener) -> None:
    """What is left stays and is given by the next drain."""
    one, two = open_transport(), open_transport()
    one.open_data(PEER, two.data)
    for number in range(10):
        until(lambda number=number: one.send_data(PEER, bytes([number]) * 1000))  # type: ignore[misc]
    came: list[bytes] = []
    while len(came) < 10:
        assert readable(two.data_socket)
        drained = two.receive_data(3, 1 << 30) if len(came) < 6 else two.receive_data(100, 1500)
        assert len(drained) <= 3 and sum(map(len, drained)) <= 3000
        came += drained
    assert [frame[0] for frame in came] == list(range(10))


def test_a_tool_gets_its_answer_and_one_that_has_gone_harms_nobody(open_transport: Opener) -> None:
    """The external channel: DEALER asks, the worker answers; the second answer finds nobody."""
    worker = open_transport()
    with zmq.Context() as context, context.socket(zmq.DEALER) as tool:
        tool.linger = 0
        tool.connect(f"tcp://{worker.external}")
        tool.send(b"status?")
        assert readable(worker.external_socket)
        [(client, payload)] = worker.receive_clients(10)
        assert payload == b"status?"
        worker.answer_client(client, b"all is well")
        assert readable(tool)
        assert tool.recv() == b"all is well"
    worker.answer_client(b"never was there", b"hello?")
    worker.answer_client(client, b"too late")


def test_messages_of_a_strange_shape_are_dropped(open_transport: Opener) -> None:
    """Three parts, or one that is empty, from who knows whom: what comes behind is still read."""
    worker = open_transport()
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.linger = 0
        stranger.connect(f"tcp://{worker.control}")
        stranger.send_multipart([b"a", b"b", b"c"])
        stranger.send(b"fine")
        until(lambda: worker.receive_control(10) == [b"fine"])


def test_a_stranger_that_speaks_http_harms_nobody(open_transport: Opener) -> None:
    """A browser on the control port. ZeroMQ takes it for a very old peer and hands on its bytes as
    messages, which the codec refuses; workers are still heard."""
    one, two = open_transport(), open_transport()
    host, port = split_address(two.control, "")
    with socket.create_connection((host, port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        one.send_control(two.control, b"hello")
        until(lambda: b"hello" in two.receive_control(1))


def test_a_message_over_the_limit_is_not_taken_in(open_transport: Opener) -> None:
    """A control message larger than control_bytes_max never arrives; later ones do."""
    small = Config(control_bytes_max=10_000)
    one, two = open_transport(), open_transport(small)
    one.send_control(two.control, b"x" * 20_000)
    came: list[bytes] = []

    def repeat() -> bool:
        one.send_control(two.control, b"fits")
        came.extend(two.receive_control(10))
        return bool(came)

    until(repeat)
    assert set(came) == {b"fits"}


# ---------------------------------------------------------------- nothing blocks


def test_to_nobody_nothing_goes_out_and_nothing_blocks(open_transport: Opener) -> None:
    """A peer that is not there, an unknown peer, addresses that are none."""
    one = open_transport()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        one.open_data(PEER, address)
        assert not one.send_data(PEER, b"x")
        for _ in range(2000):
            one.send_control(address, b"x" * 1000)
    assert not one.send_data(Incarnation(8), b"x")
    one.open_data(Incarnation(9), "no address at all")
    assert not one.send_data(Incarnation(9), b"x")
    one.send_control("no address at all", b"x")
    one.close_data(PEER)
    one.close_data(PEER)
    assert not one.send_data(PEER, b"x")


def test_a_receiver_that_does_not_read_is_no_place_to_queue(open_transport: Opener) -> None:
    """Frames to one that never reads: refused after a bounded number, taken again later."""
    one, two = open_transport(), open_transport()
    one.open_data(PEER, two.data)
    until(lambda: one.send_data(PEER, bytes(65536)))
    sent, refused = 1, 0
    while refused < 200:
        if one.send_data(PEER, bytes(65536)):
            sent, refused = sent + 1, 0
        else:
            refused += 1
            time.sleep(0.001)
        assert sent < 400
    [full] = one.take_full()
    assert one.take_full() == [], "given once, or an idle peer would wake the loop for ever"
    assert not full.poll(0, zmq.POLLOUT)
    came = 0
    while came < sent:
        assert readable(two.data_socket)
        came += len(two.receive_data(1000, 1 << 30))
    assert full.poll(10_000, zmq.POLLOUT), "the loop would not be woken when there is room again"
    assert one.send_data(PEER, b"x")


def test_connections_to_control_addresses_are_bounded(open_transport: Opener) -> None:
    """With a limit of 2, a third address closes the one not used for longest; all still work."""
    one = open_transport(Config(control_peers_max=2))
    others = [open_transport() for _ in range(3)]
    for _ in range(2):
        for number, other in enumerate(others):
            one.send_control(other.control, bytes([number]))
            assert readable(other.control_socket)
            assert other.receive_control(10) == [bytes([number])]
    assert len(one._senders._sockets) == 2


RECEIVER = """
import sys
import threading
from zstream.config import Config
from zstream.runtime.zmq_transport import ZmqTransport
transport = ZmqTransport(Config())
print(transport.data, transport.control, flush=True)
while True:
    transport.data_socket.poll()
    for frame in transport.receive_data(1000, 1 << 30):
        print(frame.decode(), flush=True)
"""


def test_a_killed_receiver_stops_nobody(open_transport: Opener) -> None:
    """kill -9 under load: send_data comes to say False, and never waits."""
    one = open_transport()
    with subprocess.Popen(
        [sys.executable, "-c", RECEIVER], stdout=subprocess.PIPE, text=True
    ) as receiver:
        assert receiver.stdout is not None
        data, control = receiver.stdout.readline().split()
        one.open_data(PEER, data)
        until(lambda: one.send_data(PEER, b"first"))
        assert receiver.stdout.readline() == "first\n"
        receiver.send_signal(signal.SIGKILL)
        receiver.wait(10)
    frames = 0
    deadline = time.monotonic() + 10
    while one.send_data(PEER, bytes(65536)):
        frames += 1
        assert frames < 10_000 and time.monotonic() < deadline
    for _ in range(1000):
        one.send_control(control, b"anybody?")
    # Another process takes the port: what comes to it is not taken for its own by the links, and
    # the sender goes on without an error.
    successor = open_transport(data=data)
    until(lambda: one.send_data(PEER, b"to the dead"))
    one.close_data(PEER)
    assert successor.data == data


def test_two_workers_that_flood_each_other_both_go_on(open_transport: Opener) -> None:
    """Blocking sends stop for ever here (measured); ours refuse, so both always read."""
    one, two = open_transport(), open_transport()
    one.open_data(PEER, two.data)
    two.open_data(PEER, one.data)
    sent = {one: 0, two: 0}
    came = {one: 0, two: 0}
    frame = bytes(65536)
    deadline = time.monotonic() + 30
    while min(came.values()) < 500:
        assert time.monotonic() < deadline
        for worker in (one, two):
            while sent[worker] < 500 and worker.send_data(PEER, frame):
                sent[worker] += 1
            came[worker] += len(worker.receive_data(8, 1 << 30))


# ---------------------------------------------------------------- listening


def test_a_port_in_use_is_refused_by_name() -> None:
    """The sentence says which address and which option; nothing stays bound."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = f"127.0.0.1:{holder.getsockname()[1]}"
        with pytest.raises(ConnectorError) as refusal:
            ZmqTransport(Config(), control=taken)
        assert str(refusal.value) == (
            f"cannot listen on {taken}: the port is in use by another process. "
            "Choose another with --control HOST:PORT."
        )
        with pytest.raises(ConnectorError, match="another with --my-data HOST:PORT"):
            ZmqTransport(Config(), data=taken, data_option="--my-data")


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("0.0.0.0:0", "must be one by which they reach this machine"),
        ("*:0", "must be one by which they reach this machine"),
        ("[::]:0", "must be one by which they reach this machine"),
        ("192.0.2.1:0", "this machine has no such address"),
        ("localhost", "is not HOST:PORT"),
        ("localhost:http", "is not HOST:PORT"),
        ("127.0.0.1:70000", "is not HOST:PORT"),
        ("no-such-host.invalid:0", "no machine of the name no-such-host.invalid is known"),
    ],
)
def test_an_address_that_cannot_be_listened_on(address: str, sentence: str) -> None:
    """Each is refused with its sentence, and nothing stays open."""
    with pytest.raises(ConnectorError, match=sentence):
        ZmqTransport(Config(), external=address)


def test_a_name_is_kept_as_it_was_given(open_transport: Opener) -> None:
    """Others are told the name, with the real port, and reach it."""
    one, two = open_transport(), open_transport(control="localhost:0")
    assert two.control.startswith("localhost:") and not two.control.endswith(":0")
    one.send_control(two.control, b"hello")
    assert readable(two.control_socket)


def test_the_port_is_free_again_after_close() -> None:
    """A worker that is started again at once gets its fixed address back."""
    first = ZmqTransport(Config())
    control = first.control
    assert first.close()
    second = ZmqTransport(Config(), control=control)
    assert second.control == control
    assert second.close()


def test_last_words_go_out_when_closing_may_linger(open_transport: Opener) -> None:
    """The leader tells a tool and a worker how it ended, and ends."""
    other = open_transport()
    leader = ZmqTransport(Config())
    leader.send_control(other.control, b"x" * 1_000_000)
    assert leader.close(linger_ms=5000)
    assert readable(other.control_socket)
    assert other.receive_control(1) == [b"x" * 1_000_000]


def test_closing_with_words_for_the_dead_ends_all_the_same() -> None:
    """Nobody will ever take the message: close ends after its time."""
    one = ZmqTransport(Config())
    one.send_control("127.0.0.1:1", b"x")
    one.open_data(PEER, "127.0.0.1:1")
    assert one.close(linger_ms=50)


# ---------------------------------------------------------------- pulse


def no_trouble(error: Exception) -> None:
    raise AssertionError from error


def test_pulses_go_out_while_the_loop_is_busy(open_transport: Opener) -> None:
    """User code holds the loop: no instruction of it yields, yet the peer keeps hearing."""
    one, two = open_transport(), open_transport()
    config = Config(pulse_interval_ms=10)
    pulse = PulseThread(one.context, config, lambda: [(two.control, b"alive")], no_trouble)
    pulse.start()
    heard = 0
    deadline = time.monotonic() + 10
    while heard < 5 and time.monotonic() < deadline:
        sum(range(1_000_000))
        heard += len(two.receive_control(100))
    assert pulse.stop(5)
    assert heard >= 5


def test_an_error_in_the_pulse_is_told_once_and_does_not_silence_it(open_transport: Opener) -> None:
    """The first three beats raise; the peer hears the fourth."""
    one, two = open_transport(), open_transport()
    troubles: list[Exception] = []
    beats = iter([RuntimeError("1"), RuntimeError("2"), RuntimeError("3")])

    def pulses() -> list[tuple[str, bytes]]:
        for error in beats:
            raise error
        return [(two.control, b"alive")]

    pulse = PulseThread(one.context, Config(pulse_interval_ms=5), pulses, troubles.append)
    pulse.start()
    assert readable(two.control_socket)
    assert pulse.stop(5)
    assert [str(error) for error in troubles] == ["1"]


def test_a_pulse_that_was_never_started_stops(open_transport: Opener) -> None:
    """A worker that fails before its loop begins closes all the same."""
    one = open_transport()
    assert PulseThread(one.context, Config(), list, no_trouble).stop(0)


# ---------------------------------------------------------------- the greeting


def test_a_worker_is_recognized_by_its_greeting(open_transport: Opener) -> None:
    """A control address is let pass at once, and so is an address where nobody listens yet."""
    refuse_strangers(open_transport().control, "--join")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        refuse_strangers(f"127.0.0.1:{nobody.getsockname()[1]}", "--join")


@pytest.mark.parametrize(
    ("says", "sentence"),
    [
        (b"", r"is not a zworker's control address \(it looks like a source\)\."),
        (b"220 mail.example ready\r\n", r"is not a zworker's control address\."),
    ],
)
def test_what_is_no_worker_is_refused(
    says: bytes, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source is silent, a mail server says something else."""
    monkeypatch.setattr("zstream.runtime.greeting._GREETING_S", 0.1)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        accepted: list[socket.socket] = []

        def answer() -> None:
            accepted.append(listener.accept()[0])
            accepted[0].sendall(says)

        answering = threading.Thread(target=answer)
        answering.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ConnectorError, match=f"{address} {sentence}"):
            refuse_strangers(address, "--join")
        answering.join(10)
        accepted[0].close()


def test_a_connection_not_used_for_long_is_closed(
    open_transport: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that left long ago is not tried for ever; one that is spoken to stays."""
    now = [1000.0]
    monkeypatch.setattr("zstream.runtime.control_senders.time.monotonic", lambda: now[0])
    one = open_transport()
    gone, here, new = (open_transport().control for _ in range(3))
    one.send_control(gone, b"x")
    one.send_control(here, b"x")
    now[0] += 50
    one.send_control(here, b"x")
    now[0] += 50
    one.send_control(new, b"x")
    assert list(one._senders._sockets) == [here, new]


SLEEPER = """
import time
from zstream.config import Config
from zstream.runtime.zmq_transport import ZmqTransport

receiver = ZmqTransport(Config(lease_ms=200, pulse_interval_ms=50, dead_after_ms=60_000))
print(receiver.data, flush=True)
time.sleep(2)
count = 0
while count < 129:
    count += len(receiver.receive_data(1000, 1_000_000))
    time.sleep(0.01)
receiver.close(0)
"""


def test_a_receiver_that_was_stopped_and_whose_sender_has_gone() -> None:
    """More than a queue full comes while it is stopped, with pauses, and the sender goes. It wakes
    up, reads all of it, and ends as it should: libzmq does not abort it."""
    config = Config(lease_ms=200, pulse_interval_ms=50, dead_after_ms=60_000)
    line = [sys.executable, "-c", SLEEPER]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        sender, peer = ZmqTransport(config), Incarnation(1)
        sender.open_data(peer, receiver.stdout.readline().strip())
        until(lambda: sender.send_data(peer, b"first"))
        receiver.send_signal(signal.SIGSTOP)
        for _ in range(2):
            for _ in range(64):
                until(lambda: sender.send_data(peer, b"ten bytes."))
            time.sleep(0.5)
        sender.close(0)
        receiver.send_signal(signal.SIGCONT)
        assert receiver.wait(30) == 0
