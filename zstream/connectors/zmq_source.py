"""Records over ZeroMQ from producers that number them: nothing is lost and nothing read twice.

A producer (zstream.client.Producer, or any program that does as docs/wire.md says) keeps what it
sent until it is in a decided checkpoint, and sends again what the source asks for: after a
connection broke, after a crash, when the engine goes back.

How much producers may send ahead is bounded: one that the engine does not read from stops. Ids of
producers are never forgotten, because one that came back would be read twice; above 10,000 a new
one is refused.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Sequence
from typing import Any

from zstream.config import MIB, Config
from zstream.connectors.zmq_producers import ProducerBook
from zstream.connectors.zmq_sockets import ListeningSocket

MESSAGES_MAX = 256  # taken in by one read
CHECK_SECONDS = 1.0  # how often it is looked who has been silent
COMPLAIN_SECONDS = 1.0  # the log has at most one line in this time about what was refused

log = logging.getLogger(__name__)


class ZmqReader:
    """Listens at `address`, "host:port", for producers of the source `name`.

    address: as an attribute with the port that it is, when 0 was asked for.
    refused_messages: that were answered with a refusal, whatever was wrong.
    Raises ConnectorError when it cannot listen.
    """

    def __init__(self, name: str, address: str, config: Config) -> None:
        self.refused_messages = 0
        self._who = f"source {name}"
        self._read_bytes = config.source_read_bytes_max
        self._socket = ListeningSocket(
            address, self._who, f"--in {name}@HOST:PORT", config.record_bytes_max + MIB
        )
        self.address = self._socket.address
        self._book = ProducerBook(name, secrets.randbits(62))
        self._check_at = 0.0
        self._complain_at = 0.0

    def read(self, limit: int) -> list[Any]:
        """Up to `limit` records of any producers; [] for none now. Never ends."""
        self._receive()
        records = self._book.take(limit, self._read_bytes)
        self._send()
        return records

    def position(self) -> dict[str, int]:
        """The number of the last record that was given, of each producer."""
        return self._book.position()

    def acknowledge(self, position: Any) -> None:
        """Producers may let go of what is before `position`."""
        self._book.acknowledge(position)
        self._send()

    def seek(self, position: Any) -> int:
        """Producers are asked to send again what comes after `position`; nothing is lost: 0."""
        self._book.seek(position)
        self._send()
        return 0

    def descriptors(self) -> Sequence[int]:
        """ZeroMQ's; it is readable only for what came after `wake_at` was asked."""
        return (self._socket.descriptor(),)

    def wake_at(self, now: float) -> float | None:
        return now if self._book.has_records or self._socket.has_more() else None

    def waits_for(self) -> str:
        if self._book.was_heard:
            return ""
        return f"{self._who}: no producer has connected to {self.address} yet."

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> None:
        now = time.monotonic()
        size = 0
        for _ in range(MESSAGES_MAX):
            received = self._socket.receive()
            if received is None:
                if now >= self._check_at:
                    self._check_at = now + CHECK_SECONDS
                    self._book.forget_silent(now)
                break
            self._book.on_message(*received, now)
            size += len(received[1])
            if size >= self._read_bytes:
                break
        if self._book.refused:
            self._complain(now)

    def _send(self) -> None:
        """Best effort: a producer asks again for what it was not told."""
        outbox, self._book.outbox = self._book.outbox, []
        for connection, message in outbox:
            if not self._socket.send(connection, message):
                self._book.on_unreachable(connection)

    def _complain(self, now: float) -> None:
        refused, self._book.refused = self._book.refused, []
        self.refused_messages += len(refused)
        if now >= self._complain_at:
            self._complain_at = now + COMPLAIN_SECONDS
            log.warning("%s refused a message: %s", self._who, refused[-1])
