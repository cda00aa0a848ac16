"""What must hold of the control log, record by record, in every schedule.

    C1  terms and generations only rise, generations one by one
    C2  every key group has one owner, who is a member; no two members share a name
    C3  a member that vanishes owned nothing, or its key groups are named as fresh: its state died
    C4  one rescale at a time: opened when none is open, closed when that one is
    C5  a worker becomes a member only by the rescale that names it as joiner
    C6  a rescale that was undone changed nothing

Checked after every record by the tests' stage and by the simulator's oracle; not in production,
where a worker can do nothing better about a broken log than the next record's reader can.
"""

from __future__ import annotations

from zstream.control.state import ClusterState
from zstream.model.membership import RoutingTable
from zstream.model.records import GenerationOpened, LogRecord, RescaleClosed, RescaleOpened


def broken(before: ClusterState, record: LogRecord, after: ClusterState) -> str:
    """What this record breaks, as a sentence, or "". The record is one that readers heed."""
    if after.term < before.term:
        return f"C1: term {after.term} comes after {before.term}"
    if isinstance(record, GenerationOpened):
        return _generation(before, record)
    if isinstance(record, RescaleOpened) and before.open is not None:
        return f"C4: {record.id} was opened while {before.open.id} is open"
    if isinstance(record, RescaleClosed):
        if before.open is None or before.open.id != record.id:
            return f"C4: {record.id} was closed and is not open"
        if record.outcome == "undone" and before.begun:
            return f"C6: {record.id} was undone after it had changed the table"
    return ""


def _generation(before: ClusterState, record: GenerationOpened) -> str:
    old, new = before.table, record.table
    if new.generation != old.generation + 1:
        return f"C1: generation {new.generation} comes after {old.generation}"
    names = [member.name for member in new.members]
    if len(set(names)) != len(names) or not set(new.owners) <= set(range(len(names))):
        return f"C2: generation {new.generation} has owners or names that cannot be"
    if before.generation is None:
        return ""
    return _difference(before, old, record)


def _difference(before: ClusterState, old: RoutingTable, record: GenerationOpened) -> str:
    new, fresh = record.table, set(record.fresh)
    was = {member.incarnation for member in old.members}
    now = {member.incarnation for member in new.members}
    joiners = {joiner.incarnation for joiner in before.open.joiners} if before.open else set()
    if not now - was <= joiners:
        return f"C5: generation {new.generation} has members that no open rescale names"
    for group in range(len(new.owners)):
        origin = old.members[old.owners[group]].incarnation
        if origin not in now and group not in fresh:
            return f"C3: key group {group} of a vanished member is not fresh"
    return ""
