"""Outside programs that feed a cluster and check every output: no part of the engine.

Votes go out at a steady rate, each a key and a count. For each vote the cluster must send
`KEY => TOTAL` exactly once.

    Traffic          over TCP, in `>IsI`-like frames. Totals of one key rise on each connection;
                     between two connections there is no order, as a key may have moved from one
                     worker to another. What was under way when a worker dies is lost.
    NumberedTraffic  by a Producer and to a Consumer, which keep what may be needed again, so that
                     every total comes whoever dies. A key that moved may have the totals of one
                     checkpoint from two workers, in any order.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from zstream.client import Consumer, Producer
from zstream.errors import ZstreamError

TICK = 0.005  # seconds between two writes of a sender
WAIT = 30.0  # seconds for a connection, or for the last output


@dataclass
class Verdict:
    """What came of all votes. Exactly once: as many outputs as votes, none wrong."""

    sent: int
    received: int
    lost: int
    doubled: int  # outputs that were not awaited (any more)
    fallen: int | None  # totals not above the one before on their connection; None: not looked at
    keys: int

    @property
    def is_exact(self) -> bool:
        return self.sent == self.received and not (self.lost or self.doubled or self.fallen)

    def __str__(self) -> str:
        order = "" if self.fallen is None else f", {self.fallen:,} out of order"
        return (
            f"{self.sent:,} votes for {self.keys:,} keys, {self.received:,} outputs: "
            f"{self.lost:,} lost, {self.doubled:,} doubled{order}"
        )


@dataclass
class Key:
    """One key's running total, and the votes whose output is still awaited: total -> sent at."""

    name: bytes
    total: int = 0
    awaited: dict[int, float] = field(default_factory=dict)


class Votes:
    """The votes that were sent, and what is awaited for them: what is common to both traffics.

    keys: names of equal length. per_second: votes over all senders. latencies: (received at,
    seconds under way), both in the clock of `time.monotonic`. address: what `--out` says.
    broken: why a sender could not go on; whoever kills the source, as Ctrl-C does, need not ask.
    """

    address: str

    def __init__(self, keys: Sequence[bytes], per_second: int, senders: int) -> None:
        self.sent = 0
        self.received = 0
        self.doubled = 0
        self.broken: Exception | None = None
        self.latencies: list[tuple[float, float]] = []
        self._keys = [Key(name) for name in keys]
        self._by_name = {key.name: key for key in self._keys}
        self._per_second = per_second / senders
        self._senders = senders
        self._sending = threading.Event()
        self._receiving = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._receiver = threading.Thread(target=self._receive, daemon=True)

    def __enter__(self) -> Votes:
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
            thread = threading.Thread(target=self._send_on, args=(source, keys), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> Verdict:
        """Send no more, await the last output (up to WAIT seconds), and judge.

        Raises RuntimeError when a sender could not send what it counts as sent.
        """
        self._sending.clear()
        for thread in self._threads:
            thread.join(WAIT)
        if self.broken is not None:
            raise RuntimeError(f"a sender could not go on: {self.broken}") from self.broken
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
            fallen=self._fallen(),
            keys=sum(key.total > 0 for key in self._keys),
        )

    def first_out(self, since: float) -> float | None:
        """When the first output came for a vote that was sent after `since`; None: not yet."""
        for at, took in self.latencies[bisect(self.latencies, (since, 0.0)) :]:
            if at - took > since:
                return at
        return None

    def _send_on(self, source: str, keys: Sequence[Key]) -> None:
        """Send while `_sending` is set, or until the source is gone."""
        try:
            self._send(source, keys)
        except (OSError, ZstreamError) as error:
            self.broken = error

    def _send(self, source: str, keys: Sequence[Key]) -> None:
        """A sender has keys of its own, so that their totals are known before they come back."""
        raise NotImplementedError

    def _receive(self) -> None:
        """Take what comes while `_receiving` is set."""
        raise NotImplementedError

    def _fallen(self) -> int | None:
        return None

    def _listen(self) -> None:
        self._receiving.set()
        self._receiver.start()

    def _due(self, keys: Sequence[Key]) -> Iterator[list[tuple[Key, int]]]:
        """Votes that are to be sent now, again and again until it is enough: (key, count)."""
        began, count = time.monotonic(), 0
        while self._sending.is_set():
            now = time.monotonic()
            due = int((now - began) * self._per_second) - count
            votes = [self._vote(keys[(count + i) % len(keys)], now) for i in range(due)]
            count += due
            with self._lock:
                self.sent += due
            yield votes
            time.sleep(TICK)

    def _vote(self, key: Key, now: float) -> tuple[Key, int]:
        votes = key.total % 9 + 1
        key.total += votes
        key.awaited[key.total] = now
        return key, votes

    def _judge(self, line: bytes, now: float) -> tuple[bytes, int]:
        """One output: its key and total."""
        name, _, total_text = line.partition(b" => ")
        total = int(total_text)
        key = self._by_name.get(name)
        sent_at = key.awaited.pop(total, None) if key else None
        self.received += 1
        if sent_at is None:
            self.doubled += 1
        else:
            self.latencies.append((now, now - sent_at))
        return name, total


class Traffic(Votes):
    """Senders and a receiver over TCP, in threads of their own."""

    def __init__(self, keys: Sequence[bytes], per_second: int, senders: int = 1) -> None:
        super().__init__(keys, per_second, senders)
        self.fallen = 0
        self._frame = struct.Struct(f">I{len(keys[0])}sI")
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._listen()

    def __enter__(self) -> Traffic:
        return self

    def _fallen(self) -> int:
        return self.fallen

    def _send(self, source: str, keys: Sequence[Key]) -> None:
        host, _, port = source.rpartition(":")
        size = self._frame.size - 4
        with socket.create_connection((host, int(port)), WAIT) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for votes in self._due(keys):
                frames = [self._frame.pack(size, key.name, count) for key, count in votes]
                connection.sendall(b"".join(frames))

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
                        self._judge_lines(ready.data, data, time.monotonic())
                    else:
                        selector.unregister(connection)
                        connection.close()
            for registered in list(selector.get_map().values()):
                registered.fileobj.close()  # type: ignore[union-attr]

    def _judge_lines(self, lines: Lines, data: bytes, now: float) -> None:
        for line in lines.cut(data):
            doubled = self.doubled
            name, total = self._judge(line, now)
            if self.doubled > doubled:
                continue
            if total <= lines.newest.get(name, 0):
                self.fallen += 1
            lines.newest[name] = total


class NumberedTraffic(Votes):
    """A producer for the source `source`, and a consumer for the sink `sink`."""

    def __init__(
        self, keys: Sequence[bytes], per_second: int, source: str = "alphabet", sink: str = "totals"
    ) -> None:
        super().__init__(keys, per_second, senders=1)
        self._source = source
        self._payload = struct.Struct(f">{len(keys[0])}sI")
        self._consumer = Consumer("127.0.0.1:0", sink)
        self.address = self._consumer.address
        self._listen()

    def _send(self, source: str, keys: Sequence[Key]) -> None:
        with Producer(source, self._source, "traffic") as producer:
            for votes in self._due(keys):
                for key, count in votes:
                    producer.send(self._payload.pack(key.name, count))

    def _receive(self) -> None:
        with self._consumer as consumer:
            while self._receiving.is_set():
                record = consumer.receive(0.1)
                if record is not None:
                    self._judge(record, time.monotonic())


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
