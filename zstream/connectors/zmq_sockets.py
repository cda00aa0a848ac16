"""ZeroMQ sockets of sources, sinks, producers and consumers, with the settings that all need.

Each owner has a context of its own, so that closing it really ends it: the port is free again
when `close` returns.
"""

from __future__ import annotations

import zmq

from zstream.connectors.address import cannot_listen, join_address, resolve

ZmqContext = zmq.Context[zmq.Socket[bytes]]
ZmqSocket = zmq.Socket[bytes]

MESSAGES_QUEUED_MAX = 64  # in ZeroMQ, on each end of a connection; credit is what bounds them
SILENT_MS = 5000  # a machine that acknowledges nothing is taken for gone after this
KEEPALIVE_SECONDS = 10  # between questions to one to which nothing is sent; three are asked


class ListeningSocket:
    """A ROUTER. message_bytes_max: who sends more is disconnected by ZeroMQ.

    address: where it listens, with the port that it is when 0 was asked for.
    Raises ConnectorError; `choose` names what to choose another address with.
    """

    def __init__(self, address: str, who: str, choose: str, message_bytes_max: int) -> None:
        _, (host, port) = resolve(address, who)
        self._context: ZmqContext = zmq.Context()
        self.socket: ZmqSocket = self._context.socket(zmq.ROUTER)
        _set_options(self.socket, message_bytes_max)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # who has gone is noticed by sending
        self.socket.setsockopt(zmq.IPV6, int(":" in host))
        try:
            self.socket.bind(f"tcp://{join_address(host, port)}")
        except zmq.ZMQError as error:
            self.close()
            raise cannot_listen(who, address, host, error.errno or 0, choose) from error
        bound = self.socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(bound, bytes)
        self.address = bound.rstrip(b"\0").decode().removeprefix("tcp://")

    def receive(self) -> tuple[bytes, bytes] | None:
        """(connection, message), or None for none now. A message of many parts is one of none."""
        try:
            connection, *parts = self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return connection, parts[0] if len(parts) == 1 else b""

    def send(self, connection: bytes, message: bytes) -> bool:
        """Best effort. False when the connection is gone for good."""
        try:
            self.socket.send_multipart((connection, message), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            return error.errno == zmq.EAGAIN
        return True

    def has_more(self) -> bool:
        """Whether something can be received.

        ZeroMQ's descriptor tells only of what comes after this was asked, so ask before waiting.
        """
        events = self.socket.getsockopt(zmq.EVENTS)
        assert isinstance(events, int)
        return bool(events & zmq.POLLIN)

    def descriptor(self) -> int:
        found = self.socket.getsockopt(zmq.FD)
        assert isinstance(found, int)
        return found

    def close(self) -> None:
        """Closing twice is harmless."""
        self._context.destroy(linger=0)


class ConnectingSocket:
    """A DEALER that connects, and connects again, to one address: "host:port".

    Nothing is queued while there is no connection. Raises UsageError when it is no address, and
    ConnectorError when there is no such host.
    """

    def __init__(self, address: str, who: str, message_bytes_max: int) -> None:
        _, (numeric, _) = resolve(address, who)  # a name that nobody knows is refused here
        self._context: ZmqContext = zmq.Context()
        self.socket: ZmqSocket = self._context.socket(zmq.DEALER)
        _set_options(self.socket, message_bytes_max)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)  # what a recovery waits for
        self.socket.setsockopt(zmq.IPV6, int(":" in numeric))
        self.socket.connect(f"tcp://{address}")

    def receive(self) -> bytes | None:
        """One message, or None for none now."""
        try:
            parts = self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return parts[0] if len(parts) == 1 else b""

    def send(self, message: bytes) -> bool:
        """False when it was not taken: there is no connection, or no room."""
        try:
            self.socket.send(message, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """What was not sent is dropped. Closing twice is harmless."""
        self._context.destroy(linger=0)


def _set_options(socket: ZmqSocket, message_bytes_max: int) -> None:
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, message_bytes_max)
    socket.setsockopt(zmq.HANDSHAKE_IVL, 5000)
    socket.setsockopt(zmq.SNDHWM, MESSAGES_QUEUED_MAX)
    socket.setsockopt(zmq.RCVHWM, MESSAGES_QUEUED_MAX)
    # No heartbeats of ZeroMQ, for the reason that stands in `zstream.runtime.control_senders`.
    socket.setsockopt(zmq.TCP_MAXRT, SILENT_MS)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_SECONDS)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE_SECONDS)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
