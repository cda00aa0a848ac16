"""Records in flight at a cut, after a recovery: whose they are, and in which order they come.

A record in flight was before its link's barrier and not applied at the cut, so it is neither in
the sender's position nor in the receiver's state. Who owns its key group now applies it, before
any frame: on a link it would be overtaken by what is read again.

Those of later stages come first. A record and one that follows it through the same keys may both
have been in flight, the first one a stage further; if one worker now owns both keys, then the
second one's output, which is applied at once, would overtake the first.
"""

from __future__ import annotations

from collections.abc import Iterable

from zstream.dataflow.columns import chosen
from zstream.dataflow.ways import Ways
from zstream.model.batch import Batch
from zstream.model.ids import EntryId, Incarnation
from zstream.model.keys import KeyGroups
from zstream.model.records import GenerationOpened
from zstream.topology.plan import Entry, Plan
from zstream.wire.frames import BatchCodec
from zstream.wire.parts import Part


def records_in_flight(
    manifest: Iterable[Part],
    plan: Plan,
    codec: BatchCodec,
    groups: KeyGroups,
    opened: GenerationOpened,
    me: Incarnation,
) -> tuple[list[tuple[Entry, Batch]], int]:
    """What this worker has to apply under the new table, in order; and, on the first member, how
    many records are for nothing that is in this plan.

    A key group's records are all in one part, that of its holder, in the order of application.
    """
    ways = Ways(plan, names_before(plan))
    found: list[tuple[Entry, Batch]] = []
    dropped = 0
    for turn, part in enumerate(sorted(manifest, key=lambda part: part.name)):
        for body in part.in_flight():
            number, batch = codec.decode(body)
            entry = ways.entry(number, part)
            if entry is None:
                dropped += len(batch.values)
                continue
            own = _own_rows(entry, batch, groups, turn, opened, me)
            if own is not None:
                found.append((entry, own))
    ranks = _ranks(plan)
    is_first = opened.table.members[0].incarnation == me
    return sorted(found, key=lambda item: -ranks[item[0].id]), dropped if is_first else 0


def _own_rows(
    entry: Entry,
    batch: Batch,
    groups: KeyGroups,
    turn: int,
    opened: GenerationOpened,
    me: Incarnation,
) -> Batch | None:
    """The rows that belong to this worker. turn: the number of the part, for balanced work."""
    table = opened.table
    if entry.route == "keyed":
        assert batch.keys is not None, "records at an entry by key have keys"
        own = set(table.groups_of(me))
        rows = chosen(batch, list(map(own.__contains__, groups.of(batch.keys))))
        return rows if rows.values else None
    if entry.route == "pinned":
        member = table.named(opened.placement.pinned[entry.name])
    else:
        member = table.members[table.spread[turn % len(table.spread)]]
    return batch if member is not None and member.incarnation == me else None


def names_before(plan: Plan) -> dict[str, str]:
    """What stateful operators were called before they were renamed, by the names they have now."""
    nodes = [step.node for step in plan.steps]
    return {node.name: node.options["was"] for node in nodes if node.options.get("was")}


def _ranks(plan: Plan) -> dict[EntryId, int]:
    """How many exchanges lie between the start and an entry, on the longest way."""
    steps = {step.id: step for step in plan.steps}
    ranks = dict.fromkeys((entry.id for entry in plan.entries), 0)
    following: dict[EntryId, set[EntryId]] = {}
    for entry in plan.entries:
        waiting, seen = list(entry.steps), set()
        following[entry.id] = set()
        while waiting:
            number = waiting.pop()
            if number in seen:
                continue
            seen.add(number)
            for edge in (edge for port in steps[number].outputs for edge in port):
                if edge.step is not None:
                    waiting.append(edge.step)
                if edge.entry is not None:
                    following[entry.id].add(edge.entry)
    for _ in plan.entries:  # a graph without cycles: no way is longer
        for entry_id, nexts in following.items():
            for each in nexts:
                ranks[each] = max(ranks[each], ranks[entry_id] + 1)
    return ranks
