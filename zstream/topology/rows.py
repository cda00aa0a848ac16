"""Records as rows of a table, in the text form that PostgreSQL's COPY reads.

    Python                               PostgreSQL
    None                                 NULL
    bool int float Decimal str UUID      as they are
    bytes                                bytea
    date time timedelta                  date, time, interval
    datetime                             timestamptz; one without a zone is taken as UTC
    Enum                                 its value
    list tuple                           array
    dict dataclass NamedTuple @record    json, jsonb; members as `to_json` writes them

A row is one line with the names of its columns, as a JSON array, and one with their values, those
of the key first. So nothing of PostgreSQL is needed where records are made and checked.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from zstream.topology.json_values import field_names, to_json

_NULL = "\\N"
_SHAPES_KEPT = 256  # sets of columns whose order is remembered
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_NUL_IN_JSON = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def row_encoder(key: tuple[str, ...]) -> Callable[[object], bytes]:
    """A function from a record to its row. key: the columns that tell rows apart.

    It raises TypeError or ValueError that names the column which PostgreSQL could not take.
    """

    def row(record: object) -> bytes:
        cells = _cells(record)
        names, head = _ordered(tuple(cells), key)
        values = [_cell(name, cells[name]) for name in names]
        for name, value in zip(key, values):  # noqa: B905 -- the key is what begins the row
            if value == _NULL:
                raise ValueError(f"the column {name} is the key's, and its value is None")
        return b"\n".join((head, "\t".join(values).encode()))

    return row


def cut_row(row: bytes) -> tuple[bytes, bytes]:
    """The line of names and the line of values of a row."""
    names, _, values = row.partition(b"\n")
    return names, values


def column_names(names: bytes) -> tuple[str, ...]:
    """The columns that a row's line of names is about."""
    return tuple(json.loads(names))


def shown_values(values: bytes) -> tuple[str, ...]:
    """The values of a row as a person may read them."""
    return tuple(values.decode().split("\t"))


def _cells(record: object) -> Mapping[str, Any]:
    if isinstance(record, Mapping):
        return record
    kind: type = type(record)
    names = field_names(kind)
    if names is None:
        raise TypeError(
            f"a {kind.__name__} is no row; a row is a dict, a dataclass or a NamedTuple"
        )
    return {name: getattr(record, name) for name in names}


@functools.lru_cache(_SHAPES_KEPT)
def _ordered(names: tuple[str, ...], key: tuple[str, ...]) -> tuple[tuple[str, ...], bytes]:
    """The columns with those of the key first, and the line that says so."""
    for name in names:
        if not isinstance(name, str) or not name or "\0" in name:
            raise TypeError(f"{name!r} is no name of a column")
    missing = [name for name in key if name not in names]
    if missing:
        raise ValueError(
            f"the key's column {missing[0]} is not in the record, which has {', '.join(names)}"
        )
    ordered = (*key, *(name for name in names if name not in key))
    return ordered, json.dumps(ordered).encode()


def _cell(name: str, value: Any) -> str:
    """A value in COPY's text form, where None is told from every text."""
    if value is None:
        return _NULL
    try:
        text = _text(value)
        text.encode()
    except UnicodeEncodeError:
        says = f"the column {name} holds text that is no Unicode: {value!r:.100}"
        raise ValueError(says) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise type(error)(f"the column {name}: {error}") from None
    if "\0" in text:
        raise ValueError(f"the column {name} holds a NUL character, which PostgreSQL cannot keep")
    return text.translate(_ESCAPES) if "\\" in text or not text.isprintable() else text


def _text(value: Any) -> str:
    """What PostgreSQL's own input of the type reads."""
    kind: type = type(value)
    for base in kind.__mro__:
        if base in _TEXTS:
            return _TEXTS[base](value)
    if field_names(kind) is not None:
        return _json(value)
    raise TypeError(
        f"a {kind.__name__} is nothing that PostgreSQL can keep. Give a number, text, "
        "bytes, a date or time, a list, or a dict"
    )


def _json(value: Any) -> str:
    text = to_json(value).decode()
    if _NUL_IN_JSON.search(text):
        raise ValueError("it holds a NUL character, which PostgreSQL cannot keep")
    return text


def _tuple(value: tuple[Any, ...]) -> str:
    kind: type = type(value)
    return _array(value) if field_names(kind) is None else _json(value)


def _array(values: list[Any] | tuple[Any, ...]) -> str:
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, (list, tuple)):
        return _text(value)
    text = _text(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _moment(value: datetime) -> str:
    """In UTC: a column without a time zone drops the offset without a word."""
    return (value.astimezone(timezone.utc) if value.tzinfo is not None else value).isoformat()


def _time(value: time) -> str:
    if value.tzinfo is not None:
        raise TypeError("a time of day with a time zone is on no certain day. Give a datetime")
    return value.isoformat()


def _interval(value: timedelta) -> str:
    """Both signs are written: some settings of a server carry the first one on."""
    return f"{value.days:+d} days {value.seconds:+d}.{value.microseconds:06d} seconds"


def _number(value: Decimal) -> str:
    if value.is_snan():
        raise ValueError("a signalling NaN is nothing that PostgreSQL can keep")
    return str(value)


# The nearest class of a value decides: bool before int, datetime before date, Enum before either.
_TEXTS: dict[type, Callable[[Any], str]] = {
    bool: lambda value: "t" if value else "f",
    int: int.__repr__,
    float: float.__repr__,
    str: str.__str__,
    bytes: lambda value: f"\\x{value.hex()}",
    Decimal: _number,
    UUID: str,
    datetime: _moment,
    date: date.isoformat,
    time: _time,
    timedelta: _interval,
    Enum: lambda value: _text(value.value),
    list: _array,
    tuple: _tuple,
    dict: _json,
}
