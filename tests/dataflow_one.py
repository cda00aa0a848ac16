"""One dataflow alone, for tests of what happens inside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from zstream.config import Config
from zstream.dataflow.engine import Dataflow
from zstream.model.ids import Generation, Incarnation, RescaleId, Run, Term, WorkerName
from zstream.model.membership import Member, Placement, RoutingTable
from zstream.model.records import GenerationOpened
from zstream.ports.letters import DeadLetter
from zstream.topology.specs import Memory, Stdout
from zstream.topology.stream import Stream, source
from zstream.topology.topology import TopologyValue


def generation(
    number: int,
    workers: list[int],
    owners: list[int],
    pinned: dict[str, str] | None = None,
) -> GenerationOpened:
    """A generation over `workers`; `owners` are workers, one for each key group."""
    members = tuple(
        Member(WorkerName(f"w{n}"), Incarnation(n), f"c{n}", f"d{n}", f"e{n}") for n in workers
    )
    table = RoutingTable(
        Generation(number),
        members,
        tuple(workers.index(owner) for owner in owners),
        tuple(range(len(workers))),
    )
    placement = Placement({}, {step: WorkerName(name) for step, name in (pinned or {}).items()})
    return GenerationOpened(
        Term(1), 1, Run(1), table, placement, RescaleId("grow-1"), 1, 1, False, None, "test"
    )


def topology_of(
    build: Callable[[Stream[Any]], Stream[Any]],
    travellers: list[type] | None = None,
    *,
    key_groups: int = 4,
    decode: Callable[[Any], Any] | None = None,
    encode: Callable[[Any], Any] | None = None,
) -> TopologyValue:
    """Source "in", what `build` makes of it, sink "out"."""
    spec: Memory[Any] = Memory([])
    if decode is not None:
        spec = replace_decode(spec, decode)
    end = build(source("in", spec)).sink("out", Stdout(encode or str))
    topology = TopologyValue("one", end, key_groups=key_groups)
    for cls in travellers or []:
        topology.registry.register(cls)
    return topology


def replace_decode(spec: Any, decode: Callable[[Any], Any]) -> Any:
    """The spec with a decode function, which Memory itself has none of."""
    object.__setattr__(spec, "decode", decode)
    return spec


class One:
    """Feeds "in" on worker 1, which owns everything; sinks are raw unless `encode` is given."""

    def __init__(
        self,
        build: Callable[[Stream[Any]], Stream[Any]],
        travellers: list[type] | None = None,
        *,
        config: Config | None = None,
        decode: Callable[[Any], Any] | None = None,
        encode: Callable[[Any], Any] | None = None,
    ) -> None:
        topology = topology_of(build, travellers, decode=decode, encode=encode)
        self.out: list[Any] = []
        self.letters: list[DeadLetter] = []
        self.dataflow = Dataflow(
            topology.plan,
            topology.registry,
            replace(config or Config()),
            Incarnation(1),
            emit=lambda sink, records: self.out.extend(records),
            refuse=self.letters.append,
            raw_sinks=frozenset() if encode else frozenset({"out"}),
        )
        self.dataflow.open()
        self.dataflow.switch(generation(1, [1], [1] * topology.key_groups), 0.0)

    def feed(self, records: list[Any]) -> None:
        self.dataflow.feed("in", records)


class Several:
    """Workers 1 to n with open links; worker 1 reads "in". Frames go where the test says."""

    def __init__(
        self,
        build: Callable[[Stream[Any]], Stream[Any]],
        workers: list[int],
        travellers: list[type] | None = None,
        config: Config | None = None,
        key_groups: int = 4,
    ) -> None:
        self.topology = topology_of(build, travellers, key_groups=key_groups)
        self.config = config or Config()
        self.now = 1.0
        self.out: list[tuple[int, Any]] = []
        self.letters: list[DeadLetter] = []
        self.workers: dict[int, Dataflow] = {}
        for number in workers:
            self.start(number)
        self.settle()

    def start(self, number: int) -> None:
        """A worker begins, and opens links with all that are there."""
        self.workers[number] = Dataflow(
            self.topology.plan,
            self.topology.registry,
            self.config,
            Incarnation(number),
            emit=lambda sink, records: self.out.extend((number, record) for record in records),
            refuse=self.letters.append,
            raw_sinks=frozenset({"out"}),
        )
        for other in self.workers:
            if other != number:
                self.workers[other].open_link(Incarnation(number))
                self.workers[number].open_link(Incarnation(other))

    def switch(self, opened: GenerationOpened) -> None:
        for worker in self.workers.values():
            worker.switch(opened, self.now)

    def frames(self, sender: int, receiver: int) -> list[bytes]:
        """All that credit lets go from one to the other, taken off the sender."""
        worker, found = self.workers[sender], []
        while (frame := worker.next_frame(Incarnation(receiver), self.now)) is not None:
            worker.frame_sent(Incarnation(receiver))
            found.append(frame)
        return found

    def report(self, heartbeat: bool = False) -> int:
        """Deliver the reports that are due; how many."""
        count = 0
        for number, worker in self.workers.items():
            for peer, report in worker.link_reports(self.now, heartbeat):
                if int(peer) in self.workers:
                    self.workers[int(peer)].on_link_report(Incarnation(number), report, self.now)
                    count += 1
        return count

    def settle(self) -> None:
        """Turns of all workers until nothing moves."""
        moved = 1
        while moved:
            moved = 0
            self.now += 0.01
            for number, worker in self.workers.items():
                worker.flush(self.now)
                for other in self.workers:
                    if other != number:
                        for frame in self.frames(number, other):
                            self.workers[other].receive(frame, self.now)
                            moved += 1
            moved += self.report()
            moved += sum(
                worker.next_timer(self.now) == self.now for worker in self.workers.values()
            )
