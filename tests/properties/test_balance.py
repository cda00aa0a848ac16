"""Balance: however uneven the work is, what moves makes it more even."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zstream.control.balance import Work, relieved
from zstream.model.ids import Generation, Incarnation, KeyGroup, WorkerName
from zstream.model.membership import Member, RoutingTable


def table_of(count: int, owners: list[int]) -> RoutingTable:
    members = tuple(
        Member(WorkerName(f"w{n}"), Incarnation(n + 1), "", "", "") for n in range(count)
    )
    return RoutingTable(Generation(1), members, tuple(owners), tuple(range(count)))


@st.composite
def clusters(draw: st.DrawFn) -> tuple[RoutingTable, dict[Incarnation, Work]]:
    """A table of any shape, and what each worker must do, some of it not by key."""
    count = draw(st.integers(1, 5))
    table = table_of(count, draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=40)))
    weights = st.floats(0.0, 1.0, allow_subnormal=False)
    work = {}
    for member in table.members:
        groups = table.groups_of(member.incarnation)
        told = draw(st.lists(st.sampled_from(groups), unique=True)) if groups else []
        shares = tuple((group, draw(weights)) for group in told)
        keyed, others = draw(weights), draw(weights)
        work[member.incarnation] = Work(draw(weights) + keyed, keyed, shares, others)
    return table, work


@given(clusters())
def test_who_has_most_to_do_never_gets_more(
    cluster: tuple[RoutingTable, dict[Incarnation, Work]],
) -> None:
    """The most that anybody must do falls or stays, and what is promised of it is true."""
    table, work = cluster
    owners, most = relieved(table, work)
    before = max(one.total for one in work.values())
    totals = {who: one.total for who, one in work.items()}
    for who, one in work.items():
        owned, told = table.groups_of(who), dict(one.heaviest)
        for group in owned:
            share = told.get(group, one.others / max(1, len(owned) - len(told)))
            totals[who] -= one.keyed * share
            totals[owners[group]] += one.keyed * share
    assert most <= before + 1e-9
    assert abs(max(totals.values()) - most) < 1e-9
    assert most == before or list(owners) != [
        table.owner(KeyGroup(group)) for group in range(len(owners))
    ]


@given(st.integers(1, 5), st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_groups_that_weigh_the_same_come_out_even(count: int, drawn: list[int]) -> None:
    """Whoever owned them, and with no more moves than that takes."""
    owners = [owner % count for owner in drawn]
    table = table_of(count, owners)
    work = {
        member.incarnation: Work(float(owned), float(owned), (), 1.0)
        for member, owned in zip(table.members, map(owners.count, range(count)), strict=True)
    }
    after = list(relieved(table, work).owners)
    counts = [after.count(member.incarnation) for member in table.members]
    assert max(counts) - min(counts) <= 1
    moved = sum(owner != table.owner(KeyGroup(group)) for group, owner in enumerate(after))
    assert moved == sum(max(0, owners.count(place) - counts[place]) for place in range(count))
