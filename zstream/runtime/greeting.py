"""Looks at an address with a plain socket: is it a worker's at all, and why does nobody answer?

ZeroMQ itself would try for ever and say nothing. Its side of a connection begins with a fixed
signature, sent before it hears anything; a source or a receiver of records sends nothing.
"""

from __future__ import annotations

import socket
import time

from zstream.errors import ConnectorError
from zstream.runtime.zmq_transport import split_address

_CONNECT_S = 2.0
_GREETING_S = 3.0  # ZeroMQ greets at once; a machine may be slow
_SIGNATURE_BYTES = 10  # 0xff, eight bytes of length, 0x7f


def refuse_strangers(address: str, option: str) -> None:
    """Raise ConnectorError when something listens at `address` that is no worker.

    Nobody there yet is no error: the cluster may be starting, and the agent asks again.
    """
    host, port = split_address(address, option)
    try:
        with socket.create_connection((host, port), _CONNECT_S) as connection:
            greeting = _receive(connection)
    except OSError:
        return
    if len(greeting) == _SIGNATURE_BYTES and greeting[0] == 0xFF and greeting[-1] == 0x7F:
        return
    looks = " (it looks like a source)" if not greeting else ""
    raise ConnectorError(f"what answers at {address} is not a zworker's control address{looks}.")


def unknown_host(address: str) -> str:
    """Why the host of `address` cannot be found, as a clause; "" when it is known.

    Waits for the name server, if there is a name to look up.
    """
    host, port = split_address(address, "the address")
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        return f"there is no such host as {host} ({why})"
    return ""


def why_silent(address: str, channel: str) -> str:
    """Why nobody answers at `address`, as a clause, found out by one more try to connect.

    channel: what was sought there, "control" or "external". For when the waiting is over: it may
    take seconds.
    """
    if unknown := unknown_host(address):
        return unknown
    try:
        socket.create_connection(split_address(address, "the address"), _CONNECT_S).close()
    except TimeoutError:
        return "no answer to the connection, perhaps a firewall drops it"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return f"it takes the connection, but does not answer as a worker's {channel} address"


def _receive(connection: socket.socket) -> bytes:
    """The first bytes that the other side sends by itself; fewer when it says nothing in time.

    Raises OSError when it hangs up without a word, as a worker that is just ending does.
    """
    received = b""
    deadline = time.monotonic() + _GREETING_S
    while len(received) < _SIGNATURE_BYTES and (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            chunk = connection.recv(_SIGNATURE_BYTES - len(received))
        except TimeoutError:
            break
        if not chunk:
            if received:
                break
            raise ConnectionResetError("closed without a word")
        received += chunk
    return received
