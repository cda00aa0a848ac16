"""What a consumer has seen, hands out, and is done with: pure, no socket, no clock.

Sinks commit an epoch on all workers before any of them commits the next one, so what has to be
remembered is the newest epoch, and of each of its authors how far its output came. An older epoch
is nothing that was missed: it comes from a cluster that was started anew, and is refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from zstream.config import MIB
from zstream.errors import UsageError, WireError
from zstream.wire.outside import (
    Message,
    Output,
    OutputState,
    Refusal,
    decode,
    encode,
    refusal_of,
    weight,
)

AUTHORS_MAX = 10_000  # of one epoch; each worker is one
QUEUE_BYTES_MAX = 64 * MIB  # above it nothing is received; sinks send far less ahead


@dataclass(eq=False)
class _Author:
    """How far the output of one author in one epoch is: numbers of its last record."""

    epoch: int
    name: int
    taken: int = 0
    given: int = 0
    finished: int = 0
    connection: bytes = b""
    attempt: int = 0


@dataclass(eq=False)
class _Epoch:
    number: int
    authors: dict[int, _Author] = field(default_factory=dict)


class Intake:
    """after: a `position`, None for nothing seen. Raises UsageError when it is none.

    outbox: (connection, message) to be sent, best effort: sinks ask again. refused: sentences.
    """

    def __init__(self, sink: str, after: Any, finishes_by_asking: bool) -> None:
        self.outbox: list[tuple[bytes, bytes]] = []
        self.refused: list[str] = []
        self._sink = sink
        self._finishes_by_asking = finishes_by_asking
        self._coming = self._giving = _epoch_of(after)
        self._queue: deque[tuple[_Epoch, _Author, Sequence[bytes]]] = deque()
        self._queued_bytes = 0
        self._piece: Sequence[bytes] = ()  # what is handed out, from `_place` on
        self._place = 0
        self._author: _Author | None = None  # of the piece
        self._unfinished: dict[_Author, None] = {}  # whose records were handed out

    @property
    def is_full(self) -> bool:
        return self._queued_bytes >= QUEUE_BYTES_MAX

    @property
    def position(self) -> list[Any]:
        """[epoch, [[author, number], ...]]: up to the record that was handed out last."""
        authors = self._giving.authors.values()
        return [self._giving.number, [[each.name, each.given] for each in authors if each.given]]

    def next_record(self) -> bytes | None:
        """The next record, None when there is none now."""
        while self._place == len(self._piece):
            self._end_piece()
            if not self._queue:
                return None
            self._giving, self._author, self._piece = self._queue.popleft()
            self._queued_bytes -= weight(self._piece)
            self._place = 0
            self._unfinished[self._author] = None
        record = self._piece[self._place]
        self._place += 1
        assert self._author is not None
        self._author.given += 1
        return record

    def finish(self) -> None:
        """The program is done with all that was handed out."""
        for author in self._unfinished:
            author.finished = author.given
            self._tell(author)
        self._unfinished = {} if self._author is None else {self._author: None}

    def on_message(self, connection: bytes, data: bytes) -> None:
        """One message of a connection. Rubbish is answered with a refusal."""
        try:
            message = decode(data)
        except WireError as error:
            self.refused.append(str(error))
            self.outbox.append((connection, refusal_of(error)))
            return
        if isinstance(message, Refusal):
            return
        refusal = self._refusal(message)
        if refusal is not None:
            self.refused.append(refusal.says)
            self.outbox.append((connection, encode(refusal)))
        elif isinstance(message, Output):
            self._on_output(connection, message)

    def _refusal(self, message: Message) -> Refusal | None:
        if not isinstance(message, Output):
            says = f"this is the consumer of the sink {self._sink}; it takes a sink's output only."
            return Refusal("not_a_consumer_s", says, "Check the address.")
        if message.sink != self._sink:
            says = f"this is the consumer of the sink {self._sink}, and not of {message.sink}."
            return Refusal("wrong_sink", says, "Check the address and the name.")
        if message.epoch < self._coming.number:
            return Refusal(
                "epoch_is_over",
                f"epoch {message.epoch:,} of sink {self._sink} comes after epoch "
                f"{self._coming.number:,}.",
                "If the cluster was started anew, start its consumer anew too, without after=.",
            )
        if message.epoch == self._coming.number and (
            len(self._coming.authors) >= AUTHORS_MAX and message.author not in self._coming.authors
        ):
            says = f"epoch {message.epoch:,} has more than {AUTHORS_MAX:,} authors."
            return Refusal("too_many_authors", says, "")
        return None

    def _on_output(self, connection: bytes, output: Output) -> None:
        if output.epoch > self._coming.number:
            self._coming = _Epoch(output.epoch)
        authors = self._coming.authors
        author = authors.get(output.author)
        if author is None:
            author = authors[output.author] = _Author(output.epoch, output.author)
        author.connection, author.attempt = connection, output.attempt
        seen = author.taken + 1 - output.first
        records = output.records[seen:] if seen >= 0 else ()
        if records:
            author.taken += len(records)
            self._queue.append((self._coming, author, records))
            self._queued_bytes += weight(records)
        else:
            self._tell(author, is_gap=seen < 0)

    def _end_piece(self) -> None:
        """The program was handed all of a piece, and asks for what comes after it."""
        if self._author is None:
            return
        author, self._author = self._author, None
        if self._finishes_by_asking:
            self.finish()
        else:
            self._tell(author)  # its sink may send more

    def _tell(self, author: _Author, is_gap: bool = False) -> None:
        state = OutputState(
            author.epoch,
            author.name,
            author.attempt,
            author.taken,
            author.given,
            author.finished,
            is_gap,
        )
        self.outbox.append((author.connection, encode(state)))


def _epoch_of(after: Any) -> _Epoch:
    """What was seen up to a position."""
    if after is None:
        return _Epoch(0)
    try:
        number, authors = after
        seen = {
            name: _Author(number, name, taken, taken, taken)
            for name, taken in authors
            if type(name) is int and type(taken) is int
        }
        if type(number) is not int or len(seen) != len(authors):
            raise ValueError
    except (TypeError, ValueError):
        raise UsageError(
            f"after={after!r:.60} is not what a Consumer's position was; or None for no position."
        ) from None
    return _Epoch(number, seen)
