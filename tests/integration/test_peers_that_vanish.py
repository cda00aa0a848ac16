"""A process whose program stands still while a peer goes away must not be ended by libzmq.

libzmq 4.3.5 aborts (`Assertion failed: !_io_error`) when a heartbeat of its own is due on a
connection that broke while the queue of what came on it was full. Found by the soak: a worker that
was stopped for some seconds died when it went on.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import zmq

ROOT = Path(__file__).resolve().parents[2]
HEARTBEAT_MS = 50
FLOOD_BYTES = 1000
PATIENCE_MS = 10_000

CONNECTOR = f"""
from zstream.connectors import zmq_sockets
zmq_sockets.HEARTBEAT_MS = {HEARTBEAT_MS}
listening = zmq_sockets.ListeningSocket("127.0.0.1:0", "it", "", 1 << 20)
print(listening.address, flush=True)
input()
while listening.receive() is not None:
    pass
print("lives")
"""

TRANSPORT = f"""
from zstream.config import Config
from zstream.runtime.zmq_transport import ZmqTransport
transport = ZmqTransport(Config(lease_ms={2 * HEARTBEAT_MS}, pulse_interval_ms=20))
print(transport.{{lane}}, flush=True)
input()
while transport.receive_{{lane}}({{limits}}):
    pass
print("lives")
"""


@pytest.mark.parametrize(
    ("kind", "program"),
    [
        (zmq.DEALER, CONNECTOR),
        (zmq.DEALER, TRANSPORT.format(lane="control", limits="64")),
        (zmq.PUSH, TRANSPORT.format(lane="data", limits="64, 1 << 20")),
    ],
    ids=["connectors", "control", "data"],
)
def test_a_peer_that_vanishes_while_nobody_reads(kind: int, program: str) -> None:
    """A peer sends until nothing more is taken, and is gone. Several heartbeats later the
    process reads again: it is still there."""
    listener = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with listener:
        assert listener.stdout is not None
        flood(kind, listener.stdout.readline().strip())
        time.sleep(20 * HEARTBEAT_MS / 1000)  # heartbeats that were due
        out, says = listener.communicate("go on\n", timeout=PATIENCE_MS / 1000)
    assert (out.strip(), listener.returncode) == ("lives", 0), says


def flood(kind: int, address: str) -> None:
    """Send until a connection takes no more, and hang up without a word."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    peer = context.socket(kind)
    peer.setsockopt(zmq.IMMEDIATE, 1)
    peer.connect(f"tcp://{address}")
    assert peer.poll(PATIENCE_MS, zmq.POLLOUT)
    while peer.poll(200, zmq.POLLOUT):
        peer.send(bytes(FLOOD_BYTES))
    context.destroy(linger=0)
