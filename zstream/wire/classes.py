"""How the user's classes become columns of fields, and back, also across versions.

A form is what the registry knows of a class: how to take its objects apart and how to make them
again. Fields travel by name, once for each column.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, Flag
from functools import cached_property, partial
from itertools import repeat
from operator import attrgetter
from typing import Any, Generic

from zstream.errors import CannotTravel, WireError
from zstream.model.keys import wire_name
from zstream.wire.columns import CLASS, ENUM, Column, Split, split_union

_MARKS = "__zstream_record__"
_NAME = "__zstream_name__"


@dataclass(frozen=True)
class Marks:
    """What `@record` says of a class; the defaults where it says nothing."""

    version: int = 1
    dropped: tuple[str, ...] = ()
    migrate: Callable[[dict[str, Any], int], dict[str, Any]] | None = None

    @staticmethod
    def put(cls: type, marks: Marks, name: str | None) -> None:
        """Mark the class itself: a subclass does not inherit it."""
        if not Marks.can_mark(cls):
            raise CannotTravel(
                f"class {cls.__qualname__} cannot be a record: what its built-in base class "
                "holds would be lost. Make it a class with a field that holds it."
            )
        setattr(cls, _MARKS, marks)
        if name is not None:
            setattr(cls, _NAME, name)

    @staticmethod
    def of(cls: type) -> Marks | None:
        marks: Marks | None = cls.__dict__.get(_MARKS)
        return marks

    @staticmethod
    def can_mark(cls: type) -> bool:
        """Whether objects of the class hold nothing but their fields."""
        return issubclass(cls, Enum) or _is_named_tuple(cls) or _is_plain(cls)


def _is_named_tuple(cls: type) -> bool:
    return issubclass(cls, tuple) and hasattr(cls, "_fields") and hasattr(cls, "_field_defaults")


def _is_plain(cls: type) -> bool:
    """No built-in base class but object: Python refuses object.__new__ for those that have one."""
    try:
        object.__new__(cls)
    except TypeError:
        return bool(getattr(cls, "__abstractmethods__", None))
    return True


def form_of(cls: type) -> ClassForm | EnumForm | None:
    """How a class travels, or None if it does not."""
    if issubclass(cls, Enum):
        return EnumForm(cls)
    if _is_named_tuple(cls):
        return NamedTupleForm(cls)
    if not _is_plain(cls):
        return None
    if dataclasses.is_dataclass(cls) and "__dataclass_fields__" in cls.__dict__:
        return DataclassForm(cls)
    if Marks.of(cls) is not None:
        return PlainForm(cls)
    return None


class EnumForm:
    """Members travel by name; those of a Flag by value, for a union of flags has no name."""

    def __init__(self, cls: type[Enum]) -> None:
        self.cls = cls
        self._name = wire_name(cls)
        self._by_value = issubclass(cls, Flag)
        self._member = attrgetter("_value_" if self._by_value else "_name_")

    def split(self, items: Column) -> Split:
        members = list(map(self._member, items))
        if not self._by_value and not self.cls.__members__.keys() >= set(members):
            raise CannotTravel(f"Enum {self._name} has made members that it does not list.")
        return ENUM, [self._name, members], []

    def join(self, members: Column) -> Column:
        try:
            if self._by_value:
                return list(map(self.cls, members))
            return list(map(self.cls.__members__.__getitem__, members))
        except (KeyError, ValueError) as error:
            raise WireError(f"Enum {self._name} has no member {error} on this worker.") from error


class ClassForm:
    """What dataclasses, NamedTuples and plain records have in common: fields with names."""

    def __init__(self, cls: type, names: tuple[str, ...]) -> None:
        self.cls = cls
        self._name = wire_name(cls)
        self._names = list(names)
        self._marks = Marks.of(cls) or Marks()
        self._defaults: dict[str, Callable[[], Any]] = {}

    def split(self, items: Column) -> Split:
        try:
            columns = [list(map(attrgetter(name), items)) for name in self._names]
        except AttributeError as error:
            raise CannotTravel(
                f"an object of class {self._name} has no value in a field: {error}"
            ) from error
        return self._node(self._names, columns, len(items))

    def _node(self, names: list[str], columns: list[Column], count: int) -> Split:
        # Without fields there would be nothing to count the objects by.
        parts = columns if names else [[None] * count]
        return CLASS, [self._name, self._marks.version, names], parts

    def join(self, version: int, names: list[str], parts: list[Column]) -> Column:
        """Objects from the columns of fields that some version of the class wrote."""
        count = len(parts[0])
        if set(map(len, parts)) != {count} or len(parts) != max(len(names), 1):
            raise ValueError("columns of fields differ in length")
        marks = self._marks
        if version > marks.version:
            raise WireError(
                f"class {self._name} is version {marks.version} on this worker, "
                f"and this was written by version {version}."
            )
        if version < marks.version and marks.migrate is not None:
            rows = zip(*parts, strict=True) if names else [()] * count
            return [self._migrated(dict(zip(names, row, strict=True)), version) for row in rows]
        if names == self._names:
            return self._make(self._names, parts if names else [], count)
        return self._fitted(dict(zip(names, parts if names else [], strict=True)), count)

    def _migrated(self, fields: dict[str, Any], version: int) -> Any:
        assert self._marks.migrate is not None
        migrated = self._marks.migrate(fields, version)
        return self._fitted({name: [value] for name, value in migrated.items()}, 1)[0]

    def _fitted(self, columns: dict[str, Column], count: int) -> Column:
        """Leave out what was dropped and put in defaults for what is new."""
        for name in self._marks.dropped:
            columns.pop(name, None)
        for name in columns:
            if name not in self._names:
                raise WireError(
                    f"class {self._name} has no field {name} on this worker, and this was "
                    f'written with it. If it was taken out: @zstream.record(dropped=["{name}"]).'
                )
        for name in self._names:
            if name in columns:
                continue
            if name not in self._defaults:
                raise WireError(
                    f"class {self._name} has a field {name} on this worker that this was "
                    "written without. Give it a default."
                )
            columns[name] = [self._defaults[name]() for _ in range(count)]
        return self._make(self._names, [columns[name] for name in self._names], count)

    def _make(self, names: list[str], columns: list[Column], count: int) -> Column:
        """New objects, their fields set one column after the other, all by loops in C."""
        objects: Column = list(map(object.__new__, repeat(self.cls, count)))
        for name, column in zip(names, columns, strict=True):
            deque(map(object.__setattr__, objects, repeat(name), column), maxlen=0)
        return objects


class NamedTupleForm(ClassForm):
    """A NamedTuple: its fields are its items."""

    def __init__(self, cls: Any) -> None:
        super().__init__(cls, cls._fields)
        self._defaults = {
            name: partial(_same, value) for name, value in cls._field_defaults.items()
        }

    def split(self, items: Column) -> Split:
        if self.cls.__dictoffset__ and any(map(vars, items)):
            raise CannotTravel(
                f"class {self._name} is a NamedTuple with further attributes, which would be "
                "lost. Make it a dataclass."
            )
        # Not by attribute: a subclass may have a property of a field's name.
        columns = list(map(list, zip(*map(tuple.__iter__, items), strict=True)))
        return self._node(self._names, columns, len(items))

    def _make(self, names: list[str], columns: list[Column], count: int) -> Column:
        rows = zip(*columns, strict=True) if names else repeat((), count)
        return list(map(partial(tuple.__new__, self.cls), rows))


class DataclassForm(ClassForm):
    """A dataclass: all its fields, also those that its constructor does not take."""

    def __init__(self, cls: Any) -> None:
        fields = dataclasses.fields(cls)
        super().__init__(cls, tuple(field.name for field in fields))
        self._passed_over = _passed_over(cls)
        for field in fields:
            if field.default is not dataclasses.MISSING:
                self._defaults[field.name] = partial(_same, field.default)
            elif field.default_factory is not dataclasses.MISSING:
                self._defaults[field.name] = field.default_factory

    def split(self, items: Column) -> Split:
        if self.cls.__dictoffset__:
            self._refuse_surplus(items)
        return super().split(items)

    def _refuse_surplus(self, items: Column) -> None:
        """Attributes that are no fields would be lost: say so rather than lose them."""
        if set(map(len, map(vars, items))) == {len(self._names)}:
            return
        known = self._passed_over.union(self._names)
        for item in items:
            for name in vars(item):
                if name not in known:
                    raise CannotTravel(
                        f"the attribute {name} of class {self._name} is no field of the "
                        f"dataclass and would be lost. Declare it: {name}: ... = field(init=False)."
                    )


class PlainForm(ClassForm):
    """A plain class marked `@record`: what stands in its slots and its `__dict__`.

    Objects of one class may have different attributes; those of one shape make a column.
    """

    def __init__(self, cls: type) -> None:
        super().__init__(cls, ())
        self._slots = _slots(cls)
        self._passed_over = _passed_over(cls)

    def split(self, items: Column) -> Split:
        rows = list(map(self._fields, items))
        shapes = list(map(tuple, rows))
        if len(set(shapes)) > 1:
            return split_union(items, shapes)
        columns = list(map(list, zip(*map(dict.values, rows), strict=True)))
        return self._node(list(shapes[0]), columns, len(items))

    def _fields(self, item: object) -> dict[str, Any]:
        if not self._slots and not self._passed_over:
            return vars(item)
        fields = {name: getattr(item, name) for name in self._slots if hasattr(item, name)}
        for name, value in getattr(item, "__dict__", {}).items():
            if name not in self._passed_over:
                fields[name] = value
        return fields

    def _fitted(self, columns: dict[str, Column], count: int) -> Column:
        """Any attribute is as good as another, but for those dropped and where slots say no."""
        for name in self._marks.dropped:
            columns.pop(name, None)
        if not self.cls.__dictoffset__:
            for name in columns:
                if name not in self._slots:
                    raise WireError(
                        f"class {self._name} has no slot {name} on this worker, and this was "
                        f"written with it. If it was taken out: "
                        f'@zstream.record(dropped=["{name}"]).'
                    )
        return self._make(list(columns), list(columns.values()), count)


def _same(value: Any) -> Any:
    return value


def _passed_over(cls: type) -> frozenset[str]:
    """What stands in `__dict__` and need not travel: cached properties, `Box[int]`'s own note."""
    generic = {"__orig_class__"} if issubclass(cls, Generic) else set()
    return frozenset(generic).union(
        name
        for base in cls.__mro__
        for name, value in vars(base).items()
        if isinstance(value, cached_property)
    )


def _slots(cls: type) -> tuple[str, ...]:
    """Attribute names of all `__slots__`, private ones as Python spells them inside."""
    names: list[str] = []
    for base in reversed(cls.__mro__):
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name.startswith("__") and not name.endswith("__"):
                name = f"_{base.__name__.lstrip('_')}{name}"
            if name not in ("__dict__", "__weakref__"):
                names.append(name)
    return tuple(names)
