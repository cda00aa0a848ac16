"""The two lanes and the external channel over ZeroMQ.

A worker binds three sockets: a ROUTER for control, a PULL for data, a ROUTER for the tools. It
connects a DEALER to each control address that it speaks to, and a PUSH to each peer that it sends
data to. ZeroMQ's own queues are a backstop only: what they lose is sent again by the links, and
how much is under way is bounded by the links' credit. No send ever blocks.
"""

from __future__ import annotations

import errno
import socket as sockets
from contextlib import suppress
from threading import Thread

import zmq

from zstream.config import KIB, MIB, Config
from zstream.errors import ConnectorError
from zstream.model.ids import Incarnation
from zstream.runtime.control_senders import (
    ControlSenders,
    ZmqContext,
    ZmqSocket,
    allow_ipv6,
    set_common_options,
)

_FRAMES_QUEUED_MAX = 64  # in ZeroMQ, for one peer and on each end
_SOCKETS_MAX = 4096
_KERNEL_BUFFER_BYTES = 256 * KIB  # what is queued in the kernel is what a marker waits behind
_CLIENT_BYTES_MAX = 1 * MIB  # a tool's request is a few words
_WILDCARDS = ("", "*", "0.0.0.0", "::")
_WHY_NOT_BOUND = {
    errno.EADDRINUSE: "the port is in use by another process",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.ENODEV: "this machine has no such address",
    errno.EACCES: "this port is not allowed to this user",
}


class ZmqTransport:
    """A `zstream.ports.transport.Transport`. Belongs to the loop's thread.

    control, data, external: "host:port" to listen on, port 0 for any free one; afterwards, as
    attributes, with the port that it is. control_option and data_option name the command line
    options, for the sentence of a refusal. Raises ConnectorError when it cannot listen.
    """

    def __init__(
        self,
        config: Config,
        control: str = "127.0.0.1:0",
        data: str = "127.0.0.1:0",
        external: str = "127.0.0.1:0",
        *,
        control_option: str = "--control",
        data_option: str = "--data",
    ) -> None:
        self._config = config
        self.context: ZmqContext = zmq.Context()
        self.context.set(zmq.MAX_SOCKETS, _SOCKETS_MAX)
        try:
            self.control_socket = self._listening(zmq.ROUTER, config.control_bytes_max)
            self.data_socket = self._listening(zmq.PULL, config.record_bytes_max + MIB)
            self.external_socket = self._listening(zmq.ROUTER, _CLIENT_BYTES_MAX)
            self.external_socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            self.data_socket.setsockopt(zmq.RCVHWM, _FRAMES_QUEUED_MAX)
            self.data_socket.setsockopt(zmq.RCVBUF, _KERNEL_BUFFER_BYTES)
            self.control = bind(self.control_socket, control, control_option)
            self.data = bind(self.data_socket, data, data_option)
            self.external = bind(self.external_socket, external, "--external")
        except ConnectorError:
            self.context.destroy(linger=0)
            raise
        self._senders = ControlSenders(self.context, config)
        self._pushes: dict[Incarnation, ZmqSocket] = {}
        self._full: dict[Incarnation, ZmqSocket] = {}

    # ---------------------------------------------------------------- sending

    def send_control(self, address: str, payload: bytes) -> None:
        """Best effort, to a worker's control address; dropped when there is no room."""
        self._senders.send(address, payload)

    def answer_client(self, client: bytes, payload: bytes) -> None:
        """Best effort, to a tool that asked; dropped when it has gone."""
        try:
            self.external_socket.send_multipart([client, payload], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise

    def open_data(self, peer: Incarnation, address: str) -> None:
        """Connect to this incarnation. Opening twice is harmless."""
        if peer in self._pushes:
            return
        push: ZmqSocket = self.context.socket(zmq.PUSH)
        set_common_options(push, self._config, self._config.record_bytes_max + MIB)
        push.setsockopt(zmq.IMMEDIATE, 1)  # nothing is queued for a connection that is not there
        push.setsockopt(zmq.SNDHWM, _FRAMES_QUEUED_MAX)
        push.setsockopt(zmq.SNDBUF, _KERNEL_BUFFER_BYTES)
        allow_ipv6(push, address)
        with suppress(zmq.ZMQError):  # not an address: nothing will ever go out
            push.connect(f"tcp://{address}")
        self._pushes[peer] = push

    def close_data(self, peer: Incarnation) -> None:
        """Send this incarnation nothing more. Closing twice is harmless."""
        push = self._pushes.pop(peer, None)
        self._full.pop(peer, None)
        if push is not None:
            push.close(0)

    def send_data(self, peer: Incarnation, frame: bytes) -> bool:
        """Take the frame, or return False: not now. What is taken may still be lost."""
        push = self._pushes.get(peer)
        if push is None:
            return False
        try:
            push.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            self._full[peer] = push
            return False
        self._full.pop(peer, None)
        return True

    def take_full(self) -> list[ZmqSocket]:
        """Sockets that refused a frame since the last call: worth a wake-up when they have room.

        Given once, so that a peer to which nothing more is sent does not wake the loop for ever.
        """
        full = list(self._full.values())
        self._full.clear()
        return full

    # ---------------------------------------------------------------- receiving

    def receive_control(self, messages_max: int) -> list[bytes]:
        """What has come from workers, oldest first, up to a limit."""
        return [parts[1] for parts in _receive(self.control_socket, messages_max)]

    def receive_clients(self, messages_max: int) -> list[tuple[bytes, bytes]]:
        """What has come from tools: (who asked, payload)."""
        return [(parts[0], parts[1]) for parts in _receive(self.external_socket, messages_max)]

    def receive_data(self, frames_max: int, bytes_max: int) -> list[bytes]:
        """Frames that have come, oldest first; stops at a number or behind so many bytes."""
        frames: list[bytes] = []
        size = 0
        receive = self.data_socket.recv
        try:
            while len(frames) < frames_max and size < bytes_max:
                frame = receive(zmq.NOBLOCK)
                frames.append(frame)
                size += len(frame)
        except zmq.Again:
            pass
        return frames

    # ---------------------------------------------------------------- the end

    def close(self, linger_ms: int = 0) -> bool:
        """Close all; last words have so long to go out. False when the context did not end.

        That happens only while another thread keeps a socket open, and is left to the process's
        own end: nothing waits for ever here.
        """
        self._senders.close(linger_ms)
        for peer in list(self._pushes):
            self.close_data(peer)
        self.data_socket.close(0)
        self.control_socket.close(0)
        self.external_socket.close(linger_ms)
        term = Thread(target=self.context.term, name="zstream-term", daemon=True)
        term.start()
        term.join(linger_ms / 1000 + 2)
        return not term.is_alive()

    def _listening(self, kind: int, message_bytes_max: int) -> ZmqSocket:
        socket: ZmqSocket = self.context.socket(kind)
        set_common_options(socket, self._config, message_bytes_max)
        return socket


def bind(socket: ZmqSocket, address: str, option: str) -> str:
    """Listen on "host:port"; returns it with the port that it became.

    Raises ConnectorError with a sentence that names the option to choose another by.
    """
    host, port = split_address(address, option)
    if host in _WILDCARDS:
        raise ConnectorError(
            f"cannot listen on {address}: the other workers are told this address, so it must be "
            f"one by which they reach this machine. Choose it with {option} HOST:PORT."
        )
    try:
        found = sockets.getaddrinfo(host, port, type=sockets.SOCK_STREAM)
    except sockets.gaierror as error:
        raise ConnectorError(
            f"cannot listen on {address}: no machine of the name {host} is known. "
            f"Choose another with {option} HOST:PORT."
        ) from error
    numeric = str(found[0][4][0])
    bracketed = f"[{numeric}]" if ":" in numeric else numeric
    allow_ipv6(socket, bracketed)
    try:
        socket.bind(f"tcp://{bracketed}:{port}")
    except zmq.ZMQError as error:
        why = _WHY_NOT_BOUND.get(error.errno or 0, str(error))
        raise ConnectorError(
            f"cannot listen on {address}: {why}. Choose another with {option} HOST:PORT."
        ) from error
    bound = socket.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(bound, bytes)
    real_port = bound.rstrip(b"\0").decode().rpartition(":")[2]
    return f"[{host}]:{real_port}" if ":" in host else f"{host}:{real_port}"


def split_address(address: str, option: str) -> tuple[str, int]:
    """Split "host:port" or "[host]:port". Raises ConnectorError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ConnectorError(f"{option} {address} is not HOST:PORT, such as 127.0.0.1:12500.")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _receive(socket: ZmqSocket, messages_max: int) -> list[list[bytes]]:
    """Messages of two parts, sender and payload; others are not ours and are dropped."""
    messages: list[list[bytes]] = []
    try:
        for _ in range(messages_max):
            parts = socket.recv_multipart(zmq.NOBLOCK)
            if len(parts) == 2:
                messages.append(parts)
    except zmq.Again:
        pass
    return messages
