"""One DEALER for each control address that is spoken to, the least recently used closed first."""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import suppress

import zmq

from zstream.config import Config

ZmqContext = zmq.Context[zmq.Socket[bytes]]
ZmqSocket = zmq.Socket[bytes]

_UNUSED_S = 60.0
_KEEPALIVE_S = 10
_MESSAGES_QUEUED_MAX = 256  # for one address; what is behind is dropped, the protocols repeat it


class ControlSenders:
    """Best effort sending to control addresses. Belongs to the one thread that uses it."""

    def __init__(self, context: ZmqContext, config: Config) -> None:
        self._context = context
        self._config = config
        self._sockets: OrderedDict[str, ZmqSocket] = OrderedDict()  # least recently used first
        self._used_at: dict[str, float] = {}

    def send(self, address: str, payload: bytes) -> None:
        """Hand it over if there is room, else drop it. An address that is none is dropped too."""
        socket = self._sockets.get(address)
        if socket is None:
            socket = self._open(address)
            if socket is None:
                return
        self._sockets.move_to_end(address)
        self._used_at[address] = time.monotonic()
        with suppress(zmq.Again):
            socket.send(payload, zmq.NOBLOCK)

    def close(self, linger_ms: int) -> None:
        """Close all; what was handed over has so long to go out."""
        for socket in self._sockets.values():
            socket.close(linger_ms)
        self._sockets.clear()
        self._used_at.clear()

    def _open(self, address: str) -> ZmqSocket | None:
        socket: ZmqSocket = self._context.socket(zmq.DEALER)
        set_common_options(socket, self._config, self._config.control_bytes_max)
        socket.setsockopt(zmq.SNDHWM, _MESSAGES_QUEUED_MAX)
        allow_ipv6(socket, address)
        try:
            socket.connect(f"tcp://{address}")
        except zmq.ZMQError:  # not an address: it came off the wire, so it is not obeyed
            socket.close(0)
            return None
        self._close_unused()
        self._sockets[address] = socket
        return socket

    def _close_unused(self) -> None:
        """Make room for one more, and let go of workers that are not there any more: ZeroMQ
        would try to reach them for ever."""
        long_ago = time.monotonic() - _UNUSED_S
        for address in list(self._sockets):
            is_full = len(self._sockets) >= self._config.control_peers_max
            if not is_full and self._used_at[address] > long_ago:
                return
            self._sockets.pop(address).close(0)
            del self._used_at[address]


def set_common_options(socket: ZmqSocket, config: Config, message_bytes_max: int) -> None:
    """What every socket of a worker is given: nothing lingers, nothing is unlimited.

    message_bytes_max: a peer that sends more is disconnected by ZeroMQ.
    """
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, message_bytes_max)
    socket.setsockopt(zmq.HANDSHAKE_IVL, 5000)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)  # ZeroMQ adds jitter, because there is a maximum
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    # No heartbeats of ZeroMQ: libzmq aborts the process ("!_io_error") where one is found behind a
    # queue that was full when its sender went, as it is in a worker that was stopped and goes on.
    # A machine that is gone without a word is noticed by what it does not acknowledge, and where
    # nothing is sent, by the operating system's own questions.
    socket.setsockopt(zmq.TCP_MAXRT, config.dead_after_ms)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, _KEEPALIVE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, _KEEPALIVE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)


def allow_ipv6(socket: ZmqSocket, address: str) -> None:
    """For "[host]:port" only: elsewhere ZeroMQ would use mapped addresses, or fail without IPv6."""
    if address.startswith("["):
        socket.setsockopt(zmq.IPV6, 1)
