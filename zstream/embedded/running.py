"""One call of `Topology.run`: opens what must be opened, feeds it all, collects what comes out.

One worker owns every key group, so each exchange stays inside; the engine is the one that a
cluster runs.
"""

from __future__ import annotations

import secrets
import select
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from zstream.config import MIB, Config
from zstream.connectors.registry import open_reader, open_writer
from zstream.dataflow.engine import Dataflow
from zstream.errors import ConnectorError, UsageError
from zstream.model.ids import Generation, Incarnation, RescaleId, Run, Term, WorkerName
from zstream.model.membership import Member, Placement, RoutingTable
from zstream.model.records import GenerationOpened
from zstream.ports.connectors import EndOfInput, Reader, Writer
from zstream.ports.letters import DeadLetter
from zstream.topology.errors_policy import ErrorPolicy
from zstream.topology.plan import Plan
from zstream.topology.specs import Sink, Source
from zstream.wire.values import Registry

ME = Member(WorkerName("run"), Incarnation(1), "", "", "")
COMMIT_BYTES = 8 * MIB  # output that is held back is shown when there is so much of it
LOOK_UP_MS = 100  # how long to wait at most before readers and writers are asked again


class EmbeddedRun:
    """values: what came to each sink that is not written elsewhere."""

    def __init__(
        self,
        plan: Plan,
        registry: Registry,
        inputs: Mapping[str, Iterable[Any] | Source[Any]],
        outputs: Mapping[str, Sink[Any]],
        on_error: ErrorPolicy,
    ) -> None:
        self.plan = plan
        self.config = Config()
        _check_names("source", inputs, self.plan.sources)
        _check_names("sink", outputs, self.plan.sinks)
        self.outputs = outputs
        specs = {name: given for name, given in inputs.items() if isinstance(given, Source)}
        self.given: dict[str, Iterable[Any]] = {
            name: given for name, given in inputs.items() if not isinstance(given, Source)
        }
        rest = {name: it.spec for name, it in self.plan.sources.items() if name not in inputs}
        self.specs = {**specs, **rest}
        for name, spec in self.specs.items():
            _check_address("source", name, spec, f'Give it records: run({{"{name}": [...]}}).')
        for name, sink in outputs.items():
            _check_address("sink", name, sink, "Give it one: address=.")
        kept = frozenset(self.plan.sinks) - set(outputs)
        self.values: dict[str, list[Any]] = {name: [] for name in self.plan.sinks if name in kept}
        self.dead_letters: list[DeadLetter] = []
        self.readers: dict[str, Reader] = {}
        self.writers: dict[str, Writer] = {}
        self.author = secrets.randbits(63)  # in the names of what is committed: never used twice
        # Nothing can be committed twice here, so epochs need only rise: those of the next run, too.
        self.epoch = int(time.time() * 1000)
        self.dataflow = Dataflow(
            _with_specs(self.plan, specs, outputs),
            registry,
            self.config,
            ME.incarnation,
            emit=self.emit,
            refuse=self.dead_letters.append,
            on_error=on_error,
            raw_sources=frozenset(self.given),
            raw_sinks=kept,
        )

    def run(self) -> None:
        """Until all inputs have ended and all outputs are out."""
        try:
            for name, sink in self.outputs.items():
                self.writers[name] = open_writer(sink, name, sink.address)
            for name, spec in self.specs.items():
                self.readers[name] = open_reader(spec, name, spec.address)
            self.dataflow.open()
            try:
                self.dataflow.switch(_only_generation(self.plan), time.monotonic())
                self.feed_all()
                self.drain()
            finally:
                self.dataflow.close()
        finally:
            connectors: list[Reader | Writer] = [*self.readers.values(), *self.writers.values()]
            for connector in connectors:
                connector.close()

    def emit(self, sink: str, records: list[Any]) -> None:
        if sink in self.writers:
            self.writers[sink].write(records)
        else:
            self.values[sink].extend(records)

    def feed_all(self) -> None:
        """A batch from each input in turn until all have ended."""
        limit = self.config.batch_records_max
        iterators: dict[str, Iterator[Any]] = {
            name: iter(records) for name, records in self.given.items()
        }
        open_readers = dict(self.readers)
        while iterators or open_readers:
            came = False
            for name, iterator in list(iterators.items()):
                records = list(islice(iterator, limit))
                if records:
                    self.dataflow.feed(name, records)
                    came = True
                else:
                    del iterators[name]
            for name, reader in list(open_readers.items()):
                try:
                    records = reader.read(limit)
                except EndOfInput:
                    del open_readers[name]
                    continue
                if records:
                    self.dataflow.feed(name, records)
                    came = True
            now = time.monotonic()
            self.dataflow.flush(now)
            self.write_out(now)
            if not came and open_readers:
                self.wait(list(open_readers.values()))

    def write_out(self, now: float) -> None:
        """Push out what the sinks hold; wait when it is too much."""
        for writer in self.writers.values():
            writer.flush(now)
        self.wait_for_writers(self.config.sink_bytes_max)
        if sum(writer.uncommitted_bytes() for writer in self.writers.values()) >= COMMIT_BYTES:
            self.commit()

    def drain(self) -> None:
        """Everything out, or an error after the drain deadline."""
        self.wait_for_writers(0)
        self.commit()

    def commit(self) -> None:
        """Show what sinks have held back."""
        self.epoch += 1
        for writer in self.writers.values():
            prepared = writer.prepare(self.epoch)
            if prepared is not None:
                writer.commit(self.epoch, self.author, [prepared])

    def wait_for_writers(self, bytes_left: int) -> None:
        deadline = time.monotonic() + self.config.drain_deadline_ms / 1000
        for name, writer in self.writers.items():
            while writer.pending_bytes() > bytes_left:
                if time.monotonic() > deadline:
                    why = writer.waits_for() or f"sink {name} does not take what is sent."
                    raise ConnectorError(
                        f"{why} {writer.pending_bytes():,} bytes waited for "
                        f"{self.config.drain_deadline_ms / 1000:.0f} s."
                    )
                self.wait((), (writer,))
                writer.flush(time.monotonic())

    def wait(self, readers: Sequence[Reader], writers: Sequence[Writer] = ()) -> None:
        """Until something is ready, or someone wants to be woken, or a short while."""
        now = time.monotonic()
        seconds = LOOK_UP_MS / 1000
        connectors: list[Reader | Writer] = [*readers, *writers]
        for connector in connectors:
            wanted = connector.wake_at(now)
            if wanted is not None:
                seconds = min(seconds, max(0.0, wanted - now))
        read = [descriptor for reader in readers for descriptor in reader.descriptors()]
        write = [descriptor for writer in writers for descriptor in writer.descriptors()]
        if read or write:
            select.select(read, write, [], seconds)
        else:
            time.sleep(seconds)


def _check_names(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    for name in given:
        if name not in set(known):
            raise UsageError(
                f"run: there is no {what} {name}; there are {', '.join(known) or 'none'}."
            )


def _check_address(what: str, name: str, spec: Source[Any] | Sink[Any], do: str) -> None:
    if spec.needs_address and spec.address is None:
        raise UsageError(f"{what} {name} has no address. {do}")


def _with_specs(
    plan: Plan, sources: Mapping[str, Source[Any]], sinks: Mapping[str, Sink[Any]]
) -> Plan:
    """The plan with other specs in the place of some of its own."""
    return replace(
        plan,
        sources={
            name: replace(it, spec=sources.get(name, it.spec)) for name, it in plan.sources.items()
        },
        sinks={name: replace(it, spec=sinks.get(name, it.spec)) for name, it in plan.sinks.items()},
    )


def _only_generation(plan: Plan) -> GenerationOpened:
    """The routing table in which this one worker owns everything."""
    table = RoutingTable(Generation(1), (ME,), (0,) * plan.key_groups, (0,))
    placement = Placement(
        dict.fromkeys(plan.sources, (ME.name,)), dict.fromkeys(plan.pinned, ME.name)
    )
    return GenerationOpened(
        term=Term(1),
        nonce=0,
        run=Run(1),
        table=table,
        placement=placement,
        rescale=RescaleId(""),
        wave=0,
        waves=0,
        recovers=True,
        restore=None,
        cause="run",
    )
