"""Both outer ends of a job over TCP: what sends its frames, and what receives its outputs.

Two threads that hardly ever hold the interpreter: whole megabytes are sent and received in C.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.jobs.job import Wire

READ_BYTES = 1 << 18
PATIENCE = 120.0  # seconds for a connection, or for the next output
TICKS = os.sysconf("SC_CLK_TCK")


class Ends:
    """Sends frames to where a job listens, and takes the lines that it sends back.

    address: where the job connects to.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._chunks: list[bytes] = []

    def run(
        self, address: str, process: subprocess.Popen[bytes], records: list[Any], rounds: int
    ) -> dict[str, Any]:
        """Send all records to where the process listens; until as many outputs came back."""
        frames, wanted = self._wire.frames(records), len(records) * rounds
        with connected(address, process) as connection:
            outgoing, _ = self._listener.accept()
            outgoing.settimeout(PATIENCE)

            def send() -> None:
                for _ in range(rounds):
                    connection.sendall(frames)

            sender = threading.Thread(target=send, daemon=True)
            cpu_began, began = cpu_seconds(process.pid), time.monotonic()
            sender.start()
            count = 0
            while count < wanted and (chunk := outgoing.recv(READ_BYTES)):
                self._chunks.append(chunk)
                count += chunk.count(b"\n")
            ended, cpu_ended = time.monotonic(), cpu_seconds(process.pid)
            sender.join(PATIENCE)
        return {
            "seconds": ended - began,
            "cpu_seconds": max(cpu_ended - cpu_began, 1 / TICKS),
            "records": wanted,
            "outputs": count,
        }

    def outputs(self) -> list[Any]:
        """All that came back."""
        return list(map(self._wire.output_of, b"".join(self._chunks).splitlines()))


def cpu_seconds(process: int) -> float:
    """What a process has had of the processor, by the system's own count."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / TICKS


def connected(address: str, process: subprocess.Popen[bytes]) -> socket.socket:
    """Connect to where a process will listen; RuntimeError when it ends before, or never does."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return socket.create_connection((host, int(port)), PATIENCE)
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nobody listens at {address}")
