"""Committed output over ZeroMQ, to a consumer that drops what it has seen: each record once.

Output is held back until its checkpoint is decided. Then `commit` hands it to the consumer
(zstream.client.Consumer, or any program that does as docs/wire.md says), and ends when the
consumer's program is done with the last record. Numbers within (epoch, author) tell the consumer
what it has seen, so it does not matter how often, and by which worker, it is committed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from threading import Lock
from typing import Any

import zmq

from zstream.config import MIB
from zstream.connectors.address import resolve
from zstream.connectors.staged import StagedWriter, chunks_of
from zstream.connectors.zmq_delivery import Delivery
from zstream.connectors.zmq_sockets import ConnectingSocket
from zstream.errors import ConnectorError, WireError
from zstream.wire.outside import OutputState, Refusal, decode, encode

COMMIT_SECONDS = 5.0  # one call of `commit` tries so long
ASK_SECONDS = 0.25  # how often a silent consumer is asked
LOOK_UP_SECONDS = 0.1  # how soon a commit notices that the sink is closed
CLOSE_SECONDS = 1.0  # how long `close` waits for that

log = logging.getLogger(__name__)


class ZmqWriter(StagedWriter):
    """The sink `name`, whose consumer listens at `address`, "host:port".

    One connection, kept between commits. Raises ConnectorError when there is no such host.
    """

    def __init__(self, name: str, address: str) -> None:
        super().__init__(f"sink {name}")
        resolve(address, self.who)
        self._name = name
        self._address = address
        self._waits_for = ""
        self._attempt = 0
        self._closing = False
        # Commits come from different threads, one at a time, and `close` from the loop's: a
        # ZeroMQ socket may go from thread to thread, if there is a fence such as this between.
        self._lock = Lock()
        self._socket: ConnectingSocket | None = None

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        """Returns when the consumer's program is done with the last record.

        Raises ConnectorError when it is not, within some seconds; the consumer keeps what it has.
        """
        chunks = chunks_of(outputs, self.who)
        if not chunks:
            return
        with self._lock:
            delivery = Delivery(self._name, epoch, author, chunks, self._attempt + 1)
            try:
                self._deliver(delivery)
            except ConnectorError as error:
                self._hang_up()
                self._waits_for = str(error)
                raise
            finally:
                self._attempt = delivery.attempt
            if self._waits_for:
                log.info("%s: the consumer at %s took what waited.", self.who, self._address)
                self._waits_for = ""

    def waits_for(self) -> str:
        return self._waits_for

    def close(self) -> None:
        """A commit that is under way ends with a ConnectorError."""
        super().close()
        self._closing = True
        if self._lock.acquire(timeout=CLOSE_SECONDS):
            self._hang_up()
            self._lock.release()

    def _deliver(self, delivery: Delivery) -> None:
        if self._socket is None:
            self._socket = ConnectingSocket(self._address, self.who, MIB)
        socket = self._socket
        was_connected = False
        deadline = time.monotonic() + COMMIT_SECONDS
        ask_at = 0.0
        while not delivery.is_finished:
            now = time.monotonic()
            self._check_patience(delivery, was_connected, now >= deadline)
            has_room = self._send_outputs(socket, delivery)
            if has_room and now >= ask_at:
                has_room = socket.send(encode(delivery.question()))
                ask_at = now + ASK_SECONDS if has_room else now
            was_connected = was_connected or has_room
            wait = min(LOOK_UP_SECONDS, max(0.0, ask_at - now)) if has_room else LOOK_UP_SECONDS
            events = zmq.POLLIN if has_room else zmq.POLLIN | zmq.POLLOUT
            socket.socket.poll(max(1, round(wait * 1000)), events)
            while (data := socket.receive()) is not None:
                self._on_message(delivery, data)

    def _send_outputs(self, socket: ConnectingSocket, delivery: Delivery) -> bool:
        """Send what may go. False when the connection takes no more."""
        while (output := delivery.next_output()) is not None:
            if not socket.send(encode(output)):
                return False
            delivery.sent()
        return True

    def _on_message(self, delivery: Delivery, data: bytes) -> None:
        try:
            message = decode(data)
        except WireError as error:
            raise ConnectorError(
                f"{self.who}: what answers at {self._address} is no consumer: {error}"
            ) from error
        if isinstance(message, OutputState):
            delivery.on_state(message)
        elif isinstance(message, Refusal):
            says = f"{message.says} {message.do}".strip()
            raise ConnectorError(
                f"{self.who}: the consumer at {self._address} refused its output: {says}"
            )

    def _check_patience(self, delivery: Delivery, was_connected: bool, is_late: bool) -> None:
        if self._closing:
            raise ConnectorError(f"{self.who} was closed while it committed.")
        if not is_late:
            return
        if delivery.was_heard:
            what = f"the program that consumes at {self._address} is not done with its output"
        elif was_connected:
            what = f"the consumer at {self._address} does not answer"
        else:
            what = f"nobody listens at {self._address}"
        raise ConnectorError(
            f"{self.who}: {what}; trying again, output waits "
            f"(zstream.client.Consumer({self._address!r}, {self._name!r}))."
        )

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
