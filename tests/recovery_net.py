"""The network of `dataflow_net` with a store, a leader that opens epochs, crashes and zombies.

Sources are lists, read from a position; outputs count when the manifest of their epoch is in.
Blobs become durable some time after a worker has handed them in, also when its run has ended.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, NamedTuple

from tests.dataflow_net import Faults, Net
from zstream.config import Config
from zstream.model.ids import Epoch, Incarnation, Run, WorkerName
from zstream.model.membership import Placement
from zstream.model.records import GenerationOpened
from zstream.ports.connectors import Tick
from zstream.topology.topology import TopologyValue
from zstream.wire.parts import Part, PartName, open_part, parts_needed


class Manifest(NamedTuple):
    run: Run
    epoch: Epoch
    names: tuple[PartName, ...]


@dataclass
class Side:
    """What stands beside a dataflow in its process: open sources and sinks."""

    positions: dict[str, int] = field(default_factory=dict)  # of the sources that it reads
    outputs: list[Any] = field(default_factory=list)  # since the cut before; ticks between them
    handed_in: set[PartName] = field(default_factory=set)


class RecoveryNet(Net):
    """committed: outputs of epochs whose manifest is in, and by_author the same, an epoch an item,
    with ticks. counts: what happened how often.
    """

    def __init__(
        self,
        topology: TopologyValue,
        random: Random,
        faults: Faults,
        config: Config,
        sources: dict[str, list[Any]],
        pinned: tuple[str, ...] = (),
    ) -> None:
        super().__init__(topology, random, faults, config)
        self.sources = sources
        self.pinned = pinned
        self.sides: dict[int, Side] = {}
        self.blobs: dict[str, bytes] = {}
        self.used: dict[str, bytes] = {}  # every name that was ever written
        self.writing: list[tuple[PartName, bytes]] = []  # handed in, not durable yet
        self.durable: set[PartName] = set()  # as the leader knows
        self.epoch = Epoch(0)  # the newest that was opened in this run
        self.open: Epoch | None = None
        self.manifest: Manifest | None = None
        self.prepared: dict[str, list[Any]] = {}
        self.committed: list[Any] = []
        self.by_author: list[dict[Incarnation, list[Any]]] = []
        self._commits: set[str] = set()

    # ---- processes

    def start(self, number: int) -> None:
        self.sides[number] = Side()
        super().start(number)
        side = self.sides[number]
        dataflow = self.workers[number].dataflow
        dataflow._emit_to = lambda sink, records: side.outputs.extend(records)

    def place(self, numbers: list[int]) -> None:
        """Each source and pinned step on one of these; who had it keeps it."""
        before = self.placement
        names = [WorkerName(f"w{number}") for number in numbers]
        kept = {
            source: [name for name in before.sources.get(source, ()) if name in names]
            for source in self.sources
        }
        self.placement = Placement(
            {s: (k[0] if k else self.random.choice(names),) for s, k in kept.items()},
            {
                step: before.pinned[step]
                if before.pinned.get(step) in names
                else self.random.choice(names)
                for step in self.pinned
            },
        )

    def seek(self, number: int, positions: dict[str, int]) -> None:
        """Open the sources that are placed here at these positions, and no others."""
        name = WorkerName(f"w{number}")
        self.sides[number].positions = {
            source: positions.get(source, 0)
            for source, names in self.placement.sources.items()
            if name in names
        }

    def read(self) -> None:
        """One source gives a few records to whoever reads it; also in an ended run, and in one that
        has begun and is not restored yet.
        """
        readers = [
            (number, source)
            for number, worker in self.workers.items()
            for source in self.sides[number].positions
            if worker.dataflow.progress().generation or worker.dataflow.run > 1
        ]
        if readers:
            number, source = self.random.choice(readers)
            side = self.sides[number]
            start = side.positions[source]
            records = self.sources[source][start : start + self.random.randrange(1, 12)]
            side.positions[source] += len(records)
            self.workers[number].dataflow.feed(source, records)

    def at_cut(self, number: int, epoch: Epoch) -> tuple[dict[str, Any], dict[str, Any]]:
        side = self.sides[number]
        token = f"r{self.workers[number].dataflow.run}/e{epoch}/{number}"
        assert token not in self.prepared, f"{token} is used twice"
        self.prepared[token], side.outputs = side.outputs, []
        return dict(side.positions), {"out": token}

    def moved(self, number: int, tick: Tick) -> None:
        self.sides[number].outputs.append(tick)

    # ---- epochs

    def open_epoch(self) -> Epoch:
        """The leader appends that an epoch is opened, and tells everybody; some hear it late."""
        assert self.opened is not None
        last = self.manifest.epoch if self.manifest else 0
        self.epoch = self.open = Epoch(max(self.epoch, last) + 1)
        self.counts["epochs"] += 1
        self.tell("cut", self.run, self.epoch)
        return self.epoch

    def abandon_epoch(self) -> None:
        assert self.open is not None
        epoch, self.open = self.open, None
        self.counts["abandoned"] += 1
        self.tell("abandon", epoch)

    def tell(self, call: str, *arguments: Any) -> None:
        """The leader's word to all members; one in four never hears it, but never all."""
        members = self.members()
        surely = self.random.choice(members)
        for worker in members:
            if worker is surely or self.random.random() < 0.75:
                dataflow, run = worker.dataflow, self.run

                def say(dataflow: Any = dataflow, run: Run = run) -> None:
                    if dataflow.run == run:  # of an ended run, an agent passes it over
                        late = (self.now,) if call == "cut" else ()
                        getattr(dataflow, call)(*arguments, *late)

                worker.told.append(say)

    def turn(self, number: int) -> None:
        super().turn(number)
        dataflow, side = self.workers[number].dataflow, self.sides[number]
        dataflow.take_cuts()
        epoch = dataflow._checkpoint.open_epoch
        part = dataflow.part(epoch) if epoch else None
        name = dataflow.part_name(epoch)
        if part is not None and name not in side.handed_in:
            side.handed_in.add(name)
            self.writing.append((name, part))

    def step(self) -> None:
        if self.writing and self.random.random() < 0.1:
            self.write(self.writing.pop(self.random.randrange(len(self.writing))))
        super().step()

    def write(self, item: tuple[PartName, bytes]) -> None:
        """A blob is durable, and the leader hears of it."""
        name, data = item
        blob = name.blob()
        assert self.used.setdefault(blob, data) == data, f"{blob} is used twice"
        self.blobs[blob] = data
        self.durable.add(name)
        self.try_manifest()

    def try_manifest(self) -> None:
        """Append the manifest when the parts of all members are durable."""
        if self.open is None:
            return
        assert self.opened is not None
        names = tuple(
            PartName(self.run, self.open, member.incarnation)
            for member in self.opened.table.members
        )
        if not self.durable.issuperset(names):
            return
        self.manifest = Manifest(self.run, self.open, names)
        self.counts["manifests"] += 1
        self.open = None
        self.tell("manifest_appended", self.manifest.epoch)
        parts = self.manifest_parts()
        self.by_author.append(by_author := {})
        for part in parts:
            self.counts["in flight"] += len(list(part.in_flight()))
            for token in part.prepared["out"]:
                if token not in self._commits:  # whoever commits twice, does it once
                    self._commits.add(token)
                    outputs = self.prepared[token]
                    self.committed += [each for each in outputs if type(each) is not Tick]
                    by_author.setdefault(part.name.incarnation, []).extend(outputs)
        self.clean({name for part in parts for name in part.history.names} | set(names))

    def clean(self, kept: set[PartName]) -> None:
        """Delete what no kept manifest names, up to its epoch."""
        assert self.manifest is not None
        for name in list(self.durable):
            if name not in kept and name.epoch <= self.manifest.epoch:
                self.blobs.pop(name.blob(), None)
                self.counts["deleted"] += 1

    def manifest_parts(self) -> list[Part]:
        names = self.manifest.names if self.manifest else ()
        return [open_part(name, self.blobs[name.blob()]) for name in names]

    # ---- recovery

    def recover(self, numbers: list[int], owners: list[int]) -> None:
        """The leader appends a new run over these; each hears of it some time, begins it, and
        restores it when the parts have been read.
        """
        self.run = Run(self.run + 1)
        self.epoch, self.open = Epoch(0), None
        self.counts["recoveries"] += 1
        self.place(numbers)
        opened = self.next_generation(numbers, owners)
        for number in numbers:
            worker = self.workers[number]
            worker.told.append(partial(self.begin, number, self.run))
            worker.told.append(partial(self.restore, number, self.run, opened))

    def begin(self, number: int, run: Run) -> None:
        """The run before is over here."""
        if run == self.run:
            self.workers[number].dataflow.begin(run)

    def restore(self, number: int, run: Run, opened: GenerationOpened) -> None:
        """What a driver does: read the parts, drop output of the ended run, restore, seek."""
        if run != self.run:
            return  # another one has begun since
        manifest = self.manifest_parts()
        own = opened.table.groups_of(Incarnation(number))
        parts = {part.name: part for part in manifest}
        for name in parts_needed(manifest, own):
            parts[name] = open_part(name, self.blobs[name.blob()])
        self.sides[number].outputs.clear()
        self.workers[number].dataflow.restore(run, opened, parts, self.now)
        positions = {s: p for part in manifest for s, p in part.positions.items()}
        self.seek(number, positions)

    def kill(self, number: int) -> None:
        """Its sinks and sources go with it; what it handed in to the store may still come there."""
        super().kill(number)
        self.counts["kills"] += 1

    def is_over(self) -> bool:
        """Whether everything that the sources have was read by who reads them now, and is out."""
        read: Counter[str] = Counter()
        for worker in self.members():
            read.update(self.sides[int(worker.member.incarnation)].positions)
        return self.is_quiet() and read == {s: len(items) for s, items in self.sources.items()}
