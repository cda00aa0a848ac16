"""Which keys have state here, by key group, in the order in which they came.

A key that comes is appended to its key group's list, and one that goes stays in it as a hole, until
half of the list are holes; if it comes back before, it stands where it stood. To note a million
keys in a dict for each key group took as long as to note their states.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from itertools import islice
from typing import Any

from zstream.model.ids import KeyGroup

HOLES_MIN = 16  # for fewer of them no list is made anew


class KeysByGroup:
    """live: the keys that have state, which the caller changes first, and this afterwards."""

    def __init__(self, live: Container[Any]) -> None:
        self._is_live = live.__contains__
        self._listed: dict[int, list[Any]] = {}  # only key groups that have a live key
        self._holes: dict[int, int] = {}

    def __contains__(self, group: int) -> bool:
        """Whether a key of this key group is here."""
        return group in self._listed

    def groups(self) -> list[KeyGroup]:
        """Key groups that have a key here, ascending."""
        return [KeyGroup(group) for group in sorted(self._listed)]

    def of(self, group: int) -> list[Any]:
        """The group's keys, in a new list."""
        listed = self._listed.get(group, [])
        if group not in self._holes:
            return listed.copy()
        return list(dict.fromkeys(filter(self._is_live, listed)))  # one may have come back

    def count(self, group: int) -> int:
        """How many keys the group has."""
        return len(self._listed.get(group, ())) - self._holes.get(group, 0)

    def some(self, group: int, count: int) -> list[Any]:
        """So many of the group's keys, or fewer."""
        return list(islice(filter(self._is_live, self._listed.get(group, ())), count))

    def add(self, groups: list[int], keys: list[Any]) -> None:
        """These keys came, each to its key group; none of them was here."""
        for group in set(groups):
            self._listed.setdefault(group, [])
        deque(map(list.append, map(self._listed.__getitem__, groups), keys), maxlen=0)

    def lose(self, group: int) -> None:
        """One of the group's keys went."""
        holes = self._holes[group] = self._holes.get(group, 0) + 1
        left = len(self._listed[group]) - holes
        if not left:
            self.pop(group)
        elif holes > max(left, HOLES_MIN):
            self._listed[group] = self.of(group)
            del self._holes[group]

    def pop(self, group: int) -> list[Any]:
        """The group's keys; it has none any more."""
        keys = self.of(group)
        self._listed.pop(group, None)
        self._holes.pop(group, None)
        return keys
