"""Who is in the cluster, and who owns which key group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zstream.model.ids import Generation, Incarnation, KeyGroup, WorkerName


@dataclass(frozen=True)
class Member:
    """One worker process. Addresses are "host:port" as other workers reach them."""

    name: WorkerName
    incarnation: Incarnation
    control: str
    data: str
    external: str


@dataclass(frozen=True)
class RoutingTable:
    """One generation: its members and `owners[key_group]`, an index into `members`.

    `spread` are the member indexes that take balanced work: all but those about to leave.
    Members stand in order of seniority: who came first stands first.
    """

    generation: Generation
    members: tuple[Member, ...]
    owners: tuple[int, ...]
    spread: tuple[int, ...]

    def owner(self, group: KeyGroup) -> Incarnation:
        return self.members[self.owners[group]].incarnation

    def owner_of_each(self) -> list[Incarnation]:
        """By key group, in a new list."""
        return [self.members[index].incarnation for index in self.owners]

    def groups_of(self, incarnation: Incarnation) -> list[KeyGroup]:
        """Key groups that this incarnation owns, ascending."""
        return [
            KeyGroup(group)
            for group, index in enumerate(self.owners)
            if self.members[index].incarnation == incarnation
        ]

    def member(self, incarnation: Incarnation) -> Member | None:
        return next((m for m in self.members if m.incarnation == incarnation), None)

    def named(self, name: WorkerName) -> Member | None:
        return next((m for m in self.members if m.name == name), None)


EMPTY_TABLE = RoutingTable(Generation(0), (), (), ())


@dataclass(frozen=True)
class Placement:
    """What stands on a certain worker and so keeps it from leaving.

    sources: source name -> names of the workers that read it.
    pinned: name of a step with parallel=False -> the name of its worker.
    """

    sources: Mapping[str, tuple[WorkerName, ...]]
    pinned: Mapping[str, WorkerName]

    def stays_because(self, name: WorkerName) -> str:
        """Why this worker may not leave, as a clause, or "" when it may."""
        for source, workers in self.sources.items():
            if name in workers:
                return f"source {source} is placed on it"
        for step, worker in self.pinned.items():
            if worker == name:
                return f"step {step} with parallel=False is placed on it"
        return ""


NOTHING_PLACED = Placement({}, {})
