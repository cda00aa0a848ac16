"""A simulated cluster: workers that start, join, leave and die, and the tools that ask for it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from zstream.config import Config
from zstream.control.agent import Agent
from zstream.driver.worker import WorkerDriver, software_of, start_of
from zstream.errors import InvariantBroken
from zstream.model.ids import Incarnation, RequestId, WorkerName
from zstream.model.membership import Member
from zstream.sim.blobs import Blobs
from zstream.sim.disk import Disk, DiskTrouble
from zstream.sim.kernel import Kernel
from zstream.sim.network import Network, Weather
from zstream.sim.node import SimulatedWorker, World
from zstream.sim.outside import Outlet, Script
from zstream.topology.errors_policy import ErrorPolicy
from zstream.topology.plan import Plan
from zstream.wire.codec import decode_message, encode_message
from zstream.wire.messages import Answer, ClientRequest, ShrinkRequest, ShutdownRequest
from zstream.wire.values import Registry

STORE = "sim://store"
VERSION = "simulated"
LETTERS = "!dead-letters"  # the sink of the engine's own
FINAL = ("done", "refused", "undone", "failed")


@dataclass
class Asked:
    """What a tool asked for, and what it was told so far."""

    request: ClientRequest
    at: float
    answers: list[Answer] = field(default_factory=list)
    is_given_up: bool = False  # the cluster it was asked of has died
    of: SimulatedWorker | None = None  # whom it asked last

    @property
    def final(self) -> Answer | None:
        """The answer that ends it, or None."""
        return self.answers[-1] if self.answers and self.answers[-1].state in FINAL else None


class SimulatedCluster:
    """One topology on workers that come and go. Nothing happens but in `run`.

    sent_at_once: sinks that hold nothing back for a checkpoint.
    """

    def __init__(
        self,
        seed: int,
        plan: Plan,
        registry: Registry,
        config: Config,
        weather: Weather | None = None,
        trouble: DiskTrouble | None = None,
        on_error: ErrorPolicy = "dead_letter",
        sent_at_once: Collection[str] = (),
    ) -> None:
        self.kernel = Kernel(seed)
        self.plan = plan
        self.registry = registry
        self.config = config.validate()
        self.on_error = on_error
        self.weather = weather or Weather()
        self.trouble = trouble or DiskTrouble()
        self.workers: list[SimulatedWorker] = []
        self.asked: dict[RequestId, Asked] = {}
        self.scripts: dict[str, Script] = {}  # by partition
        self.restarts = 0
        self.world = World(
            kernel=self.kernel,
            network=Network(self.kernel, self.weather),
            disk=Disk(),
            blobs=Blobs(),
            trouble=self.trouble,
            script=self.script,
            outlets={sink: self._outlet(sink, sink not in sent_at_once) for sink in plan.sinks},
            letters=self._outlet(LETTERS, True),
            answered=self._answered,
            watch=lambda worker: None,
        )

    # ------------------------------------------------------------ workers

    @property
    def alive(self) -> list[SimulatedWorker]:
        return [worker for worker in self.workers if worker.alive]

    @property
    def able(self) -> list[SimulatedWorker]:
        """Alive, and neither paused nor busy."""
        return [worker for worker in self.workers if worker.able]

    def named(self, name: str) -> SimulatedWorker | None:
        """The living worker of this name."""
        return next((w for w in self.alive if w.member.name == name), None)

    def start(self, count: int) -> list[SimulatedWorker]:
        """Start a cluster of so many workers: w0 is the initializer."""
        first = self.start_one("w0", "initializer", "", count)
        return [first] + [
            self.start_one(f"w{number}", "starter", first.member.control, count)
            for number in range(1, count)
        ]

    def restart(self, count: int) -> list[SimulatedWorker]:
        """All have ended: start again on the same store. What tools asked for is forgotten."""
        self.restarts += 1
        self.kernel.note("sim", "restart", count)
        for asked in self.asked.values():
            asked.is_given_up = asked.final is None
        return self.start(count)

    def join(self, names: Sequence[str], batch: int | None = None) -> list[SimulatedWorker]:
        """Start joiners, each asking any living worker; `batch` is the --worker-count they give."""
        via = self.able or self.alive
        return [
            self.start_one(
                name,
                "joiner",
                self.kernel.chance.choice(via).member.control,
                len(names) if batch is None else batch,
            )
            for name in names
        ]

    def script(self, source: str, worker: str = "w0") -> Script:
        """What this source gives on this worker: its partition there, or all of it."""
        partition = f"{source}@{worker}" if self.plan.sources[source].parallel else source
        return self.scripts.setdefault(partition, Script(partition))

    def outlet(self, sink: str) -> Outlet:
        return self.world.outlets[sink]

    @property
    def letters(self) -> Outlet:
        """Where dead letters are committed to."""
        return self.world.letters

    def _outlet(self, sink: str, holds: bool) -> Outlet:
        return Outlet(sink, holds, lambda: self.kernel.now)

    def cut_power(self, seconds: float) -> None:
        """The store has no power for a while, and loses what it had not synced."""
        world = self.world
        self.kernel.note("sim", "the store loses power", f"{seconds:.3f}")
        world.disk.lose_power(self.kernel)
        world.blobs.lose_power(self.kernel)
        world.trouble.is_down = True

        def back() -> None:
            world.trouble.is_down = False

        self.kernel.after(seconds, back)

    def next_control(self, after: int) -> str:
        """The control address of the worker that is started when `after` others have been."""
        number = len(self.workers) + after
        return f"10.0.{number // 250}.{number % 250 + 1}:1"

    def start_one(self, name: str, role: str, join: str, count: int) -> SimulatedWorker:
        """Start a worker. join: the control address that it asks."""
        twins = sum(worker.member.name == name for worker in self.workers)
        host = self.next_control(0).removesuffix(":1")
        member = Member(
            WorkerName(name),
            Incarnation(self.kernel.chance.getrandbits(62) + 1),
            control=f"{host}:1",
            data=f"{host}:2",
            external=f"{host}:3",
        )
        worker = SimulatedWorker(self.world, name + "'" * twins, member)
        agent = Agent(
            self.config,
            member,
            software_of(self.plan, VERSION),
            start_of(self.plan, role, join, count),
            lambda: self.kernel.chance.getrandbits(63),
            worker.now(),
        )
        driver = WorkerDriver(
            self.config, member, self.plan, self.registry, agent, worker, self.on_error
        )
        self.workers.append(worker)
        store = STORE if role == "initializer" else ""
        worker.start(driver, self.config.pulse_interval_ms / 1000, store)
        return worker

    # ------------------------------------------------------------ tools

    def shrink(self, *, names: Sequence[str] = (), count: int = 0) -> Asked:
        """cluster_shrinker, asking any living worker until the outcome is final."""
        request = RequestId(f"tool-{len(self.asked) + 1}")
        return self._ask(ShrinkRequest(request, tuple(names), count, "cluster_shrinker"))

    def shutdown(self) -> Asked:
        request = RequestId(f"tool-{len(self.asked) + 1}")
        return self._ask(ShutdownRequest(request, "cluster_shutdown"))

    def _ask(self, request: ClientRequest) -> Asked:
        asked = Asked(request, self.kernel.now)
        self.asked[request.request] = asked
        self.kernel.note("tool", "asks", request)
        self._repeat(asked)
        return asked

    def _repeat(self, asked: Asked) -> None:
        if asked.final is None and not self.alive:
            asked.is_given_up = True  # nobody is there to answer
        if asked.final is not None or asked.is_given_up:
            return
        asked.of = worker = self.kernel.chance.choice(self.alive)
        worker.ask(asked.request.request.encode(), encode_message(asked.request))
        self.kernel.after(self.config.request_repeat_ms / 1000, lambda: self._repeat(asked))

    def _answered(self, client: bytes, payload: bytes) -> None:
        answer = decode_message(payload)
        if not isinstance(answer, Answer):
            raise InvariantBroken(f"a tool was sent {answer}")
        asked = self.asked[answer.request]
        if asked.final is not None:
            return
        if not asked.answers or asked.answers[-1] != answer:
            self.kernel.note("tool", answer.request, answer.state, answer.says)
        asked.answers.append(answer)

    # ------------------------------------------------------------ time

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.kernel.run(self.kernel.now + seconds)
