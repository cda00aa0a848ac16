"""The control log as one worker uses it: appends that count, and a fold of all that stands.

Rules (each has a schedule that breaks without it; see docs/internals/control-log.md):

1. A record is created if absent under the number after the newest one known.
2. Whatever the store says of the create, everything from that number on is read afterwards,
   and only what was read decides: the append counts when its own nonce is found and heeded.
   So a lost answer is no loss, and a number that was cleaned away cannot be won.
3. A hole in the numbers is crossed by a base record only, which holds the whole state; what
   was created before it does not count any more for its author.
4. Refused, nothing is retried under the next number before the log was read: a newer term
   found there ends the author's own.
5. One append is under way at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from zstream.control.state import ClusterState, Kept, apply, effective
from zstream.errors import InvariantBroken
from zstream.model.ids import LogNumber
from zstream.model.records import Base, LogRecord, TermOpened
from zstream.ports.log import LogAnswer, LogAppend, LogClean, LogOperation, LogRead
from zstream.wire.codec import decode_record, encode_record


@dataclass(frozen=True)
class Folded:
    """What an answer brought.

    new: records folded now that are heeded. first: the lowest number folded, 0 for none.
    won: of the append under way True, False, or None where it is still open or there was none.
    failed: why the store could not be used.
    """

    new: tuple[LogRecord, ...]
    first: LogNumber
    won: bool | None
    failed: str = ""


class ControlLog:
    """Follows the log and appends to it. Pure: operations go out, answers come in."""

    def __init__(self, kept: Kept) -> None:
        self.state = ClusterState()
        self.entries: dict[LogNumber, bytes] = {}  # from the newest base on, to pass on to others
        self._kept = kept
        self._token = 0
        self.pending: LogOperation | None = None  # handed in and not answered yet
        self._append: LogRecord | None = None  # not decided yet
        self._number = LogNumber(0)  # where it was first tried

    @property
    def idle(self) -> bool:
        """No operation is under way and no append is undecided."""
        return self.pending is None and self._append is None

    @property
    def busy(self) -> bool:
        """An operation was handed in and not answered yet."""
        return self.pending is not None

    def append(self, record: LogRecord) -> LogOperation:
        """Start to append; `idle` must hold."""
        if not self.idle:
            raise InvariantBroken("two appends to the control log at one time")
        self._append = record
        self._number = LogNumber(self.state.tail + 1)
        return self._submit(LogAppend(self._next(), self._number, encode_record(record)))

    def read(self) -> LogOperation:
        """Read what is new, or, with an append undecided, find out and try it again."""
        if self._append is not None and self._number == self.state.tail + 1:
            payload = encode_record(self._append)
            return self._submit(LogAppend(self._next(), self._number, payload))
        return self._submit(LogRead(self._next(), LogNumber(self.state.tail + 1)))

    def clean(self) -> LogOperation:
        """Delete what the newest base record has made superfluous."""
        return self._submit(LogClean(self._next(), self.state.base))

    def on_answer(self, answer: LogAnswer) -> Folded:
        """An operation was answered. Answers of given-up operations are folded all the same."""
        mine = self.pending is not None and answer.token == self.pending.token
        if mine:
            self.pending = None
        if answer.outcome in ("failed", "cleaned"):
            return Folded((), LogNumber(0), None, answer.cause)
        return self._fold(answer.records)

    def on_records(self, first: LogNumber, payloads: Iterable[bytes]) -> Folded:
        """Records as another worker passed them on: they stand in the log."""
        numbered = [(LogNumber(first + i), payload) for i, payload in enumerate(payloads)]
        return self._fold(numbered)

    def known_from(self, first: LogNumber) -> tuple[LogNumber, tuple[bytes, ...]]:
        """Records to pass on to a worker that knows all below `first`."""
        start = max(first, self.state.base, LogNumber(1))
        numbers = range(start, self.state.tail + 1)
        return LogNumber(start), tuple(self.entries[LogNumber(n)] for n in numbers)

    # ---- inside

    def _next(self) -> int:
        self._token += 1
        return self._token

    def _submit(self, operation: LogOperation) -> LogOperation:
        self.pending = operation
        return operation

    def _decided(self, found: bool) -> bool | None:
        """Whether the append under way is won, lost, or still open."""
        if self._append is None:
            return None
        if found:
            self._append = None
            return True
        if self.state.tail >= self._number:
            self._append = None
            return False
        return None

    def _fold(self, records: Iterable[tuple[LogNumber, bytes]]) -> Folded:
        """Fold what continues the log, from the newest base record on where there is one.

        Below a base record numbers may have been cleaned away, and a stalled writer may have
        created one of them again: under the very number that continues what is known here, and
        with a term that would outdo the base record's. So nothing below the newest base counts.
        """
        numbered = [(n, payload, decode_record(payload)) for n, payload in records]
        bases = [n for n, _, record in numbered if isinstance(record, Base)]
        newest = max(bases, default=LogNumber(0))
        new: list[LogRecord] = []
        first = LogNumber(0)
        found = False
        for number, payload, record in numbered:
            starts = number == newest and number > self.state.tail
            if not starts and (number < newest or number != self.state.tail + 1):
                continue
            first = first or number
            if starts:
                self.entries.clear()
            self.entries[number] = payload
            if not starts and not effective(self.state, record):
                self.state = replace(self.state, tail=number)
                continue
            found = found or (self._append is not None and record == self._append)
            self.state = apply(self.state, number, record, self._kept)
            new.append(record)
        return Folded(tuple(new), first, self._decided(found))


def since_it_began(records: Sequence[LogRecord]) -> Sequence[LogRecord]:
    """Those of this life of the cluster: what came before a new beginning is for nobody."""
    begins = [i for i, r in enumerate(records) if isinstance(r, TermOpened) and r.begins]
    return records[begins[-1] :] if begins else records
