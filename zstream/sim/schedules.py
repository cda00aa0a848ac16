"""What happens to a simulated cluster: one seed draws a whole schedule, then it is run and judged.

Every schedule starts one to four workers, gives numbered records in bursts, takes checkpoints, and
asks for growth and shrinks, overlapping as chance has it; its kind says what goes wrong meanwhile
(see faults). Then the faults end, and in bounded time all that was asked must come to an end and
all sources be read. Where nobody is left, the cluster is started again on its store. At last it is
shut down, and the oracle looks at everything.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace

from zstream.config import Config
from zstream.errors import InvariantBroken
from zstream.model.ids import Run, Term
from zstream.sim.cluster import Asked, SimulatedCluster
from zstream.sim.faults import KINDS, STORM_ENDS, WITH_DEATHS, Faults
from zstream.sim.node import SimulatedWorker
from zstream.sim.numbered import LEFT, RIGHT, SENT_AT_ONCE, Numbered, numbered_topology
from zstream.sim.oracle import Oracle

__all__ = ["KINDS", "Ended", "Schedule"]

END_OF_INPUT = "end-of-input"  # how a shutdown is called that nobody asked for
PATIENCE = 60.0  # virtual seconds after the storm; by then everything must have ended
TOLD_SECONDS = 10.0  # virtual; who joins via somebody that waits, too, learns of the end after him
LOOK_SECONDS = 0.02  # virtual; how often it is looked whether something has ended
WORKERS_MAX = 5  # that a cluster starts with

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
    linger_ms=300,
    manifests_kept=2,
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
    crashes: int
    recoveries: int
    epochs: int
    restarts: int
    digest: str
    story: str


class Schedule:
    """One seed's cluster, its records, its wishes and its faults."""

    def __init__(self, seed: int, kind: str = "") -> None:
        self.seed = seed
        self.kind = kind or KINDS[seed % len(KINDS)]
        topology = numbered_topology(key_groups=8)
        self.cluster = SimulatedCluster(
            seed, topology.plan, topology.registry, Config(), sent_at_once=SENT_AT_ONCE
        )
        self.kernel = self.cluster.kernel
        self.chance = self.kernel.chance
        self.cluster.config = self._config()
        if self.kind == "rush":
            self.cluster.world.turn_seconds = (0.001, self.chance.choice([0.01, 0.03]))
        if self.kind == "uneven":
            self.cluster.world.busy = lambda: self.chance.choice([0.1, 0.5, 1.0, 1.0])
        self.oracle = Oracle(self.cluster)
        self.truth = self.oracle.truth
        self.cluster.world.watch = self.oracle.watch
        self.faults = Faults(self.cluster, self.truth, self._start_again)
        self._joined = 0
        self._pushed = 0
        self._starters: list[SimulatedWorker] = []  # of the newest start
        self._is_stopped_early = False
        self._shutdown: Asked | None = None  # of this cluster, by this schedule
        self._asked_in = Run(0)  # the run in which all had been read and it was to stop
        self._term_before = Term(0)  # when the cluster was started last

    # ------------------------------------------------------------ run and judge

    def run(self) -> Ended:
        """Play the schedule to its end. Never raises for what is wrong: it is in the answer."""
        wrong = ""
        try:
            self._play()
            self.oracle.judge(deaths_allowed=self.kind in WITH_DEATHS)
        except InvariantBroken as error:
            wrong = str(error)
        except Exception as error:
            self.kernel.note("sim", "BROKEN", traceback.format_exc().strip())
            wrong = f"{type(error).__name__}: {error}"
        counts = self.truth.counts
        return Ended(
            seed=self.seed,
            kind=self.kind,
            wrong=wrong,
            events=self.kernel.events,
            records=self._pushed,
            generations=self.oracle.generations,
            crashes=sum(bool(worker.crash_cause) for worker in self.cluster.workers),
            recoveries=counts["recoveries"],
            epochs=counts["Manifest"],
            restarts=self.cluster.restarts,
            digest=self.kernel.digest() if self.digest else "",
            story=self.story() if wrong else "",
        )

    digest = False  # whether `run` hashes the trace, which costs time

    def story(self) -> str:
        """The trace, as a person reads it."""
        return self.kernel.story()

    def _play(self) -> None:
        cluster = self.cluster
        least = 2 if self.kind in ("rush", "uneven") else 1
        count = 1 if self.kind == "leader" else self.chance.randint(least, 4)
        self._starters = cluster.start(count)
        self._give_records(count)
        self._wish()
        self.faults.draw(self.kind)
        cluster.run(STORM_ENDS)
        self.faults.end()
        deadline = self.kernel.now + PATIENCE
        encores = self.chance.choice([0, 1]) if self.kind == "restarts" else 0
        while not (self._finish(deadline) and self._is_whole()) or encores:
            if self._has_stopped and encores:
                encores -= 1
                self._push_some_more()
            cluster.run(self.chance.uniform(0.01, 0.2))
            self._start_again()

    # ------------------------------------------------------------ lives of the cluster

    def _finish(self, deadline: float) -> bool:
        """Let all come to its end, and stop the cluster. False where it dies on the way."""
        cluster = self.cluster
        if not self._until(deadline, "the wishes to end", self._wishes_ended):
            return False
        if not self._until(deadline, "the sources to be read", self._all_read):
            return False
        cluster.run(self.chance.choice([0.0, 0.3]))
        if not self._until(deadline, "the sources to be read again", self._all_read):
            return False
        self._asked_in = self.truth.state.run
        self._shutdown = None
        waiting = len(cluster.alive) - len(self._members())
        deadline += waiting * TOLD_SECONDS
        return self._until(deadline, "all workers to end", self._all_ended)

    def _until(self, deadline: float, what: str, done: Callable[[], bool]) -> bool:
        """Wait for this. False when nothing can come of it any more."""
        while not self._is_lost():
            self.oracle.nobody_is_broken()
            if done():
                return True
            if self.kernel.now >= deadline:
                raise InvariantBroken(f"waited in vain for {what}")
            self.cluster.run(LOOK_SECONDS)
        return False

    def _all_ended(self) -> bool:
        """Whether nobody is left. The cluster is asked to stop, and asked again where the answer
        came from somebody of the one before, who had not ended yet."""
        is_asked = self._shutdown is not None and self._shutdown.final is None
        if self.cluster.alive and not self._has_stopped and not is_asked:
            self._shutdown = self.cluster.shutdown()
        return not self.cluster.alive

    @property
    def _has_stopped(self) -> bool:
        """Whether the cluster has ended since it was started last."""
        state = self.truth.state
        return state.stopped is not None and state.term > self._term_before

    def _is_lost(self) -> bool:
        """Whether a person must start it again: no member lives, and the start has failed."""
        if self._has_stopped or self._members():
            return False
        return not all(worker.alive for worker in self._starters)

    def _members(self) -> list[SimulatedWorker]:
        """Living members, some of them perhaps only standing still."""
        table = self.truth.state.table
        return [w for w in self.cluster.alive if table.member(w.member.incarnation)]

    def _start_again(self) -> None:
        """Start the cluster again, if nothing is left of it but who stands still."""
        if any(worker.able for worker in self._members()):
            return
        for worker in self._starters:
            if worker.able:
                if not self._is_lost():
                    return
                worker.crash("given up")
        first = self._starters[0].exit
        if first is not None and "is starting" in first.says:
            for worker in self.cluster.alive:
                if worker.member.incarnation == self.truth.state.leader:
                    worker.crash("found to be starting the cluster, too")
        self._is_stopped_early = False
        self._term_before = self.truth.state.term
        self._starters = self.cluster.restart(self.chance.randint(1, WORKERS_MAX))

    def _is_whole(self) -> bool:
        """Whether all was read that somebody read. A shutdown in the storm, or one before or in
        which sources go back, leaves some for the next life; where that should not be, the oracle
        will say so.
        """
        shutdown = self.truth.state.shutdown
        if shutdown is None or shutdown.request == END_OF_INPUT:
            return True
        if self.truth.state.back_to is not None:
            return False  # it has said so itself
        may_leave_some = self._is_stopped_early or self.truth.shut_down_in != self._asked_in
        return not may_leave_some or self.oracle.is_whole()

    def _push_some_more(self) -> None:
        for script in self.cluster.scripts.values():
            if not script.has_ended:
                number = len(script.records)
                keys = [self.chance.randrange(2) for _ in range(4)]
                script.push(
                    Numbered(script.partition, number + place + 1, key, key)
                    for place, key in enumerate(keys)
                )

    def _wishes_ended(self) -> bool:
        cluster = self.cluster
        if self._has_stopped:
            return True
        if any(asked.final is None and not asked.is_given_up for asked in cluster.asked.values()):
            return False
        return all(
            worker.driver.agent.state.open is None
            and worker.driver.agent.state.table.member(worker.member.incarnation) is not None
            for worker in cluster.alive
        )

    def _all_read(self) -> bool:
        """Whether who is to read each source has read all of it, and goes back no more."""
        state, members = self.truth.state, self._members()
        if self._has_stopped:
            return True
        newest = (state.run, state.table.generation)
        if not members or len(members) < len(state.table.members):
            return False
        for worker in members:
            dataflow = worker.driver.dataflow
            if (dataflow.run, dataflow.progress().generation) != newest:
                return False
        return all(
            self.cluster.script(source, name).is_read(worker.label)
            for source, names in state.placement.sources.items()
            for name in names
            for worker in members
            if worker.member.name == name
        )

    # ------------------------------------------------------------ what is drawn

    def _config(self) -> Config:
        choice = self.chance.choice
        may_die, uneven = self.kind in WITH_DEATHS, self.kind == "uneven"
        return replace(
            QUICK,
            dead_after_ms=choice([450, 800, 1500]) if may_die else QUICK.dead_after_ms,
            batch_records_max=choice([3, 16, 4096]),
            link_window_bytes_min=choice([200, 2000, 256 * 1024]),
            outbox_bytes_max=choice([1000, 8 * 1024 * 1024]),
            hold_bytes_max=choice([500, 64 * 1024 * 1024]),
            sink_bytes_max=choice([500, 8 * 1024 * 1024]),
            uncommitted_bytes_max=choice([1000, 64 * 1024 * 1024]),
            frame_bytes_target=64 * 1024 if self.kind == "rush" else choice([200, 64 * 1024]),
            snapshot_chunk_bytes=choice([30, 1024 * 1024]),
            wave_bytes_max=choice([100, 4 * 1024 * 1024]),
            wave_groups_max=choice([1, 4] if self.kind == "rush" else [1, 2, 128]),
            log_records_before_base=choice([4, 8, 256]),
            checkpoint_interval_ms=choice([30, 80, 200, 1000]),
            epoch_deadline_ms=choice([300, 2000]),
            balance_after_ms=choice([20, 100]) if uneven else QUICK.balance_after_ms,
            balance_gain_percent=choice([1, 10]) if uneven else QUICK.balance_gain_percent,
            part_slice_bytes=choice([40, 400, 64 * 1024]),
            part_cycle_epochs=choice([2, 3, 5]),
        )

    def _give_records(self, workers: int) -> None:
        """Bursts of records on every source, over the whole storm."""
        keys = self.chance.choice([2, 5, 20])
        rush = self.kind == "rush"
        sizes, gaps = ([2, 4], [0.01, 0.02]) if rush else ([1, 2, 6], [0.01, 0.05, 0.2])
        until = STORM_ENDS / 2 if rush else STORM_ENDS
        ends_at = STORM_ENDS
        if self.kind in WITH_DEATHS and self.chance.random() < 0.15:
            ends_at = until = self.chance.uniform(0.8, 1.8)
        readers = WORKERS_MAX if self.kind in ("restarts", "power", "moments") else workers
        sources = [(LEFT, "w0")] + [(RIGHT, f"w{number}") for number in range(readers)]
        for name, worker in sources:
            script = self.cluster.script(name, worker)
            script.forgets = self.chance.random() < 0.5
            self.truth.follow(script)
            number = 0
            when = self.chance.uniform(0.0, 0.4)
            while when < until:
                burst = []
                for _ in range(self.chance.choice(sizes)):
                    number += 1
                    first, second = self.chance.randrange(keys), self.chance.randrange(keys)
                    burst.append(Numbered(script.partition, number, first, second))
                self._pushed += len(burst)
                self.kernel.at(when, lambda s=script, b=burst: s.push(b))  # type: ignore[misc]
                when += self.chance.choice(gaps)
            if ends_at < STORM_ENDS or self.chance.random() < 0.5:
                self.kernel.at(ends_at, script.end)

    def _wish(self) -> None:
        """Growth and shrinks at drawn moments."""
        for _ in range(4 if self.kind == "rush" else self.chance.choice([1, 2, 2, 3])):
            when = self.chance.uniform(0.1, STORM_ENDS * (0.4 if self.kind == "rush" else 0.8))
            action = self.chance.choice([self._grow, self._grow, self._shrink, self._shrink_named])
            self.kernel.at(when, action)
        if self.kind in WITH_DEATHS and self.chance.random() < 0.1:
            self.kernel.at(self.chance.uniform(0.8, STORM_ENDS * 0.9), self._shut_down_early)

    def _shut_down_early(self) -> None:
        """What is given from now on is for the next life of the cluster."""
        self._is_stopped_early = True
        self.cluster.shutdown()

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
