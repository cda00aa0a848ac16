"""Which producers a ZeroMQ source knows, and how far it has read each: pure, no socket, no clock.

Each producer id has records numbered from 1. A producer offers them in *attempts*: the source says
"from number n on, in attempt a", and takes from then on only the next number of that attempt, so
what was under way before it said so does no harm. A new attempt begins when

    a producer connects, also again: what the broken connection held is gone,
    a number was left out,
    the engine goes back (`seek`).

Three numbers of a producer matter: *received* is the last that came in, *given* the last that the
engine was handed, *acknowledged* the last that is in a decided checkpoint.

A *session* is one life of a producer's program, named by the time when it began. A new session is
told where to go on only when all that an older one sent is acknowledged: only then does the first
number that it chooses mean the same record after every crash. The newest session wins; an older
one is refused from then on, and what it had sent and nobody read yet does not bring it back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zstream.config import KIB, MIB
from zstream.errors import ConnectorError, WireError
from zstream.wire.outside import (
    Offer,
    Refusal,
    SourceState,
    decode,
    encode,
    is_name,
    refusal_of,
    weight,
)

PRODUCERS_MAX = 10_000  # ids that are remembered; none is forgotten, or it could be read twice
WINDOW_BYTES_ALL = 16 * MIB  # what all producers together may send ahead of the engine
WINDOW_BYTES_MAX = 1 * MIB  # and one of them
WINDOW_BYTES_MIN = 64 * KIB  # and each, however many there are
SILENT_SECONDS = 5.0  # without a sign of life, a connection no longer counts


@dataclass(eq=False)
class _Producer:
    """One producer id. Numbers are those of records; bytes are `weight`s."""

    name: str
    given: int = 0
    received: int = 0
    acknowledged: int = 0
    connection: bytes = b""  # b"": none that we know of
    session: int = 0  # the newest; 0: none yet
    welcomed: int = 0  # the newest session that was told where to go on
    heard_at: float = 0.0
    attempt: int = 0  # 0: none open
    resume_from: int = 1  # where the attempt began
    bytes_received: int = 0  # in the attempt
    bytes_allowed: int = 0  # in the attempt, as it was told
    bytes_queued: int = 0  # received and not given


class ProducerBook:
    """Takes in messages, gives out records; what is to be sent is put into `outbox`.

    source: the name that producers must say. attempt: the first attempt's number, drawn, so that a
    source that was opened anew is told from this one.
    outbox: (connection, message), to be sent best effort: whatever is lost is asked for again.
    refused: sentences, for the log.
    """

    def __init__(self, source: str, attempt: int) -> None:
        self.outbox: list[tuple[bytes, bytes]] = []
        self.refused: list[str] = []
        self.was_heard = False
        self._source = source
        self._attempt = attempt
        self._producers: dict[str, _Producer] = {}
        self._connected = 0
        self._queue: deque[tuple[_Producer, Sequence[bytes]]] = deque()

    # ---- what comes in

    def on_message(self, connection: bytes, data: bytes, now: float) -> None:
        """One message of a connection. Rubbish is answered with a refusal."""
        try:
            message = decode(data)
        except WireError as error:
            self.refused.append(str(error))
            self.outbox.append((connection, refusal_of(error)))
            return
        if isinstance(message, Offer):
            self._on_offer(connection, message, now)
        elif not isinstance(message, Refusal):
            self._refuse(
                connection,
                "not_a_source_s",
                f"this is the source {self._source}; it takes records of producers only.",
                "Connect a zstream.client.Producer.",
            )

    def on_unreachable(self, connection: bytes) -> None:
        """What was sent there cannot arrive: its producer has to connect again."""
        for producer in self._producers.values():
            if producer.connection == connection:
                self._disconnect(producer)

    def forget_silent(self, now: float) -> None:
        """Connections without a sign of life no longer count; ids that sent nothing are forgotten.

        Only after all that came was taken in: a worker that stood still has heard nobody.
        """
        for producer in list(self._producers.values()):
            if producer.connection and producer.heard_at < now - SILENT_SECONDS:
                self._disconnect(producer)
            if not producer.connection and not producer.received:
                del self._producers[producer.name]

    # ---- what the engine asks

    @property
    def has_records(self) -> bool:
        return bool(self._queue)

    def take(self, records_max: int, bytes_max: int) -> list[Any]:
        """Records for the engine, in the order in which they came."""
        taken: list[Any] = []
        size = 0
        while self._queue and len(taken) < records_max and size < bytes_max:
            producer, records = self._queue.popleft()
            room = records_max - len(taken)
            if len(records) > room:
                self._queue.appendleft((producer, records[room:]))
                records = records[:room]
            taken += records
            bytes_taken = weight(records)
            size += bytes_taken
            producer.given += len(records)
            producer.bytes_queued -= bytes_taken
            self._allow_more(producer)
        return taken

    def position(self) -> dict[str, int]:
        """The last number that was given, of each producer that gave any."""
        return {name: each.given for name, each in self._producers.items() if each.given}

    def acknowledge(self, position: Any) -> None:
        """What `position` names is in a decided checkpoint."""
        for name, number in self._numbers(position).items():
            producer = self._producers.get(name)
            if producer is None or number <= producer.acknowledged:
                continue
            producer.acknowledged = number
            if not producer.connection:
                continue
            if producer.attempt:
                self._tell(producer)
            elif number >= producer.received:
                self._begin_attempt(producer)

    def seek(self, position: Any) -> None:
        """Give what comes after `position` again; None: all."""
        numbers = {} if position is None else self._numbers(position)
        self._queue.clear()
        for name in numbers:
            self._producers.setdefault(name, _Producer(name))
        for name, producer in self._producers.items():
            at = numbers.get(name, 0)
            producer.given = producer.received = producer.acknowledged = at
            producer.bytes_queued = 0
            if producer.connection:
                self._begin_attempt(producer)

    # ---- one offer

    def _on_offer(self, connection: bytes, offer: Offer, now: float) -> None:
        if offer.source != self._source:
            self._refuse(
                connection,
                "wrong_source",
                f"this is the source {self._source}, and not {offer.source}.",
                "Check the address and the name.",
            )
            return
        producer = self._producers.get(offer.producer)
        if producer is None:
            if len(self._producers) >= PRODUCERS_MAX:
                self._refuse(
                    connection,
                    "too_many_producers",
                    f"the source {self._source} remembers {PRODUCERS_MAX:,} producer ids, "
                    f"and takes no new one ({offer.producer}).",
                    "Use the same id each time a producer is started.",
                )
                return
            producer = self._producers[offer.producer] = _Producer(offer.producer)
        if offer.session < producer.session:
            self._refuse_displaced(connection, producer)
            return
        self.was_heard = True
        producer.heard_at = now
        if (connection, offer.session) != (producer.connection, producer.session):
            self._connect(producer, connection, offer.session)
        elif not producer.attempt or offer.attempt != producer.attempt:
            if not offer.records:
                self._tell(producer)
        else:
            self._receive(producer, offer)

    def _connect(self, producer: _Producer, connection: bytes, session: int) -> None:
        """The producer speaks on another connection than before, or is another one."""
        if producer.connection and session != producer.session:
            self._refuse_displaced(producer.connection, producer)
        if not producer.connection:
            self._connected += 1
        producer.connection, producer.session = connection, session
        if session == producer.welcomed or producer.received == producer.acknowledged:
            self._begin_attempt(producer)
        else:
            producer.attempt = 0
            self._tell(producer)

    def _receive(self, producer: _Producer, offer: Offer) -> None:
        """An offer of the open attempt: what is new in it is queued."""
        seen = producer.received + 1 - offer.first
        if seen < 0:
            self._begin_attempt(producer)  # a number was left out
            return
        if not offer.records:
            self._tell(producer)
            return
        if producer.bytes_received >= producer.bytes_allowed:
            self._refuse(
                producer.connection,
                "more_than_allowed",
                f"the producer {producer.name} sent more than the source {self._source} allowed.",
                "It must wait while bytes_allowed of the attempt are sent.",
            )
            producer.session += 1  # nothing of this one counts any more
            self._disconnect(producer)
            return
        producer.bytes_received += weight(offer.records)
        records = offer.records[seen:]
        if records:
            producer.received += len(records)
            producer.bytes_queued += weight(records)
            self._queue.append((producer, records))

    # ---- what is told to a producer

    def _begin_attempt(self, producer: _Producer) -> None:
        """All that is under way no longer counts; go on with the number after the received."""
        self._attempt += 1
        producer.attempt = self._attempt
        producer.welcomed = producer.session
        producer.resume_from = producer.received + 1
        producer.bytes_received = producer.bytes_allowed = 0
        self._tell(producer)

    def _allowed(self, producer: _Producer) -> int:
        return producer.bytes_received - producer.bytes_queued + self._window()

    def _window(self) -> int:
        share = WINDOW_BYTES_ALL // max(1, self._connected)
        return min(WINDOW_BYTES_MAX, max(WINDOW_BYTES_MIN, share))

    def _allow_more(self, producer: _Producer) -> None:
        """Say so when it is worth a message; the producer has half a window left until then."""
        more = self._allowed(producer) - producer.bytes_allowed
        if producer.connection and producer.attempt and more >= self._window() // 2:
            self._tell(producer)

    def _tell(self, producer: _Producer) -> None:
        producer.bytes_allowed = max(producer.bytes_allowed, self._allowed(producer))
        state = SourceState(
            producer.attempt, producer.resume_from, producer.acknowledged, producer.bytes_allowed
        )
        self.outbox.append((producer.connection, encode(state)))

    def _disconnect(self, producer: _Producer) -> None:
        if producer.connection:
            self._connected -= 1
        producer.connection, producer.attempt = b"", 0

    def _refuse_displaced(self, connection: bytes, producer: _Producer) -> None:
        self._refuse(
            connection,
            "displaced",
            f"another producer with the id {producer.name} has connected to the source "
            f"{self._source} after this one.",
            "Only one program at a time may use an id.",
        )

    def _refuse(self, connection: bytes, code: str, says: str, do: str) -> None:
        self.refused.append(says)
        self.outbox.append((connection, encode(Refusal(code, says, do))))

    def _numbers(self, position: Any) -> dict[str, int]:
        """A position that came back from a checkpoint."""
        if isinstance(position, dict) and all(
            is_name(name) and type(number) is int for name, number in position.items()
        ):
            return position
        raise ConnectorError(
            f"source {self._source}: the checkpoint holds {position!r:.60} as its position, which "
            "is not one of a ZmqSource. Was it another kind of source when it was taken?"
        )
