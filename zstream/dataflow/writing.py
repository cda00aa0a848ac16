"""What an epoch writes of one operator's states: as they were at the cut, some at a time.

Records go on changing states while this is written, and nobody waits for it: what is frozen is
never changed (see `keyed_state`), and what goes is kept here until it is written.

    kept     states that were to be written when their key went, or that cannot be written
    bases    key groups that are written whole
    frozen   what changed between the cut before and this one
    gone     keys that went between the two
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple


class Slice(NamedTuple):
    """Rows; None is the state of a key that is gone. groups: one for each row, or where `counts` is
    given, one for so many rows each.
    """

    groups: list[int]
    counts: list[int] | None
    keys: list[Any]
    states: list[Any]


class Writing:
    """Opened at a cut. frozen, base, keys_of: those of the `KeyedState`, looked at only.

    Order is that of the dicts, so the same records give the same parts.
    """

    def __init__(
        self,
        frozen: Mapping[Any, Any],
        base: Mapping[Any, Any],
        gone: Mapping[int, Iterable[Any]],
        keys_of: Mapping[int, Iterable[Any]],
        group_of: Mapping[Any, int],
        bases: Iterable[int],
    ) -> None:
        self._frozen = frozen
        self._base = base
        self._keys_of = keys_of
        self._group_of = group_of
        self._kept: dict[Any, Any] = {}
        self._bases = sorted(bases, reverse=True)
        self._of_base: list[Any] = []  # keys of the group that stands last in `_bases`, reversed
        self._unopened = set(self._bases)
        self._frozen_left = len(frozen)
        self._frozen_keys = iter(frozen)
        self._frozen_states = iter(frozen.values())
        self._gone: Iterator[Any] = (key for keys in gone.values() for key in keys)
        self._gone_left = sum(len(list(keys)) for keys in gone.values())

    @property
    def is_pending(self) -> bool:
        """Whether something is still to be written."""
        return bool(self._frozen_left or self._bases or self._kept or self._gone_left)
