"""Dataflows joined by a network in memory that loses, doubles, delays and reorders, from one seed.

The harness of the migration properties: it plays network, clock and leader, and checks after
every step that no key group is live on two workers (I1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from zstream.config import Config
from zstream.dataflow.engine import Dataflow
from zstream.model.ids import (
    Epoch,
    Generation,
    Incarnation,
    RescaleId,
    Run,
    Term,
    WorkerName,
)
from zstream.model.membership import Member, Placement, RoutingTable
from zstream.model.records import GenerationOpened
from zstream.ports.connectors import Tick
from zstream.ports.letters import DeadLetter
from zstream.topology.topology import TopologyValue
from zstream.wire.messages import LinkReport

# Small enough that a test of some hundred records meets every limit.
SMALL = Config(
    batch_records_max=8,
    frame_bytes_target=128,
    snapshot_chunk_bytes=64,
    link_window_bytes_min=512,
    link_window_bytes_max=4096,
)


@dataclass
class Faults:
    """How bad the network is, as chances per frame or report."""

    lose: float = 0.0
    double: float = 0.0
    reorder: float = 0.0


@dataclass
class Worker:
    member: Member
    dataflow: Dataflow
    told: list[Callable[[], None]] = field(default_factory=list)  # the leader's word, on its way


def member_of(number: int) -> Member:
    name = WorkerName(f"w{number}")
    return Member(name, Incarnation(number), f"c{number}", f"d{number}", f"e{number}")


class Net:
    """Workers, the ways between them, a clock, and a leader that knows all.

    emitted: (sink, record) in the order of emission, over all workers.
    """

    def __init__(
        self,
        topology: TopologyValue,
        random: Random,
        faults: Faults,
        config: Config = SMALL,
        placement: Placement | None = None,
        on_record: Callable[[int, str, Any], None] = lambda worker, sink, record: None,
    ) -> None:
        self.topology = topology
        self.random = random
        self.faults = faults
        self.config = config
        self.placement = placement or Placement({}, {})
        self.now = 100.0
        self.workers: dict[int, Worker] = {}
        self.frames: dict[tuple[int, int], list[bytes]] = {}
        self.pace: dict[tuple[int, int], float] = {}  # how often a way is served; some are slow
        self.reports: list[tuple[int, int, LinkReport]] = []
        self.emitted: list[tuple[int, str, Any]] = []
        self.letters: list[DeadLetter] = []
        self.run = Run(1)
        self.opened: GenerationOpened | None = None
        self.counts: Counter[str] = Counter()
        self._heartbeat_at = 0.0

    # ---- workers and generations

    def start(self, number: int) -> None:
        """A process begins; links are opened by `connect`."""
        plan, registry = self.topology.plan, self.topology.registry
        names = frozenset(plan.sinks)

        def emit(sink: str, records: list[Any]) -> None:
            self.emitted.extend((number, sink, record) for record in records)

        dataflow = Dataflow(
            plan,
            registry,
            self.config,
            Incarnation(number),
            emit=emit,
            refuse=self.letters.append,
            raw_sinks=names,
            raw_sources=frozenset(plan.sources),
            at_cut=lambda epoch: self.at_cut(number, epoch),
            moved=lambda tick: self.moved(number, tick),
        )
        self.workers[number] = Worker(member_of(number), dataflow)

    def at_cut(self, number: int, epoch: Epoch) -> tuple[dict[str, Any], dict[str, Any]]:
        """Positions and prepared output of a worker; there are none without epochs."""
        raise AssertionError(f"worker {number} cut epoch {epoch}")

    def moved(self, number: int, tick: Tick) -> None:
        """A key group has left a worker, or come in."""

    def connect(self) -> None:
        """Everybody opens links with everybody, some sooner than others."""
        pairs = [(a, b) for a in self.workers for b in self.workers if a != b]
        self.random.shuffle(pairs)
        for a, b in pairs:
            self.workers[a].dataflow.open_link(Incarnation(b))
            for _ in range(self.random.randrange(3)):
                self.step()
        self.until(
            lambda: all(
                len(worker.dataflow.connected()) == len(self.workers) - 1
                for worker in self.workers.values()
            ),
            "connected",
        )

    def open_generation(self, numbers: list[int], owners: list[int]) -> None:
        """The leader appends; its word reaches each member some time, or never if it is late."""
        opened = self.next_generation(numbers, owners)
        for number in numbers:
            dataflow = self.workers[number].dataflow
            self.workers[number].told.append(partial(self._switch, dataflow, opened))

    def _switch(self, dataflow: Dataflow, opened: GenerationOpened) -> None:
        dataflow.switch(opened, self.now)

    def next_generation(self, numbers: list[int], owners: list[int]) -> GenerationOpened:
        """Appended, and nobody told yet."""
        before = self.opened.table.generation if self.opened else 0
        members = tuple(member_of(number) for number in numbers)
        place = {number: index for index, number in enumerate(numbers)}
        table = RoutingTable(
            Generation(before + 1),
            members,
            tuple(place[owner] for owner in owners),
            tuple(range(len(members))),
        )
        self.opened = GenerationOpened(
            Term(1),
            int(self.run),  # drawn anew for each run in a cluster, too
            self.run,
            table,
            self.placement,
            RescaleId("grow-1"),
            1,
            1,
            False,
            None,
            "test",
        )
        return self.opened

    def owners(self) -> list[int]:
        assert self.opened is not None
        table = self.opened.table
        return [int(table.members[index].incarnation) for index in table.owners]

    def kill(self, number: int) -> None:
        """Gone, with all that is in its sockets; the survivors learn of it later."""
        del self.workers[number]
        for way in list(self.frames):
            if number == way[1]:
                del self.frames[way]
            elif number == way[0]:  # some of what it sent still comes in
                kept = self.random.randrange(len(self.frames[way]) + 1)
                self.frames[way] = self.frames[way][:kept]

    def drop_links(self, number: int) -> None:
        for worker in self.workers.values():
            worker.dataflow.close_link(Incarnation(number))

    # ---- steps

    def step(self) -> None:
        """One thing happens somewhere."""
        if not self.workers:
            return
        choice = self.random.random()
        number = self.random.choice(list(self.workers))
        if choice < 0.45:
            self._deliver_frame()
        elif choice < 0.65:
            self.turn(number)
        elif choice < 0.85:
            self._deliver_report()
        elif choice < 0.9:
            self._tell(number)
        else:
            self.now += self.random.choice((0.0001, 0.003, 0.05))
        if self.now - self._heartbeat_at > 0.2:
            self._heartbeat_at = self.now
            for each in list(self.workers):
                self._send_reports(each, heartbeat=True)
        self._check()

    def turn(self, number: int) -> None:
        """What a driver does at the end of a turn."""
        dataflow = self.workers[number].dataflow
        dataflow.flush(self.now)
        for peer in dataflow.ready_peers():
            while (frame := dataflow.next_frame(peer, self.now)) is not None:
                dataflow.frame_sent(peer)
                self._put(number, int(peer), frame)
        self._send_reports(number, heartbeat=False)
        dataflow.take_switched()

    def _put(self, sender: int, receiver: int, frame: bytes) -> None:
        if receiver not in self.workers or self.random.random() < self.faults.lose:
            self.counts["lost"] += 1
            return
        way = self.frames.setdefault((sender, receiver), [])
        way.append(frame)
        if self.random.random() < self.faults.double:
            way.append(frame)
        if len(way) > 1 and self.random.random() < self.faults.reorder:
            way[-1], way[-2] = way[-2], way[-1]

    def _deliver_frame(self) -> None:
        ways = [way for way, frames in self.frames.items() if frames and way[1] in self.workers]
        if ways:
            for way in ways:
                self.pace.setdefault(way, self.random.choice((1.0, 1.0, 0.2, 0.03)))
            way = self.random.choices(ways, [self.pace[way] for way in ways])[0]
            self.workers[way[1]].dataflow.receive(self.frames[way].pop(0), self.now)
            self.counts["delivered"] += 1

    def _send_reports(self, number: int, heartbeat: bool) -> None:
        for peer, report in self.workers[number].dataflow.link_reports(self.now, heartbeat):
            if self.random.random() >= self.faults.lose:
                self.reports.append((number, int(peer), report))
            if self.random.random() < self.faults.double:
                self.reports.append((number, int(peer), report))

    def _deliver_report(self) -> None:
        if not self.reports:
            return
        late = self.random.random() < self.faults.reorder
        place = self.random.randrange(len(self.reports)) if late else 0
        sender, receiver, report = self.reports.pop(place)
        if receiver in self.workers:
            self.workers[receiver].dataflow.on_link_report(Incarnation(sender), report, self.now)

    def _tell(self, number: int) -> None:
        told = self.workers[number].told
        if told:
            told.pop(0)()

    def until(self, condition: Callable[[], bool], what: str, steps: int = 60_000) -> None:
        """Step until it holds; that it never does is a failure of the protocol."""
        for _ in range(steps):
            if condition():
                return
            self.step()
        raise AssertionError(f"never {what}: {self.story()}")

    def is_done(self) -> bool:
        """What a leader waits for before the next wave."""
        assert self.opened is not None
        generation = self.opened.table.generation
        return all(
            worker.dataflow.progress() == (generation, True, True) for worker in self.members()
        )

    def members(self) -> list[Worker]:
        """Those of the newest generation that are there."""
        assert self.opened is not None
        return [
            worker
            for number, worker in self.workers.items()
            if self.opened.table.member(Incarnation(number))
        ]

    def is_quiet(self) -> bool:
        return self.is_done() and all(w.dataflow.empty() for w in self.members())

    def story(self) -> str:
        return "; ".join(
            f"w{number} {worker.dataflow.progress()} live {len(worker.dataflow.key_groups)}"
            for number, worker in self.workers.items()
        )

    def _check(self) -> None:
        live: Counter[tuple[int, int]] = Counter()
        for worker in self.workers.values():
            live.update((worker.dataflow.run, group) for group in worker.dataflow.key_groups)
        twice = [group for group, count in live.items() if count > 1]
        assert not twice, f"key groups {twice} are live on two workers: {self.story()}"
