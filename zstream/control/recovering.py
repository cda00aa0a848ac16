"""A recovery: the generation that begins a new run after workers have died.

Everybody else, and replacements that have come under the names of the dead, drop all they have and
begin again from a manifest. So who owned what before does not matter for safety; it stays where it
was as far as it can, so that what waits for a rescale to go on need not be planned from nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from zstream.control.placement import balanced
from zstream.control.reports import Seen
from zstream.control.state import ClusterState
from zstream.model.ids import Generation, Incarnation, KeyGroup, RescaleId, Run, WorkerName
from zstream.model.membership import Member, Placement, RoutingTable
from zstream.model.records import GenerationOpened, Manifest


def recovery(
    state: ClusterState,
    gone: Collection[Incarnation],
    replacements: Mapping[WorkerName, Member],
    parallel: Mapping[str, bool],
    reports: Mapping[Incarnation, Seen],
    restore: Manifest | None,
    nonce: int,
    cause: str,
) -> GenerationOpened:
    """The generation without the members that are gone, or with replacements in their places.

    parallel: by source, whether each worker that the cluster started with reads it for itself;
    such a source is not read by another one. gone may be empty: then all begin again as they are.
    """
    table = state.table
    leaving = {leaver.incarnation for leaver in state.open.leavers} if state.open else set()
    members: list[Member] = []
    for member in table.members:
        if member.incarnation not in gone:
            members.append(member)
        elif member.name in replacements:
            members.append(replacements[member.name])
    stay = [m for m in members if m.incarnation not in leaving] or members
    stayers = [member.incarnation for member in stay]
    by_name = {member.name: member.incarnation for member in members}
    now = [by_name.get(member.name, Incarnation(0)) for member in table.members]
    owners = balanced([now[place] for place in table.owners], stayers)
    index = {member.incarnation: place for place, member in enumerate(members)}
    return GenerationOpened(
        term=state.term,
        nonce=nonce,
        run=Run(state.run + 1),
        table=RoutingTable(
            Generation(state.newest + 1),
            tuple(members),
            tuple(index[owner] for owner in owners),
            tuple(index[stayer] for stayer in stayers),
        ),
        placement=_placement(state.placement, members, stay, parallel, reports),
        rescale=state.open.id if state.open and state.begun else RescaleId(""),
        wave=0,
        waves=0,
        recovers=True,
        restore=restore,
        cause=cause,
    )


def unread(
    state: ClusterState, parallel: Mapping[str, bool], reports: Mapping[Incarnation, Seen]
) -> dict[str, WorkerName]:
    """Sources that nobody reads although somebody could, and who."""
    found = {}
    for source, workers in state.placement.sources.items():
        reader = _reader(source, state.table.members, reports)
        if not workers and not parallel.get(source) and reader:
            found[source] = reader
    return found


def lost_groups(state: ClusterState, gone: Collection[Incarnation]) -> list[KeyGroup]:
    """The key groups that the members which are gone owned."""
    return [group for member in gone for group in state.table.groups_of(member)]


def _placement(
    before: Placement,
    members: list[Member],
    stay: list[Member],
    parallel: Mapping[str, bool],
    reports: Mapping[Incarnation, Seen],
) -> Placement:
    here = {member.name for member in members}
    sources: dict[str, tuple[WorkerName, ...]] = {}
    for source, workers in before.sources.items():
        left = tuple(name for name in workers if name in here)
        if not left and not parallel.get(source):
            reader = _reader(source, stay, reports)
            left = (reader,) if reader else ()
        sources[source] = left
    pinned = {
        step: worker if worker in here else stay[0].name for step, worker in before.pinned.items()
    }
    return Placement(sources, pinned)


def _reader(
    source: str, members: Collection[Member], reports: Mapping[Incarnation, Seen]
) -> WorkerName | None:
    """The most senior member that can read the source."""
    for member in members:
        seen = reports.get(member.incarnation)
        if seen is not None and source in seen.report.readable:
            return member.name
    return None
