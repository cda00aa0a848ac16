"""Records as JSON and as CSV rows: `from_json(Type)`, `to_json`, `json_line`, `row_decoder(Type)`.

    Python                            JSON
    dataclass NamedTuple @record      object, a member a field; unknown members are passed over
    list tuple set frozenset deque    array
    dict                              object; keys become text
    datetime date UUID Decimal        text (ISO 8601)
    timedelta                         number of seconds
    bytes                             text in base64
    Enum                              its value

A converter is built once for a type and then called once a record.
"""

from __future__ import annotations

import base64
import functools
import json
import types
import typing
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, TypeVar, Union, get_args, get_origin
from uuid import UUID

from zstream.errors import UsageError

T = TypeVar("T")
Converter = Callable[[Any], Any]

CSV_NOTHING = frozenset({"", "NA"})  # how CSV files write that there is no value


def from_json(type_: type[T]) -> Callable[[bytes | str], T]:
    """A decoder: JSON text -> a value of `type_`.

    The decoder raises ValueError that names the field where text and type do not fit.
    Raises UsageError at once for a type that JSON cannot give.
    """
    convert = _Conversions(cells=False).of(type_)

    def decode(text: bytes | str) -> T:
        value: T = convert(json.loads(text))
        return value

    return _returning(decode, type_)


def row_decoder(row: type[T]) -> Callable[[Mapping[str, str]], T]:
    """A decoder: one CSV row as column -> text, to a value of `row`, a type with named fields."""
    if not (isinstance(row, type) and _has_fields(row)):
        raise UsageError(f"CsvSource needs a dataclass or a NamedTuple for a row, it got {row!r}.")
    convert = _Conversions(cells=True).of(row)

    def decode(cells: Mapping[str, str]) -> T:
        value: T = convert(cells)
        return value

    return _returning(decode, row)


def to_json(value: object, /) -> bytes:
    """A value as compact JSON in UTF-8. Raises TypeError or ValueError when it has no such form."""
    return json.dumps(
        _plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    ).encode()


def json_line(value: object, /) -> bytes:
    """`to_json` and a newline."""
    return to_json(value) + b"\n"


def _returning(decode: Callable[[Any], T], type_: type[T]) -> Callable[[Any], T]:
    """Name and annotate a made decoder, so that operators and types are found as for any other."""
    decode.__name__ = f"decode_{getattr(type_, '__name__', 'value').lower()}"
    decode.__annotations__["return"] = type_
    return decode


# ---------------------------------------------------------------- values to plain JSON


def _plain(value: Any) -> Any:
    """The same value made of what the json module knows."""
    kind: type = type(value)
    if kind in (str, int, float, bool) or value is None:
        return value
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {_member(key): _plain(item) for key, item in value.items()}
    names = field_names(kind)
    if names is not None:
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=repr)  # the same text each time
    if isinstance(value, (list, tuple, deque)):
        return [_plain(item) for item in value]
    if isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"a {kind.__name__} has no JSON form")


def _member(key: Any) -> str:
    """A dict's key as the name of a JSON member."""
    plain = _plain(key)
    if isinstance(plain, str):
        return plain
    if plain is None or isinstance(plain, (bool, int, float)):
        return json.dumps(plain)
    raise TypeError(f"a dict with a {type(key).__name__} as key has no JSON form")


@functools.cache
def field_names(kind: type) -> tuple[str, ...] | None:
    """Names of a type's fields in order; None for a type without named fields."""
    if is_dataclass(kind):
        return tuple(field.name for field in fields(kind))
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        names: tuple[str, ...] = kind._fields
        return names
    if issubclass(kind, (str, int, float, bytes, tuple, list, set, frozenset, dict)):
        return None
    annotated = [getattr(base, "__annotations__", {}) for base in reversed(kind.__mro__[:-1])]
    return tuple(name for names in annotated for name in names) or None


def _has_fields(kind: type) -> bool:
    return field_names(kind) is not None


# ---------------------------------------------------------------- plain JSON to values


class _Conversions:
    """Converters by type hint. cells: every value is a CSV cell, a text, and says so itself."""

    def __init__(self, *, cells: bool) -> None:
        self._cells = cells
        self._made: dict[Any, Converter] = {}

    def of(self, hint: Any) -> Converter:
        """The converter for a hint; a type may hold itself."""
        try:
            if hint in self._made:
                return self._made[hint]
        except TypeError:  # an unhashable hint, such as a Literal of a list
            return self._build(hint)
        self._made[hint] = lambda value: self._made[hint](value)  # until it is built
        self._made[hint] = self._build(hint)
        return self._made[hint]

    def _build(self, hint: Any) -> Converter:
        origin, args = get_origin(hint), get_args(hint)
        if hint is Any or hint is object or isinstance(hint, TypeVar):
            return _as_it_is
        if origin is typing.Annotated:
            return self.of(args[0])
        if origin in (Union, types.UnionType):
            return self._union(args)
        if origin is Literal:
            return _one_of(args)
        if hint is None or hint is type(None):
            return _nothing
        kind = origin or hint
        if not isinstance(kind, type):
            raise UsageError(f"there is no way from JSON to {hint!r}.")
        if typing.is_typeddict(kind):
            return _as_it_is
        if issubclass(kind, Enum):
            return self._enum(kind)
        if kind in SCALARS:
            return _scalar(kind, self._cells)
        if _has_fields(kind):
            return self._fields(kind, hint)
        return self._collection(kind, args)

    def _union(self, args: tuple[Any, ...]) -> Converter:
        """The first alternative that fits; those that a JSON value is already come first."""
        may_be_none = type(None) in args
        some = [arg for arg in args if arg is not type(None)]
        exact = {arg: self.of(arg) for arg in some}
        ready = tuple(arg for arg in some if arg in (str, int, float, bool))
        cells = self._cells

        def convert(value: Any) -> Any:
            if may_be_none and (value is None or (cells and value in CSV_NOTHING)):
                return None
            if not cells and type(value) in ready:
                return value
            complaints = []
            for converter in exact.values():
                try:
                    return converter(value)
                except (ValueError, TypeError) as error:
                    complaints.append(str(error))
            raise ValueError(" and ".join(complaints))

        return convert

    def _enum(self, kind: type[Enum]) -> Converter:
        if not self._cells:
            return kind
        by_text = {str(member.value): member for member in kind}

        def convert(text: str) -> Enum:
            if text not in by_text:
                raise ValueError(f"{text!r} is none of {', '.join(by_text)}")
            return by_text[text]

        return convert

    def _fields(self, kind: type, hint: Any) -> Converter:
        hints = typing.get_type_hints(kind)
        names = field_names(kind) or ()
        converters = {name: self.of(hints.get(name, Any)) for name in names}
        required = frozenset(names) - _with_default(kind)
        cells = self._cells

        def convert(members: Any) -> Any:
            if not isinstance(members, Mapping):
                raise ValueError(f"{kind.__name__} needs an object, not {members!r:.60}")
            given = {}
            for name, converter in converters.items():
                if name not in members:
                    if name in required:
                        raise ValueError(f"{kind.__name__} needs {name}, which is not there")
                    continue
                text = members[name]
                if cells and text in CSV_NOTHING and name not in required:
                    continue
                try:
                    given[name] = converter(text)
                except (ValueError, TypeError, ArithmeticError) as error:
                    raise ValueError(f"{kind.__name__}.{name}: {error}") from None
            return kind(**given)

        return convert

    def _collection(self, kind: type, args: tuple[Any, ...]) -> Converter:
        if self._cells:
            raise UsageError(f"a CSV cell cannot be a {kind.__name__}.")
        if issubclass(kind, Mapping):
            into: Callable[..., Any] = dict if kind.__module__ == "collections.abc" else kind
            key, item = (self.of(arg) for arg in args) if args else (_as_it_is, _as_it_is)
            return lambda value: into(
                (key(name), item(member)) for name, member in _checked(dict, value).items()
            )
        if kind is tuple and args and args[-1] is not Ellipsis:
            return _tuple([self.of(arg) for arg in args])
        made = {"Sequence": list, "Iterable": list, "Collection": list}.get(kind.__name__, kind)
        if made not in (list, tuple, set, frozenset, deque):
            raise UsageError(f"there is no way from JSON to {kind.__name__}.")
        element = self.of(args[0]) if args else _as_it_is
        return lambda value: made(element(item) for item in _checked(list, value))


def _as_it_is(value: Any) -> Any:
    return value


def _nothing(value: Any) -> None:
    if value is not None:
        raise ValueError(f"{value!r:.60} where null is wanted")


def _one_of(values: tuple[Any, ...]) -> Converter:
    by_text = {str(value): value for value in values}

    def convert(value: Any) -> Any:
        if value in values:
            return value
        if isinstance(value, str) and value in by_text:
            return by_text[value]
        raise ValueError(f"{value!r:.60} is none of {', '.join(by_text)}")

    return convert


def _checked(kind: type[T], value: Any) -> T:
    if not isinstance(value, kind):
        raise ValueError(f"{value!r:.60} where {JSON_WORDS[kind]} is wanted")
    return value


def _tuple(converters: list[Converter]) -> Converter:
    def convert(value: Any) -> tuple[Any, ...]:
        items = _checked(list, value)
        if len(items) != len(converters):
            raise ValueError(f"{len(items)} items where {len(converters)} are wanted")
        return tuple(converter(item) for converter, item in zip(converters, items, strict=True))

    return convert


def _with_default(kind: type) -> frozenset[str]:
    """Names of the fields that may be left out."""
    if is_dataclass(kind):
        return frozenset(
            field.name
            for field in fields(kind)
            if field.default is not MISSING or field.default_factory is not MISSING
        )
    return frozenset(getattr(kind, "_field_defaults", ()))


# ---------------------------------------------------------------- single values


def _instant(value: Any) -> datetime:
    text = _checked(str, value)
    if text.endswith(("Z", "z")):  # Python 3.10 does not know it
        text = text[:-1] + "+00:00"
    return datetime.fromisoformat(text)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{value!r:.60} where a number is wanted")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r:.60} where a whole number is wanted")
    return value


def _length(value: Any) -> timedelta:
    return timedelta(seconds=float(value))


def _bytes(value: Any) -> bytes:
    return base64.b64decode(_checked(str, value), validate=True)


def _decimal(value: Any) -> Decimal:
    try:
        return Decimal(str(value))
    except ArithmeticError:
        raise ValueError(f"{value!r:.60} where a decimal number is wanted") from None


def _cell_bool(text: str) -> bool:
    if text.lower() not in CELL_BOOLS:
        raise ValueError(f"{text!r} where true or false is wanted")
    return CELL_BOOLS[text.lower()]


def _cell_whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        number = float(text)  # data frames write 5.0 for a 5 beside an empty cell
        if not number.is_integer():
            raise ValueError(f"{text!r} where a whole number is wanted") from None
        return int(number)


CELL_BOOLS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
JSON_WORDS: dict[type, str] = {str: "a text", dict: "an object", list: "an array", bool: "a bool"}
SCALARS: dict[type, tuple[Converter, Converter]] = {  # from JSON, from a CSV cell
    str: (lambda value: _checked(str, value), str),
    bool: (lambda value: _checked(bool, value), _cell_bool),
    int: (_whole, _cell_whole),
    float: (_number, float),
    bytes: (_bytes, str.encode),
    datetime: (_instant, _instant),
    date: (
        lambda value: date.fromisoformat(_checked(str, value)),
        date.fromisoformat,
    ),
    timedelta: (_length, _length),
    Decimal: (_decimal, _decimal),
    UUID: (lambda value: UUID(_checked(str, value)), UUID),
}


def _scalar(kind: type, cells: bool) -> Converter:
    return SCALARS[kind][1 if cells else 0]
