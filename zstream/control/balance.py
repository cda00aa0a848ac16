"""When and which key groups move between members because some have much more to do than others.

Few keys, or some that come often, make a table of even numbers uneven in work; so do sources that
only one worker reads. Members tell how busy they are, what part of that came from peers, and which
key groups bring their records. From this:

    a record by key costs    the time spent with peers' records, over their number, of all workers
    a worker must do         its records by key, and what it reads
    a worker that is full    reads what the rest of its time allows; where all are full, each is
                             taken to read as much as the others, lest a source starves

Key groups go from who must do most to who must do least, until that is even or nothing fits.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping
from typing import NamedTuple

from zstream.config import Config
from zstream.control.reports import Seen
from zstream.control.state import ClusterState
from zstream.model.ids import Incarnation, KeyGroup
from zstream.model.membership import RoutingTable

BALANCE = "balance"  # the kind of such a rescale
BUSY = 0.7  # of its time; a worker that is less busy holds nobody up
FULL = 0.95
EVEN = 0.05  # of a worker's time: a smaller gap between two is none
A_FEW = 0.001  # records a second: who gets none from a peer is taken to be busy with keys alone
CHANGES_SIDES = 0.8  # of the gap between two workers: what weighs more would only change sides
REST_MAX = 60.0  # seconds
RESTED = 8  # rests without need of one: then the next may be as short as the first

Reports = Mapping[Incarnation, Seen]


class Work(NamedTuple):
    """What one worker must do, in parts of its time: above 1 it cannot.

    keyed: for records by key alone. heaviest, others: as in WorkerLoad.
    """

    total: float
    keyed: float
    heaviest: tuple[tuple[KeyGroup, float], ...]
    others: float


class Relief(NamedTuple):
    """owners: of each key group. most: what who has most to do must do then."""

    owners: tuple[Incarnation, ...]
    most: float


class Balance:
    """What the leader remembers of it. Times are monotonic seconds."""

    def __init__(self, config: Config, now: float) -> None:
        self._after = config.balance_after_ms / 1000
        self._gain = config.balance_gain_percent / 100
        self._uneven_since: float | None = None
        self._rest = self._after  # twice as long after each balance, while they are needed
        self._rests_until = now

    def cause(self, state: ClusterState, reports: Reports, now: float) -> str | None:
        """Why key groups should move now, or None."""
        work = work_of(state, reports)
        totals = [one.total for one in work.values()]
        most = max(totals, default=0.0)
        wanted = (1 - self._gain) * most
        if most < BUSY or sum(totals) > wanted * len(totals):
            self._uneven_since = None
            return None
        if self._uneven_since is None:
            self._uneven_since = now
        if now < max(self._uneven_since + self._after, self._rests_until):
            return None
        if relieved(state.table, work).most > wanted:
            self._rests_until = now + self._after
            return None
        if now > self._rests_until + RESTED * self._rest:
            self._rest = self._after
        each = [f"{m.name} {work[m.incarnation].total:.0%}" for m in state.table.members]
        return f"work of {', '.join(each)}"

    def ended(self, kind: str, now: float) -> None:
        """A rescale has ended: what was reported before says nothing about now."""
        self._uneven_since = None
        if kind == BALANCE:
            self._rest = min(2 * self._rest, REST_MAX)
            self._rests_until = now + self._rest


def work_of(state: ClusterState, reports: Reports) -> dict[Incarnation, Work]:
    """What each member must do; nothing while that is not known of one."""
    members = state.table.members
    seen = [reports.get(member.incarnation) for member in members]
    loads = [one.report.load for one in seen if one and one.report.run == state.run]
    if len(loads) < len(members):
        return {}
    from_peers = max(sum(load.from_peers for load in loads), A_FEW)
    each = sum(load.with_peers for load in loads) / from_peers
    keyed = [min(load.busy, each * load.keyed) for load in loads]
    own = [load.busy - part for load, part in zip(loads, keyed, strict=True)]
    if all(load.busy >= FULL for load in loads):
        reading = {name for names in state.placement.sources.values() for name in names}
        readers = [place for place, member in enumerate(members) if member.name in reading]
        reads = sum(own[place] for place in readers) / max(1, len(readers))
        for place in readers:
            own[place] = reads
    return {
        member.incarnation: Work(own[at] + keyed[at], keyed[at], load.heaviest, load.others)
        for at, (member, load) in enumerate(zip(members, loads, strict=True))
    }


def relieved(table: RoutingTable, work: Mapping[Incarnation, Work]) -> Relief:
    """Owners by whom the work is spread as evenly as few moves can; the table's own where there is
    nothing to gain. Always from who has most to do to who has least, what halves the gap best.
    """
    owners = table.owner_of_each()
    totals = {worker: one.total for worker, one in work.items()}
    groups = {worker: _weighed(table.groups_of(worker), one) for worker, one in work.items()}
    for _ in range(len(owners) if work else 0):
        most, least = max(totals, key=totals.__getitem__), min(totals, key=totals.__getitem__)
        gap = totals[most] - totals[least]
        mine = groups[most]
        place = bisect_left(mine, (gap / 2, KeyGroup(0)))
        near = [mine[at] for at in (place - 1, place) if 0 <= at < len(mine)]
        fitting = [one for one in near if 0.0 < one[0] < CHANGES_SIDES * gap]
        if gap < EVEN or not fitting:
            break
        weight, group = chosen = min(fitting, key=lambda one: abs(one[0] - gap / 2))
        mine.remove(chosen)
        insort(groups[least], chosen)
        owners[group] = least
        totals[most] -= weight
        totals[least] += weight
    return Relief(tuple(owners), max(totals.values(), default=0.0))


def _weighed(owned: list[KeyGroup], work: Work) -> list[tuple[float, KeyGroup]]:
    """Key groups with the part of the worker's time that each takes, ascending."""
    shares = dict.fromkeys(owned, work.others / max(1, len(owned) - len(work.heaviest)))
    shares.update((group, share) for group, share in work.heaviest if group in shares)
    return sorted((work.keyed * share, group) for group, share in shares.items())
