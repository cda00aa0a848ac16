"""One epoch's output of one author on its way to a consumer: pure, no socket, no clock.

It begins with a question: how far did this output come already? From there on pieces are sent, a
bounded number of bytes ahead of what the consumer's program was handed, until that program is
done with the last record.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from zstream.config import MIB
from zstream.connectors.staged import unpack
from zstream.wire.outside import Output, OutputState, piece, weight

WINDOW_BYTES = 1 * MIB  # sent and not handed to the consumer's program yet


class Delivery:
    """chunks: the records, packed. attempt: a number that no delivery before used.

    was_heard: whether the consumer said how far it is. is_finished: it is done with all of it.
    """

    def __init__(
        self, sink: str, epoch: int, author: int, chunks: Sequence[bytes], attempt: int
    ) -> None:
        self.attempt = attempt
        self.was_heard = False
        self._sink = sink
        self._epoch = epoch
        self._author = author
        self._chunks = chunks
        self._finished = 0
        self._total: int | None = None  # known when the last piece was cut
        self._under_way: deque[tuple[int, int]] = deque()  # last number and weight of each piece
        self._under_way_bytes = 0
        self._next = 1
        self._pieces = self._cut(1)
        self._piece: Sequence[bytes] = next(self._pieces, ())  # the next one, () behind the last

    @property
    def is_finished(self) -> bool:
        return self._total is not None and self._finished >= self._total

    def question(self) -> Output:
        """Asks how far it is, and shows a consumer that missed something that it did."""
        return Output(self._sink, self._epoch, self._author, self.attempt, self._next, ())

    def next_output(self) -> Output | None:
        """What is to be sent now, again until `sent` is called; None for nothing."""
        if not self.was_heard or self._under_way_bytes >= WINDOW_BYTES or not self._piece:
            return None
        return Output(self._sink, self._epoch, self._author, self.attempt, self._next, self._piece)

    def sent(self) -> None:
        """What `next_output` gave went out."""
        size = weight(self._piece)
        self._next += len(self._piece)
        self._under_way.append((self._next - 1, size))
        self._under_way_bytes += size
        self._piece = next(self._pieces, ())

    def on_state(self, state: OutputState) -> None:
        """What the consumer said; of another epoch or author it is passed over."""
        if (state.epoch, state.author) != (self._epoch, self._author):
            return
        goes_back = state.is_gap and state.attempt == self.attempt
        if goes_back or state.taken >= self._next or not self.was_heard:
            self.attempt += 1
            self._go_to(state.taken + 1)
        self.was_heard = True
        self._finished = state.finished
        while self._under_way and self._under_way[0][0] <= state.given:
            self._under_way_bytes -= self._under_way.popleft()[1]

    def _go_to(self, number: int) -> None:
        self._under_way.clear()
        self._under_way_bytes = 0
        self._next = number
        self._pieces = self._cut(number)
        self._piece = next(self._pieces, ())

    def _cut(self, number: int) -> Iterator[Sequence[bytes]]:
        """The records from `number` on, in pieces."""
        begins = 1
        for chunk in self._chunks:
            records = unpack(chunk)
            place = max(0, number - begins)
            while place < len(records):
                cut = piece(records, place)
                yield cut
                place += len(cut)
            begins += len(records)
        self._total = begins - 1
