"""Two lanes between simulated workers, and the weather on them.

The control lane loses, doubles, delays and so reorders. The data lane keeps the order of one
sender's frames to one receiver, as a PUSH socket does, and has the trap of a PUSH socket too: a
*reset* loses what is in the pipe without an error, and later frames follow as if nothing were.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from zstream.sim.kernel import Kernel

RETRY_SECONDS = 0.02  # a cut connection tries again this often, as TCP would


@dataclass
class Weather:
    """What the network does to traffic now. Chances are per message or frame."""

    delay: tuple[float, float] = (0.0002, 0.002)
    loss: float = 0.0
    double: float = 0.0
    late: float = 0.0  # this one takes `late_delay` and is overtaken
    late_delay: tuple[float, float] = (0.01, 0.3)
    reset: float = 0.0  # the connection breaks under this frame
    pipe_frames: int = 64  # a sender is told "not now" above it

    def calm(self) -> None:
        """Heal: from now on only delays."""
        self.loss = self.double = self.late = self.reset = 0.0


class Pipe:
    """One data connection: bounded, in order, lossy only on a reset."""

    def __init__(self, network: Network, sender: str, address: str, ready: Callable[[], None]):
        self._network = network
        self._sender = sender
        self._address = address
        self._ready = ready
        self._frames: deque[bytes] = deque()
        self._broken = 0  # events of an earlier connection must find nothing
        self._arrival = 0.0
        self._unread = 0  # delivered, and still in the receiver's buffers
        self._refused = False

    def send(self, frame: bytes) -> bool:
        """Take the frame, or say not now and call `ready` when there is room again."""
        network = self._network
        if len(self._frames) + self._unread >= network.weather.pipe_frames:
            self._refused = True
            return False
        kernel = network.kernel
        self._frames.append(frame)
        if kernel.chosen(network.weather.reset):
            self.reset()
            return True
        self._arrival = max(self._arrival, kernel.now + kernel.between(network.weather.delay))
        self._schedule(self._arrival)
        return True

    def reset(self) -> None:
        """Lose what is under way, without a word to either side."""
        if self._frames:
            self._network.kernel.note(self._sender, "reset", self._address, len(self._frames))
        self._frames.clear()
        self._broken += 1
        self._room()

    def _schedule(self, when: float) -> None:
        connection = self._broken
        self._network.kernel.at(when, lambda: self._deliver(connection))

    def _deliver(self, connection: int) -> None:
        if connection != self._broken or not self._frames:
            return
        network = self._network
        listener = network.listener(self._address)
        if listener is None:
            self._frames.popleft()  # nobody is there: ZeroMQ's and the kernel's buffers go with it
            self._room()
        elif network.is_cut(self._sender, listener.host):
            self._arrival = max(self._arrival, network.kernel.now + RETRY_SECONDS)
            self._schedule(network.kernel.now + RETRY_SECONDS)
        else:
            self._unread += 1
            listener.receive_data(self._frames.popleft(), self._read)

    def _read(self) -> None:
        self._unread -= 1
        self._room()

    def _room(self) -> None:
        if self._refused:
            self._refused = False
            self._ready()


@dataclass(frozen=True)
class Listener:
    """One process that listens: its host, and what to do with what comes in.

    receive_data gets the frame and what to call when it has been read out of the buffers.
    """

    host: str
    receive_control: Callable[[bytes], None]
    receive_data: Callable[[bytes, Callable[[], None]], None]


class Network:
    """All connections of one simulated cluster."""

    def __init__(self, kernel: Kernel, weather: Weather) -> None:
        self.kernel = kernel
        self.weather = weather
        self._listeners: dict[str, Listener] = {}
        self._cuts: set[tuple[str, str]] = set()
        self._pipes: dict[tuple[str, str], list[Pipe]] = {}

    # ------------------------------------------------------------ who is there

    def listen(self, address: str, listener: Listener) -> None:
        """From now on `address` belongs to this process; whoever had it before has gone."""
        self._listeners[address] = listener

    def unlisten(self, address: str, listener: Listener) -> None:
        if self._listeners.get(address) is listener:
            del self._listeners[address]

    def listener(self, address: str) -> Listener | None:
        return self._listeners.get(address)

    # ------------------------------------------------------------ cuts

    def cut(self, senders: Iterable[str], receivers: Iterable[str]) -> None:
        """One way: nothing of `senders` reaches `receivers` until `heal`."""
        receivers = list(receivers)
        for sender in senders:
            self._cuts.update((sender, receiver) for receiver in receivers if receiver != sender)

    def partition(self, side: Iterable[str], other: Iterable[str]) -> None:
        """Both ways."""
        side, other = list(side), list(other)
        self.cut(side, other)
        self.cut(other, side)

    def heal(self) -> None:
        """All cuts end. What TCP had been holding on to follows now."""
        self._cuts.clear()

    def is_cut(self, sender: str, receiver: str) -> bool:
        return (sender, receiver) in self._cuts

    # ------------------------------------------------------------ traffic

    def send_control(self, sender: str, address: str, payload: bytes) -> None:
        """Best effort: lost, doubled, late, as the weather says."""
        kernel, weather = self.kernel, self.weather
        if kernel.chosen(weather.loss):
            return
        for _ in range(2 if kernel.chosen(weather.double) else 1):
            delay = kernel.between(weather.delay)
            if kernel.chosen(weather.late):
                delay += kernel.between(weather.late_delay)
            kernel.after(delay, lambda: self._deliver_control(sender, address, payload))

    def _deliver_control(self, sender: str, address: str, payload: bytes) -> None:
        listener = self._listeners.get(address)
        if listener is not None and not self.is_cut(sender, listener.host):
            listener.receive_control(payload)

    def pipe(self, sender: str, address: str, ready: Callable[[], None]) -> Pipe:
        """A new data connection; `ready` is called when a refused sender may try again."""
        made = Pipe(self, sender, address, ready)
        self._pipes.setdefault((sender, address), []).append(made)
        return made

    def reset_some(self, sender: str | None = None) -> None:
        """Break one connection, chosen by the seed (of `sender`, if given)."""
        names = sorted(key for key in self._pipes if sender is None or key[0] == sender)
        if names:
            for pipe in self._pipes[self.kernel.chance.choice(names)]:
                pipe.reset()
