"""What programs outside of a cluster and its ZeroMQ sources and sinks say to each other.

    message  = magic "zo", version u8, kind u8, then msgpack: an array of the fields in order

    producer -> source    Offer         records with their numbers; none of them: a sign of life
    source -> producer    SourceState   where to go on, what is safe, how much more may be sent
    sink -> consumer      Output        records of one epoch and author, with their numbers
    consumer -> sink      OutputState   how far that output has come
    both answers          Refusal       a sentence, instead

Every message says all that its receiver needs, so any of them may be lost and said again. Names
and numbers are checked here; what they mean is told in docs/wire.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception should look like one
from typing import Any, NamedTuple, cast

import msgpack

from zstream.errors import WireError

OUTSIDE_VERSION = 1
NAME_BYTES_MAX = 255  # of a source, a sink, a producer id; UTF-8
RECORD_EXTRA_BYTES = 16  # a record counts so much more than its length, so that none is free
PIECE_BYTES = 64 * 1024  # records are sent together until they weigh so much
PIECE_RECORDS_MAX = 4096

_MAGIC = b"zo"
_HEADER = Struct("<2sBB")
_NUMBER_MAX = 2**63 - 1
_TEXT_MAX = 4096


class Offer(NamedTuple):
    """Producer to source. records: numbered from `first` on.

    session: when the producer was made, in nanoseconds since 1970: a program that was started
    again is told from one that only connected again, and the newer from the older. attempt: as the
    newest SourceState said, 0 before it.
    """

    source: str
    producer: str
    session: int
    attempt: int
    first: int
    records: Sequence[bytes]


class SourceState(NamedTuple):
    """Source to producer.

    attempt: a new one means: send from `resume_from` on, with this attempt's number. 0: wait, what
    an earlier session sent is not safe yet. acknowledged: up to here records are in a decided
    checkpoint and never asked for again. bytes_allowed: `weight` of all records of this attempt
    that may be sent; an offer may begin while less than that was sent.
    """

    attempt: int
    resume_from: int
    acknowledged: int
    bytes_allowed: int


class Output(NamedTuple):
    """Sink to consumer: what `author` wrote in `epoch`, numbered from 1, a piece at a time.

    attempt: chosen by the sink, a new one whenever it goes back. records: none is a question.
    """

    sink: str
    epoch: int
    author: int
    attempt: int
    first: int
    records: Sequence[bytes]


class OutputState(NamedTuple):
    """Consumer to sink, of one epoch and author: numbers of the last record that

    taken: came in, given: the program was handed, finished: it is done with. is_gap: what came in
    `attempt` was not the next one; go back to the one after `taken`.
    """

    epoch: int
    author: int
    attempt: int
    taken: int
    given: int
    finished: int
    is_gap: bool


class Refusal(NamedTuple):
    """Either answer. code: stable, for programs. says: the sentence. do: what to do, or ""."""

    code: str
    says: str
    do: str


Message = Offer | SourceState | Output | OutputState | Refusal

_Check = Callable[[object], bool]


def is_name(value: object) -> bool:
    """Whether this can be the name of a source or sink, or a producer's id."""
    try:
        return isinstance(value, str) and 0 < len(value.encode()) <= NAME_BYTES_MAX
    except UnicodeEncodeError:  # lone surrogates
        return False


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= _NUMBER_MAX


def _is_first(value: object) -> bool:
    return type(value) is int and 1 <= value <= _NUMBER_MAX


def _is_text(value: object) -> bool:
    return type(value) is str and len(value) <= _TEXT_MAX


def _is_flag(value: object) -> bool:
    return type(value) is bool


def _are_records(value: object) -> bool:
    return type(value) is list and set(map(type, value)) <= {bytes}


_KINDS: dict[int, tuple[type[tuple[Any, ...]], tuple[_Check, ...]]] = {
    1: (Offer, (is_name, is_name, _is_first, _is_number, _is_first, _are_records)),
    2: (SourceState, (_is_number, _is_first, _is_number, _is_number)),
    3: (Output, (is_name, _is_first, _is_number, _is_number, _is_first, _are_records)),
    4: (OutputState, (_is_number,) * 6 + (_is_flag,)),
    5: (Refusal, (_is_text, _is_text, _is_text)),
}
_KIND_OF = {cls: kind for kind, (cls, _) in _KINDS.items()}


def encode(message: Message) -> bytes:
    """One message as bytes."""
    header = _HEADER.pack(_MAGIC, OUTSIDE_VERSION, _KIND_OF[type(message)])
    body: bytes = msgpack.packb(message)
    return header + body


def decode(data: bytes) -> Message:
    """Open a message. Raises WireError, in a sentence, for whatever is not one.

    A Refusal is read whatever version it has: it is how the other side says that it is newer.
    """
    try:
        magic, version, kind = _HEADER.unpack_from(data)
    except StructError:
        raise WireError(f"a message of {len(data)} bytes is too short.") from None
    if magic != _MAGIC:
        raise WireError("this is no message of a producer, consumer, source or sink of zstream.")
    cls, checks = _KINDS.get(kind, (None, ()))
    if version != OUTSIDE_VERSION and cls is not Refusal:
        raise WireError(
            f"the message has version {version} of the wire, and this side speaks "
            f"{OUTSIDE_VERSION}. Use one version of zstream on both sides."
        )
    if cls is None:
        raise WireError(f"a message of unknown kind {kind}.")
    try:
        fields = msgpack.unpackb(memoryview(data)[_HEADER.size :])
    except Exception as error:
        raise WireError(f"the fields of a message cannot be read: {error}") from error
    if type(fields) is not list or len(fields) != len(checks):
        raise WireError(f"a message of kind {kind} must have {len(checks)} fields.")
    for place, (field, check) in enumerate(zip(fields, checks, strict=True), 1):
        if not check(field):
            raise WireError(f"field {place} of a message of kind {kind} is {field!r:.60}.")
    return cast("Message", cls(*fields))


def refusal_of(error: WireError) -> bytes:
    """The answer to what could not be read."""
    return encode(Refusal("not_understood", f"what came was not understood: {error}", ""))


def weight(records: Sequence[bytes]) -> int:
    """What records count where bytes are allowed or limited."""
    return sum(map(len, records)) + RECORD_EXTRA_BYTES * len(records)


def piece(records: Sequence[bytes], start: int) -> Sequence[bytes]:
    """Those from `start` on that are sent together: at least one, if there is one."""
    size = 0
    end = start
    limit = min(len(records), start + PIECE_RECORDS_MAX)
    while end < limit and size < PIECE_BYTES:
        size += len(records[end]) + RECORD_EXTRA_BYTES
        end += 1
    return records[start:end]
