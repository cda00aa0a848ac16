"""Which key groups bring the records, from a sample."""

from __future__ import annotations

import random

from tests.numbered_keys import ByRemainder
from zstream.dataflow.loads import HEAVIEST, Loads

GROUPS = ByRemainder(1000)


def test_shares_are_those_of_the_records() -> None:
    """Batches of all sizes; a key with half of the records, the other half over 999 groups."""
    chance = random.Random(1)
    loads = Loads(GROUPS)
    for _ in range(2000):
        size = chance.choice([1, 3, 50, 4096])
        keys = [0 if chance.random() < 0.5 else chance.randrange(1, 1000) for _ in range(size)]
        loads.note(keys, from_peer=False)
    heaviest, others = loads.shares()
    assert len(heaviest) == HEAVIEST
    group, share = heaviest[0]
    assert group == 0 and 0.45 < share < 0.55
    assert abs(sum(share for _, share in heaviest) + others - 1) < 1e-9


def test_input_that_repeats_itself_is_sampled_all_over() -> None:
    """Each batch is alike, and its keys stand in order."""
    loads = Loads(GROUPS)
    for _ in range(1000):
        loads.note([0, 0, 0, 1] * 16, from_peer=False)
    heaviest, others = loads.shares()
    assert [group for group, _ in heaviest] == [0, 1]
    assert 0.7 < heaviest[0][1] < 0.8
    assert others == 0


def test_what_was_is_forgotten() -> None:
    """The group that was hot is not when another one is; nothing is left of one that is gone."""
    loads = Loads(GROUPS)
    loads.note([1] * 100, from_peer=True)
    loads.shares()
    for _ in range(8):
        loads.note([2] * 100, from_peer=False)
        heaviest, _ = loads.shares()
    assert [group for group, _ in heaviest] == [2]
    for _ in range(10):
        heaviest, others = loads.shares()
    assert (heaviest, others) == ((), 0)
    assert (loads.keyed, loads.from_peers) == (900, 100)
