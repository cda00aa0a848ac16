"""Addresses as a person writes them: "host:port", and [::1]:port for IPv6."""

from __future__ import annotations

import errno
import os
import socket

from zstream.errors import ConnectorError, UsageError


def split_address(address: str) -> tuple[str, int]:
    """("127.0.0.1", 7010) of "127.0.0.1:7010"; UsageError when it is no such thing."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"{address!r} is no address. Write HOST:PORT, such as 127.0.0.1:7010.")
    return host.removeprefix("[").removesuffix("]"), int(port)


def join_address(host: str, port: int) -> str:
    """The inverse of `split_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def resolve(address: str, who: str) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Family and numeric address of the first answer for the host's name.

    May wait for a name server, so it is called once, when `who` is opened. Raises ConnectorError
    when the name is not known.
    """
    host, port = split_address(address)
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConnectorError(
            f"{who}: there is no host {host} ({error.strerror}). Is it spelled as it should be?"
        ) from error
    family, _, _, _, numeric = answers[0]
    return family, (str(numeric[0]), int(numeric[1]))


def cannot_listen(who: str, address: str, host: str, code: int, choose: str) -> ConnectorError:
    """Why `who` cannot listen at `address`, which is on `host`.

    code: an errno. choose: the option that names another address.
    """
    reasons = {
        errno.EADDRINUSE: "the port is in use by another process",
        errno.EADDRNOTAVAIL: f"this machine has no address {host}",
        errno.EACCES: "permission denied, ports below 1024 are for root",
    }
    reason = reasons.get(code, os.strerror(code))
    return ConnectorError(
        f"{who} cannot listen on {address}: {reason}. Choose another with {choose}."
    )
