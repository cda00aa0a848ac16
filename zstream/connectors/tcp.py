"""Records over TCP: a source that many senders connect to, a sink that connects to a receiver.

What is promised. A source hands on every record that came in whole, once. A sink hands every
record to the operating system once and in order, except that a record which a breaking
connection cut in two is sent again, whole, on the next connection: the receiver finds its
beginning at the end of the old one. What the operating system had taken and the receiver had not
read when the connection broke is lost. So while all workers live a record arrives at most once, but
for the one that was cut; there is no acknowledgement in plain TCP to do better with.

When a worker dies, what was given since the newest checkpoint cannot be read again: it is lost, and
each surviving reader says how many records of its own that is. What was sent since then is sent
again, as far as its records could be read again.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from zstream.config import Config
from zstream.connectors.address import cannot_listen, join_address, resolve
from zstream.connectors.framing import Cutter
from zstream.connectors.outgoing import as_bytes
from zstream.connectors.staged import SendsAtOnce

CONNECTIONS_MAX = 500  # senders of one source: half of the usual limit of 1,024 open files
BACKLOG = 128  # senders that wait to be accepted
ACCEPTS_MAX = 64  # in one read, so that a crowd of new senders does not hold up the old ones
ACCEPT_AGAIN_SECONDS = 1.0  # after the operating system had no descriptor left
RECEIVE_BYTES_MIN = 4096  # a connection's share of one read, however many others there are
SEND_BYTES = 64 * 1024  # records are joined until this is reached: one call for all of them
CONNECT_SECONDS = 5.0  # an attempt that nobody answers is given up after this
RETRY_SECONDS_FIRST = 0.1
RETRY_SECONDS_MAX = 1.0

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Connection:
    """One sender."""

    socket: socket.socket
    peer: str
    cutter: Cutter


class TcpReader:
    """Listens; reads the records of all senders that are connected.

    Fair: in one pass every sender that has something gets an equal share of
    `source_read_bytes_max`. When nobody calls `read`, nothing is received, and TCP slows the
    senders down. Order is kept within each connection.

    who: how messages name it, "source alphabet". make_cutter: one for each connection.
    unfinished_records: broken off in the middle by a closing connection, and so dropped.
    refused_connections: closed because their bytes could not be cut into records.
    """

    def __init__(
        self,
        who: str,
        listener: socket.socket,
        make_cutter: Callable[[], Cutter],
        config: Config | None = None,
    ) -> None:
        self.unfinished_records = 0
        self.refused_connections = 0
        self.connections_seen = 0
        self.address = join_address(*listener.getsockname()[:2])
        self._who = who
        self._listener = listener
        self._make_cutter = make_cutter
        self._read_bytes = (config or Config()).source_read_bytes_max
        self._selector = selectors.DefaultSelector()
        self._connections: set[_Connection] = set()
        self._accepting = False
        self._accept_at = float("-inf")  # not before, once the system had no descriptor left
        self._accept_from_now_on()
        self._cut: list[Any] = []  # records of the last pass, given from `_next` on
        self._next = 0
        self._given = 0
        self._lost = 0  # up to which record a `seek` has told the loss already
        self._identity = secrets.randbits(63)  # whose count a position holds

    def read(self, limit: int) -> list[Any]:
        """Up to `limit` records of any connections; [] when none is complete. Never ends."""
        if self._next == len(self._cut):
            self._cut, self._next = self._receive(), 0
        records = self._cut[self._next : self._next + limit]
        self._next += len(records)
        self._given += len(records)
        return records

    def position(self) -> list[int]:
        """Who counted, and how many records were given: none of them can be read again."""
        return [self._identity, self._given]

    def seek(self, position: Any) -> int:
        """Connections stay, and what was received and not given yet comes next.

        Returns how many records were given since `position` and not told as lost before. Of a
        position that another reader gave nobody knows that: 0.
        """
        counted = 0
        if position is not None:
            identity, counted = position
            if identity != self._identity:
                counted = self._given
        lost = max(0, self._given - max(counted, self._lost))
        self._lost = self._given
        return lost

    def acknowledge(self, position: Any) -> None:
        """Nothing to do: no sender waits for it."""

    def descriptors(self) -> Sequence[int]:
        """One that is readable when any connection is, or when somebody wants to connect."""
        return (self._selector.fileno(),)

    def wake_at(self, now: float) -> float | None:
        if self._next < len(self._cut):
            return now
        if self._accepting or len(self._connections) >= CONNECTIONS_MAX:
            return None
        return max(now, self._accept_at)

    def waits_for(self) -> str:
        if self.connections_seen:
            return ""
        return (
            f"{self._who}: nobody has connected to {self.address} yet "
            f"(sender --host {self.address} --file FILE)."
        )

    def close(self) -> None:
        for connection in list(self._connections):
            self._drop(connection)
        self._selector.close()
        self._listener.close()

    def _receive(self) -> list[Any]:
        """One pass over all connections that have something."""
        may_accept = (
            len(self._connections) < CONNECTIONS_MAX and self._accept_at <= time.monotonic()
        )
        if may_accept and not self._accepting:
            self._accept_from_now_on()
        ready = self._selector.select(0)
        share = max(RECEIVE_BYTES_MIN, self._read_bytes // max(1, len(ready)))
        records: list[Any] = []
        for key, _ in ready:
            if key.data is None:
                self._accept()
            else:
                records += self._receive_from(key.data, share)
        return records

    def _receive_from(self, connection: _Connection, share: int) -> list[Any]:
        cutter = connection.cutter
        try:
            chunk = connection.socket.recv(share)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError as error:
            self._drop(connection)
            self._count_unfinished(connection, str(error.strerror))
            return []
        records = cutter.feed(chunk) if chunk else cutter.finish()
        if cutter.fault is not None:
            # Closed by a reset: the sender sees that it was refused, and not an orderly end.
            linger = struct.pack("ii", 1, 0)
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._drop(connection)
            self.refused_connections += 1
            log.warning("%s The connection from %s was closed.", cutter.fault, connection.peer)
        elif not chunk:
            self._drop(connection)
            self._count_unfinished(connection, "closed by the sender")
        return records

    def _count_unfinished(self, connection: _Connection, why: str) -> None:
        held = connection.cutter.held()
        if held:
            self.unfinished_records += 1
            log.warning(
                "%s: the connection from %s ended in the middle of a record (%s); the %d bytes "
                "of it that came are dropped. Records lost like this: %d.",
                self._who,
                connection.peer,
                why,
                held,
                self.unfinished_records,
            )

    def _accept(self) -> None:
        for _ in range(ACCEPTS_MAX):
            if len(self._connections) >= CONNECTIONS_MAX:
                self._accept_no_more(f"it has {CONNECTIONS_MAX} connections")
                return
            try:
                accepted, peer = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno == errno.ECONNABORTED:
                    continue
                self._accept_no_more(str(error.strerror))
                return
            accepted.setblocking(False)
            # A sender whose machine went away is noticed only by this.
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection = _Connection(accepted, join_address(*peer[:2]), self._make_cutter())
            self._connections.add(connection)
            self._selector.register(accepted, selectors.EVENT_READ, connection)
            self.connections_seen += 1

    def _accept_no_more(self, why: str) -> None:
        self._accepting = False
        self._accept_at = time.monotonic() + ACCEPT_AGAIN_SECONDS
        self._selector.unregister(self._listener)
        log.warning("%s takes no more connections for now: %s. Others wait.", self._who, why)

    def _accept_from_now_on(self) -> None:
        self._accepting = True
        self._selector.register(self._listener, selectors.EVENT_READ, None)

    def _drop(self, connection: _Connection) -> None:
        self._selector.unregister(connection.socket)
        self._connections.discard(connection)
        self._accept_at = float("-inf")  # there is room again
        connection.socket.close()


class TcpWriter(SendsAtOnce):
    """Keeps one connection to a receiver, and sends when the receiver takes something.

    A receiver that is not there, or goes away, is tried again for ever; records wait meanwhile.
    One that shuts down only its sending half counts as gone: it looks the same from here.

    What the receiver has not taken at a cut is in the checkpoint, so that another worker sends it
    should this one die.

    broken_connections: how often a connection ended that had stood.
    """

    def __init__(self, who: str, address: str) -> None:
        self.broken_connections = 0
        self._who = who
        self._address = address
        self._family, self._target = resolve(address, self._who)
        self._socket: socket.socket | None = None
        self._connected = False
        self._deadline = float("-inf")  # without a socket: try then; connecting: give up then
        self._retry_seconds = RETRY_SECONDS_FIRST
        self._waits_for = ""
        self._queue: deque[list[bytes]] = deque()
        self._inherited: deque[list[bytes]] = deque()  # from workers that died; filled by a thread
        self._identity = secrets.token_bytes(8)
        self._pending = 0
        self._block: list[bytes] = []  # the records of what is being sent
        self._view = memoryview(b"")  # the same, joined
        self._sent = 0  # bytes of it that the operating system took

    def write(self, records: list[Any]) -> None:
        """Queue bytes (or str, sent as UTF-8). Raises ConnectorError for anything else."""
        encoded = as_bytes(records, self._who)
        self._pending += sum(map(len, encoded))
        self._queue.append(encoded)

    def prepare(self, epoch: int) -> list[Any] | None:
        """Whose it is, and the records that wait."""
        waiting = self._not_taken()
        return [self._identity, waiting] if waiting else None

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        """Send what another writer left behind. Our own still waits here."""
        for identity, records in outputs:
            if identity != self._identity:
                self._inherited.append(records)

    def flush(self, now: float) -> None:
        while self._inherited:
            self.write(self._inherited.popleft())
        if self._socket is None:
            if now < self._deadline:
                return
            self._connect(now)
        if self._socket is not None and not self._connected:
            self._look_whether_connected(self._socket, now)
        if self._connected and self._pending:
            self._send(now)

    def pending_bytes(self) -> int:
        return self._pending

    def descriptors(self) -> Sequence[int]:
        if self._socket is None or (self._connected and not self._pending):
            return ()
        return (self._socket.fileno(),)

    def wake_at(self, now: float) -> float | None:
        return None if self._connected else max(now, self._deadline)

    def waits_for(self) -> str:
        return self._waits_for

    def close(self) -> None:
        """End the connection; what the operating system took still reaches the receiver."""
        if self._socket is None:
            return
        if self._connected:
            # Closing with unread bytes would reset the connection and lose what is under way.
            self._receiver_left(self._socket)
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
        self._hang_up()

    def _connect(self, now: float) -> None:
        self._socket = socket.socket(self._family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        # Records are joined here already; waiting for more would only add delay.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._deadline = now + CONNECT_SECONDS
        code = self._socket.connect_ex(self._target)
        if code not in (0, errno.EINPROGRESS):
            self._try_again(now, code)

    def _look_whether_connected(self, connecting: socket.socket, now: float) -> None:
        code = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._try_again(now, code)
            return
        try:
            peer = connecting.getpeername()
        except OSError:  # not yet
            if now >= self._deadline:
                self._try_again(now, errno.ETIMEDOUT)
            return
        if peer == connecting.getsockname():
            # TCP may connect a socket to itself when it was given the very port it looks for.
            self._try_again(now, errno.ECONNREFUSED)
            return
        self._connected = True
        self._retry_seconds = RETRY_SECONDS_FIRST
        if self._waits_for:
            self._waits_for = ""
            log.info("%s: connected to %s.", self._who, self._address)

    def _try_again(self, now: float, code: int) -> None:
        self._hang_up()
        self._deadline = now + self._retry_seconds
        self._retry_seconds = min(2 * self._retry_seconds, RETRY_SECONDS_MAX)
        if code == errno.ECONNREFUSED:
            what = f"nobody listens at {self._address}"
        else:
            what = f"{self._address} cannot be reached ({os.strerror(code)})"
        self._waits_for = (
            f"{self._who}: {what}; trying again, records wait "
            f"(data_receiver --listen {self._address})."
        )

    def _send(self, now: float) -> None:
        assert self._socket is not None
        if self._receiver_left(self._socket):
            self._broken(now, "the receiver closed it")
            return
        while self._pending:
            if self._sent == len(self._view):
                self._fill()
            try:
                sent = self._socket.send(self._view[self._sent :])
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._broken(now, str(error.strerror))
                return
            self._sent += sent
            self._pending -= sent

    def _fill(self) -> None:
        """Join what is queued to the next block: at least SEND_BYTES if there is so much."""
        records: list[bytes] = []
        size = 0
        while self._queue and size < SEND_BYTES:
            batch = self._queue.popleft()
            records += batch
            size += sum(map(len, batch))
        self._block, self._sent = records, 0
        self._view = memoryview(b"".join(records))

    def _not_taken(self) -> list[bytes]:
        """Records that wait, from the start of one that is being sent."""
        waiting: list[bytes] = []
        ends = 0
        for record in self._block:
            ends += len(record)
            if ends > self._sent:
                waiting.append(record)
        return waiting + [record for batch in self._queue for record in batch]

    def _receiver_left(self, connected: socket.socket) -> bool:
        """Whether the receiver has closed. What it sent, if it did, is thrown away."""
        try:
            while connected.recv(4096):
                pass
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True
        return True

    def _broken(self, now: float, why: str) -> None:
        """The connection ended: keep what was not taken, from the start of a cut record on."""
        self.broken_connections += 1
        log.warning(
            "%s: the connection to %s broke (%s); what was under way on it may be lost. "
            "Connecting again.",
            self._who,
            self._address,
            why,
        )
        begins = 0
        for index, record in enumerate(self._block):
            if begins + len(record) > self._sent:
                self._queue.appendleft(self._block[index:])
                self._pending += self._sent - begins
                break
            begins += len(record)
        self._block, self._view, self._sent = [], memoryview(b""), 0
        self._hang_up()
        self._deadline = now

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._connected = None, False


def listen(address: str, who: str, choose: str) -> socket.socket:
    """A listening socket that never blocks; port 0 takes any free one.

    Raises ConnectorError; `choose` is the option that names another address.
    """
    family, target = resolve(address, who)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(target)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise cannot_listen(who, address, target[0], error.errno or 0, choose) from error
    listener.setblocking(False)
    return listener
