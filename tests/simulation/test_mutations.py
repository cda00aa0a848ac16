"""A simulator that finds nothing proves nothing: each rule taken away must be noticed."""

from __future__ import annotations

import pytest

from tests.simulation.mutations import MUTATIONS, Mutation, hunt


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_a_missing_rule_is_found(mutation: Mutation) -> None:
    """Without this rule some schedule goes wrong, within a bounded number of them."""
    count, found = hunt(mutation)
    assert found, f"{mutation.planted}: not found in {mutation.limit} schedules"
    print(f"{mutation.rule}: found after {count} schedules: {found}")
