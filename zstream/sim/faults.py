"""What goes wrong in a simulated cluster: each kind of schedule draws its faults from the seed.

calm        no faults at all
rush        many records, slow turns, small waves; control late, so that markers come first
network     control messages lost, doubled, late; data connections reset; sinks that stop
disk        a store that is slow, stalls, loses answers, fails
pauses      workers stopped or busy, shorter than their death is declared
leader      the leader stopped for longer than its lease, the leader as leaver
partitions  workers cut off from each other, one way or both, from the store too
crashes     workers killed, within a turn too, and started again; the leader, joiners, leavers
zombies     workers stopped for longer than their death is declared, and then going on
moments     workers killed at a step of an epoch, a recovery, a rescale, and then at another one
restarts    all killed at once, and another number of them started on what is in the store
power       the store loses what it has not synced, and perhaps all workers die with it
rot         a bit of a part flips, and workers are killed
people      what people do by mistake, see people
uneven      some workers have much more to do than others, so key groups move; workers killed
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zstream.sim.cluster import SimulatedCluster
from zstream.sim.desk import MOMENTS
from zstream.sim.node import SimulatedWorker
from zstream.sim.people import People
from zstream.sim.truth import Truth

KINDS = (
    "calm",
    "rush",
    "network",
    "disk",
    "pauses",
    "leader",
    "partitions",
    "crashes",
    "zombies",
    "moments",
    "restarts",
    "power",
    "rot",
    "people",
    "uneven",
)
WITH_DEATHS = frozenset(KINDS[KINDS.index("leader") :])
STORM_ENDS = 2.0  # virtual seconds; all that is drawn begins before

DECISIONS = (
    "TermOpened",
    "RescaleOpened",
    "GenerationOpened",
    "EpochOpened",
    "Manifest",
    "EpochAbandoned",
    "RescaleClosed",
    "ShutdownOpened",
    "ShutdownClosed",
    "Base",
)
RECOVERING = ("TermOpened", "GenerationOpened", "Manifest", *MOMENTS)


@dataclass
class Awaited:
    """Something that a worker shall be killed in. left: when it comes for the so-manieth time."""

    what: str
    left: int
    victim: str  # "it", "leader", "somebody", "all"


class Faults:
    """Draws and performs the faults of one schedule. restart: all have died, begin again."""

    def __init__(
        self, cluster: SimulatedCluster, truth: Truth, restart: Callable[[], None]
    ) -> None:
        self._cluster = cluster
        self._truth = truth
        self._restart = restart
        self._kernel = cluster.kernel
        self._chance = cluster.kernel.chance
        self._awaited: list[Awaited] = []

    def draw(self, kind: str) -> None:
        """Set the weather and the events of this kind of schedule."""
        getattr(self, f"_{kind}")()

    def end(self) -> None:
        """From now on all goes well. Who is stopped still has to wait for his time."""
        self._kernel.note("sim", "all faults end")
        self._awaited.clear()
        self._cluster.weather.calm()
        self._cluster.trouble.calm()
        self._cluster.world.network.heal()
        for outlet in self._cluster.world.outlets.values():
            outlet.reopen()

    # ---- who and when

    def _some(self) -> SimulatedWorker | None:
        return self._chance.choice(self._cluster.alive) if self._cluster.alive else None

    def _leading(self) -> SimulatedWorker | None:
        """The worker that the newest record of the log calls the leader, if it lives."""
        leader = self._truth.state.leader
        return next((w for w in self._cluster.alive if w.member.incarnation == leader), None)

    def _often(self, times: int, action: Callable[[], None]) -> None:
        for _ in range(times):
            self._kernel.at(self._chance.uniform(0.1, STORM_ENDS * 0.9), action)

    # ---- kinds without a death

    def _calm(self) -> None:
        """Nothing happens but what is asked for."""

    def _rush(self) -> None:
        """What else makes it one is drawn with the records and the wishes."""
        self._cluster.weather.late = self._chance.choice([0.0, 0.95])
        self._cluster.weather.reset = self._chance.choice([0.0, 0.05])

    def _network(self) -> None:
        weather = self._cluster.weather
        choice = self._chance.choice
        weather.loss = choice([0.0, 0.05, 0.2])
        weather.double = choice([0.0, 0.1, 0.3])
        weather.late = choice([0.0, 0.1, 0.3])
        weather.reset = choice([0.0, 0.02, 0.1])
        weather.pipe_frames = choice([2, 64])
        self._often(choice([0, 1, 4]), self._cluster.world.network.reset_some)
        if choice([True, False]):
            self._often(2, self._stop_a_sink)

    def _stop_a_sink(self) -> None:
        outlet = self._chance.choice(sorted(self._cluster.world.outlets))
        self._cluster.world.outlets[outlet].shut()
        self._kernel.note("sim", "sink stops", outlet)
        seconds = self._chance.uniform(0.05, 0.8)
        self._kernel.after(seconds, self._cluster.world.outlets[outlet].reopen)

    def _disk(self) -> None:
        trouble = self._cluster.trouble
        choice = self._chance.choice
        trouble.lost_answer = choice([0.0, 0.2])
        trouble.failed_create = choice([0.0, 0.2])
        trouble.failed_read = choice([0.0, 0.2])
        trouble.stall = choice([0.0, 0.1])
        trouble.stall_seconds = (0.05, 0.5)

    def _pauses(self) -> None:
        self._often(self._chance.choice([1, 3]), self._stop_somebody)
        self._often(1, self._cluster.world.network.reset_some)

    def _stop_somebody(self) -> None:
        worker = self._some()
        if worker is not None:
            worker.stop(self._chance.choice(["paused", "busy"]), self._chance.uniform(0.02, 0.7))

    # ---- the leader, and partitions

    def _leader(self) -> None:
        """The first leader may not leave, because sources are placed on it. So it stands still
        until a joiner leads, and that one is asked to leave.
        """
        self._kernel.at(0.1, lambda: self._join_one("leader-to-be"))
        if self._chance.random() < 0.5:
            self._kernel.at(self._chance.uniform(0.4, 0.6), self._stop_the_leader)
            self._kernel.at(self._chance.uniform(1.3, 1.7), self._shrink_the_leader)
            self._cluster.weather.double = self._cluster.weather.late = 0.5
        else:
            self._often(self._chance.choice([1, 2]), self._stop_the_leader)
        if self._chance.random() < 0.5:
            self._often(1, self._shrink_the_leader)
        self._with_others("disk", "network")

    def _join_one(self, name: str) -> None:
        """Somebody starts a worker of this name, as a joiner."""
        if self._cluster.able:
            self._cluster.join([name])

    def _stop_the_leader(self) -> None:
        worker = self._leading()
        if worker is not None:
            how = self._chance.choice(["paused", "paused", "busy"])
            worker.stop(how, self._chance.choice([0.1, 0.7, 1.0, 2.5]))

    def _shrink_the_leader(self) -> None:
        worker = self._leading()
        if worker is None:
            return
        if self._chance.random() < 0.5:
            worker.signal()
        else:
            self._cluster.shrink(names=[worker.member.name])

    def _with_others(self, *kinds: str) -> None:
        """One of these troubles besides, or none."""
        kind = self._chance.choice(["calm", *kinds])
        self.draw(kind)

    def _partitions(self) -> None:
        self._often(self._chance.choice([1, 2]), self._cut)
        if self._chance.random() < 0.3:
            self._network()

    def _cut(self) -> None:
        network, labels = self._cluster.world.network, [w.label for w in self._cluster.alive]
        if len(labels) < 2:
            return
        self._chance.shuffle(labels)
        border = self._chance.randint(1, len(labels) - 1)
        side, other = labels[:border], labels[border:]
        self._kernel.note("sim", "cut", side, other)
        if self._chance.random() < 0.3:
            network.cut(side, other)
        else:
            network.partition(side, other)
        if self._chance.random() < 0.3:
            self._cluster.trouble.unreachable.update(side)
        self._kernel.after(self._chance.choice([0.1, 0.6, 1.0, 3.0]), self._mend)

    def _mend(self) -> None:
        self._kernel.note("sim", "mended")
        self._cluster.world.network.heal()
        self._cluster.trouble.unreachable.clear()

    # ---- deaths of some

    def _crashes(self) -> None:
        self._often(self._chance.choice([1, 1, 2, 3]), self._kill)
        if self._chance.random() < 0.3:
            self._disk()
        if self._chance.random() < 0.3:
            self._network()

    def _kill(self) -> None:
        victim = self._leading() if self._chance.random() < 0.3 else self._some()
        if victim is not None and len(self._cluster.alive) > 1:
            self._strike(victim)

    def _strike(self, victim: SimulatedWorker) -> None:
        if self._chance.random() < 0.5:
            victim.crash_within(self._chance.randrange(6))
        else:
            victim.crash()
        self._perhaps_replace(victim)

    def _perhaps_replace(self, victim: SimulatedWorker) -> None:
        """Somebody starts it again, as a joiner of the same name; and its sources may not open."""
        if self._chance.random() < 0.4:
            name = victim.member.name
            self._kernel.after(self._chance.uniform(0.05, 1.0), lambda: self._join_one(name))
        if self._chance.random() < 0.2:
            for script in self._cluster.scripts.values():
                script.fails = self._chance.choice([0, 1, 3])

    def _zombies(self) -> None:
        self._often(self._chance.choice([1, 1, 2]), self._freeze)
        self._with_others("disk", "network", "crashes")

    def _freeze(self) -> None:
        worker = self._leading() if self._chance.random() < 0.4 else self._some()
        if worker is not None:
            worker.stop("paused", self._chance.uniform(1.0, 4.0))
            self._perhaps_replace(worker)

    # ---- deaths at a certain moment

    def _moments(self) -> None:
        for _ in range(self._chance.choice([1, 1, 2])):
            self._await((*MOMENTS, *DECISIONS), 12)
        self._cluster.world.moment = self._on_moment
        self._with_others("disk", "network")

    def _await(self, moments: tuple[str, ...], most: int) -> None:
        victim = self._chance.choice(["it", "it", "leader", "somebody", "all"])
        what, left = self._chance.choice(moments), self._chance.randint(1, most)
        self._awaited.append(Awaited(what, left, victim))

    def _on_moment(self, what: str, host: str) -> None:
        for awaited in list(self._awaited):
            if awaited.what == what:
                awaited.left -= 1
                if awaited.left == 0:
                    self._awaited.remove(awaited)
                    self._kernel.after(0.0, lambda a=awaited: self._strike_in(a, host))  # type: ignore[misc]

    def _strike_in(self, awaited: Awaited, host: str) -> None:
        """Kill; and perhaps again, in the recovery that follows."""
        self._kernel.note("sim", f"{awaited.victim} dies in", awaited.what)
        if self._chance.random() < 0.5:
            self._await(RECOVERING, 4)
        if awaited.victim == "all":
            self._kill_all()
            return
        victim = self._some() if awaited.victim == "somebody" else self._leading()
        if awaited.victim == "it" and host:
            victim = next((w for w in self._cluster.alive if w.label == host), None)
        if victim is not None:
            self._strike(victim)

    # ---- deaths of all, and of the store

    def _restarts(self) -> None:
        self._often(self._chance.choice([1, 1, 2]), self._kill_all)
        self._with_others("disk", "network", "crashes")

    def _kill_all(self) -> None:
        """All workers die; perhaps one is only stopped, and goes on when others have taken over."""
        for worker in self._cluster.alive:
            if self._chance.random() < 0.15:
                worker.stop("paused", self._chance.uniform(1.0, 3.0))
            else:
                worker.crash()
        self._kernel.after(self._chance.uniform(0.05, 0.4), self._restart)

    def _power(self) -> None:
        self._often(self._chance.choice([1, 2, 3]), self._cut_power)
        self._with_others("disk", "crashes")

    def _cut_power(self) -> None:
        self._cluster.cut_power(self._chance.choice([0.01, 0.1, 0.6]))
        if self._chance.random() < 0.5:
            self._kill_all()

    def _rot(self) -> None:
        """One part only: what is kept is meant for one."""
        self._often(1, self._flip)
        self._often(self._chance.choice([1, 2]), self._kill)

    def _flip(self) -> None:
        blobs = self._cluster.world.blobs
        names = blobs.names()
        if names:
            blobs.rot(self._chance.choice(names), self._kernel)

    # ---- people

    def _people(self) -> None:
        """Early, too, when the cluster starts."""
        act = People(self._cluster).act
        self._often(self._chance.choice([1, 3, 6]), act)
        for _ in range(self._chance.choice([0, 1, 2])):
            self._kernel.at(self._chance.uniform(0.0, 0.15), act)
        self._with_others("disk", "network", "crashes")

    def _uneven(self) -> None:
        """How busy each is, and how soon key groups move for it, is drawn with the schedule."""
        self._with_others("crashes", "zombies", "network")
