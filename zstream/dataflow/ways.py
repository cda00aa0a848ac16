"""Where the records at an entry go, said so that another version of the topology understands it.

Entries are numbered, and the numbers change with the topology. What stands are the names of
stateful operators and of sinks: those that records at an entry come to first are its *ends*, and
by them the entry is found again. It is only asked for records that were in flight.
"""

from __future__ import annotations

from collections.abc import Mapping

from zstream.errors import WireError
from zstream.model.ids import EntryId
from zstream.topology.graph import STATEFUL
from zstream.topology.plan import Entry, Plan
from zstream.wire.parts import Part, Way


def ways_of(plan: Plan) -> tuple[Way, ...]:
    """The way of each entry."""
    return tuple(
        Way(entry.id, entry.route, entry.name, tuple(sorted(_ends(plan, entry))))
        for entry in plan.entries
    )


def _ends(plan: Plan, entry: Entry) -> set[str]:
    steps = {step.id: step for step in plan.steps}
    entries = {entry.id: entry for entry in plan.entries}
    found: set[str] = set()
    seen: set[int] = set()
    waiting = list(entry.steps)
    while waiting:
        number = waiting.pop()
        if number in seen:
            continue
        seen.add(number)
        step = steps[number]
        if step.node.kind in STATEFUL or step.node.kind == "sink":
            found.add(step.node.name)
            continue
        for edge in (edge for port in step.outputs for edge in port):
            if edge.step is not None:
                waiting.append(edge.step)
            if edge.entry is not None:
                waiting.extend(entries[edge.entry].steps)
    return found


class Ways:
    """Finds the entries of one plan for the ways of parts that another one may have written.

    was: what an operator was called before it was renamed, by the name that it has now.
    """

    def __init__(self, plan: Plan, was: Mapping[str, str]) -> None:
        self._entries = {entry.id: entry for entry in plan.entries}
        self._ways = ways_of(plan)
        self._ends = {end for way in self._ways for end in way.ends}
        self._was = was

    def entry(self, number: EntryId, part: Part) -> Entry | None:
        """Where records for that entry of the part's plan go; None when all that they would have
        come to is gone. Raises WireError when that cannot be told.
        """
        way = part.ways.get(number)
        if way is None:
            raise WireError(f"part {part.name.blob()} has records for unknown entry {number}.")
        if way in self._ways:
            return self._entries[number]
        now = {old: new for new, old in self._was.items() if new not in part.operators}
        ends = {now.get(end, end) for end in way.ends} & self._ends
        if not ends:
            return None
        alike = [w for w in self._ways if w.route == way.route and ends <= set(w.ends)]
        if len(alike) > 1:
            alike = [w for w in alike if w.name == way.name]
        if len(alike) != 1:
            raise WireError(
                f"records were on their way from {way.name} to {', '.join(sorted(ends))}, and "
                "this topology has no such way, or several. Start the version before once more, "
                "and shut it down: then nothing is on its way."
            )
        return self._entries[EntryId(alike[0].number)]
