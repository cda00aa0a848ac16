"""Bytewax: the operators of its own library. mode "batch": those that take a batch at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import cluster_main, run_main

from benchmarks.case import Case
from benchmarks.held import Counted, Held, merged, report, source_of
from benchmarks.jobs import JOBS
from benchmarks.jobs.job import last_of_each_key
from benchmarks.workers import address, say, worker_reports

BATCH = 1000  # larger ones gain nothing; batches of one record reach a tenth


class HeldPartition(StatelessSourcePartition[Any]):
    def __init__(self, held: Held) -> None:
        self._held = held

    def next_batch(self) -> list[Any]:
        records = self._held.read(BATCH)
        if self._held.is_done:
            raise StopIteration
        return records


class HeldSource(DynamicSource[Any]):
    def __init__(self, held: Held) -> None:
        self._held = held

    def build(self, step_id: str, worker_index: int, worker_count: int) -> HeldPartition:
        return HeldPartition(self._held)


class CountedPartition(StatelessSinkPartition[Any]):
    def __init__(self, counted: Counted) -> None:
        self._counted = counted

    def write_batch(self, items: list[Any]) -> None:
        self._counted.take(items)


class CountedSink(DynamicSink[Any]):
    def __init__(self, counted: Counted) -> None:
        self._counted = counted

    def build(self, step_id: str, worker_index: int, worker_count: int) -> CountedPartition:
        return CountedPartition(self._counted)


class Unkeyed(Counted):
    """Bytewax puts the key before each output of a keyed operator; it is looked through here."""

    def take(self, outputs: list[Any]) -> None:
        if self._gather is not last_of_each_key:
            outputs = list(map(itemgetter(1), outputs))
        super().take(outputs)

    def found(self) -> Any:
        if self._gather is last_of_each_key:
            self.seen = dict(self.seen.values())  # by Bytewax's key it was the last of each, too
        return super().found()


ITEM_OPERATORS = {
    "map": op.map,
    "flat_map": op.flat_map,
    "key_by": op.key_on,
    "stateful_map": op.stateful_map,
    "stateful_flat_map": op.stateful_flat_map,
}


def in_batches(kind: str, function: Callable[..., Any]) -> Callable[[str, Any], Any]:
    """The operator in Bytewax's batched form."""

    class Fold(op.StatefulBatchLogic[Any, Any, Any]):
        def __init__(self, state: Any) -> None:
            self.state = state

        def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
            outputs, state = [], self.state
            if kind == "stateful_map":
                for value in values:
                    state, output = function(state, value)
                    outputs.append(output)
            else:
                for value in values:
                    state, some = function(state, value)
                    outputs += some
            self.state = state
            return outputs, False

        def snapshot(self) -> Any:
            return self.state

    if kind.startswith("stateful"):
        return lambda name, stream: op.stateful_batch(name, stream, Fold)
    mappers: dict[str, Callable[[list[Any]], list[Any]]] = {
        "map": lambda values: [function(value) for value in values],
        "flat_map": lambda values: [each for value in values for each in function(value)],
        "key_by": lambda values: [(function(value), value) for value in values],
    }
    return lambda name, stream: op.flat_map_batch(name, stream, mappers[kind])


def flow_of(case: Case, held: Held, counted: Counted) -> Dataflow:
    flow = Dataflow("job")
    stream = op.input("in", flow, HeldSource(held))
    for number, (kind, function) in enumerate(JOBS[case.job].steps):
        name = f"{kind}-{number}"
        if case.mode == "batch":
            stream = in_batches(kind, function)(name, stream)
        else:
            stream = ITEM_OPERATORS[kind](name, stream, function)
    op.output("out", stream, CountedSink(counted))
    return flow


def run(case: Case, index: int, addresses: list[str]) -> dict[str, Any]:
    counted = Unkeyed(case) if case.is_keyed else Counted(case)
    held = source_of(case, index)
    flow = flow_of(case, held, counted)
    if addresses:
        cluster_main(flow, addresses, index)
    else:
        run_main(flow)
    return report(held, counted)


def main() -> None:
    case = Case.of_command()
    if len(sys.argv) > 2:
        say(run(case, int(sys.argv[2]), sys.argv[3:]))
    elif case.workers == 1:
        say(merged([run(case, 0, [])]))
    else:
        addresses = [address() for _ in range(case.workers)]
        command = [sys.executable, "-m", "benchmarks.peers.bytewax", sys.argv[1]]
        commands = [[*command, str(index), *addresses] for index in range(case.workers)]
        say(merged(worker_reports(commands)))


if __name__ == "__main__":
    main()
