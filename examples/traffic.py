"""An outside program that feeds a cluster and checks every output: no part of the engine.

Votes go out over one or more connections as `>IsI`-like frames (a length, a key, a count), at a
steady rate. For each vote the cluster must send `KEY => TOTAL` exactly once. Totals of one key
rise on each connection; between two connections there is no order, as a key may have moved from
one worker to another.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

TICK = 0.005  # seconds between two writes of a sender
WAIT = 30.0  # seconds for a connection, or for the last output


@dataclass
class Verdict:
    """What came of all votes. Exactly once: as many outputs as votes, none wrong."""

    sent: int
    received: int
    lost: int
    doubled: int  # outputs that were not awaited (any more)
    fallen: int  # totals that were not above the one before on their connection
    keys: int

    @property
    def is_exact(self) -> bool:
        return self.sent == self.received and not (self.lost or self.doubled or self.fallen)

    def __str__(self) -> str:
        return (
            f"{self.sent:,} votes for {self.keys:,} keys, {self.received:,} outputs: "
            f"{self.lost:,} lost, {self.doubled:,} doubled, {self.fallen:,} out of order"
        )


@dataclass
class Key:
    """One key's running total, and the votes whose output is still awaited: total -> sent at."""

    name: bytes
    total: int = 0
    awaited: dict[int, float] = field(default_factory=dict)


class Traffic:
    """Senders and a receiver in threads of their own.

    keys: names of equal length. per_second: votes over all senders. latencies: (received at,
    seconds under way), both in the clock of `time.monotonic`.
    """

    def __init__(self, keys: Sequence[bytes], per_second: int, senders: int = 1) -> None:
        self.sent = 0
        self.received = 0
        self.doubled = 0
        self.fallen = 0
        self.latencies: list[tuple[float, float]] = []
        self._keys = [Key(name) for name in keys]
        self._by_name = {key.name: key for key in self._keys}
        self._frame = struct.Struct(f">I{len(keys[0])}sI")
        self._per_second = per_second / senders
        self._senders = senders
        self._sending = threading.Event()
        self._receiving = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._receiving.set()
        self._receiver = threading.Thread(target=self._receive, daemon=True)
        self._receiver.start()

    def __enter__(self) -> Traffic:
        return self

    def __exit__(self, *_: object) -> None:
        """Close what is open, whether or not it was stopped."""
        self._sending.clear()
        self._receiving.clear()
        self._receiver.join(WAIT)

    def start(self, source: str) -> None:
        """Begin to send to where the source listens, "host:port"."""
        self._sending.set()
        for number in range(self._senders):
            keys = self._keys[number :: self._senders]
            thread = threading.Thread(target=self._send, args=(source, keys), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> Verdict:
        """Send no more, await the last output (up to WAIT seconds), and judge."""
        self._sending.clear()
        for thread in self._threads:
            thread.join(WAIT)
        deadline = time.monotonic() + WAIT
        while self.received < self.sent and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)  # a doubled one would come now
        self._receiving.clear()
        self._receiver.join(WAIT)
        return Verdict(
            sent=self.sent,
            received=self.received,
            lost=sum(len(key.awaited) for key in self._keys),
            doubled=self.doubled,
            fallen=self.fallen,
            keys=sum(key.total > 0 for key in self._keys),
        )

    def _send(self, source: str, keys: Sequence[Key]) -> None:
        """A sender has keys of its own, so that their totals are known before they come back."""
        host, _, port = source.rpartition(":")
        began, count = time.monotonic(), 0
        with socket.create_connection((host, int(port)), WAIT) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self._sending.is_set():
                now = time.monotonic()
                due = int((now - began) * self._per_second) - count
                frames = [self._vote(keys[(count + i) % len(keys)], now) for i in range(due)]
                count += due
                with self._lock:
                    self.sent += due
                connection.sendall(b"".join(frames))
                time.sleep(TICK)

    def _vote(self, key: Key, now: float) -> bytes:
        votes = key.total % 9 + 1
        key.total += votes
        key.awaited[key.total] = now
        return self._frame.pack(self._frame.size - 4, key.name, votes)

    def _receive(self) -> None:
        """Take what comes, from any number of connections."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ, None)
            while self._receiving.is_set():
                for ready, _ in selector.select(0.1):
                    if ready.data is None:
                        connection, _ = self._listener.accept()
                        selector.register(connection, selectors.EVENT_READ, Lines())
                        continue
                    connection = ready.fileobj  # type: ignore[assignment]
                    data = connection.recv(1 << 18)
                    if data:
                        self._judge(ready.data, data, time.monotonic())
                    else:
                        selector.unregister(connection)
                        connection.close()
            for registered in list(selector.get_map().values()):
                registered.fileobj.close()  # type: ignore[union-attr]

    def _judge(self, lines: Lines, data: bytes, now: float) -> None:
        for line in lines.cut(data):
            name, _, total_text = line.partition(b" => ")
            total = int(total_text)
            key = self._by_name.get(name)
            sent_at = key.awaited.pop(total, None) if key else None
            self.received += 1
            if sent_at is None:
                self.doubled += 1
                continue
            if total <= lines.newest.get(name, 0):
                self.fallen += 1
            lines.newest[name] = total
            self.latencies.append((now, now - sent_at))


class Lines:
    """One connection of the receiver: a line that is not whole yet, and each key's newest total."""

    def __init__(self) -> None:
        self.newest: dict[bytes, int] = {}
        self._rest = b""

    def cut(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all (0..1) do not pass; 0.0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
