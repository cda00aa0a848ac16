"""Who owns which key group next: balanced, with the fewest moves, in waves of bounded bytes."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from zstream.control.placement import Move, balanced, in_turn, moves, next_wave
from zstream.model.ids import Incarnation, KeyGroup

WORKERS = [Incarnation(number) for number in range(1, 7)]
stayers_of = st.lists(st.sampled_from(WORKERS), min_size=1, max_size=6, unique=True)
tables = st.lists(st.sampled_from(WORKERS), min_size=1, max_size=80)


@given(tables, stayers_of)
def test_everybody_gets_its_share_within_one_group(
    owners: list[Incarnation], stayers: list[Incarnation]
) -> None:
    """Whoever joined or leaves: only those who stay own groups, none two more than another."""
    after = balanced(owners, stayers)
    counts = [after.count(stayer) for stayer in stayers]
    assert sum(counts) == len(owners)
    assert max(counts) - min(counts) <= 1


@given(
    st.lists(st.sampled_from(WORKERS[:3]), min_size=1, max_size=6),
    st.lists(st.sampled_from(WORKERS[:3]), min_size=1, max_size=3, unique=True),
)
def test_no_balanced_table_needs_fewer_moves(
    owners: list[Incarnation], stayers: list[Incarnation]
) -> None:
    """Tried against every table there is, on a small scale."""
    after = balanced(owners, stayers)

    def is_balanced(table: tuple[Incarnation, ...]) -> bool:
        counts = [table.count(stayer) for stayer in stayers]
        return max(counts) - min(counts) <= 1

    fewest = min(
        len(moves(owners, table))
        for table in product(stayers, repeat=len(owners))
        if is_balanced(table)
    )
    assert len(moves(owners, after)) == fewest


@given(tables, stayers_of)
def test_a_balanced_table_stays_as_it_is(
    owners: list[Incarnation], stayers: list[Incarnation]
) -> None:
    """Planning twice moves nothing the second time."""
    once = balanced(owners, stayers)
    assert balanced(once, stayers) == once


@given(
    tables,
    stayers_of,
    st.lists(st.integers(0, 50), min_size=80, max_size=80),
    st.integers(1, 100),
    st.integers(1, 8),
)
def test_waves_hold_every_move_once_and_keep_their_bounds(
    owners: list[Incarnation],
    stayers: list[Incarnation],
    sizes: list[int],
    bytes_max: int,
    groups_max: int,
) -> None:
    """A wave passes its bytes only when it is a single group that does so alone."""
    moving = moves(owners, balanced(owners, stayers))
    size_of = {KeyGroup(group): size for group, size in enumerate(sizes)}
    left = in_turn(moving)
    cut: list[list[Move]] = []
    while left:
        cut.append(next_wave(left, size_of, bytes_max, groups_max))
        del left[: len(cut[-1])]
    assert sorted(move.group for wave in cut for move in wave) == [m.group for m in moving]
    for wave in cut:
        assert 1 <= len(wave) <= groups_max
        assert len(wave) == 1 or sum(size_of[move.group] for move in wave) <= bytes_max
