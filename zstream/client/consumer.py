"""Takes the committed output of a ZmqSink: each record once, in the order of epochs.

    with Consumer("127.0.0.1:7002", "totals", after=load()) as consumer:
        for record in consumer:
            store(record, consumer.position)    # together: one transaction, say

A sink's commit ends when this program is done with its last record, and it is taken to be done
with a record when it asks for the next one. So what it was handed and was not done with when it
died comes again, and more than that: the sink repeats the epoch as far as it knows. A program that
stores `position` together with what it does, and says `after=` when it starts again, does
everything exactly once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from zstream.client.intake import Intake
from zstream.config import MIB, Config
from zstream.connectors.zmq_sockets import ListeningSocket
from zstream.errors import UsageError
from zstream.wire.outside import NAME_BYTES_MAX, is_name

MESSAGES_MAX = 256  # taken in before the next record is handed out
WAIT_SECONDS = 1.0  # one wait; a program that waits for ever looks up so often
COMPLAIN_SECONDS = 1.0  # the log has at most one line in this time about what was refused

log = logging.getLogger(__name__)


class Consumer:
    """Listens at `address`, "host:port", for the sink `sink`. Belongs to one thread.

    after: a `position` of an earlier consumer; what it covers is not given again. None: whatever
    the sink has. finishes_by_asking: False for a program that does many records at once: it calls
    `acknowledge`, and when `receive` gives None for a while at the latest, because an epoch ends,
    and the next one comes, only when all of it is acknowledged.
    address: as an attribute with the port that it is, when 0 was asked for.
    Raises ConnectorError when it cannot listen, UsageError when `after` is no position.
    """

    def __init__(
        self, address: str, sink: str, after: Any = None, *, finishes_by_asking: bool = True
    ) -> None:
        if not is_name(sink):
            raise UsageError(f"sink must be text of 1 to {NAME_BYTES_MAX} bytes: {sink!r}")
        self.sink = sink
        self._who = f"consumer of sink {sink}"
        self._intake = Intake(sink, after, finishes_by_asking)
        self._socket = ListeningSocket(
            address,
            self._who,
            "another address, here and for --out",
            Config().record_bytes_max + MIB,
        )
        self.address = self._socket.address
        self._is_closed = False
        self._complain_at = 0.0

    @property
    def position(self) -> list[Any]:
        """Up to the record that was given last; made of lists and numbers, for `after=`."""
        return self._intake.position

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """The next record, however long that takes: output has no end."""
        while True:
            record = self.receive(WAIT_SECONDS)
            if record is not None:
                return record

    def receive(self, timeout: float) -> bytes | None:
        """The next record, or None when there is none for `timeout` seconds."""
        if self._is_closed:
            raise UsageError(f"the {self._who} is closed.")
        deadline = time.monotonic() + timeout
        while True:
            record = self._intake.next_record()
            if record is not None:
                if self._intake.outbox:  # a piece ended: time to look up
                    self._exchange()
                return record
            if self._exchange():
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._socket.socket.poll(max(1, round(left * 1000)))

    def acknowledge(self) -> None:
        """The program is done with all that it was given, without asking for more."""
        self._intake.finish()
        self._exchange()

    def close(self) -> None:
        """Stop. What was not acknowledged is given to the next consumer."""
        self._is_closed = True
        self._socket.close()

    def __enter__(self) -> Consumer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _exchange(self) -> bool:
        """Send answers, take in what has come; whether anything had."""
        self._send()
        count = 0
        while count < MESSAGES_MAX and not self._intake.is_full:
            received = self._socket.receive()
            if received is None:
                break
            self._intake.on_message(*received)
            count += 1
        self._send()
        return count > 0

    def _send(self) -> None:
        """Best effort: sinks ask again."""
        outbox, self._intake.outbox = self._intake.outbox, []
        for connection, message in outbox:
            self._socket.send(connection, message)
        refused, self._intake.refused = self._intake.refused, []
        if refused and time.monotonic() >= self._complain_at:
            self._complain_at = time.monotonic() + COMPLAIN_SECONDS
            log.warning("%s refused a message: %s", self._who, refused[-1])
