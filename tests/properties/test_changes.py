"""Changes of one operator against a model: what an epoch writes is the state at its cut.

Random batches replace, change in place and drop states while slices are written, epochs get a
manifest or none, key groups leave with their changes and come back. All that manifests hold, taken
together, is at each manifest the state as it was at the cut.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.numbered_keys import ByRemainder
from zstream.dataflow.keyed_state import KeyedState
from zstream.errors import CannotTravel
from zstream.model.ids import KeyGroup
from zstream.wire.values import Registry

GROUPS = 3
KEYS = list(range(9))

keys = st.lists(st.sampled_from(KEYS), min_size=1, max_size=5)
groups = st.sets(st.integers(0, GROUPS - 1))
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["change", "fail", "drop"]), keys),
        st.tuples(st.sampled_from(["take", "release"]), st.integers(1, 4)),
        st.tuples(st.just("cut"), groups),
        st.tuples(st.sampled_from(["manifest", "abandon"]), st.none()),
        st.tuples(st.just("move"), st.integers(0, GROUPS - 1)),
    ),
    max_size=60,
)


def refuse(error: CannotTravel, key: Any, state: Any) -> None:
    raise AssertionError(f"a list of ints was refused: {error}")


class Model:
    """One operator; stored: what manifests hold; at_cut: the state at the open epoch's cut.

    in_place: whether steps change a state in place, or return a new one.
    """

    def __init__(self, in_place: bool) -> None:
        self.in_place = in_place
        self.state = KeyedState(ByRemainder(GROUPS), Registry(), lambda group: True)
        self.state.track()
        self.whole = set(range(GROUPS))  # in no manifest yet
        self.stored: dict[int, list[int]] = {}
        self.at_cut: dict[int, list[int]] | None = None
        self.bases: set[int] = set()
        self.rows: list[tuple[int, int, list[int] | None]] = []
        self.clock = 0

    def change(self, keys: list[int]) -> None:
        self.state.touch(keys, refuse)
        for key in keys:
            self.clock += 1
            state = self.state.current.get(key)
            if state is None:
                self.state.note(list if self.in_place else int)
                self.state.new.append(key)
                state = []
            if self.in_place:
                state.append(self.clock)
            else:
                state = [*state, self.clock]
            self.state.set(key, state)
        self.state.place()

    def fail(self, keys: list[int]) -> None:
        """Steps that change a state in place and raise."""
        self.state.touch(keys, refuse)
        for key in keys:
            state = self.state.current.get(key)
            if state is not None and self.in_place:
                self.clock += 1
                state.append(self.clock)
            self.state.failed(key)
        self.state.place()

    def drop(self, keys: list[int]) -> None:
        self.state.touch(keys, refuse)
        for key in keys:
            if key in self.state.current:
                self.state.forget(key)
        self.state.place()

    def cut(self, bases: set[int]) -> None:
        self.abandon(None)
        self.bases = bases | self.whole
        self.state.freeze(self.bases)
        self.at_cut = deepcopy(self.state.states())
        self.rows = []

    def take(self, count: int) -> None:
        if self.at_cut is not None:
            assert self.state.writing is not None
            groups, counts, keys, states = self.state.writing.take(count)
            assert len(keys) <= count
            if counts is not None:
                groups = [group for group, n in zip(groups, counts, strict=True) for _ in range(n)]
            self.rows += deepcopy(list(zip(groups, keys, states, strict=True)))

    def release(self, count: int) -> None:
        if self.at_cut is None:
            self.state.release(count)

    def abandon(self, _: None) -> None:
        if self.at_cut is not None:
            self.state.put_back()
            self.whole |= self.bases
            self.at_cut = None

    def manifest(self, _: None) -> None:
        if self.at_cut is None:
            return
        while self.state.is_pending:
            self.take(3)
        for key in [key for key in self.stored if key % GROUPS in self.bases]:
            del self.stored[key]
        for group, key, state in self.rows:
            assert group == key % GROUPS
            self.stored.pop(key, None)
            if state is not None:
                self.stored[key] = state
        assert self.stored == self.at_cut
        assert len(self.state) == len(self.state.states())
        self.state.confirm()
        self.whole -= self.bases
        self.at_cut = None

    def move(self, group: int) -> None:
        """To another worker and back; no epoch is open then."""
        self.abandon(None)
        rows, changed = self.state.take(KeyGroup(group), refuse)
        assert KeyGroup(group) not in self.state.groups()
        self.state.install(KeyGroup(group), rows, changed)


@given(steps, st.booleans())
def test_manifests_hold_the_state_at_their_cut(
    steps: list[tuple[str, Any]], in_place: bool
) -> None:
    model = Model(in_place)
    for name, argument in [*steps, ("cut", set()), ("manifest", None)]:
        getattr(model, name)(argument)
