"""Values of the user's program as bytes, and back: keys, records and state.

Everything is a column; a single value is a column of one. A column becomes a tree of nodes
`[code, head, [nodes of its parts]]` (see `zstream.wire.columns`) that is packed by one call of
msgpack. Classes travel by wire name, version and field names, once for each column, and their
fields as columns; so a later version of a class can read what an older one wrote.

What comes back is equal and of the same type, with these exceptions, which Python's own `copy`
would not make: an object that stood in two places comes back as two; a time zone with a name
(zoneinfo) comes back as the fixed offset that it had at that instant.

No class is ever looked up by module and no constructor is called: objects are made with
`object.__new__` and their fields set, so `__init__` and `__post_init__` do not run again.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePath
from typing import Any, TypeVar, overload

import msgpack

from zstream.errors import CannotTravel, WireError
from zstream.model.keys import wire_name
from zstream.wire.classes import ClassForm, EnumForm, Marks, form_of
from zstream.wire.columns import (
    CLASS,
    ENUM,
    JOINERS,
    PLAIN,
    PLAIN_TYPES,
    RECORDS,
    SPLITTERS,
    UNION,
    Column,
    Split,
    kinds_in,
    split_union,
)

_pack_fast: Callable[[Any], bytes] | None
try:
    from msgspec.msgpack import encode as _pack_fast
except ImportError:  # the extra "fast", which nobody needs
    _pack_fast = None

LEVELS_MAX = 100  # of nodes, each two deep for msgpack, which stops at 511
_LEVELS_BEFORE_LOOKING = 4  # what contains itself grows with each level: look early
_BIG_INT = 1  # msgpack extension type: an int over 64 bits, little-endian, signed
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement

C = TypeVar("C", bound=type)
Migrate = Callable[[dict[str, Any], int], dict[str, Any]]


@overload
def record(cls: C, /) -> C: ...


@overload
def record(
    *,
    name: str | None = None,
    version: int = 1,
    dropped: Sequence[str] = (),
    migrate: Migrate | None = None,
) -> Callable[[C], C]: ...


def record(
    cls: C | None = None,
    /,
    *,
    name: str | None = None,
    version: int = 1,
    dropped: Sequence[str] = (),
    migrate: Migrate | None = None,
) -> C | Callable[[C], C]:
    """Mark a class as one whose objects may travel, or say how its form has changed.

    A plain class travels by its `__slots__` and what stands in `__dict__`. Dataclasses,
    NamedTuples and Enums travel unmarked; on them this gives what follows.

    name: what the class is called on the wire; give the old name after renaming a class.
    version: a number that you raise when fields change their meaning.
    dropped: names of fields that older versions had, to be passed over. A field that has come
    with a default needs nothing.
    migrate: `migrate(fields, version)` gets the fields of one object that an older version wrote
    and returns those of this version.
    """

    if isinstance(dropped, str):
        raise TypeError(f'dropped is a list of names: dropped=["{dropped}"].')

    def mark(marked: C) -> C:
        Marks.put(marked, Marks(version, tuple(dropped), migrate), name)
        return marked

    return mark if cls is None else mark(cls)


class _Stuck(Exception):
    """Something in a value that cannot travel; gathers the names of the fields it lies in."""

    def __init__(self, alone: str, in_field: str = "") -> None:
        super().__init__(alone)
        self.alone = alone
        self.in_field = in_field or f": {alone}"
        self.fields: list[str] = []

    def says(self) -> str:
        if not self.fields:
            return self.alone
        return f"the field {'.'.join(reversed(self.fields))}{self.in_field}"


class Registry:
    """The classes that travel, by wire name, and the encoding of values made of them.

    A topology registers, when it is built, the classes that it finds in type hints and specs, so
    that every worker knows the same. `pack` also registers a dataclass, NamedTuple, Enum or
    `@record` class when it meets it first; a worker that does not know the name yet cannot read
    it and says so with a WireError.
    """

    def __init__(self) -> None:
        self._forms: dict[str, ClassForm | EnumForm] = {}
        self._splitters: dict[type, Callable[[Column], Split]] = dict(SPLITTERS)

    def register(self, cls: type) -> None:
        """Let objects of a class travel. Doing it again is harmless.

        Raises CannotTravel for a class that is no dataclass, NamedTuple, Enum or `@record` class,
        and for one whose wire name another class has.
        """
        if cls in self._splitters:
            return
        form = form_of(cls)
        if form is None:
            raise CannotTravel(_why_not(cls).alone)
        name = wire_name(cls)
        other = self._forms.get(name)
        if other is not None:
            raise CannotTravel(
                f"two classes are called {name}{_places(other.cls, cls)}. "
                "Give one of them another name with @zstream.record(name=...)."
            )
        self._forms[name] = form
        self._splitters[cls] = form.split

    @staticmethod
    def registrable(cls: type) -> bool:
        """Whether `register` takes this class (it is a dataclass, NamedTuple, Enum, @record)."""
        return form_of(cls) is not None

    def known(self, name: str) -> bool:
        """Whether a class of this wire name is registered."""
        return name in self._forms

    def names(self) -> tuple[str, ...]:
        """Wire names of the registered classes, sorted."""
        return tuple(sorted(self._forms))

    def pack(self, value: object) -> bytes:
        """One value as bytes. Raises CannotTravel and names the field that cannot."""
        return self.pack_column([value])

    def unpack(self, data: bytes) -> Any:
        """The value. Raises WireError for anything that `pack` does not write."""
        column = self.unpack_column(data)
        if len(column) != 1:
            raise WireError(f"{len(column)} values where one should be.")
        return column[0]

    def pack_column(self, values: list[Any]) -> bytes:
        """A list of values as bytes; much cheaper than packing them one by one."""
        try:
            return _packed(self._encode(list(values), 0))
        except _Stuck as stuck:
            raise CannotTravel(stuck.says()) from stuck.__cause__
        except RecursionError:
            raise CannotTravel("a value contains itself, or nests too deep.") from None
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise CannotTravel(f"a value cannot be encoded: {error}") from error

    def unpack_column(self, data: bytes) -> list[Any]:
        """The values. Raises WireError for anything that `pack_column` does not write."""
        try:
            node = msgpack.unpackb(
                data, ext_hook=_unpack_ext, unicode_errors="surrogatepass", strict_map_key=False
            )
            return self._decode(node)
        except WireError:
            raise
        except Exception as error:  # rubbish fails in a hundred ways, and none may get out
            raise WireError(f"values cannot be read: {type(error).__name__}: {error}") from error

    # ------------------------------------------------------------ the tree

    def _encode(self, column: Column, level: int) -> list[Any]:
        kinds = kinds_in(column)
        if kinds <= PLAIN_TYPES:
            return [PLAIN, column, []]
        if level == _LEVELS_BEFORE_LOOKING:
            self._refuse_endless(column)
        code, head, parts = self._split(column, kinds)
        nodes = []
        for at, part in enumerate(parts):
            try:
                nodes.append(self._encode(part, level + 1))
            except _Stuck as stuck:
                if code == CLASS:
                    stuck.fields.append(head[2][at])
                elif code == RECORDS:
                    stuck.fields.append(head[at])
                raise
        return [code, head, nodes]

    def _split(self, column: Column, kinds: set[type]) -> Split:
        if len(kinds) > 1:
            return split_union(
                column, [None if kind in PLAIN_TYPES else kind for kind in map(type, column)]
            )
        (kind,) = kinds
        split = self._splitters.get(kind)
        if split is None:
            if form_of(kind) is None:
                raise _why_not(kind)
            self.register(kind)
            split = self._splitters[kind]
        try:
            return split(column)
        except CannotTravel as error:
            raise _Stuck(error.says) from error
        except Exception as error:  # a property, a tzinfo: it is the user's code that runs here
            raise _Stuck(f"a {kind.__qualname__} cannot be encoded: {error!r}") from error

    def _refuse_endless(self, column: Column) -> None:
        """Go down level by level, each object once a level: what has an end comes to it."""
        for _ in range(LEVELS_MAX):
            deeper: dict[int, Any] = {}
            for kind in set(map(type, column)) - PLAIN_TYPES:
                for part in self._held_by([item for item in column if type(item) is kind]):
                    if not PLAIN_TYPES.issuperset(map(type, part)):
                        deeper.update(zip(map(id, part), part, strict=True))
            column = list(deeper.values())
            if not column:
                return
        raise _Stuck("a value contains itself, or nests too deep.")

    def _held_by(self, alike: Column) -> list[Column]:
        try:
            code, _, parts = self._split(alike, {type(alike[0])})
        except _Stuck:  # will be met again on the way that knows the names of fields
            return []
        if code == UNION:  # of shapes: the parts are the items themselves
            return [held for part in parts for held in self._held_by(part)]
        return parts

    def _decode(self, node: Any) -> Column:
        code, head, nodes = node
        parts = [self._decode(part) for part in nodes]
        if code == CLASS:
            name, version, fields = head
            return self._form(name, ClassForm).join(version, fields, parts)
        if code == ENUM:
            name, members = head
            return self._form(name, EnumForm).join(members)
        items = JOINERS[code](head, parts)
        if type(items) is not list:
            raise ValueError("a column is not a list")
        return items

    def _form(self, name: str, kind: type[F]) -> F:
        form = self._forms.get(name)
        if form is None:
            raise WireError(
                f"class {name} is not known on this worker. Name it in a type hint of the "
                "function that makes it, so that it is found when the topology is built."
            )
        if not isinstance(form, kind):
            raise WireError(f"class {name} is another kind of class on this worker.")
        return form


F = TypeVar("F", ClassForm, EnumForm)


def _packed(node: list[Any]) -> bytes:
    """msgspec writes the same bytes as msgpack in a third of the time. It takes subclasses, sets
    and more for what they are like: but nothing comes here whose type was not looked at.
    """
    if _pack_fast is not None:
        try:
            return _pack_fast(node)
        except (OverflowError, UnicodeEncodeError):
            pass  # big ints and lone surrogates, for which msgpack has a way
    pack = partial(msgpack.packb, node, strict_types=True, default=_pack_big_int)
    data: bytes
    try:
        data = pack()
    except UnicodeEncodeError:  # lone surrogates: seldom there, and to allow for them costs time
        data = pack(unicode_errors="surrogatepass")
    return data


def _pack_big_int(value: Any) -> msgpack.ExtType:
    """msgpack calls this for the one thing left that it cannot pack: an int over 64 bits."""
    length = value.bit_length() // 8 + 1
    return msgpack.ExtType(_BIG_INT, value.to_bytes(length, "little", signed=True))


def _unpack_ext(code: int, data: bytes) -> int:
    if code != _BIG_INT:
        raise ValueError(f"unknown extension type {code}")
    return int.from_bytes(data, "little", signed=True)


# ---------------------------------------------------------------- why a class cannot travel


def _why_not(cls: type) -> _Stuck:
    """The sentence for a class that cannot travel, and what the user can do about it."""
    if cls in (bytearray, memoryview):
        what = f"a {cls.__name__}"
        return _Stuck(f"{what} cannot be moved to another worker. Make it bytes.")
    ours = cls.__flags__ & _HEAP_TYPE and not _is_foreign(cls)
    name = cls.__qualname__.replace("<locals>.", "")
    if ours and not Marks.can_mark(cls):
        base = next(b for b in cls.__mro__ if not b.__flags__ & _HEAP_TYPE)
        return _Stuck(
            f"class {name} is a subclass of {base.__name__}{_place(cls)} and would come back as "
            f"one. Make it a dataclass with a field that holds the {base.__name__}."
        )
    if ours:
        return _Stuck(
            f"class {name} is not a dataclass and not marked @zstream.record{_place(cls)}. Mark it."
        )
    library = "" if cls.__module__ == "builtins" else f"{cls.__module__}."
    rest = "cannot be moved to another worker. Keep such things in PerWorker(...)."
    what = f"a {library}{cls.__qualname__}"
    return _Stuck(f"{what} {rest}", f" is {what}, which {rest}")


def _is_foreign(cls: type) -> bool:
    """Whether the class belongs to Python or to an installed package: the user cannot mark it."""
    installed = {"site-packages", "dist-packages"}
    return cls.__module__.partition(".")[0] in sys.stdlib_module_names or not (
        installed.isdisjoint(_source(cls).parts)
    )


def _source(cls: type) -> PurePath:
    try:
        return PurePath(inspect.getsourcefile(cls) or "")
    except (OSError, TypeError):
        return PurePath()


def _place(cls: type) -> str:
    """Like " (votes.py:9)", or "" where the source cannot be found (a notebook, an extension)."""
    try:
        return f" ({_source(cls).name}:{inspect.getsourcelines(cls)[1]})"
    except (OSError, TypeError):
        return ""


def _places(one: type, other: type) -> str:
    return _place(one) + " and" * bool(_place(one)) + _place(other)
