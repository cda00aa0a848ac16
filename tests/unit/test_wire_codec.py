"""Messages and log records: what is refused, in which words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from zlib import crc32

import msgpack
import pytest

from zstream.errors import InvariantBroken, WireError
from zstream.model.ids import Generation, Incarnation, LogNumber, RequestId, Term
from zstream.model.records import Renewed
from zstream.wire.codec import (
    decode_message,
    decode_plain,
    decode_record,
    encode_message,
    encode_plain,
    encode_record,
)
from zstream.wire.messages import Envelope, LogRequest, LogTail, StatusRequest

ENVELOPE = Envelope(
    Incarnation(5), "h:1", "votes", Term(1), Generation(2), LogRequest(LogNumber(3))
)
RENEWED = Renewed(Term(3), 2**63)


def test_a_message_names_its_kind_and_no_module() -> None:
    """Fields stand in order, without names; this is all that stands on the wire."""
    request = StatusRequest(RequestId("r"), "status")
    assert msgpack.unpackb(encode_message(request)) == ["StatusRequest", ["r", "status"]]


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        (["StatusRequest", ["r"]], "wrong number of fields"),
        (["StatusRequest", ["r", "status", 1]], "wrong number of fields"),
        (["StatusRequest", {"r": "status"}], "no list of fields"),
        (["StatusRequest", ["r", 5]], "5 where a str should be"),
        (["ShrinkRequest", ["r", [], True, ""]], "True where a count should be"),
        (["ShrinkRequest", ["r", [], -1, ""]], "-1 where a count should be"),
        (["ShrinkRequest", ["r", "w1", 1, ""]], "no list of fields"),
        (["Pulse", ["w", True, 1, 1, 1, ""]], "unknown kind 'Pulse'"),
        ([["StatusRequest"], []], "unknown kind"),
        (["StatusRequest"], "wrong number of fields"),
        ({}, "no list of fields"),
        (None, "no list of fields"),
    ],
)
def test_a_message_that_is_not_as_its_class_says_is_refused(tree: Any, says: str) -> None:
    """The sentence says what stands where something else should."""
    with pytest.raises(WireError, match="a control message cannot be read: ") as caught:
        decode_message(msgpack.packb(tree))
    assert says in str(caught.value)


def test_bytes_behind_a_message_are_refused() -> None:
    """Two messages in one, or rubbish at the end."""
    with pytest.raises(WireError):
        decode_message(encode_message(ENVELOPE) + b"\x00")


def test_a_message_of_megabytes_goes_through() -> None:
    """No ceiling here; who receives has a named limit."""
    tail = LogTail(LogNumber(1), (b"x" * 3_000_000, b"y"), False, "dir:log")
    sent = replace(ENVELOPE, message=tail)
    assert decode_message(encode_message(sent)) == sent


def test_a_wrong_message_of_our_own_is_our_bug() -> None:
    """What mypy would have found is said as such, and is never sent."""
    odd: list[Any] = [{"message": RENEWED}, {"term": 2**64}]
    for changes in odd:
        with pytest.raises(InvariantBroken, match="not as its class says"):
            encode_message(replace(ENVELOPE, **changes))


def test_a_log_record_says_what_is_wrong_with_it() -> None:
    """Foreign, newer, damaged: three different things for a person to do."""
    data = encode_record(RENEWED)
    assert data[:6] == b"ZLOG\x01\x00"
    assert decode_record(data) == RENEWED
    with pytest.raises(WireError, match="no record of a zstream control log"):
        decode_record(b"#!/bin/sh\n")
    with pytest.raises(WireError, match="no record of a zstream control log"):
        decode_record(b"ZLOG")
    with pytest.raises(WireError, match=r"newer zstream \(format 2\).* up to format 1\. Update"):
        decode_record(b"ZLOG\x02\x00" + data[6:])
    with pytest.raises(WireError, match="format version 0"):
        decode_record(b"ZLOG\x00\x00" + data[6:])
    with pytest.raises(WireError, match="checksum does not fit"):
        decode_record(data[:-1])
    body = msgpack.packb(["Vote", []])
    with pytest.raises(WireError, match="a log record cannot be read: unknown kind 'Vote'"):
        decode_record(b"ZLOG\x01\x00" + crc32(body).to_bytes(4, "little") + body)


def test_plain_values_are_json_able() -> None:
    """Tuples become lists; what is not plain is refused on both sides."""
    assert decode_plain(encode_plain({"a": (1, 2.5, None)})) == {"a": [1, 2.5, None]}
    with pytest.raises(TypeError):
        encode_plain({"a": object()})
    with pytest.raises(WireError, match="a plain value cannot be read"):
        decode_plain(msgpack.packb(msgpack.ExtType(1, b"")))
