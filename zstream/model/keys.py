"""From a key to its key group, the same on every worker, host and version of Python.

A key group is `mixed(crc32(key_bytes(key))) % count`. `key_bytes` writes a type's letter and the
content, so that keys that are equal in Python (`1 == True`, a NamedTuple and its tuple, one instant
in two time zones) get the same bytes, and keys that differ get different ones. `hash()` would not
do: it is salted per process for strings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from enum import Enum, Flag
from itertools import filterfalse, repeat
from typing import Any
from uuid import UUID
from zlib import crc32

from zstream.errors import CannotTravel

KEYS_CACHED_MAX = 1 << 20  # about 100 MB of small string keys; then the cache starts anew

_CRC_OF_STR = crc32(b"s")  # how `key_bytes` begins for a str
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_ALLOWED = (
    "A key may be a str, bytes, int, bool, None, date, datetime, UUID, Enum, "
    "or a tuple or NamedTuple of these"
)


class KeyGroups:
    """key -> key group, computed once and remembered: a batch at a time, because what is asked for
    key by key costs a call for each key that is new.

    count: the topology's number of key groups, fixed for its life.
    """

    def __init__(self, count: int) -> None:
        self._numbers = tuple(range(count))  # one object for each, not one for each key
        self._known: dict[Any, int] = {}

    def of(self, keys: Sequence[Any]) -> list[int]:
        """The key group of each key.

        Raises CannotTravel for what cannot be a key, and Python's own TypeError for what cannot be
        hashed. Whatever equals a key seen before has its key group: `1.0` passes where 1 is known.
        """
        try:
            return list(map(self._known.__getitem__, keys))
        except KeyError:
            self._learn(keys)
        return list(map(self._known.__getitem__, keys))

    def _learn(self, keys: Sequence[Any]) -> None:
        if len(self._known) + len(keys) > KEYS_CACHED_MAX:
            self._known.clear()
        new = list(filterfalse(self._known.__contains__, dict.fromkeys(keys)))
        numbers, count = self._numbers, len(self._numbers)
        groups = [numbers[mixed(crc) % count] for crc in _checksums(new)]
        self._known.update(zip(new, groups, strict=True))


def mixed(crc: int) -> int:
    """Spread 32 bits over 32 bits, so that keys that differ in one letter lie far apart.

    A CRC is linear: without this, the 26 letters fall on two of four workers. The steps are the
    finalizer of MurmurHash3.
    """
    crc ^= crc >> 16
    crc = crc * 0x85EBCA6B & 0xFFFFFFFF
    crc ^= crc >> 13
    crc = crc * 0xC2B2AE35 & 0xFFFFFFFF
    return crc ^ crc >> 16


def _checksums(keys: list[Any]) -> Iterable[int]:
    if set(map(type, keys)) == {str}:  # nearly always: what `key_bytes` writes, in C
        contents = map(str.encode, keys, repeat("utf-8"), repeat("surrogatepass"))
        return map(crc32, contents, repeat(_CRC_OF_STR))
    return map(crc32, map(key_bytes, keys))


def key_bytes(key: object) -> bytes:
    """The key's canonical bytes: a == b gives equal bytes, a != b different ones.

    Raises CannotTravel, with what is allowed, for any other type. Floats are refused because a
    sum of them seldom comes out as the same key twice.
    """
    cls = type(key)
    write = _WRITERS.get(cls)
    if write is None:
        write = _writer_of_subclass(cls)
    try:
        return write(key)
    except RecursionError:
        raise CannotTravel("the key is a tuple that nests too deep.") from None


def wire_name(cls: type) -> str:
    """What a class is called between workers: `@record(name=)`, or its own name.

    Never the module's name: the same class is `__main__.Vote` here and `votes.Vote` there.
    """
    marked: str | None = cls.__dict__.get("__zstream_name__")
    return marked or cls.__qualname__.replace("<locals>.", "")


def _write_int(key: Any) -> bytes:
    number = int.__index__(key)
    return b"i" + number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)


def _write_str(key: Any) -> bytes:
    return b"s" + str.__str__(key).encode("utf-8", "surrogatepass")


def _write_bytes(key: Any) -> bytes:
    return b"b" + bytes(memoryview(key))


def _write_datetime(key: Any) -> bytes:
    """Naive: what the clock shows. Aware: the instant, whatever the zone."""
    shown = key.replace(tzinfo=None, fold=0) - _EPOCH
    offset = key.utcoffset()
    if offset is None:
        return b"t" + _write_int(shown // _MICROSECOND)
    if key.replace(fold=1 - key.fold).utcoffset() != offset:
        # Python takes both readings for equal, and a worker that got one would not.
        raise CannotTravel(
            f"the key {key!r} stands in an hour that a change of clocks repeats or skips. "
            "Convert it to UTC first."
        )
    return b"z" + _write_int((shown - offset) // _MICROSECOND)


def _write_tuple(key: Any) -> bytes:
    parts = [b"("]
    for item in key:
        data = key_bytes(item)
        parts.append(len(data).to_bytes(4, "little"))
        parts.append(data)
    return b"".join(parts)


def _write_member(key: Any) -> bytes:
    """An Enum that equals only itself, so its class belongs to it. A Flag may have no name."""
    member = key.value if isinstance(key, Flag) else key.name
    return b"e" + _write_tuple((wire_name(type(key)), member))


_WRITERS: dict[type, Callable[[Any], bytes]] = {
    str: _write_str,
    int: _write_int,
    bool: _write_int,
    bytes: _write_bytes,
    tuple: _write_tuple,
    datetime: _write_datetime,
    type(None): lambda key: b"n",
    date: lambda key: b"d" + key.isoformat().encode(),
    UUID: lambda key: b"u" + key.bytes,
}

KEY_TYPES = frozenset({str, int, bool, bytes, type(None), date, UUID})  # whatever the value is

# What a subclass compares like decides how it is written; one with an __eq__ of its own cannot be.
_ENUM_WRITERS: dict[Any, Callable[[Any], bytes]] = {
    object.__eq__: _write_member,
    int.__eq__: _write_int,
    str.__eq__: _write_str,
    bytes.__eq__: _write_bytes,
}


def _writer_of_subclass(cls: type) -> Callable[[Any], bytes]:
    equality: Any = cls.__eq__
    if issubclass(cls, Enum) and equality in _ENUM_WRITERS:
        return _ENUM_WRITERS[equality]
    if issubclass(cls, tuple) and hasattr(cls, "_fields") and equality is tuple.__eq__:
        return _write_tuple
    hint = ". Round it to an int, or use a str." if issubclass(cls, float) else "."
    raise CannotTravel(f"a {cls.__qualname__} cannot be a key. {_ALLOWED}{hint}")
