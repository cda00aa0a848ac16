"""The state of one stateful operator: one flat dict, and which keys stand in which key group.

Lookups go to the flat dict alone. The keys by group are touched only when a key is new or goes,
and are what a migration needs: it moves groups, not keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from zstream.dataflow.changes import Changes, Refuse
from zstream.errors import CannotTravel, WireError
from zstream.model.ids import KeyGroup
from zstream.wire.values import Registry

SAMPLED_STATES = 32  # encoded for an estimate of all
SAMPLED_STATES_OF_GROUP = 4  # the same for one key group: a plan asks for all groups at once


class KeyedState:
    """States by key. `states` is read and written by the operator's own loop.

    changes: what changed since the last manifest; None while nothing of it was ever in one.
    """

    def __init__(self, group_of: Mapping[Any, int], registry: Registry) -> None:
        self.states: dict[Any, Any] = {}
        self.changes: Changes | None = None
        self._group_of = group_of
        self._registry = registry
        self._keys_of: dict[int, dict[Any, None]] = {}  # a dict, because it keeps the order

    def __len__(self) -> int:
        return len(self.states)

    def touch(self, keys: list[Any]) -> None:
        """A batch with these keys comes next: their states may change, even where a step fails."""
        if self.changes is not None:
            self.changes.touch(keys)

    def track(self, refuse: Refuse) -> Changes:
        """Know from here on what changes."""
        if self.changes is None:
            self.changes = Changes(
                self.states, self._keys_of, self._group_of, self._registry, refuse
            )
        return self.changes

    def remember(self, key: Any) -> None:
        """The key is new in `states`."""
        self._keys_of.setdefault(self._group_of[key], {})[key] = None

    def forget(self, key: Any) -> None:
        """The key goes, with its state."""
        del self.states[key]
        group = self._group_of[key]
        keys = self._keys_of[group]
        del keys[key]
        if not keys:
            del self._keys_of[group]

    def groups(self) -> list[KeyGroup]:
        """Key groups that have a key here, ascending."""
        return [KeyGroup(group) for group in sorted(self._keys_of)]

    def snapshot(self, group: KeyGroup, refuse: Refuse) -> bytes:
        """The group's rows, packed. A state that cannot travel goes to `refuse(error, key, state)`,
        because the other keys of the group must not stay behind for it.
        """
        keys = list(self._keys_of.get(group, ()))
        states = [self.states[key] for key in keys]
        try:
            return self._packed(keys, states)
        except CannotTravel:
            rows = [
                (key, state)
                for key, state in zip(keys, states, strict=True)
                if self._travels(key, state, refuse)
            ]
            return self._packed([key for key, _ in rows], [state for _, state in rows])

    def changed(self, group: KeyGroup) -> list[Any]:
        """Keys of the group that changed since the last manifest, also those that are gone."""
        return [] if self.changes is None else self.changes.of(group)

    def install(self, group: KeyGroup, snapshot: bytes) -> None:
        """Take over a group's rows. Raises WireError where they are not what `snapshot` gave."""
        rows = self._registry.unpack(snapshot)
        if not isinstance(rows, tuple) or len(rows) != 2:
            raise WireError(f"the snapshot of key group {group} holds no rows")
        keys, states = map(self._registry.unpack_column, rows)
        if not keys:
            return
        self.states.update(zip(keys, states, strict=True))
        self._keys_of.setdefault(group, {}).update(dict.fromkeys(keys))

    def put(self, group: int, keys: list[Any], states: list[Any]) -> None:
        """Rows of a group as a checkpoint has them: None is the state of a key that is gone."""
        for key, state in zip(keys, states, strict=True):
            if state is None and key in self.states:
                self.forget(key)
        rows = {key: state for key, state in zip(keys, states, strict=True) if state is not None}
        if rows:
            self.states.update(rows)
            self._keys_of.setdefault(group, {}).update(dict.fromkeys(rows))

    def drop(self, group: KeyGroup) -> None:
        """Forget the group; somebody else holds it now."""
        if self.changes is not None:
            self.changes.forget(group)
        for key in self._keys_of.pop(group, ()):
            del self.states[key]

    def clear(self) -> None:
        """Forget everything."""
        self.states.clear()
        self._keys_of.clear()
        self.changes = None

    def bytes_of(self, group: KeyGroup) -> int:
        """About how large the group's snapshot is, from a few of its states."""
        keys = self._keys_of.get(group)
        if not keys:
            return 0
        return self._estimate(list(islice(keys, SAMPLED_STATES_OF_GROUP)), len(keys))

    def bytes_of_all(self) -> int:
        """About how large all states are, from a sample spread over them."""
        if not self.states:
            return 0
        stride = max(1, len(self.states) // SAMPLED_STATES)
        return self._estimate(list(islice(self.states, 0, None, stride)), len(self.states))

    def _estimate(self, sample: list[Any], count: int) -> int:
        size = 0
        for key in sample:
            try:
                size += len(self._registry.pack((key, self.states[key])))
            except CannotTravel:
                continue  # said when it matters: at its next record, or when it shall move
        return size * count // len(sample)

    def _packed(self, keys: list[Any], states: list[Any]) -> bytes:
        pack_column = self._registry.pack_column
        return self._registry.pack((pack_column(keys), pack_column(states)))

    def _travels(self, key: Any, state: Any, refuse: Refuse) -> bool:
        try:
            self._packed([key], [state])
        except CannotTravel as error:
            refuse(error, key, state)
            return False
        return True
