"""One request to a worker's external address, repeated until its answer is final.

The request keeps its id, so asking again is harmless; the socket's monitor tells apart a port
where nobody listens, one that does not speak ZeroMQ, and a worker that went away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import zmq
from zmq.utils.monitor import recv_monitor_message

from zstream.config import Config
from zstream.errors import ClusterTimeout, ClusterUnreachable, WireError
from zstream.runtime.greeting import unknown_host, why_silent
from zstream.wire.codec import decode_message, encode_message
from zstream.wire.messages import Answer, ClientRequest

FINAL = frozenset({"done", "refused", "undone", "failed"})
FIRST_ANSWER_SECONDS = 10.0  # nobody waits longer than this for an address that is wrong
HANDSHAKE_MS = 2000
WANTED = "Give the address that a running worker prints as `external HOST:PORT`."
REFUSED_HANDSHAKES = 2  # one may be a worker that was just ending


class WorkerGone(ClusterUnreachable):
    """The worker was there, and ended before the request did.

    Its last answer may be lost with it: TCP drops what was received when the other side ends
    with something unread, such as our next repetition.
    """


class Channel:
    """A DEALER to one address, for one request. Never blocks beyond `timeout` seconds, and what
    it takes to look up a host's name and to find out why nobody answers."""

    def __init__(self, address: str, timeout: float, config: Config) -> None:
        self.address = address
        self.timeout = timeout
        self.config = config
        self.started = time.monotonic()
        self.answered: Answer | None = None  # the newest answer
        self.connected = False  # somebody accepts connections there
        self.handshaken = False  # and speaks ZeroMQ
        self.writable = False  # does so now: nothing is queued for somebody who may come later
        self.broken_handshakes = 0
        self.gone = False  # spoke ZeroMQ, and now nobody listens there any more

    def ask(
        self, request: ClientRequest, until: Callable[[Answer], bool], ends_with_it: bool = False
    ) -> Answer:
        """The first answer that is final or that `until` accepts.

        ends_with_it: the worker ends when the request is done, so its going away is the answer.
        Raises ClusterUnreachable (WorkerGone), ClusterTimeout.
        """
        if unknown := unknown_host(self.address):  # that will not change while we wait
            raise ClusterUnreachable(f"nobody can answer at {self.address}: {unknown}. {WANTED}")
        context = zmq.Context()
        try:
            dealer = self._open(context)
            monitor = dealer.get_monitor_socket()
            dealer.connect(f"tcp://{self.address}")
            for answer in self._answers(dealer, monitor, request):
                self.answered = answer
                if until(answer) or answer.state in FINAL:
                    return answer
            if ends_with_it and self.answered is not None:
                return Answer(request.request, "done", "", "", "", b"")
            raise WorkerGone(
                f"the worker at {self.address} has gone before it told the end; ask another one."
            )
        except zmq.ZMQError as error:
            raise ClusterUnreachable(f"{self.address} cannot be reached: {error}.") from error
        finally:
            context.destroy(linger=0)

    def _open(self, context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
        dealer = context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        # Not IMMEDIATE: with it libzmq drops what came in just before the other side hung up.
        dealer.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        dealer.setsockopt(zmq.MAXMSGSIZE, self.config.control_bytes_max)
        return dealer

    def _answers(
        self, dealer: zmq.Socket[bytes], monitor: zmq.Socket[bytes], request: ClientRequest
    ) -> Iterator[Answer]:
        """Answers to this request as they come; ends when the worker went away."""
        payload = encode_message(request)
        poller = zmq.Poller()
        poller.register(dealer, zmq.POLLIN)
        poller.register(monitor, zmq.POLLIN)
        send_at = self.started
        while not self.gone:
            now = time.monotonic()
            self._check_patience(now - self.started)
            if now >= send_at:
                if self.writable:
                    send_now(dealer, payload)
                send_at = now + self.config.request_repeat_ms / 1000
            ends_at = self.started + self.timeout
            ready = dict(poller.poll(max(1, round((min(send_at, ends_at) - now) * 1000))))
            if monitor in ready and self._note(recv_monitor_message(monitor)["event"]):
                send_at = now
            while dealer in ready and (answer := receive_now(dealer)) is not None:
                if isinstance(answer, Answer) and answer.request == request.request:
                    yield answer

    def _check_patience(self, waited: float) -> None:
        """Raise when it makes no sense, or is no longer allowed, to wait on."""
        if self.answered is not None:
            if waited >= self.timeout:
                raise ClusterTimeout(f"not ended after {self.timeout:g} s; it goes on.")
            return
        patience = min(self.timeout, FIRST_ANSWER_SECONDS)
        if self.broken_handshakes >= REFUSED_HANDSHAKES or (
            waited >= patience and self.connected and not self.handshaken
        ):
            raise ClusterUnreachable(
                f"what answers at {self.address} is not a zworker's external address. {WANTED}"
            )
        if waited >= patience and self.handshaken:
            raise ClusterTimeout(
                f"{self.address} takes the request but gave no answer for {patience:g} s; is that "
                "a worker's external address, not its control or data address?"
            )
        if waited >= patience:
            why = why_silent(self.address, "external")
            raise ClusterUnreachable(
                f"nobody answered at {self.address} for {patience:g} s: {why}. {WANTED}"
            )

    def _note(self, event: int) -> bool:
        """Take one event of the connection; True when the worker can be written to from now on."""
        if event == zmq.EVENT_CONNECTED:
            self.connected = True
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.handshaken = self.writable = True
            return True
        elif event == zmq.EVENT_DISCONNECTED:
            self.writable = False
            self.broken_handshakes += not self.handshaken
        elif event == zmq.EVENT_CLOSED and self.handshaken:
            self.gone = True  # a try to connect again was refused
        return False


def send_now(dealer: zmq.Socket[bytes], payload: bytes) -> None:
    """Send, or not if that would block: the request is repeated anyway."""
    with suppress(zmq.Again):
        dealer.send(payload, zmq.NOBLOCK)


def receive_now(dealer: zmq.Socket[bytes]) -> object | None:
    """The next message, decoded; None when there is none, an empty tuple for what is not ours."""
    try:
        frames = dealer.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None
    try:
        return decode_message(frames[-1])
    except WireError:
        return ()
