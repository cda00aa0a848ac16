"""Run a topology on a simulated cluster, as a script says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from zstream.config import Config
from zstream.errors import InvariantBroken, Refused, UsageError, UserFunctionError
from zstream.model.membership import RoutingTable
from zstream.ports.letters import DeadLetter
from zstream.sim.cluster import Asked, SimulatedCluster
from zstream.sim.network import Weather
from zstream.sim.node import SimulatedWorker
from zstream.testing.script import Crash, End, Given, Grow, Mark, Shrink, script_of
from zstream.topology.node import Node
from zstream.topology.plan import Edge, Plan, Step
from zstream.topology.results import Results
from zstream.topology.specs import Sink, Source
from zstream.topology.topology import TopologyValue

START = datetime(2026, 1, 1, tzinfo=timezone.utc)  # when every test begins
PATIENCE = 120.0  # virtual seconds that anything may take
KEY_GROUPS_MAX = 32  # results do not depend on their number, the time a test takes does


class TestRun(Results):
    """What came out of a test run. Equal seeds and scripts give equal runs."""

    __test__ = False  # it is no test, whatever pytest thinks of its name

    def __init__(
        self,
        values: Mapping[str, list[Any]],
        keys: Mapping[str, list[Any]],
        dead_letters: list[DeadLetter],
        cluster: SimulatedCluster,
    ) -> None:
        super().__init__(values, dead_letters)
        self._keys = keys
        self._cluster = cluster

    def is_keyed(self, sink: str) -> bool:
        """Whether what comes to this sink has a key."""
        return sink in self._keys

    def by_key(self, sink: str) -> dict[Any, list[Any]]:
        """A sink's values by key, each key's in order. That order is promised; no other is."""
        values = self[sink]
        if not self.is_keyed(sink):
            raise UsageError(f"what comes to sink {sink} has no key: there is no key_by before it")
        found: dict[Any, list[Any]] = defaultdict(list)
        for key, value in zip(self._keys[sink], values, strict=True):
            found[key].append(value)
        return dict(found)

    def state(self, operator: str) -> dict[Any, Any]:
        """Keys and states of a stateful operator at the end, over all workers."""
        states: dict[Any, Any] = {}
        for worker in self._cluster.workers:
            if worker.crash_cause:
                continue  # what it had is with those who went on
            try:
                states.update(worker.driver.dataflow.states(operator))
            except KeyError:
                raise UsageError(f"there is no stateful operator {operator}") from None
        return states

    @property
    def now(self) -> datetime:
        """The virtual time at the end."""
        return START + timedelta(seconds=self._cluster.kernel.now)

    @property
    def story(self) -> str:
        """What happened, a line an event, with virtual seconds."""
        return f"seed {self._cluster.kernel.seed}\n{self._cluster.kernel.story()}"


def run(
    topology: TopologyValue,
    script: Iterable[Mark] | Mapping[str, Iterable[Any]],
    *,
    workers: int = 1,
    seed: int = 0,
) -> TestRun:
    """Run `topology` on a simulated cluster that starts with so many workers.

    script: marks, or records by source. Records are given as decode would give them, and results
    are values before encode. Records of one source come in order, while the cluster changes;
    those of another source come when all before them are through, so that results by key do not
    depend on chance.

    Raises UsageError for a source that there is not, Refused where the cluster refuses a mark,
    UserFunctionError where a function raised and on_error is "stop".
    """
    player = Player(topology, workers, seed, Config(), Weather())
    return player.play(script_of(script))


class Player:
    """Plays one script on one cluster."""

    def __init__(
        self, topology: TopologyValue, workers: int, seed: int, config: Config, weather: Weather
    ) -> None:
        if workers < 1:
            raise UsageError(f"workers={workers}: at least 1.")
        self._plan = _for_tests(topology.plan)
        self._keyed = frozenset(
            step.node.name for step in topology.plan.steps if _is_keyed_sink(step)
        )
        self.cluster = SimulatedCluster(
            seed, self._plan, topology.registry, config, weather, on_error=topology.on_error
        )
        self._workers = workers
        self._joined = 0
        self._asked: Asked | None = None
        self._last_source = ""
        self._killed: set[str] = set()  # labels of workers that the script has crashed

    def play(self, marks: list[Mark]) -> TestRun:
        """Start, do what the marks say, let everything through, stop, and look."""
        self.cluster.start(self._workers)
        self._until(self._is_up, "start")
        for mark in marks:
            self._do(mark)
        self._until(self._is_settled, "end its rescales")
        self._until(self._is_quiet, "apply all records")
        if self.cluster.alive:
            self.cluster.shutdown()
        self._until(lambda: not self.cluster.alive, "stop")
        return self._result()

    def _do(self, mark: Mark) -> None:
        cluster = self.cluster
        if isinstance(mark, Given):
            self._source(mark.source)
            if mark.source != self._last_source:
                self._until(self._is_quiet, "apply all records")
                self._last_source = mark.source
            cluster.script(mark.source).push(mark.records)
            cluster.run(cluster.kernel.chance.uniform(0.0, 0.02))
            return
        self._until(self._is_settled, "end a rescale")
        if isinstance(mark, End):
            self._source(mark.source)
            for worker in range(self._workers):
                cluster.script(mark.source, f"w{worker}").end()
        elif isinstance(mark, Grow):
            first = self._workers + self._joined
            self._joined += mark.by
            cluster.join([f"w{number}" for number in range(first, first + mark.by)])
            cluster.run(cluster.kernel.chance.uniform(0.0, 0.05))
        elif isinstance(mark, Shrink):
            self._asked = cluster.shrink(count=mark.by)
            cluster.run(cluster.kernel.chance.uniform(0.0, 0.05))
        elif isinstance(mark, Crash):
            self._crash(mark.workers)

    def _crash(self, names: tuple[str, ...]) -> None:
        """Kill these, and start each again under its name, as a supervisor would."""
        cluster = self.cluster
        for name in names:
            worker = cluster.named(name)
            if worker is None:
                there_are = ", ".join(worker.member.name for worker in cluster.alive)
                raise UsageError(f"there is no worker {name} to crash; there are {there_are}.")
            self._killed.add(worker.label)
            worker.crash()
        if cluster.alive:
            for name in names:
                cluster.join([name])
        else:
            cluster.restart(len(names))
        self._until(self._is_settled, "recover")
        self._until(self._is_up, "recover")

    def _source(self, source: str) -> None:
        if source not in self._plan.sources:
            there_are = ", ".join(self._plan.sources)
            raise UsageError(f"there is no source {source}; there are {there_are}.")

    # ---- what is waited for

    def _is_up(self) -> bool:
        return all(worker.driver.agent.reading for worker in self.cluster.alive)

    def _is_settled(self) -> bool:
        """Nobody is joining or leaving."""
        if self._asked is not None:
            final = self._asked.final
            if final is None:
                return False
            if final.state == "refused":
                raise Refused(final.code, final.says, final.do)
            self._asked = None
        for worker in self.cluster.alive:
            state = worker.driver.agent.state
            if any(worker.label in self._killed for worker in self._members(state.table)):
                return False  # its death was not noticed yet
            if state.open is not None or state.table.member(worker.member.incarnation) is None:
                return False
        return True

    def _members(self, table: RoutingTable) -> list[SimulatedWorker]:
        there = {member.incarnation for member in table.members}
        return [w for w in self.cluster.workers if w.member.incarnation in there]

    def _is_quiet(self) -> bool:
        """No record is under way."""
        cluster = self.cluster
        for script in cluster.scripts.values():
            if script.records and not any(script.is_read(w.label) for w in cluster.alive):
                return not cluster.alive
        return all(worker.driver.dataflow.empty() for worker in cluster.alive)

    def _until(self, done: Callable[[], bool], what: str) -> None:
        cluster = self.cluster

        def over() -> bool:
            return any(_failure(cluster, self._killed)) or done()

        ended = cluster.kernel.run(cluster.kernel.now + PATIENCE, over)
        for stopped, says in _failure(cluster, self._killed):
            where = f"{says}\n{cluster.kernel.story(40)}"
            raise UserFunctionError(where) if stopped else InvariantBroken(where)
        if not ended:
            raise InvariantBroken(f"the cluster does not {what}\n{cluster.kernel.story()}")

    # ---- what came out

    def _result(self) -> TestRun:
        values: dict[str, list[Any]] = {}
        keys: dict[str, list[Any]] = {}
        for sink in self._plan.sinks:
            emitted = sorted(self.cluster.outlet(sink).emitted, key=lambda each: each.written)
            records = [each.record for each in emitted]
            if sink in self._keyed:
                keys[sink] = [record[0] for record in records]
                records = [record[1] for record in records]
            values[sink] = records
        letters = [emitted.record for emitted in self.cluster.letters.emitted]
        return TestRun(values, keys, letters, self.cluster)


def _failure(cluster: SimulatedCluster, killed: set[str]) -> list[tuple[bool, str]]:
    """(whether it was the user's function, what is to be said) of workers that ended badly."""
    failures = []
    for worker in (worker for worker in cluster.workers if worker.label not in killed):
        if worker.crash_cause:
            failures.append((False, f"{worker.label} {worker.crash_cause}"))
        elif worker.exit is not None and worker.exit.code != 0:
            failures.append((True, f"{worker.label}: {worker.exit.says}"))
    return failures


def _is_keyed_sink(step: Step) -> bool:
    return step.node.kind == "sink" and step.node.keyed


def _for_tests(plan: Plan) -> Plan:
    """The plan without connectors, and with the key beside each value of a keyed sink."""
    steps = list(plan.steps)
    for step in plan.steps:
        if _is_keyed_sink(step):
            options = {"on_error": None, "needs": ()}
            name = f"{step.node.name}-items"
            items = Node("items", name, step.node.where, (), "items", keyed=True, options=options)
            steps[step.id] = Step(step.id, items, ((Edge(step=len(steps)),),))
            steps.append(Step(len(steps), step.node, ()))
    return replace(
        plan,
        key_groups=min(plan.key_groups, KEY_GROUPS_MAX),
        steps=tuple(steps),
        sources={
            name: replace(source, spec=Source[Any](parallel=source.parallel))
            for name, source in plan.sources.items()
        },
        sinks={name: replace(sink, spec=Sink[Any]()) for name, sink in plan.sinks.items()},
    )
