"""Where the soaked processes live: each worker on a host of its own, as far as this machine allows.

`Namespaces`: a network namespace for each host, all joined by a router, which is the namespace of
the driver itself. The router can drop what goes from one host to another. The source has an
address that floats: it is bound on all hosts, and the router sends it to the one where somebody
began to listen last. `Loopback`: all on 127.0.0.1, where nothing can be cut off.

Everything is without a name, so nothing is left behind when the driver ends, however it ends.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

INSIDE = "ZSTREAM_SOAK_NAMESPACE"  # set in the environment of a driver that has a namespace
ROUTER = "10.77.255.254"
FLOATING = "10.77.1.1"
SOURCE_PORT = 7000
LISTENS = "0A"  # the state, in /proc/net/tcp
_PRCTL_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def with_the_driver() -> None:
    """For preexec_fn: a process that the kernel kills when the driver has died."""
    _libc.prctl(_PRCTL_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has now, below those of outgoing connections."""
    for port in range(20_000 + os.getpid() % 100 * 100, 32_000):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port")


class Loopback:
    """All on 127.0.0.1. Hosts are numbers from 0; host 0 is the one of the programs outside."""

    can_cut = False

    def __init__(self, hosts: int) -> None:
        self.hosts = hosts
        self._taken: list[int] = []
        self.source = f"127.0.0.1:{self._port()}"

    def addresses(self, host: int, count: int) -> list[str]:
        """So many addresses of a host."""
        return [f"127.0.0.1:{self._port()}" for _ in range(count)]

    def command(self, host: int, line: Sequence[str]) -> list[str]:
        """What runs this on a host."""
        return list(line)

    def cut(self, pairs: Collection[tuple[int, int]]) -> None:
        """From now on nothing goes from one to the other, in these pairs and no others."""

    def float(self) -> None:
        """Let the source's address follow whoever listens."""

    def _port(self) -> int:
        start = self._taken[-1] + 1 if self._taken else free_port()
        for port in range(start, start + 1000):
            with socket.socket() as probe, suppress(OSError):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
                break
        if port > 31_000:
            self._taken.clear()
        self._taken = [port]
        return port


class Namespaces:
    """A namespace for each host. Hosts are numbers from 0; host 0 is for the programs outside."""

    can_cut = True

    def __init__(self, hosts: int) -> None:
        self.hosts = hosts
        self.source = f"{FLOATING}:{SOURCE_PORT}"
        self._cut: set[tuple[int, int]] = set()
        self._listening: dict[tuple[int, str], int] = {}  # (host, socket) -> since which look
        self._looks = 0
        self._floats_to = -1
        _run("ip link set lo up")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        self._holders = [self._host(host) for host in range(hosts)]

    def _host(self, host: int) -> subprocess.Popen[bytes]:
        holder = subprocess.Popen(
            ["unshare", "--net", "sleep", "infinity"], preexec_fn=with_the_driver
        )
        ours = os.readlink("/proc/self/ns/net")
        while True:  # until it has its own
            with suppress(OSError):
                if os.readlink(f"/proc/{holder.pid}/ns/net") != ours:
                    break
        _run(f"ip link add v{host} type veth peer name eth0 netns {holder.pid}")
        _run(f"ip link set v{host} up")
        _run(f"ip addr add {ROUTER}/32 dev v{host}")
        _run(f"ip route add {_ip(host)}/32 dev v{host}")
        inside = [
            "ip link set lo up",
            f"ip addr add {_ip(host)}/32 dev eth0",
            "ip link set eth0 up",
            f"ip route add {ROUTER}/32 dev eth0",
            f"ip route add default via {ROUTER} src {_ip(host)}",
        ]
        if host:
            inside.append(f"ip addr add {FLOATING}/32 dev lo")
        for line in inside:
            _run(f"nsenter --net=/proc/{holder.pid}/ns/net {line}")
        return holder

    def addresses(self, host: int, count: int) -> list[str]:
        """So many addresses of a host, the same ones each time."""
        return [f"{_ip(host)}:{5000 + number}" for number in range(count)]

    def command(self, host: int, line: Sequence[str]) -> list[str]:
        """What runs this on a host; it becomes the process itself."""
        return ["nsenter", f"--net=/proc/{self._holders[host].pid}/ns/net", "--", *line]

    def cut(self, pairs: Collection[tuple[int, int]]) -> None:
        """From now on nothing goes from one to the other, in these pairs and no others."""
        wanted = set(pairs)
        for pair in self._cut - wanted:
            _run(f"ip rule del {_rule(*pair)}")
        for pair in wanted - self._cut:
            _run(f"ip rule add {_rule(*pair)}")
        self._cut = wanted

    def float(self) -> None:
        """Let the source's address follow whoever listens."""
        self._looks += 1
        local = "".join(reversed([f"{int(part):02X}" for part in FLOATING.split(".")]))
        local += f":{SOURCE_PORT:04X}"
        now: dict[tuple[int, str], int] = {}
        for host in range(1, self.hosts):
            for line in Path(f"/proc/{self._holders[host].pid}/net/tcp").read_text().splitlines():
                words = line.split()
                if words[1] == local and words[3] == LISTENS:
                    known = (host, words[9])  # the socket's inode
                    now[known] = self._listening.get(known, self._looks)
        self._listening = now
        if now:
            newest = max(now, key=lambda known: now[known])[0]
            if newest != self._floats_to:
                _run(f"ip route replace {FLOATING}/32 dev v{newest}")
                self._floats_to = newest


def _ip(host: int) -> str:
    return f"10.77.0.{host + 1}"


def _rule(sender: int, receiver: int) -> str:
    """By the sender's link, because it also sends from the floating address."""
    return f"iif v{sender} to {_ip(receiver)} blackhole"


def _run(line: str) -> None:
    subprocess.run(line.split(), check=True)


def enter_namespace(wanted: str) -> str:
    """Go on in a namespace of one's own, if that is allowed: then this does not return at first.

    wanted: "auto", "namespaces" or "loopback". Returns which of the latter two it is.
    """
    if wanted == "loopback" or os.environ.get(INSIDE):
        return "loopback" if wanted == "loopback" else "namespaces"
    unshare = ["unshare", "--user", "--map-root-user", "--net"]
    allowed = all(shutil.which(tool) for tool in ("unshare", "nsenter", "ip"))
    if allowed:
        probe = (
            "ip link add v0 type veth peer name v1 && ip rule add from 10.9.9.9 blackhole "
            "&& echo 1 > /proc/sys/net/ipv4/ip_forward && unshare --net true"
        )
        allowed = not subprocess.run([*unshare, "sh", "-c", probe], capture_output=True).returncode
    if allowed:
        os.environ[INSIDE] = "1"
        line = [*unshare, sys.executable, "-m", "tests.soak", *sys.argv[1:]]
        os.execvp(line[0], line)
    if wanted == "namespaces":
        sys.exit("soak: network namespaces are not allowed here.")
    return "loopback"
