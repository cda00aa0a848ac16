"""Sends records to a ZmqSource, and keeps them until they are safe there.

    with Producer("127.0.0.1:7010", "prices", "desk-7") as producer:
        for line in lines[producer.resume_from - 1:]:
            producer.send(line)

The records of one producer id are numbered from 1, over all starts of the program that uses it.
`resume_from` is the number of the first one that this start sends. A program that can read its
own input again must skip what is before it, as above; one that cannot (a sensor) just sends.

A record that `send` took is in memory until the cluster has it in a checkpoint. If this program
dies before, it has to read its own input again, from `resume_from`; if the cluster's workers die,
this resends by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

import zmq

from zstream.client.offering import Offering
from zstream.config import MIB, Config
from zstream.connectors.zmq_sockets import ConnectingSocket
from zstream.errors import ClusterTimeout, ClusterUnreachable, ConnectorError, UsageError
from zstream.runtime.wake import Waker
from zstream.wire.outside import NAME_BYTES_MAX, encode, is_name

BUFFER_BYTES_MAX = 64 * MIB
TIMEOUT_SECONDS = 30.0
SIGN_OF_LIFE_SECONDS = 0.5  # a source that says nothing for so long is asked
CLOSE_SECONDS = 5.0  # for the thread to end


class Producer:
    """One producer id of one source; safe to be used from several threads.

    address: "host:port", what the worker was given with --in. producer_id: the same each time
    this program is started, and another one for each program that runs at the same time.
    buffer_bytes_max: `send` waits while so much is not acknowledged. timeout: seconds, for each
    wait. A thread of its own sends, sends again, and connects again.

    Raises UsageError and ConnectorError for what can never work. All methods raise Refused when
    the source refused this producer, and ConnectorError when records that it asks for are not
    here; then nothing more is sent.
    """

    def __init__(
        self,
        address: str,
        source: str,
        producer_id: str,
        *,
        buffer_bytes_max: int = BUFFER_BYTES_MAX,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        for what, name in (("source", source), ("producer_id", producer_id)):
            if not is_name(name):
                raise UsageError(f"{what} must be text of 1 to {NAME_BYTES_MAX} bytes: {name!r}")
        self.address = address
        self.source = source
        self.producer_id = producer_id
        self._record_bytes_max = Config().record_bytes_max
        self._buffer_bytes_max = buffer_bytes_max
        self._timeout = timeout
        self._offering = Offering(source, producer_id, time.time_ns())
        self._socket = ConnectingSocket(address, f"producer {producer_id}", MIB)
        self._changed = threading.Condition()  # guards all that follows, and the offering
        self._is_idle = False  # the thread has nothing to send and may be asleep
        self._is_closed = False
        self._waker = Waker()
        # A daemon: a program that forgets to close it can still end.
        self._thread = threading.Thread(target=self._run, name="zstream-producer", daemon=True)
        self._thread.start()

    # ---- what a program does

    @property
    def resume_from(self) -> int:
        """The number of the first record that this producer sends; the source has those before.

        Waits for the source. Raises ClusterUnreachable, ClusterTimeout.
        """
        with self._changed:
            self._wait_until(lambda: self._offering.resume_from is not None, self._timeout)
            assert self._offering.resume_from is not None
            return self._offering.resume_from

    @property
    def acknowledged(self) -> int:
        """The number of the last record that is in a checkpoint: no crash can undo it. 0: none."""
        with self._changed:
            return self._offering.acknowledged

    def send(self, record: bytes) -> None:
        """Take the next record; it goes out soon.

        Waits while the buffer is full of what is not acknowledged. Raises ClusterTimeout or
        ClusterUnreachable when that lasts; then the record was not taken, and may be sent again.
        """
        if not isinstance(record, bytes):
            raise UsageError(f"a record must be bytes, it is {type(record).__name__}.")
        if len(record) > self._record_bytes_max:
            raise UsageError(
                f"a record of {len(record):,} bytes: the largest is {self._record_bytes_max:,}."
            )
        with self._changed:
            self._wait_until(self._may_add, self._timeout)
            self._offering.add(record)
            if self._is_idle:
                self._is_idle = False
                self._waker.wake()

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all that was sent is acknowledged. timeout: seconds, None for the usual.

        Raises ClusterTimeout or ClusterUnreachable; nothing is lost, and it may be called again.
        """
        with self._changed:
            if self._offering.resume_from is None:
                return
            last = self._offering.last
            wait = self._timeout if timeout is None else timeout
            self._wait_until(lambda: self._offering.acknowledged >= last, wait)

    def close(self) -> None:
        """Stop. What is not acknowledged may not have arrived: `flush` before."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            self._changed.notify_all()
        self._waker.wake()
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._waker.close()

    def __enter__(self) -> Producer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Flush, unless an error is on its way out, and close."""
        try:
            if kind is None:
                self.flush()
        finally:
            self.close()

    # ---- waiting

    def _may_add(self) -> bool:
        offering = self._offering
        return offering.resume_from is not None and offering.kept_bytes < self._buffer_bytes_max

    def _wait_until(self, condition: Callable[[], bool], timeout: float) -> None:
        """With the lock held. Raises what stands in the way."""
        deadline = time.monotonic() + timeout
        while True:
            if self._offering.fault is not None:
                raise self._offering.fault
            if self._is_closed:
                raise UsageError(f"producer {self.producer_id} is closed.")
            if condition():
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._too_late(timeout)
            self._changed.wait(left)

    def _too_late(self, timeout: float) -> ClusterTimeout | ClusterUnreachable:
        offering = self._offering
        if offering.is_held_back:
            return ClusterTimeout(
                f"source {self.source} has records of producer {self.producer_id} from before its "
                f"start that are in no checkpoint yet, also after {timeout:g} s. Is the cluster "
                "stopped by something? cluster_status shows what it waits for."
            )
        if offering.resume_from is None:
            return ClusterUnreachable(
                f"source {self.source} did not answer at {self.address} for {timeout:g} s. "
                f"Is there a worker with --in {self.source}@{self.address}?"
            )
        waiting = offering.last - offering.acknowledged
        return ClusterTimeout(
            f"source {self.source} at {self.address} has not acknowledged {waiting:,} records of "
            f"producer {self.producer_id} for {timeout:g} s. They are kept and sent again: try "
            "again. cluster_status shows what the cluster waits for."
        )

    # ---- the thread

    def _run(self) -> None:
        try:
            self._exchange()
        except Exception as error:  # a program that waits must hear of it
            with self._changed:
                self._offering.fault = ConnectorError(f"producer {self.producer_id}: {error!r}")
        finally:
            self._socket.close()
            with self._changed:
                self._changed.notify_all()

    def _exchange(self) -> None:
        """Send what may go, take in what the source says, until closed or refused."""
        poller = zmq.Poller()
        poller.register(self._waker.descriptor, zmq.POLLIN)
        ask_at = 0.0
        while True:
            has_room = self._send_offers()
            now = time.monotonic()
            with self._changed:
                if self._is_closed or self._offering.fault is not None:
                    return
                sign_of_life = self._offering.sign_of_life()
            if has_room and now >= ask_at:
                has_room = self._socket.send(encode(sign_of_life))
                ask_at = now + SIGN_OF_LIFE_SECONDS if has_room else now
            wait = max(0.0, ask_at - now) if has_room else SIGN_OF_LIFE_SECONDS
            poller.register(
                self._socket.socket, zmq.POLLIN if has_room else zmq.POLLIN | zmq.POLLOUT
            )
            poller.poll(max(1, round(wait * 1000)))
            self._waker.drain()
            if self._receive():
                ask_at = time.monotonic() + SIGN_OF_LIFE_SECONDS

    def _send_offers(self) -> bool:
        """Send what the source allows. False when the connection takes no more."""
        while True:
            with self._changed:
                offer = self._offering.next_offer()
                if offer is None:
                    self._is_idle = self._offering.is_all_sent
                    return True
            if not self._socket.send(encode(offer)):
                return False
            with self._changed:
                self._offering.sent(offer)

    def _receive(self) -> bool:
        """Take in what has come; whether anything had."""
        data = self._socket.receive()
        if data is None:
            return False
        with self._changed:
            while data is not None:
                self._offering.on_message(data, time.monotonic())
                data = self._socket.receive()
            self._changed.notify_all()
        return True
