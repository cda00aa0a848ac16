"""What happens to a simulated cluster: one seed draws a whole schedule, then it is run and judged.

    calm        no faults at all
    rush        many records, slow turns, small waves; control late, so that markers come first
    network     control messages lost, doubled, late; data connections reset; sinks that stop
    disk        a control log that is slow, stalls, loses answers, fails
    pauses      workers stopped or busy, shorter than their death is declared
    leader      the leader stopped for longer than its lease, the leader as leaver
    partitions  workers cut off from each other, one way or both, from the store too
    crashes     workers killed, within a turn too, and started again; the leader, joiners, leavers

Every schedule starts one to four workers, gives numbered records in bursts, and asks for growth
and shrinks, overlapping as chance has it. Then the faults end, all that was asked must come to an
end in bounded time, the cluster is shut down and the oracle looks at everything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from zstream.config import Config
from zstream.errors import InvariantBroken
from zstream.sim.cluster import SimulatedCluster
from zstream.sim.node import SimulatedWorker
from zstream.sim.numbered import LEFT, RIGHT, Numbered, numbered_topology
from zstream.sim.oracle import Oracle

KINDS = ("calm", "rush", "network", "disk", "pauses", "leader", "partitions", "crashes")
STORM_ENDS = 2.0  # virtual seconds; all that is drawn happens before
PATIENCE = 40.0  # and so long afterwards everything must have ended

QUICK = Config(
    pulse_interval_ms=100,
    report_interval_ms=100,
    ack_interval_ms=8,
    lease_ms=300,
    stagger_ms=60,
    dead_after_ms=1500,
    busy_after_ms=200,
    join_deadline_ms=4000,
    join_repeat_ms=80,
    joiner_silent_ms=600,
    connect_deadline_ms=3000,
    request_repeat_ms=80,
    drain_deadline_ms=20_000,
    status_interval_ms=1000,
)


@dataclass(frozen=True)
class Ended:
    """How one schedule ended. wrong: "" or what the oracle found."""

    seed: int
    kind: str
    wrong: str
    events: int
    records: int
    generations: int
    digest: str
    story: str


class Schedule:
    """One seed's cluster, its records, its wishes and its faults."""

    def __init__(self, seed: int, kind: str = "") -> None:
        self.seed = seed
        self.kind = kind or KINDS[seed % len(KINDS)]
        topology = numbered_topology(key_groups=8)
        self.cluster = SimulatedCluster(seed, topology.plan, topology.registry, Config())
        self.kernel = self.cluster.kernel
        self.chance = self.kernel.chance
        self.cluster.config = self._config()
        if self.kind == "rush":
            self.cluster.world.turn_seconds = (0.001, self.chance.choice([0.01, 0.03]))
        self.oracle = Oracle(self.cluster)
        self.cluster.world.watch = self.oracle.watch
        self._joined = 0
        self._pushed = 0
        self._started = 0

    # ------------------------------------------------------------ run and judge

    def run(self) -> Ended:
        """Play the schedule to its end. Never raises for what is wrong: it is in the answer."""
        wrong = ""
        try:
            self._play()
            self.oracle.judge(deaths_allowed=self.kind in ("leader", "partitions", "crashes"))
        except InvariantBroken as error:
            wrong = str(error)
        return Ended(
            seed=self.seed,
            kind=self.kind,
            wrong=wrong,
            events=self.kernel.events,
            records=self._pushed,
            generations=self.oracle.generations,
            digest=self.kernel.digest() if self.digest else "",
            story=self.story() if wrong else "",
        )

    digest = False  # whether `run` hashes the trace, which costs time

    def story(self) -> str:
        """The control log and the trace, as a person reads them."""
        return f"{self.oracle.log_story()}\n{self.kernel.story()}"

    def _play(self) -> None:
        cluster = self.cluster
        count = 1 if self.kind == "leader" else self.chance.randint(1 + (self.kind == "rush"), 4)
        self._started = count
        cluster.start(count)
        self._give_records(count)
        self._wish()
        getattr(self, f"_{self.kind}")()
        cluster.run(STORM_ENDS)
        self._heal()
        deadline = self.kernel.now + PATIENCE
        self._wait(deadline, "the wishes to end", lambda: self._undone() or self._wishes_ended())
        if self._undone():
            return self._give_up()
        self._wait(deadline, "the sources to be read", self._all_read)
        cluster.run(self.chance.choice([0.0, 0.3]))
        if cluster.alive:
            cluster.shutdown()
        self._wait(deadline, "all workers to end", lambda: not cluster.alive)

    def _undone(self) -> bool:
        """Whether the start can come to nothing only: one of those it needs has gone."""
        starters = self.cluster.workers[: self._started]
        return self.oracle.true_state().generation is None and not all(w.alive for w in starters)

    def _give_up(self) -> None:
        """Somebody loses patience with a cluster that never came up."""
        for worker in self.cluster.alive:
            worker.crash()

    def _wait(self, deadline: float, what: str, done: Callable[[], bool]) -> None:
        if not self.kernel.run(deadline, done):
            raise InvariantBroken(f"waited in vain for {what}")

    def _wishes_ended(self) -> bool:
        cluster = self.cluster
        if cluster.alive and any(asked.final is None for asked in cluster.asked.values()):
            return False
        return all(
            worker.driver.agent.state.open is None
            and worker.driver.agent.state.table.member(worker.member.incarnation) is not None
            for worker in cluster.alive
        )

    def _all_read(self) -> bool:
        living = {worker.member.name for worker in self.cluster.alive}
        return not any(
            name in living and self.cluster.script(source, name).waiting
            for source, names in self.oracle.true_state().placement.sources.items()
            for name in names
        )

    # ------------------------------------------------------------ what is drawn

    def _config(self) -> Config:
        choice = self.chance.choice
        return replace(
            QUICK,
            batch_records_max=choice([3, 16, 4096]),
            link_window_bytes_min=choice([200, 2000, 256 * 1024]),
            outbox_bytes_max=choice([1000, 8 * 1024 * 1024]),
            hold_bytes_max=choice([500, 64 * 1024 * 1024]),
            sink_bytes_max=choice([500, 8 * 1024 * 1024]),
            frame_bytes_target=64 * 1024 if self.kind == "rush" else choice([200, 64 * 1024]),
            snapshot_chunk_bytes=choice([30, 1024 * 1024]),
            wave_bytes_max=choice([100, 4 * 1024 * 1024]),
            wave_groups_max=choice([1, 4] if self.kind == "rush" else [1, 2, 128]),
            log_records_before_base=choice([4, 8, 256]),
        )

    def _give_records(self, workers: int) -> None:
        """Bursts of records on every source, over the whole storm."""
        keys = self.chance.choice([2, 5, 20])
        rush = self.kind == "rush"
        sizes, gaps = ([2, 4], [0.01, 0.02]) if rush else ([1, 2, 6], [0.01, 0.05, 0.2])
        until = STORM_ENDS / 2 if rush else STORM_ENDS
        sources = [(LEFT, "w0")] + [(RIGHT, f"w{number}") for number in range(workers)]
        for name, worker in sources:
            script = self.cluster.script(name, worker)
            number = 0
            when = self.chance.uniform(0.0, 0.4)
            while when < until:
                burst = []
                for _ in range(self.chance.choice(sizes)):
                    number += 1
                    first, second = self.chance.randrange(keys), self.chance.randrange(keys)
                    burst.append(Numbered(f"{name}@{worker}", number, first, second))
                self._pushed += len(burst)
                self.kernel.at(when, lambda s=script, b=burst: s.push(b))  # type: ignore[misc]
                when += self.chance.choice(gaps)
            if self.chance.random() < 0.5:
                self.kernel.at(STORM_ENDS, script.end)

    def _wish(self) -> None:
        """Growth and shrinks at drawn moments."""
        for _ in range(4 if self.kind == "rush" else self.chance.choice([1, 2, 2, 3])):
            when = self.chance.uniform(0.1, STORM_ENDS * (0.4 if self.kind == "rush" else 0.8))
            action = self.chance.choice([self._grow, self._grow, self._shrink, self._shrink_named])
            self.kernel.at(when, action)

    def _grow(self) -> None:
        names = [f"j{self._joined + place}" for place in range(self.chance.choice([1, 1, 2, 3]))]
        self._joined += len(names)
        missing = self.chance.random() < 0.15  # then the batch's deadline refuses them
        if self.cluster.alive:
            self.cluster.join(names, len(names) + missing)

    def _shrink(self) -> None:
        self.cluster.shrink(count=self.chance.choice([1, 1, 2, 9]))

    def _shrink_named(self) -> None:
        names = [worker.member.name for worker in self.cluster.alive]
        if names:
            self.cluster.shrink(names=[self.chance.choice(names)])

    def _some(self) -> SimulatedWorker | None:
        return self.chance.choice(self.cluster.alive) if self.cluster.alive else None

    def _leading(self) -> SimulatedWorker | None:
        """The worker that the newest record of the log calls the leader, if it lives."""
        leader = self.oracle.true_state().leader
        return next((w for w in self.cluster.alive if w.member.incarnation == leader), None)

    def _often(self, times: int, action: Callable[[], None]) -> None:
        for _ in range(times):
            self.kernel.at(self.chance.uniform(0.1, STORM_ENDS * 0.9), action)

    def _heal(self) -> None:
        self.kernel.note("sim", "all faults end")
        self.cluster.weather.calm()
        self.cluster.trouble.calm()
        self.cluster.world.network.heal()
        for outlet in self.cluster.world.outlets.values():
            outlet.reopen()

    # ------------------------------------------------------------ kinds of trouble

    def _calm(self) -> None:
        """Nothing happens but what is asked for."""

    def _rush(self) -> None:
        """What else makes it one is drawn with the records and the wishes."""
        self.cluster.weather.late = self.chance.choice([0.0, 0.95])
        self.cluster.weather.reset = self.chance.choice([0.0, 0.05])

    def _network(self) -> None:
        weather = self.cluster.weather
        choice = self.chance.choice
        weather.loss = choice([0.0, 0.05, 0.2])
        weather.double = choice([0.0, 0.1, 0.3])
        weather.late = choice([0.0, 0.1, 0.3])
        weather.reset = choice([0.0, 0.02, 0.1])
        weather.pipe_frames = choice([2, 64])
        self._often(choice([0, 1, 4]), self.cluster.world.network.reset_some)
        if choice([True, False]):
            self._often(2, self._stop_a_sink)

    def _stop_a_sink(self) -> None:
        outlet = self.chance.choice(sorted(self.cluster.world.outlets))
        self.cluster.world.outlets[outlet].shut()
        self.kernel.note("sim", "sink stops", outlet)
        seconds = self.chance.uniform(0.05, 0.8)
        self.kernel.after(seconds, self.cluster.world.outlets[outlet].reopen)

    def _disk(self) -> None:
        trouble = self.cluster.trouble
        choice = self.chance.choice
        trouble.lost_answer = choice([0.0, 0.2])
        trouble.failed_create = choice([0.0, 0.2])
        trouble.failed_read = choice([0.0, 0.2])
        trouble.stall = choice([0.0, 0.1])
        trouble.stall_seconds = (0.05, 0.5)

    def _pauses(self) -> None:
        self._often(self.chance.choice([1, 3]), self._stop_somebody)
        self._often(1, self.cluster.world.network.reset_some)

    def _stop_somebody(self) -> None:
        worker = self._some()
        if worker is not None:
            worker.stop(self.chance.choice(["paused", "busy"]), self.chance.uniform(0.02, 0.7))

    def _leader(self) -> None:
        """The first leader may not leave, because sources are placed on it. So it stands still
        until a joiner leads, and that one is asked to leave.
        """
        self.kernel.at(0.1, self._grow)
        if self.chance.random() < 0.5:
            self.kernel.at(self.chance.uniform(0.4, 0.6), self._stop_the_leader)
            self.kernel.at(self.chance.uniform(1.3, 1.7), self._shrink_the_leader)
            self.cluster.weather.double = self.cluster.weather.late = 0.5
        else:
            self._often(self.chance.choice([1, 2]), self._stop_the_leader)
        if self.chance.random() < 0.5:
            self._often(1, self._shrink_the_leader)
        trouble = self.chance.choice(["", "disk", "network"])
        if trouble:
            getattr(self, f"_{trouble}")()

    def _stop_the_leader(self) -> None:
        worker = self._leading()
        if worker is not None:
            how = self.chance.choice(["paused", "paused", "busy"])
            worker.stop(how, self.chance.choice([0.1, 0.7, 1.0, 2.5]))

    def _shrink_the_leader(self) -> None:
        worker = self._leading()
        if worker is None:
            return
        if self.chance.random() < 0.5:
            worker.signal()
        else:
            self.cluster.shrink(names=[worker.member.name])

    def _partitions(self) -> None:
        self._often(self.chance.choice([1, 2]), self._cut)
        if self.chance.random() < 0.3:
            self._network()

    def _cut(self) -> None:
        network, labels = self.cluster.world.network, [w.label for w in self.cluster.alive]
        if len(labels) < 2:
            return
        self.chance.shuffle(labels)
        border = self.chance.randint(1, len(labels) - 1)
        side, other = labels[:border], labels[border:]
        self.kernel.note("sim", "cut", side, other)
        if self.chance.random() < 0.3:
            network.cut(side, other)
        else:
            network.partition(side, other)
        if self.chance.random() < 0.3:
            self.cluster.trouble.unreachable.update(side)
        self.kernel.after(self.chance.choice([0.1, 0.6, 1.0, 3.0]), self._mend)

    def _mend(self) -> None:
        self.kernel.note("sim", "mended")
        self.cluster.world.network.heal()
        self.cluster.trouble.unreachable.clear()

    def _crashes(self) -> None:
        self._often(self.chance.choice([1, 1, 2]), self._kill)
        if self.chance.random() < 0.3:
            self._disk()
        if self.chance.random() < 0.3:
            self._network()

    def _kill(self) -> None:
        victim = self._leading() if self.chance.random() < 0.3 else self._some()
        if victim is None or len(self.cluster.alive) < 2:
            return
        if self.chance.random() < 0.5:
            victim.crash_within(self.chance.randrange(6))
        else:
            victim.crash()
        if self.chance.random() < 0.4:
            name = victim.member.name
            self.kernel.after(self.chance.uniform(0.05, 1.0), lambda: self._again(name))

    def _again(self, name: str) -> None:
        """The dead one is started again, as a joiner of the same name."""
        if self.cluster.able and self.cluster.named(name) is None:
            self.cluster.join([name])


def simulate(seed: int, kind: str = "") -> Ended:
    """Play and judge one seed."""
    return Schedule(seed, kind).run()
