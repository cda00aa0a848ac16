"""Which keys of one operator changed since the last manifest, and what of them is to be written.

A cut freezes what changed. From then on the frozen keys are written, some at a time, while records
go on changing states: before a batch touches a key that is frozen and not written yet, its state
is copied. So what is written is the state at the cut, and nobody waits for it.

    changed   keys touched since the cut, or since the last manifest
    frozen    keys to be written, whose states are as they were at the cut
    copies    keys to be written, with the states they had at the cut
    bases     key groups to be written whole; they become frozen keys one after the other

What was written is remembered until the manifest: an epoch may be abandoned. Dicts stand where sets
would do, because they keep their order: the same records give the same parts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import filterfalse, repeat
from typing import Any

from zstream.errors import CannotTravel
from zstream.wire.values import Registry

Refuse = Callable[[CannotTravel, Any, Any], None]


class Changes:
    """states, keys_of: those of the operator, looked at and never changed here.

    refuse: told of a state that cannot travel, so that it cannot be copied or written either.
    """

    def __init__(
        self,
        states: Mapping[Any, Any],
        keys_of: Mapping[int, Mapping[Any, None]],
        group_of: Mapping[Any, int],
        registry: Registry,
        refuse: Refuse,
    ) -> None:
        self._states = states
        self._keys_of = keys_of
        self._group_of = group_of
        self._registry = registry
        self._refuse = refuse
        self._changed: dict[Any, None] = {}
        self._frozen: dict[Any, None] = {}
        self._copies: dict[Any, Any] = {}
        self._bases: set[int] = set()
        self._touched: set[Any] = set()  # since the cut, of the groups in `_bases`
        self._whole: frozenset[int] = frozenset()  # what `_bases` was at the cut
        self._written: dict[Any, None] = {}  # but for the keys of whole groups

    # ------------------------------------------------------------ while records flow

    def touch(self, keys: list[Any]) -> None:
        """The states of these keys may change now. Called once a batch, before it is applied."""
        if self._bases:
            self._copy_of_bases(keys)
        if self._frozen and not self._frozen.keys().isdisjoint(keys):
            touched = [key for key in dict.fromkeys(keys) if key in self._frozen]
            self._copy(touched)
            for key in touched:
                del self._frozen[key]
        self._changed.update(zip(keys, repeat(None)))  # one pass in C: this is paid per record

    def _copy_of_bases(self, keys: list[Any]) -> None:
        group_of, touched = self._group_of, self._touched
        fresh = [
            key
            for key in dict.fromkeys(keys)
            if group_of[key] in self._bases and key not in touched
        ]
        self._copy([key for key in fresh if key in self._states])
        touched.update(fresh)

    def _copy(self, keys: list[Any]) -> None:
        states = list(map(self._states.get, keys))
        self._copies.update(zip(keys, self._copied(keys, states), strict=True))

    def _copied(self, keys: list[Any], states: list[Any]) -> list[Any]:
        try:
            return self._registry.unpack_column(self._registry.pack_column(states))
        except CannotTravel:
            sound = self.travelling(keys, states)
            return self._registry.unpack_column(self._registry.pack_column(sound))

    def travelling(self, keys: list[Any], states: list[Any]) -> list[Any]:
        """The states, None in the place of each that cannot travel; that one is refused."""
        sound = []
        for key, state in zip(keys, states, strict=True):
            try:
                self._registry.pack(state)
                sound.append(state)
            except CannotTravel as error:
                self._refuse(error, key, state)
                sound.append(None)
        return sound

    # ------------------------------------------------------------ an epoch

    def freeze(self, bases: Iterable[int]) -> None:
        """The cut: what changed is to be written, and these key groups whole."""
        self._frozen, self._changed = self._changed, {}
        self._bases = set(bases)
        self._whole = frozenset(self._bases)

    @property
    def is_pending(self) -> bool:
        """Whether something is still to be written."""
        return bool(self._frozen or self._copies or self._bases)

    def take(self, count: int) -> tuple[list[int], list[Any], list[Any]]:
        """Up to `count` rows to write now: (key groups, keys, states); None for a key that is
        gone.
        """
        if self._copies:
            rows = [self._copies.popitem() for _ in range(min(count, len(self._copies)))]
            keys = [key for key, _ in rows]
            state_of: Mapping[Any, Any] = dict(rows)
            passed: Collection[int] = ()
        else:
            self._open_bases(count)
            frozen = self._frozen
            keys = [frozen.popitem()[0] for _ in range(min(count, len(frozen)))]
            state_of = self._states
            passed = self._bases  # written when their turn comes
        group_of = self._group_of
        if passed:
            keys = [key for key in keys if group_of[key] not in passed]
        groups = [group_of[key] for key in keys]
        if self._whole:
            changed = (
                key for key, group in zip(keys, groups, strict=True) if group not in self._whole
            )
            self._written.update(dict.fromkeys(changed))
        else:
            self._written.update(dict.fromkeys(keys))
        return groups, keys, list(map(state_of.get, keys))

    def _open_bases(self, count: int) -> None:
        """Freeze one whole group after the other, until there is enough to write."""
        while self._bases and len(self._frozen) < count:
            keys = self._keys_of.get(self._bases.pop(), {})
            self._frozen.update(dict.fromkeys(filterfalse(self._touched.__contains__, keys)))
        if not self._bases:
            self._touched.clear()

    def confirm(self) -> None:
        """What was written is in a manifest."""
        self._written.clear()
        self._whole = frozenset()

    def put_back(self) -> None:
        """The epoch counts for nothing: what it was to write has changed since the last manifest.

        Not the keys of whole groups that were written: such a group is written whole again.
        """
        for keys in (self._written, self._frozen, self._copies):
            self._changed.update(dict.fromkeys(keys))
            keys.clear()
        self._bases.clear()
        self._touched.clear()
        self._whole = frozenset()

    # ------------------------------------------------------------ a key group that moves

    def of(self, group: int) -> list[Any]:
        """Keys of a group that changed, also those that are gone. No epoch is open."""
        here = [key for key in self._keys_of.get(group, ()) if key in self._changed]
        gone = filterfalse(self._states.__contains__, self._changed)
        return here + [key for key in gone if self._group_of[key] == group]

    def add(self, keys: Iterable[Any]) -> None:
        """Keys of a group that came here, changed where it was before."""
        self._changed.update(dict.fromkeys(keys))

    def forget(self, group: int) -> None:
        """The group is somebody else's."""
        for key in self.of(group):
            del self._changed[key]
