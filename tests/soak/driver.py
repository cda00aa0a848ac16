"""Draws faults and performs them on a cluster of processes, and keeps the cluster going."""

from __future__ import annotations

import heapq
import itertools
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from random import Random

from tests.soak.cluster import OUTSIDE, Program, Soaked, Worker
from tests.soak.plan import Fault
from zstream.client import Cluster
from zstream.client.status import Status
from zstream.errors import ZstreamError

WORKERS_LEAST = 2
WORKERS_MOST = 6
LOOK_SECONDS = 0.1
ASLEEP_DEAD = (3.5, 8.0)  # seconds: longer than dead_after_ms
ASLEEP_SHORT = (0.2, 1.5)
CUT_SECONDS = (0.5, 8.0)
NOTE_SECONDS = 2.0
CALM_AFTER = 30.0  # seconds without output: then no more faults until there is some
STUCK_AFTER = 90.0  # seconds without output, most of them without faults
START_SECONDS = 30.0  # for a cluster that starts


class Stuck(Exception):
    """Nothing comes out, and nothing stands in the way."""


class Driver:
    """Performs faults as a plan has them.

    story: called with each thing that happens; note: with how far the output is, now and then.
    """

    def __init__(
        self,
        soaked: Soaked,
        seed: int,
        rate: float,
        story: Callable[[str], None],
        note: Callable[[str], None],
    ) -> None:
        self.faults: Counter[str] = Counter()
        self.restarts = 0
        self.longest_silence = 0.0  # seconds without output, whatever was the reason
        self.requests: Counter[str] = Counter()
        self._soaked = soaked
        self._network = soaked.network
        self._rate = rate / len(soaked.producers)
        self._story = story
        self._note = note
        self._chance = Random(seed)  # of what keeps the cluster going
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._cuts: dict[int, set[tuple[int, int]]] = {}
        self._leader = ""
        self._is_up = False
        self._started_at = 0.0
        self._output = 0
        self._note_at = 0.0
        self._output_at = time.monotonic()
        self._status_lock = threading.Lock()
        self._newest: tuple[float, Status | None] = (0.0, None)
        self._is_over = threading.Event()
        self._looker = threading.Thread(target=self._look, daemon=True)

    # ---- going on

    def begin(self, count: int) -> None:
        """Start everything, and wait until records come out."""
        self._soaked.start_consumer()
        self._start(count)
        for name in self._soaked.producers:
            self._soaked.start_producer(name, self._rate)
        self._looker.start()
        while not self._output:
            self.go_on(LOOK_SECONDS)
        self._story("records come out")

    @property
    def may_disturb(self) -> bool:
        """Whether output comes often enough for the next fault."""
        return time.monotonic() - self._output_at < CALM_AFTER

    def go_on(self, seconds: float) -> None:
        """Let time pass, with all that is due in it. Raises Stuck."""
        until = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()
            self._keep_going()
            self._network.float()
            self._watch()
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, LOOK_SECONDS))

    def end_faults(self) -> None:
        """All that is under way ends now: stopped ones go on, nothing is cut off."""
        self._story("all faults end")
        while self._timers:
            heapq.heappop(self._timers)[2]()
        self._cuts.clear()
        self._network.cut(())
        for program in self._soaked.everybody():
            if program.asleep:
                program.signal(signal.SIGCONT)

    def shut_down(self) -> str:
        """Let producers end, then the cluster, then the consumer; what went wrong, or ""."""
        for name, producer in self._soaked.producers.items():
            if producer is None or producer.is_over:
                self._soaked.start_producer(name, self._rate)
        self.go_on(3.0)
        for producer in self._soaked.producers.values():
            assert producer is not None
            producer.signal(signal.SIGTERM)
        while not all(p is None or p.is_over for p in self._soaked.producers.values()):
            self.go_on(LOOK_SECONDS)
        codes = {n: p.process.returncode for n, p in self._soaked.producers.items() if p}
        if any(codes.values()):
            return f"producers ended with {codes}"
        self._story("all that was sent is acknowledged")
        while not self._is_up:
            self.go_on(LOOK_SECONDS)
        wrong = self._ask_to_shut_down()
        self._is_over.set()
        self._looker.join()
        consumer = self._soaked.consumer
        assert consumer is not None
        consumer.signal(signal.SIGTERM)
        if consumer.process.wait(30):
            wrong = wrong or f"the consumer ended with {consumer.process.returncode}"
        return wrong

    def _ask_to_shut_down(self) -> str:
        members = self._soaked.members
        asked = members[0]
        wrong = ""
        try:
            Cluster(asked.external, timedelta(seconds=90)).shutdown()
        except ZstreamError as error:
            wrong = f"the shutdown asked of {asked.name} failed: {error}"
        deadline = time.monotonic() + 30
        while not all(w.is_over for w in members) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        codes = {w.name: w.process.poll() for w in members}
        if any(code != 0 for code in codes.values()):
            wrong = wrong or f"workers ended with {codes}"
        self._story(f"shut down: {codes}")
        return wrong

    def stop_looking(self) -> None:
        self._is_over.set()

    # ---- keeping the cluster going

    def _start(self, count: int) -> None:
        for worker in self._soaked.workers:
            worker.kill()
        self._soaked.reap()
        self._leader = ""
        with self._status_lock:
            self._newest = (0.0, None)
        self._is_up = False
        self._started_at = time.monotonic()
        self._soaked.start(count)
        names = ", ".join(worker.name for worker in self._soaked.workers)
        self._story(f"the cluster starts with {names}")

    def _keep_going(self) -> None:
        for worker in self._soaked.reap():
            code = worker.process.returncode
            self._story(f"{worker.name} has ended with {code}: {worker.last_line()[-300:]}")
            if worker.name not in self._soaked.names_of_dead:
                self._soaked.names_of_dead.append(worker.name)
        soaked, now = self._soaked, time.monotonic()
        with self._status_lock:
            seen_at, status = self._newest
        members = soaked.members
        if status is not None and status.processing_messages and seen_at > self._started_at:
            self._is_up = self._is_up or bool(members)
            self._leader = status.leader
        if not self._is_up:
            if soaked.first_is_over or now - self._started_at > START_SECONDS:
                self._again("it did not start")
        elif not members:
            self._again("all members are dead")
        elif len(soaked.workers) < WORKERS_LEAST:
            awake = [worker for worker in members if not worker.asleep]
            if awake:
                self._story("too few: one joins")
                self._join(self._chance.choice(awake), 1)

    def _again(self, why: str) -> None:
        self.restarts += 1
        count = self._chance.randint(1, 5)
        self._story(f"{why}: the cluster is started again, as {count}")
        self._start(count)

    def _watch(self) -> None:
        now = time.monotonic()
        size = self._soaked.taken.stat().st_size
        if size != self._output:
            if self._output:
                self.longest_silence = max(self.longest_silence, now - self._output_at)
            self._output, self._output_at = size, now
        if now >= self._note_at:
            self._note_at = now + NOTE_SECONDS
            self._note(f"    {size >> 10} KiB taken, {now - self._output_at:.1f} s ago")
        if now - self._output_at > STUCK_AFTER:
            raise Stuck(f"no output for {STUCK_AFTER:g} s")
        for name, producer in self._soaked.producers.items():
            if producer is not None and producer.is_over and producer.process.returncode > 0:
                raise Stuck(f"producer {name} gave up: {producer.last_line()}")
        consumer = self._soaked.consumer
        if consumer is not None and consumer.is_over and consumer.process.returncode > 0:
            raise Stuck(f"the consumer gave up: {consumer.last_line()}")

    def _look(self) -> None:
        """The newest status, again and again, in a thread of its own."""
        while not self._is_over.wait(0.3):
            for worker in self._soaked.awake:
                if self._is_over.is_set():
                    return
                asked_at = time.monotonic()
                with suppress(ZstreamError):
                    status = Cluster(worker.external, timedelta(seconds=0.8)).status()
                    with self._status_lock:
                        before = self._newest[1]
                        if before is None or (status.term, status.generation) >= (
                            before.term,
                            before.generation,
                        ):
                            self._newest = (asked_at, status)
                            break

    def statuses(self) -> str:
        """What each worker that is awake says of the cluster, for the evidence."""
        said = []
        for worker in self._soaked.awake:
            try:
                said.append(str(Cluster(worker.external, timedelta(seconds=3)).status().json()))
            except ZstreamError as error:
                said.append(str(error))
            said[-1] = f"{worker.name} at {worker.external}: {said[-1]}"
        return "\n".join(said)

    # ---- faults

    def disturb(self, fault: Fault) -> None:
        """Perform one."""
        says = getattr(self, f"_{fault.kind}")(fault)
        if says:
            self.faults[fault.kind] += 1
            self._story(f"fault {fault.number}: {fault.kind}: {says}")

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), what))

    def _any(self, fault: Fault, place: int) -> Worker | None:
        workers = self._soaked.workers
        return workers[fault.pick(place, len(workers))] if workers else None

    def _leading(self) -> Worker | None:
        return next((w for w in self._soaked.workers if w.name == self._leader), None)

    def _killed(self, worker: Worker, fault: Fault) -> str:
        """Kill it; whether another one comes under its name, and when, is drawn."""
        worker.kill()
        if fault.draws[6] < 0.35:
            self._later(fault.between(7, 0.0, 1.0), lambda: self._take_place(worker.name))
        elif fault.draws[6] < 0.6:
            self._later(fault.between(7, 3.0, 7.0), lambda: self._take_place(worker.name))
        return worker.name

    def _take_place(self, name: str) -> None:
        awake = [worker for worker in self._doors() if worker.name != name]
        taken = any(worker.name == name for worker in self._soaked.workers)
        if awake and not taken and len(self._soaked.workers) < WORKERS_MOST:
            self._story(f"{name} is started again")
            self._join(self._chance.choice(awake), 1, name)

    def _kill(self, fault: Fault) -> str:
        worker = self._any(fault, 0)
        return self._killed(worker, fault) if worker else ""

    def _kill_leader(self, fault: Fault) -> str:
        worker = self._leading()
        return self._killed(worker, fault) if worker else ""

    def _kill_some(self, fault: Fault) -> str:
        chosen = [self._any(fault, place) for place in range(2 + fault.pick(3, 2))]
        killed = dict.fromkeys(worker for worker in chosen if worker is not None)
        for worker in killed:
            worker.signal(signal.SIGKILL)
        return ", ".join(self._killed(worker, fault) for worker in killed)

    def _kill_all(self, fault: Fault) -> str:
        for worker in self._soaked.workers:
            worker.signal(signal.SIGKILL)
        self.restarts += 1
        count = 1 + fault.pick(0, 5)
        self._start(count)
        return f"started again as {count}"

    def _stopped(self, program: Program | None, seconds: float) -> str:
        if program is None or program.asleep or program.is_over:
            return ""
        program.signal(signal.SIGSTOP)
        self._later(seconds, lambda: self._continue(program))
        return f"{program.name} for {seconds:.1f} s"

    def _continue(self, program: Program) -> None:
        self._story(f"{program.name} goes on")
        program.signal(signal.SIGCONT)

    def _sleep(self, fault: Fault) -> str:
        return self._stopped(self._any(fault, 0), fault.between(1, *ASLEEP_DEAD))

    def _sleep_leader(self, fault: Fault) -> str:
        return self._stopped(self._leading(), fault.between(1, *ASLEEP_DEAD))

    def _blink(self, fault: Fault) -> str:
        return self._stopped(self._any(fault, 0), fault.between(1, *ASLEEP_SHORT))

    def _pause_consumer(self, fault: Fault) -> str:
        return self._stopped(self._soaked.consumer, fault.between(1, 0.5, 5.0))

    def _kill_consumer(self, fault: Fault) -> str:
        consumer = self._soaked.consumer
        if consumer is None or consumer.is_over:
            return ""
        consumer.kill()
        self._later(fault.between(1, 0.0, 2.0), self._soaked.start_consumer)
        return "and started again"

    def _kill_producer(self, fault: Fault) -> str:
        name = sorted(self._soaked.producers)[fault.pick(0, len(self._soaked.producers))]
        producer = self._soaked.producers[name]
        if producer is None or producer.is_over:
            return ""
        producer.kill()
        again = lambda: self._soaked.start_producer(name, self._rate)  # noqa: E731
        self._later(fault.between(1, 0.0, 2.0), again)
        return f"{name}, and started again"

    # ---- partitions

    def _cut_for(self, fault: Fault, pairs: set[tuple[int, int]], says: str) -> str:
        seconds = fault.between(7, *CUT_SECONDS)
        self._cuts[fault.number] = pairs
        self._network.cut(set().union(*self._cuts.values()))
        self._later(seconds, lambda: self._heal(fault.number))
        return f"{says} for {seconds:.1f} s"

    def _heal(self, number: int) -> None:
        self._story(f"what fault {number} cut is whole again")
        del self._cuts[number]
        self._network.cut(set().union(*self._cuts.values()))

    def _isolate(self, fault: Fault) -> str:
        worker = self._leading() if fault.draws[1] < 0.4 else self._any(fault, 0)
        if worker is None:
            return ""
        others = set(range(self._network.hosts)) - {worker.host}
        pairs = {(worker.host, other) for other in others}
        return self._cut_for(fault, both_ways(pairs), worker.name)

    def _islands(self, fault: Fault) -> str:
        workers = self._soaked.workers
        if len(workers) < 2:
            return ""
        split = 1 + fault.pick(0, len(workers) - 1)
        shuffled = sorted(workers, key=lambda w: hash((fault.draws[1], w.host)))
        left, right = shuffled[:split], shuffled[split:]
        pairs = both_ways({(a.host, b.host) for a in left for b in right})
        names = [", ".join(worker.name for worker in side) for side in (left, right)]
        return self._cut_for(fault, pairs, f"{names[0]} from {names[1]}")

    def _one_way(self, fault: Fault) -> str:
        one, other = self._any(fault, 0), self._any(fault, 1)
        if one is None or other is None or one is other:
            return ""
        return self._cut_for(fault, {(one.host, other.host)}, f"{one.name} to {other.name}")

    def _no_outside(self, fault: Fault) -> str:
        worker = self._any(fault, 0)
        if worker is None:
            return ""
        return self._cut_for(fault, both_ways({(worker.host, OUTSIDE)}), worker.name)

    # ---- rescales

    def _join(self, at: Worker, count: int, name: str = "") -> str:
        joiners = self._soaked.join(at, count, name)
        return f"{', '.join(worker.name for worker in joiners)} at {at.name}"

    def _doors(self) -> list[Worker]:
        """Whom a joiner may ask: mostly members, who are there thrice."""
        awake = self._soaked.awake
        members = [worker for worker in awake if worker.is_member]
        return [*awake, *members, *members]

    def _grow(self, fault: Fault) -> str:
        awake = self._doors()
        room = WORKERS_MOST - len(self._soaked.workers)
        if not awake or room < 1:
            return ""
        return self._join(awake[fault.pick(0, len(awake))], min(room, 1 + fault.pick(1, 2)))

    def _grow_and_kill(self, fault: Fault) -> str:
        says = self._grow(fault)
        if says:
            self._later(fault.between(2, 0.3, 2.5), lambda: self._kill_in_it(fault))
        return says

    def _shrink(self, fault: Fault) -> str:
        awake = [worker for worker in self._soaked.members if not worker.asleep]
        if len(self._soaked.workers) <= WORKERS_LEAST or not awake:
            return ""
        asked = awake[fault.pick(0, len(awake))]
        if fault.draws[1] < 0.5:
            count, names = 1, []
        else:
            count, names = None, [awake[fault.pick(2, len(awake))].name]

        def ask() -> None:
            cluster = Cluster(asked.external, timedelta(seconds=20))
            try:
                self.requests[f"shrink {cluster.shrink(count=count, workers=names).outcome}"] += 1
            except ZstreamError as error:
                self.requests[f"shrink {type(error).__name__}"] += 1

        threading.Thread(target=ask, daemon=True).start()
        return f"{names or count} asked of {asked.name}"

    def _shrink_and_kill(self, fault: Fault) -> str:
        says = self._shrink(fault)
        if says:
            self._later(fault.between(3, 0.05, 1.5), lambda: self._kill_in_it(fault))
        return says

    def _kill_in_it(self, fault: Fault) -> None:
        worker = self._leading() if fault.draws[5] < 0.3 else self._any(fault, 4)
        if worker is not None:
            self._story(f"fault {fault.number}: {self._killed(worker, fault)} is killed in it")


def both_ways(pairs: set[tuple[int, int]]) -> set[tuple[int, int]]:
    return pairs | {(other, one) for one, other in pairs}
