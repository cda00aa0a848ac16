"""How built-in types become columns of plain scalars, and back.

A *column* is a list of values. Each type knows two functions:

    split(items) -> (code, head, parts)   items: a column of this one type
    join(head, parts) -> items            the inverse; raises anything for rubbish

`head` is made of plain scalars, `parts` are columns of what the items hold, which are split in
their turn: a thousand pairs become two columns, a thousand lists their lengths and one column of
all that was in them. So the work per record is done by C loops (map, zip, chain, islice).
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import chain, islice, repeat
from operator import attrgetter, methodcaller
from typing import Any
from uuid import UUID

from zstream.errors import CannotTravel

Column = list[Any]
Split = tuple[int, Any, list[Column]]
Splitter = Callable[[Column], Split]
Joiner = Callable[[Any, list[Column]], Column]

PLAIN_TYPES = frozenset({type(None), bool, int, float, str, bytes})

# Codes stand in what is kept on disks: never give one a new meaning.
PLAIN, UNION, LIST, TUPLE, PAIRED, SET, FROZENSET, MAPPING, RECORDS, DEQUE = range(10)
DATETIME, DATE, TIMEDELTA, DECIMAL, UUID_BYTES, ENUM, CLASS = range(10, 17)

_NODES_WORTH = 8  # so many columns are made for few items; more only where items are more

_lengths = partial(map, len)
_values = methodcaller("values")  # an OrderedDict's order is not that of dict.values


def kinds_in(column: Column) -> set[type]:
    """The types of a column. Mostly it is one, and to count that is faster than to make a set."""
    kinds = list(map(type, column))
    if kinds and kinds.count(kinds[0]) == len(kinds):
        return {kinds[0]}
    return set(kinds)


def split_union(items: Column, kinds: Sequence[Hashable]) -> Split:
    """A mixed column: which kind each item is, and a column for each kind."""
    index = {kind: tag for tag, kind in enumerate(dict.fromkeys(kinds))}
    tags = list(map(index.__getitem__, kinds))
    parts: list[Column] = [[] for _ in index]
    for item, tag in zip(items, tags, strict=True):
        parts[tag].append(item)
    return UNION, tags, parts


def _join_union(tags: list[int], parts: list[Column]) -> Column:
    turns = list(map(iter, parts))
    items = list(map(next, map(turns.__getitem__, tags)))
    if len(items) != len(tags) or sum(map(len, parts)) != len(tags):
        raise ValueError("a mixed column does not add up")
    return items


def _cut(lengths: list[int], items: Iterable[Any], count: int, make: Callable[..., Any]) -> Column:
    if sum(lengths) != count:
        raise ValueError("lengths do not add up")
    rest = iter(items)
    return [make(islice(rest, length)) for length in lengths]


def _splitter(code: int) -> Splitter:
    """For what is one run of items: list, set, frozenset."""
    return lambda items: (code, list(_lengths(items)), [list(chain.from_iterable(items))])


def _joiner(make: Callable[..., Any]) -> Joiner:
    return lambda lengths, parts: _cut(lengths, parts[0], len(parts[0]), make)


def _worth_columns(items: Column) -> bool:
    """Whether items are of one length, and a column for each place is not mostly overhead."""
    lengths = list(_lengths(items))
    first = lengths[0]
    return 0 < first <= max(_NODES_WORTH, len(items)) and lengths.count(first) == len(items)


def _split_tuples(items: Column) -> Split:
    """Tuples of one length become a column for each place."""
    if _worth_columns(items):
        return PAIRED, None, list(map(list, zip(*items, strict=True)))
    return TUPLE, list(_lengths(items)), [list(chain.from_iterable(items))]


def _join_paired(_: None, parts: list[Column]) -> Column:
    return list(zip(*parts, strict=True))


def _split_deques(items: Column) -> Split:
    head = [list(_lengths(items)), list(map(attrgetter("maxlen"), items))]
    return DEQUE, head, [list(chain.from_iterable(items))]


def _join_deques(head: list[Column], parts: list[Column]) -> Column:
    lengths, limits = head
    return list(
        map(deque, _cut(lengths, parts[0], len(parts[0]), tuple), _same_length(limits, lengths))
    )


def _same_length(column: Column, other: Column) -> Column:
    if len(column) != len(other):
        raise ValueError("columns differ in length")
    return column


# ---------------------------------------------------------------- mappings

_FACTORIES: dict[Any, str] = {
    None: "default None",
    int: "default int",
    float: "default float",
    str: "default str",
    list: "default list",
    set: "default set",
    dict: "default dict",
}
_FLAVOURS: dict[str, Callable[..., Any]] = {
    "dict": dict,
    "ordered": OrderedDict,
    "counter": lambda pairs: Counter(dict(pairs)),
    **{flavour: partial(defaultdict, factory) for factory, flavour in _FACTORIES.items()},
}


def _split_mappings(flavour: str, items: Column) -> Split:
    keys = list(chain.from_iterable(items))
    values = list(chain.from_iterable(map(_values, items)))
    return MAPPING, [flavour, list(_lengths(items))], [keys, values]


def _join_mappings(head: list[Any], parts: list[Column]) -> Column:
    flavour, lengths = head
    keys, values = parts
    pairs = zip(_same_length(keys, values), values, strict=True)
    return _cut(lengths, pairs, len(keys), _FLAVOURS[flavour])


def _split_dicts(items: Column) -> Split:
    """Dicts with the same str keys in the same order (JSON records) become columns of values."""
    if _worth_columns(items):
        names, all_names = list(items[0]), list(chain.from_iterable(items))
        if all_names == names * len(items) and kinds_in(all_names) == {str}:
            return RECORDS, names, list(map(list, zip(*map(_values, items), strict=True)))
    return _split_mappings("dict", items)


def _join_dicts(names: list[str], parts: list[Column]) -> Column:
    _same_length(names, parts)
    return list(map(dict, map(zip, repeat(names), zip(*parts, strict=True))))


def _split_defaultdicts(items: Column) -> Split:
    factories = list(map(attrgetter("default_factory"), items))
    for factory in factories:
        if factory not in _FACTORIES:
            raise CannotTravel(
                f"a defaultdict with default_factory {factory!r} cannot be moved to another "
                "worker. Only None, int, float, str, list, set and dict can stand there."
            )
    if len(set(factories)) > 1:
        return split_union(items, factories)
    return _split_mappings(_FACTORIES[factories[0]], items)


# ---------------------------------------------------------------- instants and numbers

_WITH_SHORTEST_FRACTION = len("2020-01-01T00:00:00+00:00:00.000001")


def _split_datetimes(items: Column) -> Split:
    """ISO texts: the instant and its offset survive, the name of a time zone does not."""
    folded = [at for at, fold in enumerate(map(attrgetter("fold"), items)) if fold]
    texts = list(map(datetime.isoformat, items))
    if max(map(len, texts)) >= _WITH_SHORTEST_FRACTION:
        for item in items:
            if (item.utcoffset() or timedelta()).microseconds:  # Python reads these back wrongly
                raise CannotTravel(
                    f"the datetime {item} cannot be moved to another worker: its offset from UTC "
                    "has a fraction of a second."
                )
    return DATETIME, [texts, folded], []


def _join_datetimes(head: list[Any], _: list[Column]) -> Column:
    texts, folded = head
    items = list(map(datetime.fromisoformat, texts))
    for at in folded:
        items[at] = items[at].replace(fold=1)
    return items


def _split_timedeltas(items: Column) -> Split:
    parts = ("days", "seconds", "microseconds")
    return TIMEDELTA, [list(map(attrgetter(part), items)) for part in parts], []


def _join_timedeltas(head: list[Column], _: list[Column]) -> Column:
    days, seconds, microseconds = head
    _same_length(days, seconds)
    return list(map(timedelta, days, seconds, _same_length(microseconds, days)))


SPLITTERS: dict[type, Splitter] = {
    list: _splitter(LIST),
    tuple: _split_tuples,
    set: _splitter(SET),
    frozenset: _splitter(FROZENSET),
    deque: _split_deques,
    dict: _split_dicts,
    OrderedDict: partial(_split_mappings, "ordered"),
    Counter: partial(_split_mappings, "counter"),
    defaultdict: _split_defaultdicts,
    datetime: _split_datetimes,
    date: lambda items: (DATE, list(map(date.isoformat, items)), []),
    timedelta: _split_timedeltas,
    Decimal: lambda items: (DECIMAL, list(map(str, items)), []),
    UUID: lambda items: (UUID_BYTES, list(map(attrgetter("bytes"), items)), []),
}

JOINERS: dict[int, Joiner] = {
    PLAIN: lambda head, parts: head,
    UNION: _join_union,
    LIST: _joiner(list),
    TUPLE: _joiner(tuple),
    PAIRED: _join_paired,
    SET: _joiner(set),
    FROZENSET: _joiner(frozenset),
    DEQUE: _join_deques,
    MAPPING: _join_mappings,
    RECORDS: _join_dicts,
    DATETIME: _join_datetimes,
    DATE: lambda head, parts: list(map(date.fromisoformat, head)),
    TIMEDELTA: _join_timedeltas,
    DECIMAL: lambda head, parts: list(map(Decimal, head)),
    UUID_BYTES: lambda head, parts: [UUID(bytes=data) for data in head],
}
