"""What a producer keeps, and what it offers when: pure, no socket, no clock, no thread.

Records are numbered one after the other. They are kept until the source says that they are in a
decided checkpoint, and offered again from wherever it says.
"""

from __future__ import annotations

from zstream.errors import ConnectorError, Refused, WireError, ZstreamError
from zstream.wire.outside import (
    RECORD_EXTRA_BYTES,
    Offer,
    Refusal,
    SourceState,
    decode,
    piece,
    weight,
)

BEHIND_SECONDS = 10.0  # so long a source may ask for what is safe before that is a fault


class Offering:
    """Belongs to one producer. session: when the program was started, in nanoseconds.

    resume_from: the number of the first record of this session, None until the source said it.
    acknowledged: the last number that is safe. is_held_back: the source waits for a checkpoint
    with what an earlier session sent. fault: why this cannot go on, to be raised.
    """

    def __init__(self, source: str, producer: str, session: int) -> None:
        self.resume_from: int | None = None
        self.acknowledged = 0
        self.is_held_back = False
        self.fault: ZstreamError | None = None
        self.kept_bytes = 0
        self._source = source
        self._producer = producer
        self._session = session
        self._kept: list[bytes] = []  # the first has the number after `acknowledged`
        self._attempt = 0
        self._next = 1  # the number to be offered next
        self._sent_bytes = 0  # in this attempt
        self._allowed_bytes = 0
        self._behind_since = float("inf")  # the source has asked for what is safe since then

    @property
    def last(self) -> int:
        """The number of the last record that was added."""
        return self.acknowledged + len(self._kept)

    @property
    def is_all_sent(self) -> bool:
        return self._next > self.last

    def add(self, record: bytes) -> None:
        """The next record. Only after `resume_from` is known."""
        self._kept.append(record)
        self.kept_bytes += len(record) + RECORD_EXTRA_BYTES

    def sign_of_life(self) -> Offer:
        """Says who this is and how far it is; the source answers."""
        return self._offer_of([])

    def next_offer(self) -> Offer | None:
        """What is to be sent now, again until `sent` is called; None for nothing."""
        if not self._attempt or self.is_all_sent or self._sent_bytes >= self._allowed_bytes:
            return None
        return self._offer_of(list(piece(self._kept, self._next - self.acknowledged - 1)))

    def sent(self, offer: Offer) -> None:
        """The offer went out, for all that we know."""
        self._next = offer.first + len(offer.records)
        self._sent_bytes += weight(offer.records)

    def on_message(self, data: bytes, now: float) -> None:
        """What the source said. Sets `fault` when this producer cannot go on. now: monotonic
        seconds.
        """
        try:
            message = decode(data)
        except WireError as error:
            self._fail(ConnectorError(f"what answers is not source {self._source}: {error}"))
            return
        if isinstance(message, Refusal):
            self._fail(Refused(message.code, message.says, message.do))
        elif isinstance(message, SourceState):
            self._on_state(message, now)

    def _offer_of(self, records: list[bytes]) -> Offer:
        return Offer(
            self._source, self._producer, self._session, self._attempt, self._next, records
        )

    def _on_state(self, state: SourceState, now: float) -> None:
        self.is_held_back = not state.attempt
        if self.is_held_back:
            self._attempt = 0
            return
        if self.resume_from is None:
            self.resume_from = self._next = state.resume_from
            self.acknowledged = state.resume_from - 1
        if state.attempt != self._attempt and not self._begin(state, now):
            return
        self._behind_since = float("inf")
        self._allowed_bytes = max(self._allowed_bytes, state.bytes_allowed)
        if state.acknowledged > self.last:
            self._fail_for_others(state.acknowledged)
        elif state.acknowledged > self.acknowledged:
            safe = state.acknowledged - self.acknowledged
            self.kept_bytes -= weight(self._kept[:safe])
            del self._kept[:safe]
            self.acknowledged = state.acknowledged
            self._next = max(self._next, self.acknowledged + 1)

    def _begin(self, state: SourceState, now: float) -> bool:
        """A new attempt; False when what it asks for is not here.

        A worker that stood still, was taken for dead and wakes may ask for what is safe, until it
        learns that somebody else reads the source. So it is seen whether that lasts.
        """
        if state.resume_from <= self.acknowledged:
            self._behind_since = min(self._behind_since, now)
            if now >= self._behind_since + BEHIND_SECONDS:
                self._fail_for_what_is_gone(state.resume_from)
            return False
        if state.resume_from > self.last + 1:
            self._fail_for_others(state.resume_from - 1)
            return False
        self._attempt = state.attempt
        self._next = state.resume_from
        self._sent_bytes = self._allowed_bytes = 0
        return True

    def _fail_for_what_is_gone(self, number: int) -> None:
        self._fail(
            ConnectorError(
                f"source {self._source} asks for record {number:,} of producer {self._producer}, "
                "which was acknowledged and is not kept any more: kept is what follows "
                f"{self.acknowledged:,}. The cluster lost its checkpoints, or was started anew "
                "without them. Start this program anew from where the source is."
            )
        )

    def _fail_for_others(self, number: int) -> None:
        self._fail(
            ConnectorError(
                f"source {self._source} has {number:,} records of producer {self._producer}, and "
                f"this one has numbered {self.last:,} so far: records of another program, or of "
                "another cluster. Give each producer an id of its own."
            )
        )

    def _fail(self, fault: ZstreamError) -> None:
        self._attempt = 0
        if self.fault is None:
            self.fault = fault
