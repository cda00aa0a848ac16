"""State of an older version of a class: what is read, and what is refused by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

import pytest

from zstream.errors import WireError
from zstream.wire.values import Registry, record


class Level(IntEnum):
    LOW = 1
    HIGH = 2


def classes(old: type, new: type) -> tuple[Registry, Registry]:
    registries = Registry(), Registry()
    registries[0].register(record(name="Vote")(old) if "__zstream_name__" not in vars(old) else old)
    registries[1].register(record(name="Vote")(new) if "__zstream_name__" not in vars(new) else new)
    return registries


@dataclass
class VoteOne:
    letter: str
    votes: int


@dataclass
class VoteMore:
    """Another order, and two fields more."""

    votes: int
    letter: str
    region: str = "north"
    notes: list[str] = field(default_factory=list)


class VoteRow(NamedTuple):
    letter: str
    votes: int
    region: str = "north"


@dataclass
class VoteLess:
    letter: str


@dataclass
class VoteMust:
    letter: str
    votes: int
    region: str


def test_a_new_field_with_a_default_is_filled_in() -> None:
    """State of an older version; each object gets a list of its own. Order does not matter."""
    old, new = classes(VoteOne, VoteMore)
    first, second = new.unpack(old.pack([VoteOne("a", 1), VoteOne("b", 2)]))
    assert (first, second) == (VoteMore(1, "a"), VoteMore(2, "b"))
    assert first.notes is not second.notes
    old, new = classes(VoteOne, VoteRow)
    assert new.unpack(old.pack(VoteOne("a", 1))) == VoteRow("a", 1, "north")


def test_a_new_field_without_a_default_is_refused_by_name() -> None:
    """Nobody could say what stands in it."""
    old, new = classes(VoteOne, VoteMust)
    with pytest.raises(WireError, match=r"a field region .* Give it a default"):
        new.unpack(old.pack(VoteOne("a", 1)))


def test_a_vanished_field_is_refused_unless_dropped() -> None:
    """What somebody counted is not thrown away by a typing error."""
    old, new = classes(VoteOne, VoteLess)
    with pytest.raises(WireError, match=r"no field votes .*dropped=\[\"votes\"\]"):
        new.unpack(old.pack(VoteOne("a", 1)))

    @record(name="Vote", dropped=["votes"])
    @dataclass
    class VoteDropped:
        letter: str

    old, new = classes(VoteOne, VoteDropped)
    assert new.unpack(old.pack(VoteOne("a", 1))) == VoteDropped("a")


def test_migrate_gets_the_old_fields_and_the_old_version() -> None:
    """Once for each object of an older version, never for one of this version."""
    seen = []

    def migrate(fields: dict[str, Any], version: int) -> dict[str, Any]:
        seen.append(version)
        return {"letter": fields["letter"].upper(), "halves": fields["votes"] * 2}

    @record(name="Vote", version=3, migrate=migrate)
    class VoteThree:
        letter: str
        halves: int

    old, new = classes(VoteOne, VoteThree)
    back = new.unpack(old.pack([VoteOne("a", 1), VoteOne("b", 2)]))
    assert [vars(vote) for vote in back] == [
        {"letter": "A", "halves": 2},
        {"letter": "B", "halves": 4},
    ]
    assert seen == [1, 1]
    assert vars(new.unpack(new.pack(back[0]))) == vars(back[0])
    assert seen == [1, 1]
    with pytest.raises(WireError, match=r"is version 1 on this worker, .* written by version 3"):
        old.unpack(new.pack(back[0]))


def test_a_plain_record_forgets_what_was_dropped() -> None:
    """It takes any attribute, so only dropped ones are left out; slots take only their own."""

    @record(name="Vote", dropped=["votes"])
    class PlainVote:
        pass

    @record(name="Vote")
    class SlotVote:
        __slots__ = ("letter",)

    old, new = classes(VoteOne, PlainVote)
    assert vars(new.unpack(old.pack(VoteOne("a", 1)))) == {"letter": "a"}
    old, new = classes(VoteOne, SlotVote)
    with pytest.raises(WireError, match="no slot votes"):
        new.unpack(old.pack(VoteOne("a", 1)))


def test_a_member_or_a_kind_that_is_not_known_is_named() -> None:
    """An Enum lost a member; a dataclass became an Enum."""

    class Fewer(IntEnum):
        HIGH = 2

    record(name="Level")(Fewer)
    old, new = Registry(), Registry()
    new.register(Fewer)
    assert new.unpack(old.pack(Level.HIGH)) is Fewer.HIGH
    with pytest.raises(WireError, match="Enum Level has no member 'LOW'"):
        new.unpack(old.pack(Level.LOW))

    @record(name="Level")
    class Now:
        pass

    new = Registry()
    new.register(Now)
    with pytest.raises(WireError, match="class Level is another kind of class"):
        new.unpack(old.pack(Level.LOW))
