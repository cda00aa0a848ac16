"""PyFlink's DataStream, on a cluster of its own in one JVM. mode: "process" or "thread".

The input is a collection, which Flink writes to a file and reads in Java. So the clock runs in the
operator that keeps the totals: from its first record to its last output.
"""

from __future__ import annotations

import json
import os
import site
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyflink.common import Configuration, Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.connectors.base import Sink
from pyflink.datastream.state import ValueStateDescriptor
from pyflink.java_gateway import get_gateway

from benchmarks.case import Case
from benchmarks.held import Counted, Held, merged, report
from benchmarks.jobs import JOBS
from benchmarks.workers import say


class Fold(KeyedProcessFunction):
    """The stateful operator; it counts its own outputs, and reports when it is closed."""

    def __init__(self, case: Case, folder: str) -> None:
        self._case = case
        self._folder = folder

    def open(self, context: RuntimeContext) -> None:
        self._held = Held(Case(self._case.job, 1, size=1), 0)  # only its clock is used
        self._counted = Counted(self._case)
        _, self._step = JOBS[self._case.job].steps[-1]
        self._state = context.get_state(ValueStateDescriptor("state", Types.PICKLED_BYTE_ARRAY()))

    def process_element(self, value: Any, context: Any) -> Iterator[Any]:
        if not self._held.began:
            self._held.read(0)
        state, output = self._step(self._state.value(), value)
        self._state.update(state)
        self._held.given += 1
        self._counted.take([output])
        yield output

    def close(self) -> None:
        text = json.dumps(report(self._held, self._counted))
        Path(self._folder, uuid.uuid4().hex).write_text(text)


def run(case: Case, folder: str) -> None:
    # The interpreter inside the JVM looks where the system's own one does, and here.
    paths = [os.environ.get("PYTHONPATH", ""), *site.getsitepackages()]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    settings = Configuration()
    settings.set_string("python.execution-mode", case.mode)
    settings.set_string("python.executable", sys.executable)
    settings.set_string("python.client.executable", sys.executable)
    settings.set_integer("parallelism.default", case.workers)
    environment = StreamExecutionEnvironment.get_execution_environment(settings)
    stream: Any = environment.from_collection(replace(case, workers=1).share(0)).rebalance()
    for kind, function in JOBS[case.job].steps[:-1]:
        if kind == "key_by":
            stream = stream.key_by(function, key_type=Types.STRING())
        else:
            stream = getattr(stream, kind)(function, output_type=Types.PICKLED_BYTE_ARRAY())
    stream = stream.process(Fold(case, folder), output_type=Types.PICKLED_BYTE_ARRAY())
    package = get_gateway().jvm.org.apache.flink.streaming.api.functions.sink.v2
    stream.sink_to(Sink(package.DiscardingSink()))
    environment.execute("job")


def main() -> None:
    case = Case.of_command()
    with tempfile.TemporaryDirectory() as folder:
        run(case, folder)
        reports = [json.loads(path.read_text()) for path in Path(folder).iterdir()]
    result = merged(reports)
    del result["cpu_seconds"]  # most of it is the JVM's, which nobody has counted
    say(result)


if __name__ == "__main__":
    main()
