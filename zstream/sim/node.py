"""One simulated worker process: the production driver with simulated surroundings.

A process may be *running*, *busy* (user code holds the loop: no turns, but pulses and desks go
on), *paused* (a stopped process: nothing goes on, what comes in waits) or *gone* (crashed or
exited). Its clock is its own: it started anywhere and goes a little wrong, as monotonic clocks of
two machines do.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from zstream.driver.worker import WorkerDriver
from zstream.errors import ConnectorError
from zstream.model.ids import Incarnation
from zstream.model.membership import Member
from zstream.ports.desk import DeskAnswer
from zstream.ports.log import LogAnswer
from zstream.ports.shell import Exit
from zstream.sim.blobs import Blobs
from zstream.sim.desk import SimulatedDesk
from zstream.sim.disk import Desk, Disk, DiskTrouble
from zstream.sim.kernel import Kernel, Timer
from zstream.sim.network import Listener, Network, Pipe
from zstream.sim.outside import (
    HoldingWriter,
    Letters,
    Outlet,
    Script,
    ScriptedReader,
    SendingWriter,
)

CLOCK_RATE = (0.98, 1.02)  # how wrong a worker's clock may go


class Died(BaseException):
    """The process ends here, in the middle of whatever it was doing."""


@dataclass
class World:
    """What all workers of one simulation share.

    script: what a source gives on a worker of this name.
    """

    kernel: Kernel
    network: Network
    disk: Disk
    blobs: Blobs
    trouble: DiskTrouble
    script: Callable[[str, str], Script]
    outlets: dict[str, Outlet]
    letters: Outlet
    answered: Callable[[bytes, bytes], None]  # a client's identity and its answer
    watch: Callable[[SimulatedWorker], None]  # called after each turn; may raise InvariantBroken
    moment: Callable[[str, str], None] = lambda what, host: None  # see zstream.sim.desk.MOMENTS
    busy: Callable[[], float] = lambda: 0.0  # the part of its time in which a worker is so
    turn_seconds: tuple[float, float] = (0.0002, 0.003)  # from an event to the turn that takes it


class _Data(NamedTuple):
    frame: bytes
    read: Callable[[], None]


class _Asked(NamedTuple):
    client: bytes
    payload: bytes


class _Leave(NamedTuple):
    """SIGINT."""


class _Store(NamedTuple):
    """The store was opened, or was not."""

    url: str
    error: str


_Arrived = bytes | _Data | _Asked | _Leave | _Store | LogAnswer | DeskAnswer


class _Pipes:
    """The transport port of one process."""

    def __init__(self, node: SimulatedWorker) -> None:
        self._node = node
        self._pipes: dict[Incarnation, Pipe] = {}

    def send_control(self, address: str, payload: bytes) -> None:
        self._node.step()
        self._node.world.network.send_control(self._node.label, address, payload)

    def answer_client(self, client: bytes, payload: bytes) -> None:
        self._node.step()
        world = self._node.world
        if world.kernel.chosen(world.network.weather.loss):
            return
        delay = world.kernel.between(world.network.weather.delay)
        world.kernel.after(delay, lambda: world.answered(client, payload))

    def open_data(self, peer: Incarnation, address: str) -> None:
        if peer not in self._pipes:
            network = self._node.world.network
            self._pipes[peer] = network.pipe(self._node.label, address, self._node.wake)

    def close_data(self, peer: Incarnation) -> None:
        self._pipes.pop(peer, None)

    def send_data(self, peer: Incarnation, frame: bytes) -> bool:
        self._node.step()
        pipe = self._pipes.get(peer)
        return pipe is not None and pipe.send(frame)


class SimulatedWorker:
    """A process; it is also the Shell of its driver."""

    def __init__(self, world: World, label: str, member: Member) -> None:
        self.world = world
        self.label = label
        self.member = member
        self.exit: Exit | None = None
        self.crash_cause = ""  # why it is gone without an exit
        self.transport = _Pipes(self)
        self.log = Desk(world.kernel, world.disk, world.trouble, label, self._arrive)
        self.desk = SimulatedDesk(
            world.kernel,
            world.blobs,
            world.trouble,
            label,
            self._arrive,
            lambda moment: world.moment(moment, label),
        )
        self.dead_letters = Letters(world.letters, label, member.incarnation)
        self.said: list[tuple[str, str]] = []  # level and event of each line for people
        self.driver: WorkerDriver
        chance = world.kernel.chance
        self._clock_start = chance.uniform(10.0, 10_000.0)
        self._clock_rate = chance.uniform(*CLOCK_RATE)
        self._inbox: list[_Arrived] = []
        self._next: Timer | None = None
        self._stopped: set[str] = set()  # "paused", "busy"
        self._steps_left: int | None = None
        self._busy = world.busy()
        self._turned_at = self.now()

    # ------------------------------------------------------------ a process's life

    def start(self, driver: WorkerDriver, pulse_seconds: float, store: str) -> None:
        """Begin to listen and to turn. store: where the initializer keeps the control log."""
        self.driver = driver
        self._pulse_seconds = pulse_seconds
        self._listener = Listener(self.label, self._arrive, self._receive_data)
        network = self.world.network
        network.listen(self.member.control, self._listener)
        network.listen(self.member.data, self._listener)
        self.world.kernel.note(self.label, "started", self.member.incarnation)
        try:
            driver.begin(self.now(), store)
        except ConnectorError as error:
            self.exit = Exit(1, str(error))
            self._leave_the_world()
            return
        self.wake()
        self._pulse()

    @property
    def alive(self) -> bool:
        return self.exit is None and not self.crash_cause

    @property
    def able(self) -> bool:
        """Alive, and neither stopped nor held up."""
        return self.alive and not self._stopped

    def now(self) -> float:
        """This process's own monotonic clock, in seconds."""
        return self._clock_start + self.world.kernel.now * self._clock_rate

    def wake(self) -> None:
        """Something happened: let the loop come round soon."""
        if self.alive:
            self._turn_at(
                self.world.kernel.now + self.world.kernel.between(self.world.turn_seconds)
            )

    def crash(self, cause: str = "killed") -> None:
        """All gone, what was not sent too."""
        if self.alive:
            self.world.kernel.note(self.label, "crash", cause)
            self.crash_cause = cause
            self._leave_the_world()

    def crash_within(self, steps: int) -> None:
        """Crash in the middle of a turn, after so many more sends and appends."""
        self._steps_left = steps

    def step(self) -> None:
        """One effect is about to be performed; here a process may die."""
        if self._steps_left is not None:
            if self._steps_left == 0:
                raise Died
            self._steps_left -= 1

    def stop(self, how: str, seconds: float) -> None:
        """Be "paused" or "busy" for a while."""
        if not self.alive:
            return
        self.world.kernel.note(self.label, how, f"{seconds:.3f}")
        self._stopped.add(how)
        if how == "paused":
            self.log.pause()
            self.desk.pause()
        self.world.kernel.after(seconds, lambda: self._go_on(how))

    def ask(self, client: bytes, payload: bytes) -> None:
        """A tool's request arrives on the external channel."""
        self._arrive(_Asked(client, payload))

    def signal(self) -> None:
        """SIGINT: this worker shall leave."""
        self._arrive(_Leave())

    # ------------------------------------------------------------ the shell

    def open_log(self, url: str) -> None:
        """Answered later: opened, or out of reach."""
        world = self.world

        def look() -> None:
            out_of_reach = world.trouble.keeps_out(self.label)
            failed = out_of_reach or world.kernel.chosen(world.trouble.failed_read)
            self._arrive(_Store(url, "the store does not answer" if failed else ""))

        world.kernel.after(world.kernel.between(world.trouble.latency), look)

    def can_read(self, source: str) -> bool:
        """Scripts can be read from everywhere."""
        return True

    def open_reader(self, source: str) -> ScriptedReader:
        return self.world.script(source, self.member.name).open(self.label, self.wake)

    def open_writer(self, sink: str) -> HoldingWriter | SendingWriter:
        return self.world.outlets[sink].open(self.label, self.member.incarnation, self.wake)

    def say(self, level: str, event: str, text: str, fields: Mapping[str, Any]) -> None:
        self.world.kernel.note(self.label, event, text)
        self.said.append((level, event))

    # ------------------------------------------------------------ what comes in

    def _arrive(self, item: _Arrived) -> None:
        if self.alive:
            self._inbox.append(item)
            self.wake()

    def _receive_data(self, frame: bytes, read: Callable[[], None]) -> None:
        self._arrive(_Data(frame, read))

    # ------------------------------------------------------------ the loop

    def _turn_at(self, when: float) -> None:
        if self._next is not None:
            if self._next.when <= when:
                return
            self._next.cancel()
        self._next = self.world.kernel.at(when, self._turn)

    def _turn(self) -> None:
        self._next = None
        if not self.able:
            return
        arrived, self._inbox = self._inbox, []
        now = self.now()
        slept = (1.0 - self._busy) * (now - self._turned_at)
        self.driver.waited(self._turned_at, self._turned_at + slept)
        self._turned_at = now
        try:
            for item in arrived:
                self._hand_in(item, now)
            again = self.driver.turn(now)
        except Died:
            self.crash("killed within a turn")
            return
        except Exception as error:
            last = traceback.format_exc().strip()
            self.world.kernel.note(self.label, "BROKEN", last)
            self.crash(f"broken: {type(error).__name__}: {error}")
            return
        self.world.watch(self)
        if self.driver.exit is not None:
            self.exit = self.driver.exit
            self.world.kernel.note(self.label, "exit", self.exit.code, self.exit.says)
            self._leave_the_world()
        elif again is not None:
            wait = max(0.0, (again - now) / self._clock_rate)
            self._turn_at(self.world.kernel.now + max(wait, self.world.turn_seconds[0]))

    def _hand_in(self, item: _Arrived, now: float) -> None:
        driver = self.driver
        if isinstance(item, bytes):
            driver.on_control(item, now)
        elif isinstance(item, _Data):
            item.read()
            driver.on_data(item.frame, now)
        elif isinstance(item, LogAnswer):
            driver.on_log(item, now)
        elif isinstance(item, DeskAnswer):
            driver.on_desk(item, now)
        elif isinstance(item, _Asked):
            driver.on_client(item.client, item.payload, now)
        elif isinstance(item, _Leave):
            driver.on_leave_signal(now)
        elif item.error:
            driver.on_store_failed(ConnectorError(item.error), now)
        else:
            driver.on_store_opened(item.url, now)

    def _pulse(self) -> None:
        if not self.alive:
            return
        if "paused" not in self._stopped:
            for address, payload in self.driver.pulses():
                self.world.network.send_control(self.label, address, payload)
        self.world.kernel.after(self._pulse_seconds, self._pulse)

    def _go_on(self, how: str) -> None:
        self._stopped.discard(how)
        if how == "paused":
            self.log.resume()
            self.desk.resume()
        if self.able:
            self.world.kernel.note(self.label, "goes on")
            self.wake()

    def _leave_the_world(self) -> None:
        if self._next is not None:
            self._next.cancel()
        self.log.abandon()
        self.desk.abandon()
        self._inbox.clear()
        for address in (self.member.control, self.member.data):
            self.world.network.unlisten(address, self._listener)
