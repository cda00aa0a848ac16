"""Values: each type comes back as it went, and what cannot travel is refused by name."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from functools import cached_property
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar
from uuid import UUID

import msgpack
import pytest

from zstream.errors import CannotTravel, WireError
from zstream.wire.values import Registry, record

T = TypeVar("T")


@dataclass
class Vote:
    letter: str
    votes: Any = 0


@dataclass(frozen=True)
class Frozen:
    __slots__ = ("one", "other")
    one: Any
    other: Any


class Pair(NamedTuple):
    one: Any
    other: Any = None


class Level(IntEnum):
    LOW = 1
    HIGH = 2
    TOP = 2


class Right(Flag):
    READ = 1
    WRITE = 2


@record
class Tally:
    """A plain class: what its constructor sets travels, its class attributes need not."""

    unit = "votes"

    def __init__(self, total: Any) -> None:
        self.total = total
        self._seen = [total]

    def __eq__(self, other: object) -> bool:
        return type(other) is Tally and vars(self) == vars(other)


def there_and_back(value: Any, registry: Registry | None = None) -> Any:
    registry = registry or Registry()
    return registry.unpack(registry.pack(value))


ODD_ZONE = timezone(-timedelta(hours=3, minutes=30, seconds=1))
TINY_ZONE = timezone(timedelta(microseconds=1))
VALUES: list[Any] = [
    None, True, False, 0, -1, 2**63, 2**64 - 1, -(2**63), 2**64, -(2**63) - 1, 10**100, -(10**100),
    0.0, 1.5, float("inf"), float("-inf"), 5e-324, "", "ä\U0001f600", "\ud800", "\x00", b"",
    b"\xff", [], [[]], [[], [1]], [1, "a", None, 2.5, b"x", 2**70], (), ((),), (1,), [(), (1,)],
    [(1, 2), (3, 4)], [(1, [2]), ("a", (3,))], ([1], (2,), {3}, frozenset([4])), set(),
    {1, "a", None, (1, 2)}, frozenset(), {frozenset([1]): {1}}, {}, {"a": 1},
    {1: 2, None: 3, (1,): [4], 1.5: {}},
    [{"a": 1}, {"a": 2}], [{"a": 1}, {"b": 2}], [{"a": 1, "b": 2}, {"b": 1, "a": 2}],
    [{1: 1}, {True: 1}], {"k" + str(n): n for n in range(100)}, tuple(range(100)),
    deque(), deque([1, (2,)], maxlen=5), deque(maxlen=0), [deque([1]), deque([2], 3)],
    OrderedDict(b=1, a=2), Counter("abracadabra"), Counter({"a": -1}), defaultdict(list, {1: [2]}),
    defaultdict(None, {}), [defaultdict(int, a=1), defaultdict(list, a=[])],
    datetime(2020, 1, 2, 3, 4, 5, 6), datetime.min, datetime.max,
    datetime(1, 1, 1, tzinfo=timezone.utc), datetime(2020, 1, 2, tzinfo=ODD_ZONE),
    date(2020, 2, 29), date.min, timedelta(-5, 3, 1), timedelta.max, timedelta.min,
    Decimal("-0"), Decimal("1.10"), Decimal("1E+1000"), Decimal("Infinity"), UUID(int=2**127 + 5),
    Level.HIGH, Level.TOP, [Level.LOW, 1, True], Right.READ, Right.READ | Right.WRITE, Right(0),
    Vote("a"), Vote("a", Vote("b", [Vote("c")])), [Vote("a"), Vote("b", None)], Frozen(1, (2,)),
    Pair(1), Pair(Pair(1), [Pair(2)]), [Pair(1), (1, None)], {Pair(1, 2): Vote("x")}, Tally([1]),
    [Vote("a"), Pair(1), 1, None, [Vote("b")], {"a": Frozen(1, 2)}],
]  # fmt: skip


def shown(value: Any) -> str:
    """repr tells list from tuple, True from 1, -0.0 from 0.0; a plain class says nothing of it."""
    return repr(value) if "Tally" not in repr(value) else repr(value.total)


@pytest.mark.parametrize(
    "value", VALUES, ids=[f"{type(value).__name__}-{n}" for n, value in enumerate(VALUES)]
)
def test_a_value_comes_back_equal_and_of_the_same_type(value: Any) -> None:
    """Alone, and among others in a column."""
    back = there_and_back(value)
    assert type(back) is type(value)
    assert back == value
    if not isinstance(value, set | frozenset):  # a set has no order to keep
        assert shown(back) == shown(value)
    registry = Registry()
    column = [value, 1, value, "a", value]
    assert registry.unpack_column(registry.pack_column(column)) == column


def test_all_values_in_one_column() -> None:
    """A column of everything, and an empty one."""
    registry = Registry()
    assert registry.unpack_column(registry.pack_column(VALUES)) == VALUES
    assert registry.unpack_column(registry.pack_column([])) == []


def test_floats_keep_sign_and_nan() -> None:
    """What == cannot see."""
    back = there_and_back([-0.0, float("nan"), Decimal("NaN"), Decimal("sNaN5")])
    assert repr(back) == "[-0.0, nan, Decimal('NaN'), Decimal('sNaN5')]"


def test_an_ordered_dict_keeps_an_order_that_was_changed() -> None:
    """After move_to_end its order is another than that of the dict below it."""
    moved = OrderedDict(a=1, b=2, c=3)
    moved.move_to_end("a")
    assert list(there_and_back(moved).items()) == [("b", 2), ("c", 3), ("a", 1)]


def test_a_default_dict_still_makes_defaults() -> None:
    """Its factory travels with it."""
    back = there_and_back(defaultdict(list, a=[1]))
    back["b"].append(2)
    assert back == {"a": [1], "b": [2]}


class Zone(tzinfo):
    """A zone with a name, in summer time."""

    def utcoffset(self, when: datetime | None) -> timedelta:
        return timedelta(hours=2)

    def dst(self, when: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def tzname(self, when: datetime | None) -> str:
        return "CEST"


def test_a_named_zone_becomes_its_offset() -> None:
    """The instant and the offset stay, the rules of the zone do not; fold stays too."""
    back = there_and_back(datetime(2020, 7, 1, 12, tzinfo=Zone(), fold=1))
    assert back == datetime(2020, 7, 1, 10, tzinfo=timezone.utc)
    assert back.tzinfo == timezone(timedelta(hours=2))
    assert back.fold == 1
    assert there_and_back(datetime(2020, 7, 1, 12, fold=1)).fold == 1


# ---------------------------------------------------------------- classes


@dataclass
class Derived(Vote):
    """Fields that a constructor does not take, and one that is computed after it."""

    kind: ClassVar[str] = "derived"
    scale: InitVar[int] = 2
    doubled: int = field(init=False)
    made: ClassVar[int] = 0

    def __post_init__(self, scale: int) -> None:
        self.doubled = self.votes * scale
        Derived.made += 1

    @cached_property
    def slow(self) -> int:
        return self.doubled + 1


def test_no_constructor_runs_again() -> None:
    """__post_init__ may count, check or open; objects come back as they were without it."""
    value = Derived("a", 5)
    assert value.slow == 11
    made = Derived.made
    back = there_and_back(value)
    assert back == value
    assert back.doubled == 10
    assert back.slow == 11
    assert Derived.made == made


@record
class Slotted:
    __slots__ = ("__hidden", "one", "other")

    def __init__(self) -> None:
        self.one = 1
        self.__hidden = 2

    def hidden(self) -> int:
        return self.__hidden


def test_slots_travel_also_private_and_empty_ones() -> None:
    """An unset slot stays unset; a private one is found under its inner name."""
    back = there_and_back(Slotted())
    assert back.one == 1
    assert back.hidden() == 2
    assert not hasattr(back, "other")


def test_plain_objects_of_different_shape_share_a_column() -> None:
    """One of them has got an attribute later."""
    bare, full = Tally(1), Tally(2)
    full.later = "x"  # type: ignore[attr-defined]
    assert there_and_back([bare, full, bare]) == [bare, full, bare]


@record
class Empty:
    pass


@dataclass
class Nothing:
    pass


class NoFields(NamedTuple):
    pass


@pytest.mark.parametrize("cls", [Empty, Nothing, NoFields])
def test_objects_without_fields_are_counted(cls: type) -> None:
    """Three come back, not none."""
    assert list(map(type, there_and_back([cls(), cls(), cls()]))) == [cls] * 3


@record
@dataclass
class Box(Generic[T]):
    inside: T


def test_a_generic_dataclass_travels() -> None:
    """`Box[int](5)` leaves a note of its own on the object, which need not come along."""
    assert there_and_back(Box[int](5)) == Box(5)


def test_names_of_fields_are_written_once_a_column() -> None:
    """A thousand records cost their values, not their names."""
    registry = Registry()
    one = registry.pack_column([Vote("a", 1)])
    thousand = registry.pack_column([Vote("a", 1)] * 1000)
    assert thousand.count(b"letter") == 1
    assert len(thousand) < len(one) + 4 * 1000


def test_a_column_is_as_good_as_its_values() -> None:
    """pack is pack_column of one; unpack wants exactly one."""
    registry = Registry()
    assert registry.pack(Vote("a")) == registry.pack_column([Vote("a")])
    with pytest.raises(WireError, match="2 values where one should be"):
        registry.unpack(registry.pack_column([1, 2]))


# ---------------------------------------------------------------- what cannot travel


class Ballot:
    pass


class Votes(dict[str, int]):
    pass


class Loud(str):
    pass


class Wrong(ValueError):
    pass


@dataclass
class Leaky:
    one: int

    def __post_init__(self) -> None:
        self.two = 2


@dataclass
class Half:
    one: int = field(init=False)


class Wide(Pair):
    pass


def wide() -> Wide:
    made = Wide(1)
    made.more = 2  # type: ignore[attr-defined]
    return made


def endless() -> list[Any]:
    made: list[Any] = []
    made.append([made, made])
    return made


def deep(levels: int) -> list[Any]:
    made: list[Any] = []
    for _ in range(levels):
        made = [made, 1]
    return made


PER_WORKER = "cannot be moved to another worker. Keep such things in PerWorker(...)."

REFUSED: list[tuple[Callable[[], Any], str]] = [
    (threading.Lock, f"a _thread.lock {PER_WORKER}"),
    (lambda: Vote("a", threading.Lock()), f"the field votes is a _thread.lock, which {PER_WORKER}"),
    (
        lambda: [1, Vote("a", {"x": [Frozen(1, threading.Lock())]})],
        f"the field votes.x.other is a _thread.lock, which {PER_WORKER}",
    ),
    (lambda: len, f"a builtin_function_or_method {PER_WORKER}"),
    (lambda: range(3), f"a range {PER_WORKER}"),
    (lambda: 1j, f"a complex {PER_WORKER}"),
    (lambda: msgpack.Timestamp(1), "a msgpack.ext.Timestamp"),
    (lambda: {"a": [bytearray(1)]}, "a bytearray cannot be moved to another worker. Make it"),
    (lambda: (1, memoryview(b"")), "a memoryview cannot be moved to another worker"),
    (lambda: [b"", bytearray(1)], "a bytearray cannot be moved to another worker. Make it"),
    (lambda: [1, msgpack.Timestamp(1)], "a msgpack.ext.Timestamp"),
    (Ballot, "class Ballot is not a dataclass and not marked @zstream.record (test_wire"),
    (lambda: Vote("a", Ballot()), "the field votes: class Ballot is not a dataclass"),
    (Votes, "class Votes is a subclass of dict (test_wire_values.py:"),
    (lambda: Loud("a"), "class Loud is a subclass of str"),
    (lambda: [Wrong("a")], "class Wrong is a subclass of ValueError"),
    (lambda: Leaky(1), "the attribute two of class Leaky is no field of the dataclass"),
    (Half, "an object of class Half has no value in a field"),
    (wide, "class Wide is a NamedTuple with further attributes"),
    (lambda: defaultdict(Ballot), "a defaultdict with default_factory"),
    (lambda: datetime(2020, 1, 1, tzinfo=TINY_ZONE), "its offset from UTC has a fraction"),
    (endless, "a value contains itself, or nests too deep"),
    (lambda: deep(500), "a value contains itself, or nests too deep"),
    (lambda: deep(100_000), "a value contains itself, or nests too deep"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "says"), REFUSED)
def test_what_cannot_travel_is_refused_by_name(make: Callable[[], Any], says: str) -> None:
    """Never changed silently into something near, and the field is named."""
    with pytest.raises(CannotTravel) as caught:
        Registry().pack(make())
    assert says in str(caught.value)


@dataclass
class Knot:
    neighbours: list[Any]


def test_a_web_of_objects_is_refused_before_it_grows() -> None:
    """A hundred objects that all know each other are a hundred times more with each level."""
    knots = [Knot([]) for _ in range(100)]
    for knot in knots:
        knot.neighbours.extend(knots)
    with pytest.raises(CannotTravel, match="contains itself"):
        Registry().pack(knots[0])


def test_forty_levels_are_not_too_deep() -> None:
    """The limit is far from what people nest."""
    assert there_and_back(deep(40)) == deep(40)


def test_a_graph_that_shares_is_not_taken_for_endless() -> None:
    """One object in two places is fine, and comes back as two."""
    shared = [1]
    value: Any = [shared, defaultdict(int), defaultdict(list), Tally(1), Tally(2)]
    value[-1].later = "x"
    for _ in range(15):
        value = [value, shared]
    assert there_and_back(value) == value


def test_a_property_that_fails_is_said() -> None:
    """User code runs while values are read; its error does not get out as it is."""

    class Broken(tzinfo):
        def utcoffset(self, when: datetime | None) -> timedelta:
            raise KeyError("no such zone")

        def dst(self, when: datetime | None) -> None:
            return None

        def tzname(self, when: datetime | None) -> None:
            return None

    with pytest.raises(CannotTravel, match="a datetime cannot be encoded: KeyError"):
        Registry().pack(datetime(2020, 1, 1, tzinfo=Broken()))


# ---------------------------------------------------------------- the registry


def test_registering_twice_is_harmless_and_names_are_listed() -> None:
    """A topology may meet one class in many hints."""
    registry = Registry()
    for cls in (Vote, Pair, Level, Tally, Vote):
        registry.register(cls)
    assert registry.names() == ("Level", "Pair", "Tally", "Vote")
    assert registry.known("Vote")
    assert not registry.known("Frozen")


def test_two_classes_of_one_name_are_refused() -> None:
    """They could not be told apart on the wire; the sentence names both places."""

    def another() -> type:
        @record(name="Vote")
        class Other:
            pass

        return Other

    registry = Registry()
    registry.register(Vote)
    with pytest.raises(CannotTravel, match=r"are called Vote \(.*:\d+\) and \(.*:\d+\)"):
        registry.register(another())


def test_only_classes_that_travel_can_be_registered() -> None:
    """The same sentence as for a value; asking first is possible too."""
    with pytest.raises(CannotTravel, match="class Ballot is not a dataclass"):
        Registry().register(Ballot)
    assert Registry.registrable(Tally)
    assert not Registry.registrable(Ballot)
    assert not Registry.registrable(int)


def test_the_packing_side_learns_and_the_other_names_what_it_lacks() -> None:
    """A class in no type hint is met first by the worker that makes one."""
    here, there = Registry(), Registry()
    data = here.pack([Vote("a"), Level.LOW])
    assert here.names() == ("Level", "Vote")
    with pytest.raises(WireError, match="class Vote is not known on this worker"):
        there.unpack(data)
    there.register(Vote)
    with pytest.raises(WireError, match="class Level is not known on this worker"):
        there.unpack(data)
    there.register(Level)
    assert there.unpack(data) == [Vote("a"), Level.LOW]


def test_a_subclass_of_a_record_is_not_a_record() -> None:
    """It may hold what its author did not think of moving."""

    class Closer(Tally):
        pass

    with pytest.raises(CannotTravel, match="Closer is not a dataclass and not marked"):
        Registry().pack(Closer(1))


@pytest.mark.parametrize("cls", [Votes, Wrong, int])
def test_record_refuses_what_has_a_built_in_base(cls: type) -> None:
    """What the base holds is in no field."""
    with pytest.raises(CannotTravel, match="cannot be a record"):
        record(cls)


def test_dropped_is_a_list() -> None:
    """A lone string would be taken for its letters."""
    with pytest.raises(TypeError, match='dropped=\\["votes"\\]'):
        record(dropped="votes")


# ---------------------------------------------------------------- damaged bytes


class Colour(Enum):
    RED = "r"


@pytest.mark.parametrize(
    "tree",
    [
        None, 1, [], {}, [0], [0, [1]], [0, 5, []], [0, "ab", []], [0, {}, []], [99, [], []],
        [[], [], []], [1, [0, 1], [[0, [1], []]]], [1, [0], [[0, [1, 2], []]]],
        [1, [-2], [[0, [1], []]]], [2, [1], [[0, [], []]]], [2, [-1, 2], [[0, [5], []]]],
        [2, [None], [[0, [5], []]]], [2, [1.0], [[0, [5], []]]], [2, [1], []],
        [4, None, [[0, [1], []], [0, [], []]]], [5, [1], [[0, [[]], []]]],
        [7, ["dict", [1]], [[0, [1], []], [0, [], []]]],
        [7, ["default Ballot", [1]], [[0, [1], []], [0, [1], []]]],
        [8, ["a", "b"], [[0, [1], []]]], [9, [[1], []], [[0, [1], []]]],
        [10, [["yesterday"], []], []], [10, [["2020-01-01T00:00:00"], [3]], []],
        [12, [[1], [2], []], []], [12, [[10**10], [0], [0]], []], [13, ["one"], []],
        [14, [b"short"], []], [15, ["Colour", ["BLUE"]], []], [15, ["Vote", ["letter"]], []],
        [16, ["Colour", 1, ["letter"]], [[0, [1], []]]], [16, ["Vote", 1, ["letter"]], []],
        [16, ["Vote", 1, []], []], [16, ["Vote", 1, ["letter", "votes"]], [[0, [1], []]]],
        [16, ["Vote", 1, ["letter", "votes"]], [[0, [1], []], [0, [], []]]],
        [16, ["Vote", "1", ["letter"]], [[0, [1], []]]],
        [16, ["Vote", 1, [["letter"]]], [[0, [1], []]]], [16, [["Vote"], 1, []], [[0, [1], []]]],
        [0, [msgpack.ExtType(5, b"")], []],
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_tree_is_a_wire_error(tree: Any) -> None:
    """Each way in which a node can be wrong, by hand; the property test draws more."""
    registry = Registry()
    registry.register(Vote)
    registry.register(Colour)
    with pytest.raises(WireError):
        registry.unpack_column(msgpack.packb(tree))


def test_a_deep_tree_is_a_wire_error() -> None:
    """Bytes that nest without end stop at a limit."""
    with pytest.raises(WireError):
        Registry().unpack(b"\x91" * 100_000)
    with pytest.raises(WireError):
        Registry().unpack(b"\x93\x02\x91\x01\x91" * 300 + b"\xc0")
