"""What an epoch writes of one operator's states: as they were at the cut, some at a time.

Records go on changing states while this is written, and nobody waits for it: what is frozen is
not changed (see `keyed_state`), and of what goes the state is kept here.

    kept     states of keys that went before they were written
    bases    key groups that are written whole
    noted    states at the cut of keys in these that changed since; None for those that are new
    frozen   what changed between the cut before and this one
    gone     keys that went between the two
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain, compress, islice, repeat
from operator import is_not
from typing import Any, NamedTuple

from zstream.model.keys import KeyGroups


class Slice(NamedTuple):
    """Rows of one operator; None is the state of a key that is gone.

    groups: the key group of each row; or, with `counts`, of so many rows each.
    """

    groups: list[int]
    counts: list[int] | None
    keys: list[Any]
    states: list[Any]


class Writing:
    """One epoch. frozen, current, gone: those of the `KeyedState`, looked at only.

    groups: the key groups of what is frozen, in its order. keys_of: all keys of a key group, in a
    new list.

    Everything comes in the order of dicts, so the same records give the same parts. Few rows may
    come twice, with the same state.
    """

    def __init__(
        self,
        frozen: dict[Any, Any],
        groups: Iterable[int],
        current: Mapping[Any, Any],
        gone: Mapping[int, Collection[Any]],
        keys_of: Callable[[int], list[Any]],
        key_groups: KeyGroups,
        bases: Iterable[int],
    ) -> None:
        self._frozen = frozen
        self._current = current
        self._keys_of = keys_of
        self._key_groups = key_groups
        self._kept: dict[Any, Any] = {}
        self._noted: dict[Any, Any] = {}
        self._bases = dict.fromkeys(sorted(bases))
        self._of_base: list[Any] = []  # what is left of the base that is being written
        self._frozen_left = len(frozen)
        self._frozen_groups = iter(groups)
        self._frozen_keys = iter(frozen)
        self._frozen_states = iter(frozen.values())
        self._gone_left = sum(map(len, gone.values()))
        self._gone = chain.from_iterable(map(zip, map(repeat, gone), gone.values()))

    @property
    def is_pending(self) -> bool:
        """Whether something is still to be written."""
        return bool(self._frozen_left or self._bases or self._kept or self._gone_left)

    @property
    def has_bases(self) -> bool:
        """Whether a key group is still to be written whole."""
        return bool(self._bases)

    def note(self, keys: list[Any]) -> None:
        """These keys, unchanged since the cut, may change now: remember how they were where that
        is still to be written.
        """
        groups = self._key_groups.of(keys)
        of_bases = list(compress(keys, map(self._bases.__contains__, groups)))
        deque(map(self._noted.setdefault, of_bases, map(self._current.get, of_bases)), maxlen=0)

    def state_of(self, key: Any) -> Any:
        """The state that is still to be written for this key, or None; now and then for one that
        has been written.
        """
        if not self.is_pending:
            return None
        state = self._frozen.get(key)
        return self._noted.get(key) if state is None else state

    def keep(self, key: Any, state: Any) -> None:
        """Write this for a key that goes."""
        self._kept[key] = state

    def pass_over(self, key: Any) -> None:
        """The key's state cannot be written: write that it is gone."""
        self._kept[key] = None
        if key in self._frozen:
            self._frozen[key] = None
        if key in self._noted:
            self._noted[key] = None

    def take(self, count: int) -> Slice:
        """Up to `count` rows to write now."""
        if self._kept:
            return self._take_kept(count)
        if self._bases:
            return self._take_bases(count)
        if self._frozen_left:
            return self._take_frozen(count)
        rows = list(islice(self._gone, count))
        self._gone_left -= len(rows)
        return Slice(
            [group for group, _ in rows], None, [key for _, key in rows], [None] * len(rows)
        )

    def _take_kept(self, count: int) -> Slice:
        rows = [self._kept.popitem() for _ in range(min(count, len(self._kept)))]
        keys = [key for key, _ in rows]
        return Slice(self._key_groups.of(keys), None, keys, [state for _, state in rows])

    def _take_bases(self, count: int) -> Slice:
        """Group by group, of the keys that are there now those that were there at the cut."""
        counts: dict[int, int] = {}
        keys: list[Any] = []
        states: list[Any] = []
        while self._bases and len(keys) < count:
            group = next(iter(self._bases))
            left = self._of_base = self._of_base or self._keys_of(group)
            some = left[len(keys) - count :]  # the last ones
            del left[len(keys) - count :]
            if not left:
                del self._bases[group]
            some, found = _with_state(self._states_at_cut(some), some)
            counts[group] = counts.get(group, 0) + len(some)
            keys += some
            states += found
        return Slice(list(counts), list(counts.values()), keys, states)

    def _take_frozen(self, count: int) -> Slice:
        count = min(count, self._frozen_left)
        self._frozen_left -= count
        columns = (self._frozen_states, self._frozen_keys, self._frozen_groups)
        states, keys, groups = (list(islice(column, count)) for column in columns)
        keys, states, groups = _with_state(states, keys, groups)
        return Slice(groups, None, keys, states)

    def _states_at_cut(self, keys: list[Any]) -> list[Any]:
        current_of, noted = self._current.get, self._noted
        if not noted:
            return list(map(current_of, keys))
        return [noted[key] if key in noted else current_of(key) for key in keys]


def _with_state(states: list[Any], keys: list[Any], *columns: list[Any]) -> Iterator[list[Any]]:
    """Keys, states and what goes with them, without the keys that were not there at the cut, or
    are kept.
    """
    flags = list(map(is_not, states, repeat(None)))
    everything = (keys, states, *columns)
    return iter(everything) if all(flags) else (list(compress(c, flags)) for c in everything)
