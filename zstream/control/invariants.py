"""What must hold of the control log, record by record, in every schedule.

    C1  terms and generations only rise, generations one by one
    C2  every key group has one owner, who is a member; no two members share a name
    C3  a member that vanishes owned nothing, or a new run begins
    C4  one rescale at a time: opened when none is open, closed when that one is
    C5  a worker becomes a member only by the rescale that names it as joiner, or in the place of
        a member of its name, when a new run begins
    C6  a rescale that was undone changed nothing
    C7  epochs only rise, one at a time and none in a wave; a manifest has a part of every member
    C8  runs rise one by one, or by two when a cluster begins anew; a run begins from a manifest
        that is kept

Checked after every record by the tests' stage and by the simulator's oracle; not in production,
where a worker can do nothing better about a broken log than the next record's reader can.
"""

from __future__ import annotations

from zstream.control.state import ClusterState
from zstream.model.membership import RoutingTable
from zstream.model.records import (
    EpochAbandoned,
    EpochOpened,
    GenerationOpened,
    LogRecord,
    Manifest,
    RescaleClosed,
    RescaleOpened,
)


def broken(before: ClusterState, record: LogRecord, after: ClusterState) -> str:
    """What this record breaks, as a sentence, or "". The record is one that readers heed."""
    if after.term < before.term:
        return f"C1: term {after.term} comes after {before.term}"
    if isinstance(record, GenerationOpened):
        return _generation(before, record)
    if isinstance(record, EpochOpened | Manifest | EpochAbandoned):
        return _epoch(before, record)
    if isinstance(record, RescaleOpened) and before.open is not None:
        return f"C4: {record.id} was opened while {before.open.id} is open"
    if isinstance(record, RescaleClosed):
        if before.open is None or before.open.id != record.id:
            return f"C4: {record.id} was closed and is not open"
        if record.outcome == "undone" and before.begun:
            return f"C6: {record.id} was undone after it had changed the table"
    return ""


def _epoch(before: ClusterState, record: EpochOpened | Manifest | EpochAbandoned) -> str:
    what = f"C7: {type(record).__name__} {record.epoch} of run {record.run}"
    if record.run != before.run:
        return f"{what} is not of run {before.run}"
    if isinstance(record, EpochOpened):
        if before.epoch is not None or record.epoch != before.epochs + 1:
            return f"{what} follows epoch {before.epochs}, open: {before.epoch is not None}"
        return ""
    if before.epoch is None or before.epoch.epoch != record.epoch:
        return f"{what} ends an epoch that is not open"
    if isinstance(record, Manifest):
        members = {member.incarnation for member in before.table.members}
        if set(record.authors) != members or record.oldest > record.epoch:
            return f"{what} has parts of {record.authors}, the members are {members}"
    return ""


def _generation(before: ClusterState, record: GenerationOpened) -> str:
    old, new = before.table, record.table
    if new.generation != before.newest + 1:
        return f"C1: generation {new.generation} comes after {before.newest}"
    if record.run != before.link_run + record.recovers:
        return f"C8: run {record.run} comes after {before.run}"
    if record.recovers and record.restore not in (None, *before.manifests):
        return f"C8: run {record.run} begins from a manifest that is not kept"
    if record.wave and before.epoch is not None:
        return f"C7: wave {record.wave} begins while epoch {before.epoch.epoch} is open"
    names = [member.name for member in new.members]
    if len(set(names)) != len(names) or not set(new.owners) <= set(range(len(names))):
        return f"C2: generation {new.generation} has owners or names that cannot be"
    if before.generation is None:
        return ""
    return _difference(before, old, record)


def _difference(before: ClusterState, old: RoutingTable, record: GenerationOpened) -> str:
    new = record.table
    was = {member.incarnation for member in old.members}
    now = {member.incarnation for member in new.members}
    joiners = {joiner.incarnation for joiner in before.open.joiners} if before.open else set()
    names = {member.name for member in old.members}
    replaced = {m.incarnation for m in new.members if record.recovers and m.name in names}
    if not now - was <= joiners | replaced:
        return f"C5: generation {new.generation} has members that no open rescale names"
    for group in range(len(new.owners)):
        origin = old.members[old.owners[group]].incarnation
        if origin not in now and not record.recovers:
            return f"C3: key group {group} of a vanished member has no new run"
    return ""
