"""The state of one stateful operator, what of it has changed, and which keys are in which group.

    current  all states, as they are now
    recent   those that changed since the last cut, as they are now
    frozen   those that were recent at the cut, as they were then: what an open epoch writes

The operator's loop writes each state to the first two. Each dict that is reached for at random
costs as much as the rest of the loop once there are a million keys, and to write twice what was
just read is cheap: so there are no layers to look through, and nothing to be merged. Before the
first cut current and recent are one dict. Where there are few keys all of them are recent soon;
then what recent says of them is left as it is, and made up for before somebody reads it.

While an epoch is written nothing that is frozen changes: a state that the next batch may change in
place is copied first, and the copy goes on living. States of plain types cannot be changed in
place, and are not copied. Of key groups that are written whole, what changes meanwhile is kept as
it was at the cut.

The keys by group (`keys_by_group`) are touched only when a key is new or goes; a migration moves
groups, not keys.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import compress, filterfalse, islice, repeat, starmap
from operator import is_
from typing import Any

from zstream.dataflow.keys_by_group import KeysByGroup
from zstream.dataflow.writing import Writing
from zstream.errors import CannotTravel, InvariantBroken, WireError
from zstream.model.ids import KeyGroup
from zstream.model.keys import KeyGroups
from zstream.wire.columns import PLAIN_TYPES, kinds_in
from zstream.wire.values import Registry

SAMPLED_STATES = 32  # encoded for an estimate of all
SAMPLED_STATES_OF_GROUP = 4  # the same for one key group: a plan asks for all groups at once
LET_GO_AT_ONCE = 500_000  # rows: 15 ms, about what it takes a dict to grow beyond so many
FEW_KEYS = 10_000  # whose states are made up for in less than a millisecond

Refuse = Callable[[CannotTravel, Any, Any], None]


class KeyedState:
    """States by key. The operator's own loop reads `current` and writes to it and, if `notes` says
    so, to `recent`; keys that had no state go into `new`. `place` ends the batch; all else is for
    between batches.

    notes: whether the loop writes to `recent`, too. Else they are one, or `recent` has all keys.
    writing: what the open epoch still has to write; None when none is open.
    is_here: whether records of a key group may come here, asked when its first key comes.
    """

    def __init__(
        self, groups: KeyGroups, registry: Registry, is_here: Callable[[int], bool]
    ) -> None:
        self.current: dict[Any, Any] = {}
        self.recent = self.current
        self.notes = False
        self.new: list[Any] = []
        self.frozen: dict[Any, Any] = {}  # None for a key that went since the cut
        self.writing: Writing | None = None
        self._groups = groups
        self._registry = registry
        self._is_here = is_here
        self._keys = KeysByGroup(self.current)
        self._gone: dict[int, dict[Any, None]] = {}  # by group, keys that went since the cut
        self._gone_before: dict[int, dict[Any, None]] = {}  # those before, not in a manifest yet
        self._recent_groups: list[int] = []  # of the keys in `recent`, in order; the last may lack
        self._frozen_groups: list[int] = []
        self._is_changed_in_place = False
        self._has_dead = False  # keys in `recent` that are not in `current`

    def __len__(self) -> int:
        return len(self.current)

    def states(self) -> dict[Any, Any]:
        """All keys and their states, in a new dict."""
        return dict(self.current)

    # ------------------------------------------------------------ while records flow

    def note(self, kind: type) -> None:
        """States may be of this type from now on."""
        self._is_changed_in_place = self._is_changed_in_place or kind not in PLAIN_TYPES

    def touch(self, keys: list[Any], refuse: Refuse) -> None:
        """A batch with these keys comes next, and may change their states in place, also where a
        step fails. What cannot be copied cannot be written either and goes to `refuse`.
        """
        writing, recent = self.writing, self.recent
        if writing is None or not writing.is_pending:
            return
        if not writing.has_bases and not self._is_changed_in_place:
            return
        unchanged = list(filterfalse(recent.__contains__, dict.fromkeys(keys)))
        if writing.has_bases:
            writing.note(unchanged)
        if not self._is_changed_in_place:
            return
        found = {
            key: state
            for key in unchanged
            if key in self.current and (state := writing.state_of(key)) is not None
        }
        copies = self._copied(list(found), list(found.values()), refuse)
        for key, copy in zip(found, copies, strict=True):
            if copy is None:
                writing.pass_over(key)
                recent[key] = found[key]
            else:
                self.current[key] = copy

    def place(self) -> None:
        """The end of each batch. Note the key groups of what is new, and of what has become recent:
        now they are still known, while at the next cut they might have to be computed, all at once.

        Raises InvariantBroken for a new key whose records are not to come here.
        """
        if self.new:
            self._remember()
        if self.is_tracked and (count := len(self.recent) - len(self._recent_groups)):
            keys = list(islice(reversed(self.recent), count))
            keys.reverse()
            self._recent_groups += self._groups.of(keys)
        if self.notes and not self._has_dead and len(self.recent) == len(self.current) <= FEW_KEYS:
            self.notes = False

    def failed(self, key: Any) -> None:
        """A step raised: it may have changed the key's state in place before."""
        if self._is_changed_in_place and (state := self.current.get(key)) is not None:
            self.recent[key] = state

    def set(self, key: Any, state: Any) -> None:
        """What the operator's loop does with a state that is like the last one of its key."""
        self.current[key] = self.recent[key] = state

    def forget(self, key: Any) -> None:
        """The key goes, with its state."""
        if self.new:
            self._remember()
        group = self._groups.of((key,))[0]
        if self.is_tracked:
            if self.writing is not None and (state := self.writing.state_of(key)) is not None:
                self.writing.keep(key, state)
            self._gone.setdefault(group, {})[key] = None
        self._drop(key)
        self._keys.lose(group)

    # ------------------------------------------------------------ epochs

    @property
    def is_tracked(self) -> bool:
        """Whether it is known what changes."""
        return self.recent is not self.current

    @property
    def is_pending(self) -> bool:
        """Whether a slice is to be written, or to be let go."""
        return bool(self.frozen) if self.writing is None else self.writing.is_pending

    def track(self) -> None:
        """Know from here on what changes."""
        if not self.is_tracked:
            self.recent, self.notes = {}, True

    def freeze(self, bases: Iterable[int]) -> None:
        """The cut: what changed is to be written, and these key groups whole."""
        self.track()
        self._make_up()
        self.frozen, self.recent = self.recent, {}
        self._has_dead = False
        self._frozen_groups, self._recent_groups = self._recent_groups, []
        self._gone_before, self._gone = self._gone, {}
        self.writing = Writing(
            self.frozen,
            self._frozen_groups,
            self.current,
            self._gone_before,
            self._keys.of,
            self._groups,
            bases,
        )

    def confirm(self) -> None:
        """What was written is in a manifest; `release` does the rest."""
        self.writing = None
        self._frozen_groups = []
        self._gone_before = {}

    def release(self, count: int) -> None:
        """Let go of rows that are in a manifest: of so many, or of all if that is no long pause.
        Row by row it takes seven times as long.
        """
        if len(self.frozen) <= LET_GO_AT_ONCE:
            self.frozen = {}
            return
        deque(starmap(self.frozen.popitem, repeat((), min(count, len(self.frozen)))), maxlen=0)

    def put_back(self) -> None:
        """The epoch counts for nothing: what it was to write belongs to the next one."""
        self._make_up()
        self.writing = None
        self._has_dead = True  # maybe
        self._frozen_groups.extend(
            group
            for key, group in zip(self.recent, self._recent_groups, strict=True)
            if key not in self.frozen
        )
        self.frozen.update(self.recent)
        self.recent, self.frozen = self.frozen, {}
        self._recent_groups, self._frozen_groups = self._frozen_groups, []
        for group, keys in self._gone_before.items():
            gone = self._gone.setdefault(group, {})
            gone.update((key, None) for key in keys if key not in self.current)
        self._gone_before = {}

    # ------------------------------------------------------------ key groups that come and go

    def groups(self) -> list[KeyGroup]:
        """Key groups that have a key here, ascending."""
        return self._keys.groups()

    def take(self, group: KeyGroup, refuse: Refuse) -> tuple[bytes, list[Any]]:
        """The group's rows, packed, and its keys that changed since the last manifest, also those
        that are gone; then it is forgotten: somebody else holds it now. No epoch is open.

        A state that cannot travel goes to `refuse(error, key, state)`, because the other keys of
        the group must not stay behind for it.
        """
        assert self.writing is None, "no key group moves while an epoch is open"
        keys = self._keys.pop(group)
        states = list(map(self.current.pop, keys))
        changed: list[Any] = []
        if self.is_tracked:
            changed = list(filter(self.recent.__contains__, keys))
            self.recent.update(zip(changed, repeat(None)))  # its order counts: nothing is removed
            self._has_dead = True
        changed += self._gone.pop(group, ())
        try:
            return self._packed(keys, states), changed
        except CannotTravel:
            flags = [state is not None for state in self.travelling(keys, states, refuse)]
            rows = list(compress(keys, flags)), list(compress(states, flags))
            return self._packed(*rows), changed

    def install(self, group: KeyGroup, snapshot: bytes, changed: list[Any] | None = None) -> None:
        """Take over a group's rows. changed: its keys that changed where it was before, since it
        was in a manifest; None where it was in none. Raises WireError where the rows are not what
        `take` gave.
        """
        rows = self._registry.unpack(snapshot)
        if not isinstance(rows, tuple) or len(rows) != 2:
            raise WireError(f"the snapshot of key group {group} holds no rows")
        keys, states = map(self._registry.unpack_column, rows)
        self.put([group] * len(keys), keys, states)
        if changed is None:
            return
        self.track()
        here = list(filter(self.current.__contains__, changed))
        if len(here) < len(changed):
            gone = dict.fromkeys(key for key in changed if key not in self.current)
            self._gone.setdefault(group, {}).update(gone)
        before = len(self.recent)
        self.recent.update(zip(here, map(self.current.__getitem__, here), strict=True))
        self._recent_groups.extend(repeat(group, len(self.recent) - before))

    def put(self, groups: list[int], keys: list[Any], states: list[Any]) -> None:
        """Rows as a checkpoint has them: None is the state of a key that is gone."""
        self._make_up()
        if any(map(is_, states, repeat(None))):
            for group, key, state in zip(groups, keys, states, strict=True):
                if state is None and self.current.pop(key, None) is not None:
                    self._keys.lose(group)
            flags = [state is not None for state in states]
            groups, keys, states = (list(compress(c, flags)) for c in (groups, keys, states))
        for kind in kinds_in(states):
            self.note(kind)
        rows = zip(keys, groups, strict=True)
        new = {key: group for key, group in rows if key not in self.current}  # each once
        self.current.update(zip(keys, states, strict=True))
        self._keys.add(list(new.values()), list(new))

    def clear(self) -> None:
        """Forget everything."""
        self.current = self.recent = {}
        self.notes = self._has_dead = False
        self.new.clear()
        self.frozen = {}
        self._recent_groups, self._frozen_groups = [], []
        self.writing = None
        self._keys = KeysByGroup(self.current)
        self._gone, self._gone_before = {}, {}

    # ------------------------------------------------------------ figures

    def bytes_of(self, group: KeyGroup) -> int:
        """About how large the group's snapshot is, from a few of its states."""
        sample = self._keys.some(group, SAMPLED_STATES_OF_GROUP)
        return self._estimate(sample, self._keys.count(group)) if sample else 0

    def bytes_of_all(self) -> int:
        """About how large all states are, from a sample spread over the key groups."""
        groups = self._keys.groups()
        if not groups:
            return 0
        chosen = groups[:: max(1, len(groups) // SAMPLED_STATES)]
        each = max(1, SAMPLED_STATES // len(chosen))
        sample = [key for group in chosen for key in self._keys.some(group, each)]
        return self._estimate(sample, len(self))

    def travelling(self, keys: list[Any], states: list[Any], refuse: Refuse) -> list[Any]:
        """The states, None in the place of each that cannot travel; that one is refused."""
        sound = []
        for key, state in zip(keys, states, strict=True):
            try:
                self._packed([key], [state])
                sound.append(state)
            except CannotTravel as error:
                refuse(error, key, state)
                sound.append(None)
        return sound

    # ------------------------------------------------------------ inside

    def _remember(self) -> None:
        """Put the new keys to their key groups."""
        groups = self._groups.of(self.new)
        for group in set(groups):
            if group not in self._keys and not self._is_here(group):
                raise InvariantBroken(
                    f"a record came for key group {group}, which this worker neither holds nor owns"
                )
        self._keys.add(groups, self.new)
        if self.is_tracked and not self.notes:
            self.recent.update(zip(self.new, map(self.current.get, self.new), strict=True))
        if self._gone:
            for key, group in zip(self.new, groups, strict=True):
                if group in self._gone:
                    self._gone[group].pop(key, None)
        self.new.clear()

    def _drop(self, key: Any) -> None:
        """The key has no state any more. In dicts whose order counts, None takes its place."""
        self.current.pop(key, None)
        if self.is_tracked:
            self._has_dead = True
            for layer in (self.recent, self.frozen):
                if key in layer:
                    layer[key] = None

    def _make_up(self) -> None:
        """Say in `recent` what the loop did not; it does from here on."""
        if self.is_tracked and not self.notes:
            self.recent.update(self.current)
            self.notes = True

    def _copied(self, keys: list[Any], states: list[Any], refuse: Refuse) -> list[Any]:
        copied = self._registry.unpack_column
        try:
            return copied(self._registry.pack_column(states))
        except CannotTravel:
            sound = self.travelling(keys, states, refuse)
            return copied(self._registry.pack_column(sound))

    def _estimate(self, sample: list[Any], count: int) -> int:
        size = 0
        for key in sample:
            try:
                size += len(self._registry.pack((key, self.current[key])))
            except CannotTravel:
                continue  # said when it matters: at its next record, or when it shall move
        return size * count // len(sample)

    def _packed(self, keys: list[Any], states: list[Any]) -> bytes:
        pack_column = self._registry.pack_column
        return self._registry.pack((pack_column(keys), pack_column(states)))
