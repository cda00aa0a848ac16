"""Looks, before joining, whether what answers at an address speaks ZeroMQ at all.

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
