"""How large the next wave of a rescale is, by what the one before has cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zstream.config import Config
from zstream.control.rescale import groups_after

CONFIG = replace(Config(), wave_spread_ms=20, wave_groups_max=100)
pauses = st.lists(st.floats(0, 1e6), min_size=1, max_size=20)


@given(st.integers(1, 100), pauses)
def test_a_wave_is_never_empty_and_never_above_its_bound(
    groups: int, pauses_ms: list[float]
) -> None:
    """Whatever was measured, also nothing at all or minutes; it at most doubles."""
    assert 1 <= groups_after(groups, pauses_ms, CONFIG) <= min(100, 2 * groups)


@pytest.mark.parametrize(
    ("pauses_ms", "groups"),
    [
        ([5, 6], 80),  # it went fast: twice as many
        ([10, 30], 40),  # the last one waited 20 ms for the others, as is wanted
        ([10, 50], 20),
        ([10, 1000], 10),  # far too long: a quarter, not a fiftieth, for it may have been bad luck
        ([100, 150], 40),  # where the protocol takes long, the others' state may be half of it
        ([700], 80),  # alone: nobody waited for another one
    ],
)
def test_waves_follow_what_key_groups_wait_for_each_other(
    pauses_ms: list[float], groups: int
) -> None:
    assert groups_after(40, pauses_ms, CONFIG) == groups
