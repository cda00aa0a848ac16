"""The keys of key groups against a dict for each: keys come, go and come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zstream.dataflow import keys_by_group
from zstream.dataflow.keys_by_group import KeysByGroup

GROUPS = 3
steps = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.lists(st.integers(0, 20), unique=True, max_size=8)),
        st.tuples(st.just("go"), st.lists(st.integers(0, 20), unique=True, max_size=8)),
        st.tuples(st.just("pop"), st.integers(0, GROUPS - 1)),
    ),
    max_size=60,
)


@given(steps, st.sampled_from([0, 2, 16]))
def test_keys_of_a_group_are_those_that_are_live(
    steps: list[tuple[str, list[int] | int]], holes_min: int
) -> None:
    """Whatever lists have holes, or were made anew; two that do the same say the same."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(keys_by_group, "HOLES_MIN", holes_min)
        live: dict[int, None] = {}
        both = [KeysByGroup(live), KeysByGroup(live)]
        for what, of in steps:
            if isinstance(of, int):
                expected = {key for key in live if key % GROUPS == of}
                popped, again = (keys.pop(of) for keys in both)
                assert popped == again
                assert sorted(popped) == sorted(expected)
                for key in expected:
                    del live[key]
            elif what == "come":
                new = [key for key in of if key not in live]
                live.update(dict.fromkeys(new))
                for keys in both:
                    keys.add([key % GROUPS for key in new], new)
            else:
                for key in [key for key in of if key in live]:
                    del live[key]
                    for keys in both:
                        keys.lose(key % GROUPS)
            for group in range(GROUPS):
                held = sorted(key for key in live if key % GROUPS == group)
                first, second = both
                assert first.of(group) == second.of(group)
                assert sorted(first.of(group)) == held
                assert first.count(group) == len(held)
                assert (group in first) == bool(held)
                assert set(first.some(group, 2)) <= set(held)
                assert bool(first.some(group, 2)) == bool(held)
            assert first.groups() == sorted({key % GROUPS for key in live})


def test_a_list_does_not_grow_with_keys_that_come_and_go() -> None:
    """A session for each visitor: a thousand at a time, twenty thousand one after the other."""
    live: dict[int, None] = {}
    keys = KeysByGroup(live)
    for key in range(20_000):
        live[key] = None
        keys.add([0], [key])
        if key >= 1000:
            del live[key - 1000]
            keys.lose(0)
        assert len(keys._listed[0]) <= 2 * 1000 + 2
    assert keys.of(0) == list(live)
