"""A simulated cluster: workers that start, join, leave and die, and the tools that ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from zstream.config import Config
from zstream.control.agent import Agent
from zstream.driver.worker import WorkerDriver, software_of, start_of
from zstream.errors import InvariantBroken
from zstream.model.ids import Incarnation, RequestId, WorkerName
from zstream.model.membership import Member
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

STORE = "the simulated store"
VERSION = "simulated"
FINAL = ("done", "refused", "undone", "failed")


@dataclass
class Asked:
    """What a tool asked for, and what it was told so far."""

    request: ClientRequest
    at: float
    answers: list[Answer] = field(default_factory=list)

    @property
    def final(self) -> Answer | None:
        """The answer that ends it, or None."""
        return self.answers[-1] if self.answers and self.answers[-1].state in FINAL else None


class SimulatedCluster:
    """One topology on workers that come and go. Nothing happens but in `run`."""

    def __init__(
        self,
        seed: int,
        plan: Plan,
        registry: Registry,
        config: Config,
        weather: Weather | None = None,
        trouble: DiskTrouble | None = None,
        on_error: ErrorPolicy = "dead_letter",
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
        self.world = World(
            kernel=self.kernel,
            network=Network(self.kernel, self.weather),
            disk=Disk(),
            trouble=self.trouble,
            scripts={},
            outlets={sink: Outlet() for sink in plan.sinks},
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

    def start(self, count: int) -> None:
        """Start a cluster of so many workers: w0 is the initializer."""
        self._spawn("w0", "initializer", "", count)
        for number in range(1, count):
            self._spawn(f"w{number}", "starter", self.workers[0].member.control, count)

    def join(self, names: Sequence[str], batch: int | None = None) -> list[SimulatedWorker]:
        """Start joiners, each asking any living worker; `batch` is the --worker-count they give."""
        via = self.able or self.alive
        return [
            self._spawn(
                name,
                "joiner",
                self.kernel.chance.choice(via).member.control,
                len(names) if batch is None else batch,
            )
            for name in names
        ]

    def script(self, source: str, worker: str = "w0") -> Script:
        """What this source gives on this worker."""
        return self.world.scripts.setdefault((source, worker), Script())

    def outlet(self, sink: str) -> Outlet:
        return self.world.outlets[sink]

    def _spawn(self, name: str, role: str, join: str, count: int) -> SimulatedWorker:
        number = len(self.workers)
        twins = sum(worker.member.name == name for worker in self.workers)
        host = f"10.0.{number // 250}.{number % 250 + 1}"
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
        if asked.final is not None or not self.alive:
            return
        worker = self.kernel.chance.choice(self.alive)
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
