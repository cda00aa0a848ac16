"""Control messages and log records as bytes: strict, by the type hints of their dataclasses.

    message  = [class name, [field, field, ...]]            msgpack, fields in order
    record   = magic "ZLOG", format version u16, crc32 of the body u32, body (as a message)
    savepoint = magic "ZSAV", the rest like a record; the body is the fields of a Savepoint

Decoding checks everything against the hints: whatever comes in is either exactly such a message
or a WireError. All ints in messages are counts, numbers or sizes, so none may be negative.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from struct import Struct
from typing import Any, Union, get_args, get_origin, get_type_hints
from zlib import crc32

import msgpack

from zstream.errors import InvariantBroken, WireError
from zstream.model.membership import RoutingTable
from zstream.model.records import LogRecord
from zstream.model.savepoint import Savepoint
from zstream.wire.messages import Answer, ClientRequest, Envelope

LOG_FORMAT = 1
SAVEPOINT_FORMAT = 1

Message = Envelope | ClientRequest | Answer

_LOG_MAGIC = b"ZLOG"
_SAVEPOINT_MAGIC = b"ZSAV"
_HEADER = Struct("<4sHI")

Step = Callable[[Any], Any]  # one field's value to what msgpack packs, or back and checked


def encode_message(message: Message) -> bytes:
    """A control message as bytes."""
    return _encode(message, Message)


def decode_message(data: bytes) -> Message:
    """The message. Raises WireError for anything that is not exactly one."""
    message: Message = _decode(data, Message, "control message")
    return message


def encode_record(record: LogRecord) -> bytes:
    """A log record as it stands in the control log."""
    return _sealed(_LOG_MAGIC, LOG_FORMAT, _encode(record, LogRecord))


def decode_record(data: bytes) -> LogRecord:
    """The log record. Raises WireError that says whether it is foreign, newer, or damaged."""
    body = _unsealed(data, _LOG_MAGIC, LOG_FORMAT, "control log")
    record: LogRecord = _decode(body, LogRecord, "log record")
    return record


def encode_savepoint(savepoint: Savepoint) -> bytes:
    """A savepoint's description as it stands in its store."""
    return _sealed(_SAVEPOINT_MAGIC, SAVEPOINT_FORMAT, _encode(savepoint, Savepoint))


def decode_savepoint(data: bytes) -> Savepoint:
    """The description. Raises WireError that says whether it is foreign, newer, or damaged."""
    body = _unsealed(data, _SAVEPOINT_MAGIC, SAVEPOINT_FORMAT, "savepoint")
    savepoint: Savepoint = _decode(body, Savepoint, "savepoint's description")
    return savepoint


def _sealed(magic: bytes, version: int, body: bytes) -> bytes:
    return _HEADER.pack(magic, version, crc32(body)) + body


def _unsealed(data: bytes, magic: bytes, newest: int, what: str) -> bytes:
    """The body, when it is ours and sound."""
    if data[:4] != magic or len(data) < _HEADER.size:
        raise WireError(f"this is no record of a zstream {what}.")
    _, version, checksum = _HEADER.unpack_from(data)
    if version > newest:
        raise WireError(
            f"the {what} was written by a newer zstream (format {version}); "
            f"this one reads up to format {newest}. Update this worker."
        )
    if version < 1:
        raise WireError(f"a record of the {what} is damaged: format version 0.")
    body = data[_HEADER.size :]
    if crc32(body) != checksum:
        raise WireError(f"a record of the {what} is damaged: its checksum does not fit.")
    return body


def encode_plain(value: Any) -> bytes:
    """A JSON-able value: None, bool, int, float, str, and lists and str-keyed dicts of them.

    Raises TypeError, OverflowError or ValueError for anything else.
    """
    data: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return data


def decode_plain(data: bytes) -> Any:
    """The value, tuples as lists. Raises WireError for what `encode_plain` does not write."""
    try:
        return msgpack.unpackb(data, unicode_errors="surrogatepass", ext_hook=_no_extension)
    except Exception as error:
        raise WireError(f"a plain value cannot be read: {error}") from error


def _encode(message: Any, hint: Any) -> bytes:
    try:
        data: bytes = msgpack.packb(
            _encoder(hint)(message), strict_types=True, unicode_errors="surrogatepass"
        )
    except Exception as error:
        raise InvariantBroken(f"not as its class says: {message!r:.200}: {error!r}") from error
    return data


def _decode(data: bytes, hint: Any, what: str) -> Any:
    try:
        tree = msgpack.unpackb(data, unicode_errors="surrogatepass", ext_hook=_no_extension)
        return _decoder(hint)(tree)
    except Exception as error:  # rubbish fails in a hundred ways, and none may get out
        raise WireError(f"a {what} cannot be read: {error}") from error


def _no_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"unknown extension type {code}")


# ---------------------------------------------------------------- by type hints


def _hints(cls: type) -> list[Any]:
    hints = get_type_hints(cls)
    return [hints[field.name] for field in fields(cls)]


def _plain(hint: Any) -> Any:
    """The hint without NewType: Term is an int."""
    while hasattr(hint, "__supertype__"):
        hint = hint.__supertype__
    return hint


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else ()


def _but_none(members: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(member for member in members if member is not type(None))


@cache
def _encoder(hint: Any) -> Step:
    hint = _plain(hint)
    if members := _members(hint):
        present = _but_none(members)
        step = _encoder(present[0]) if len(present) == 1 else _union_encoder(present)
        return step if present == members else lambda value: None if value is None else step(value)
    if is_dataclass(hint):
        return _class_encoder(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Mapping:
        inner = _encoder(arguments[1])
        return lambda value: {key: inner(item) for key, item in value.items()}
    if origin is tuple and arguments[1:] == (...,):
        inner = _encoder(arguments[0])
        return list if inner is _as_is else lambda value: list(map(inner, value))
    if origin is tuple:
        steps = [_encoder(argument) for argument in arguments]
        return lambda value: [step(item) for step, item in zip(steps, value, strict=True)]
    return float if hint is float else _as_is


def _as_is(value: Any) -> Any:
    return value


def _class_encoder(cls: Any) -> Step:
    pairs = [
        (field.name, _encoder(hint)) for field, hint in zip(fields(cls), _hints(cls), strict=True)
    ]
    return lambda value: [step(getattr(value, name)) for name, step in pairs]


def _union_encoder(members: tuple[Any, ...]) -> Step:
    steps = {cls: (cls.__name__, _encoder(cls)) for cls in members}

    def encode(value: Any) -> Any:
        name, step = steps[type(value)]
        return [name, step(value)]

    return encode


@cache
def _decoder(hint: Any) -> Step:
    hint = _plain(hint)
    if members := _members(hint):
        present = _but_none(members)
        step = _decoder(present[0]) if len(present) == 1 else _union_decoder(present)
        return step if present == members else lambda value: None if value is None else step(value)
    if is_dataclass(hint):
        return _class_decoder(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Mapping:
        return _mapping_decoder(_decoder(arguments[1]))
    if origin is tuple and arguments[1:] == (...,):
        return _row_decoder(arguments[0])
    if origin is tuple:
        return _tuple_decoder([_decoder(argument) for argument in arguments])
    return _natural if hint is int else _scalar_decoder(hint)


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.40} where a count should be")
    return value


def _scalar_decoder(cls: type) -> Step:
    def decode(value: Any) -> Any:
        if type(value) is not cls:
            raise ValueError(f"{value!r:.40} where a {cls.__name__} should be")
        return value

    return decode


def _list(value: Any, length: int | None = None) -> list[Any]:
    if type(value) is not list or (length is not None and len(value) != length):
        raise ValueError("wrong number of fields" if type(value) is list else "no list of fields")
    return value


def _class_decoder(cls: Any) -> Step:
    steps = [_decoder(hint) for hint in _hints(cls)]
    check = _CHECKS.get(cls, _as_is)

    def decode(value: Any) -> Any:
        row = _list(value, len(steps))
        return check(cls(*[step(item) for step, item in zip(steps, row, strict=True)]))

    return decode


def _union_decoder(members: tuple[Any, ...]) -> Step:
    steps = {cls.__name__: _decoder(cls) for cls in members}

    def decode(value: Any) -> Any:
        name, content = _list(value, 2)
        step = steps.get(name) if type(name) is str else None
        if step is None:
            raise ValueError(f"unknown kind {name!r:.40}")
        return step(content)

    return decode


def _mapping_decoder(inner: Step) -> Step:
    def decode(value: Any) -> Any:
        if type(value) is not dict or not set(map(type, value)) <= {str}:
            raise ValueError("no mapping by names")
        return {key: inner(item) for key, item in value.items()}

    return decode


def _row_decoder(hint: Any) -> Step:
    inner = _decoder(hint)
    if _plain(hint) is not int:
        return lambda value: tuple(map(inner, _list(value)))

    def decode(value: Any) -> Any:
        """A table's owners are a thousand ints, so they are checked by loops in C."""
        row = _list(value)
        if not set(map(type, row)) <= {int} or min(row, default=0) < 0:
            raise ValueError("something else where counts should be")
        return tuple(row)

    return decode


def _tuple_decoder(steps: list[Step]) -> Step:
    def decode(value: Any) -> Any:
        row = _list(value, len(steps))
        return tuple([step(item) for step, item in zip(steps, row, strict=True)])

    return decode


def _checked_table(table: RoutingTable) -> RoutingTable:
    if max(table.owners + table.spread, default=-1) >= len(table.members):
        raise ValueError("a routing table names members that it does not have")
    return table


_CHECKS: dict[type, Step] = {RoutingTable: _checked_table}
