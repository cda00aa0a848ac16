"""Rules taken away one at a time: what the simulator must find when each of them is missing.

Each mutation replaces one method of the production code, in the place where a rule of the
protocols stands, by one without the rule. The table in docs/internals/mutations.md is written by

    python -m tests.simulation.mutations > docs/internals/mutations.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from tests.properties.test_migration import test_waves_keep_every_record_once_and_in_order as waves
from zstream.control import epochs, rescale
from zstream.control.agent import Agent
from zstream.control.leader import Leader
from zstream.control.log import ControlLog
from zstream.control.requests import Requests
from zstream.control.rescale import Rescale
from zstream.control.state import ClusterState
from zstream.dataflow.engine import Dataflow
from zstream.dataflow.exchange import Exchange
from zstream.dataflow.links import DATA
from zstream.dataflow.migration import Migration
from zstream.dataflow.peer import Peer
from zstream.driver import checkpoints
from zstream.driver.checkpoints import Checkpoints
from zstream.driver.outputs import Outputs
from zstream.driver.partitions import Partitions
from zstream.errors import InvariantBroken
from zstream.model.ids import Epoch, LogNumber
from zstream.model.records import LogRecord, Manifest
from zstream.ports.log import LogClean
from zstream.sim.authors import Duel
from zstream.sim.disk import Disk
from zstream.sim.faults import WITH_DEATHS
from zstream.sim.schedules import KINDS, Schedule

Patches = list[tuple[Any, str, Any]]  # a class or module, a name in it, and what stands there
FAULTS = tuple(kind for kind in KINDS if kind != "people")  # no rule is there for their mistakes
DEATHS = tuple(kind for kind in FAULTS if kind in WITH_DEATHS and kind != "rot")

CLUSTER = "cluster"  # whole workers: zstream/sim/schedules.py
MIGRATION = "migration"  # dataflows alone, under tight races: tests/properties/test_migration.py
LOG = "log"  # the control log alone: zstream/sim/authors.py


@dataclass(frozen=True)
class Mutation:
    """A rule taken away.

    column: "rescale", "control log", "checkpoint" or "more".
    limit: schedules within which it must be found.
    on: what runs the schedules, CLUSTER, MIGRATION or LOG. kinds: of a cluster's schedules.
    """

    rule: str
    column: str
    planted: str
    patches: Callable[[], Patches]
    limit: int
    on: str = CLUSTER
    kinds: tuple[str, ...] = FAULTS


@contextmanager
def planted(mutation: Mutation) -> Iterator[None]:
    """The production code with the bug, and whole again afterwards."""
    patches = [mock.patch.object(place, name, new) for place, name, new in mutation.patches()]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def hunt(mutation: Mutation) -> tuple[int, str]:
    """How many schedules it took to find it, and what was found; (0, "") where it was not.

    A schedule that goes wrong without the mutation too has found something else.
    """
    schedule = {CLUSTER: _cluster, MIGRATION: _migration, LOG: _log}[mutation.on]
    for count in range(1, mutation.limit + 1):
        with planted(mutation):
            found = schedule(mutation, count)
        if any(word in found for word in ("AttributeError", "TypeError", "NameError")):
            raise AssertionError(f"{mutation.planted}: the mutation fits no more: {found}")
        if found and not schedule(mutation, count):
            return count, found
    return 0, ""


def _cluster(mutation: Mutation, count: int) -> str:
    kind = mutation.kinds[count % len(mutation.kinds)]
    return Schedule(count, kind).run().wrong


def _migration(mutation: Mutation, count: int) -> str:
    try:
        waves(count)
    except (InvariantBroken, AssertionError) as broken:
        return str(broken).splitlines()[0]
    return ""


def _log(mutation: Mutation, count: int) -> str:
    duel = Duel(count)
    try:
        duel.run()
    except InvariantBroken as broken:
        return str(broken)
    return ""


# ---------------------------------------------------------------- rescale


def refuses_old_generation() -> Patches:
    original = Dataflow._on_batch

    def on_batch(self: Any, peer: Peer, body: bytes, size: int) -> None:
        if peer.marker >= self._migration.table.generation:
            original(self, peer, body, size)

    return [(Dataflow, "_on_batch", on_batch)]


def holds_nothing() -> Patches:
    return [(Migration, "admit", lambda self, entry, batch, record_bytes: batch)]


def credit_waits_for_the_held() -> Patches:
    original = Dataflow.link_reports
    stuck: dict[tuple[int, int, int], int] = {}

    def link_reports(self: Any, now: float, heartbeat: bool, pressure: str = "") -> Any:
        told = []
        for to, report in original(self, now, heartbeat, pressure):
            acks = []
            for ack in report.acks:
                name = (self._me, to, ack.lane)
                if not self._migration.hold_bytes or ack.lane != DATA:
                    stuck[name] = ack.settled
                acks.append(replace(ack, settled=stuck.get(name, ack.settled)))
            told.append((to, replace(report, acks=tuple(acks))))
        return told

    return [(Dataflow, "link_reports", link_reports)]


def no_last_number() -> Patches:
    original = Peer.report

    def report(self: Any, now: float, pressure: str) -> Any:
        return replace(original(self, now, pressure), sent=())

    return [(Peer, "report", report)]


def marker_on_one_link() -> Patches:
    def markers_are_in(self: Any, generation: int, awaited: Any) -> bool:
        markers = [
            self._peers[peer].marker >= generation for peer in awaited if peer in self._peers
        ]
        return any(markers) or not markers

    return [(Migration, "_markers_are_in", markers_are_in)]


def switch_at_the_leaders_word_only() -> Patches:
    def on_marker(self: Any, peer: Peer, opened: Any, now: float) -> None:
        peer.marker = max(peer.marker, opened.table.generation)

    return [(Dataflow, "_on_marker", on_marker)]


def ships_unsettled() -> Patches:
    original = Migration.ship

    def ship(self: Any) -> None:
        with mock.patch.object(Migration, "_are_settled", lambda self, sent: True):
            original(self)

    return [(Migration, "ship", ship)]


def no_flush_before_marker() -> Patches:
    original = Dataflow.switch

    def switch(self: Any, opened: Any, now: float) -> None:
        with mock.patch.object(Exchange, "cut", lambda self: None):
            original(self, opened, now)

    return [(Dataflow, "switch", switch)]


def waves_overlap() -> Patches:
    def all_have_reported(state: Any, reports: Any) -> bool:
        return len(reports) >= len(state.table.members)

    return [(rescale, "between_waves", all_have_reported)]


def received_for_settled() -> Patches:
    def are_settled(self: Any, sent: Any) -> bool:
        peers = ((self._peers.get(name), number) for name, number in sent.items())
        return all(peer is not None and peer.send[DATA].sent >= number for peer, number in peers)

    return [(Migration, "_are_settled", are_settled)]


def own_records_wait_a_turn() -> Patches:
    flush, init = Dataflow.flush, Dataflow.__init__

    def start(self: Any, *given: Any, **named: Any) -> None:
        self._own = []
        init(self, *given, **named)

    def apply_own(self: Any, entry: Any, batch: Any) -> None:
        self._own.append((entry, batch))

    def flush_later(self: Any, now: float) -> None:
        flush(self, now)
        waiting, self._own = self._own, []
        for entry, batch in waiting:
            self._admit(entry, batch, 64.0, from_peer=False)

    return [
        (Dataflow, "__init__", start),
        (Dataflow, "_apply_own", apply_own),
        (Dataflow, "flush", flush_later),
    ]


# ---------------------------------------------------------------- control log


def only_created_is_won() -> Patches:
    original = ControlLog.on_answer
    decided = ControlLog._decided

    def on_answer(self: Any, answer: Any) -> Any:
        created = answer.outcome == "created"
        with mock.patch.object(
            ControlLog, "_decided", lambda self, found: decided(self, found and created)
        ):
            return original(self, answer)

    return [(ControlLog, "on_answer", on_answer)]


def tries_the_next_number() -> Patches:
    def decided(self: Any, found: bool) -> bool | None:
        if self._append is None:
            return None
        if found:
            self._append = None
            return True
        if self.state.tail >= self._number:
            self._number = LogNumber(self.state.tail + 1)
        return None

    return [(ControlLog, "_decided", decided)]


def create_overwrites() -> Patches:
    def create(self: Any, number: LogNumber, payload: bytes) -> bool:
        self.records[number] = payload
        self.history.setdefault(number, payload)
        return True

    return [(Disk, "create", create)]


def created_is_won() -> Patches:
    original = ControlLog.on_answer
    decided = ControlLog._decided

    def on_answer(self: Any, answer: Any) -> Any:
        created = answer.outcome == "created"
        with mock.patch.object(
            ControlLog, "_decided", lambda self, found: decided(self, found or created)
        ):
            return original(self, answer)

    return [(ControlLog, "on_answer", on_answer)]


def cleans_the_base() -> Patches:
    def clean(self: Any) -> Any:
        return self._submit(LogClean(self._next(), LogNumber(self.state.tail + 1)))

    return [(ControlLog, "clean", clean)]


def every_append_is_won() -> Patches:
    def decided(self: Any, found: bool) -> bool | None:
        if self._append is None:
            return None
        self._append = None
        return True

    return [(ControlLog, "_decided", decided)]


# ---------------------------------------------------------------- checkpoint and recovery


def manifest_before_durable() -> Patches:
    def has_part(member: Any, opened: Any, reports: Any) -> bool:
        seen = reports.get(member.incarnation)
        return seen is not None and seen.report.run == opened.run

    return [(epochs, "_has_part", has_part)]


def acts_before_it_stands() -> Patches:
    original = ControlLog.append

    def append(self: Any, record: LogRecord) -> Any:
        if isinstance(record, Manifest):
            self.state = replace(self.state, manifests=(*self.state.manifests, record))
        return original(self, record)

    lead = Agent._lead

    def lead_ahead(self: Any, now: float) -> None:
        before = self.state.manifest
        lead(self, now)
        after = self.state.manifest
        if after is not None and after is not before:
            self._on_record(after, now)

    return [(ControlLog, "append", append), (Agent, "_lead", lead_ahead)]


def commits_at_the_cut() -> Patches:
    original = Checkpoints.at_cut

    def at_cut(self: Any, epoch: Any) -> Any:
        positions, prepared = original(self, epoch)
        outputs = {sink: [token] for sink, token in prepared.items() if token is not None}
        self._outputs.commit(epoch, self._me.incarnation, outputs)
        return positions, prepared

    return [(Checkpoints, "at_cut", at_cut)]


def acknowledges_at_the_cut() -> Patches:
    original = Partitions.cut

    def cut(self: Any, epoch: Any) -> Any:
        positions = original(self, epoch)
        for source, reader in self._readers.items():
            reader.acknowledge(positions[self._partition(source)])
        return positions

    return [(Partitions, "cut", cut)]


def deletes_what_is_kept() -> Patches:
    return [(ClusterState, "oldest", property(lambda self: self.committed))]


def output_of_the_ended_run_stays() -> Patches:
    return [(Outputs, "abort", lambda self: None)]


def tick_stays_at_home() -> Patches:
    install = Migration._install

    def with_its_own(self: Migration, group: Any, snapshot: bytes) -> None:
        tick = self.tick
        install(self, group, snapshot)
        self.tick = tick
        self._moved(tick)

    return [(Migration, "_install", with_its_own)]


def sinks_hear_of_no_moves() -> Patches:
    return [(Outputs, "moved", lambda *_: None)]


def opens_before_all_is_committed() -> Patches:
    return [(epochs, "all_committed", lambda state, reports: True)]


def leaves_without_its_epoch() -> Patches:
    original = Rescale._finish

    def finish(self: Any, state: Any, reports: Any, now: float) -> Any:
        self._emptied = Epoch(-1)
        return original(self, state, reports, now)

    return [(Rescale, "_finish", finish), (Rescale, "wants_epoch", lambda self, state: False)]


def begins_from_nothing() -> Patches:
    original = Leader._recovery

    def recovery(self: Any, state: Any, dead: Any, restore: Any, *why: Any) -> Any:
        return original(self, state, dead, None, *why)

    return [(Leader, "_recovery", recovery)]


def output_of_the_dead_is_left() -> Patches:
    return [(checkpoints, "_committer", lambda author, opened: author)]


def sources_stay_where_they_are() -> Patches:
    original = Partitions._go_back

    def go_back(self: Any, source: str, reader: Any, position: Any) -> None:
        with mock.patch.object(type(reader), "seek", lambda self, position: 0):
            original(self, source, reader, position)

    return [(Partitions, "_go_back", go_back)]


def unread_positions_are_dropped() -> Patches:
    original = Partitions.seek

    def seek(self: Any, positions: Any, placement: Any) -> None:
        original(self, positions, placement)
        self._kept = {}

    return [(Partitions, "seek", seek)]


# ---------------------------------------------------------------- more


def routes_before_hello() -> Patches:
    return [(Rescale, "_apart", lambda self, state, reports: "")]


def batches_wait_for_ever() -> Patches:
    return [(Requests, "expire", lambda self, now: [])]


def obeys_a_lower_term() -> Patches:
    def obeys(self: Any, envelope: Any) -> bool:
        return bool(envelope.term <= self.state.term)

    return [(Agent, "_obeys", obeys)]


MUTATIONS = [
    Mutation(
        "data not refused by generation",
        "rescale",
        "a frame from a peer that has not sent its marker yet is dropped",
        refuses_old_generation,
        100,
    ),
    Mutation("hold", "rescale", "records for a group on its way are applied", holds_nothing, 100),
    Mutation(
        "credit on hold",
        "rescale",
        "nothing is settled on any data link while a record is on hold",
        credit_waits_for_the_held,
        300,
    ),
    Mutation(
        "last number in heartbeats",
        "rescale",
        "reports carry no last number sent",
        no_last_number,
        100,
    ),
    Mutation(
        "marker on every link",
        "rescale",
        "the first marker of any link is enough to ship",
        marker_on_one_link,
        300,
        kinds=("rush",),
    ),
    Mutation(
        "switch at first marker",
        "rescale",
        "only the leader's word makes a worker switch",
        switch_at_the_leaders_word_only,
        300,
    ),
    Mutation(
        "settle before ship",
        "rescale",
        "what the origin sent need not be settled before it ships",
        ships_unsettled,
        300,
    ),
    Mutation(
        "flush before marker",
        "rescale",
        "batches being filled become frames after the marker",
        no_flush_before_marker,
        100,
        MIGRATION,
    ),
    Mutation(
        "one wave at a time",
        "rescale",
        "the next wave does not wait for reports that this one is done",
        waves_overlap,
        300,
        kinds=("rush",),
    ),
    Mutation(
        '"received" for "settled"',
        "rescale",
        "a frame counts as settled once it was sent: here what is received is applied in the "
        "same call, so there is nothing in between",
        received_for_settled,
        100,
        MIGRATION,
    ),
    Mutation(
        "marker to itself",
        "rescale",
        "a worker's own records wait for its next turn: here they are applied in the same call, "
        "there is no queue to itself to send a marker through",
        own_records_wait_a_turn,
        1500,
        MIGRATION,
    ),
    Mutation(
        "nonce",
        "control log",
        "an append is won only if the store said so",
        only_created_is_won,
        50,
        LOG,
    ),
    Mutation(
        "stop on newer term",
        "control log",
        "who is refused tries the next number",
        tries_the_next_number,
        50,
        LOG,
    ),
    Mutation(
        "atomic create",
        "control log",
        "a create overwrites what is there",
        create_overwrites,
        50,
        LOG,
    ),
    Mutation(
        "no higher number after create",
        "control log",
        "created is won, whatever stands above",
        created_is_won,
        300,
        LOG,
    ),
    Mutation(
        "base record",
        "control log",
        "cleaning takes the base record too",
        cleans_the_base,
        300,
        LOG,
    ),
    Mutation(
        "the log, not the lease",
        "control log",
        "who believes to lead takes every append for won",
        every_append_is_won,
        50,
        LOG,
    ),
    Mutation(
        "durable before the manifest",
        "checkpoint",
        "the manifest is appended as soon as all have heard of the epoch",
        manifest_before_durable,
        20,
    ),
    Mutation(
        "a decision stands before it is acted on",
        "checkpoint",
        "the leader acts on its manifest when it appends it",
        acts_before_it_stands,
        50,
    ),
    Mutation(
        "the manifest before the commit",
        "checkpoint",
        "sinks commit at the cut",
        commits_at_the_cut,
        20,
    ),
    Mutation(
        "the manifest before the acknowledgement",
        "checkpoint",
        "sources acknowledge at the cut",
        acknowledges_at_the_cut,
        20,
    ),
    Mutation(
        "what a kept manifest names stays",
        "checkpoint",
        "parts below the newest manifest's epoch are deleted",
        deletes_what_is_kept,
        100,
    ),
    Mutation(
        "output of an ended run never was",
        "checkpoint",
        "a recovery forgets no output",
        output_of_the_ended_run_stays,
        100,
        kinds=DEATHS,
    ),
    Mutation(
        "all is committed before the next epoch",
        "checkpoint",
        "an epoch is opened without looking at who has committed",
        opens_before_all_is_committed,
        50,
    ),
    Mutation(
        "a tick travels with its key group",
        "checkpoint",
        "a target goes on with its own tick",
        tick_stays_at_home,
        100,
    ),
    Mutation(
        "sinks are told of moves",
        "checkpoint",
        "no writer hears of a tick",
        sinks_hear_of_no_moves,
        100,
    ),
    Mutation(
        "a leaver's epoch",
        "checkpoint",
        "a leaver goes when it is empty",
        leaves_without_its_epoch,
        300,
        kinds=("calm", "pauses"),
    ),
    Mutation(
        "back to the newest manifest",
        "checkpoint",
        "a recovery begins from nothing",
        begins_from_nothing,
        50,
        kinds=DEATHS,
    ),
    Mutation(
        "output of the dead is committed by others",
        "checkpoint",
        "nobody commits what a dead worker had prepared",
        output_of_the_dead_is_left,
        100,
        kinds=DEATHS,
    ),
    Mutation(
        "sources go back",
        "checkpoint",
        "a recovery leaves sources where they are",
        sources_stay_where_they_are,
        50,
        kinds=DEATHS,
    ),
    Mutation(
        "positions of what nobody reads are kept",
        "checkpoint",
        "a partition without a reader has no position",
        unread_positions_are_dropped,
        100,
        kinds=DEATHS,
    ),
    Mutation(
        "hello before records",
        "more",
        "a joiner is routed to before every link is open",
        routes_before_hello,
        300,
    ),
    Mutation(
        "the batch's deadline",
        "more",
        "an incomplete batch of joiners waits for ever",
        batches_wait_for_ever,
        300,
    ),
    Mutation(
        "a lower term is not obeyed",
        "more",
        "the word of whoever led once is obeyed",
        obeys_a_lower_term,
        700,
        CLUSTER,
        ("leader",),
    ),
]


def table() -> str:
    """The page for docs/internals."""
    lines = [
        "# Mutations",
        "",
        "Each rule of the protocols was taken away, alone, and the simulator was run until it",
        "noticed. Written by `python -m tests.simulation.mutations`; the test that they are found",
        "is `tests/simulation/test_mutations.py`. Schedules are of a whole cluster",
        "(`zstream/sim/schedules.py`), of migration alone (`tests/properties/test_migration.py`),",
        "where races are tighter, or of the control log alone (`zstream/sim/authors.py`).",
        "",
        "| rule | without it | schedules of | until found | what was found |",
        "|---|---|---|---|---|",
    ]
    for mutation in MUTATIONS:
        count, found = hunt(mutation)
        said = " ".join(found.split())[:90].replace("|", "/")
        shown = str(count) if count else f"not in {mutation.limit}"
        lines.append(f"| {mutation.rule} | {mutation.planted} | {mutation.on} | {shown} | {said} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
