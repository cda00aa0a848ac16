"""A source or a consumer that stands still while a peer goes away must not be ended by libzmq.

libzmq 4.3.5 aborts (`Assertion failed: !_io_error`) when it has a heartbeat of its own to send, or
finds one to answer, on a connection that broke while the queue of what came on it was full. Found
by the soak: a worker that was stopped for some seconds died when it went on.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

from zstream.config import MIB
from zstream.connectors.zmq_sockets import MESSAGES_QUEUED_MAX, ConnectingSocket

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 10.0  # seconds
HEARTBEATS = 2.5  # seconds in which the heartbeats of once were due, twice

LISTENER = """
from zstream.connectors.zmq_sockets import ListeningSocket
listening = ListeningSocket("127.0.0.1:0", "it", "", 1 << 20)
print(listening.address, flush=True)
input()
while listening.receive() is not None:
    pass
print("lives")
"""


def test_a_peer_that_vanishes_while_nobody_reads() -> None:
    """A peer sends more than one queue takes, and is gone. Several heartbeats later the program
    reads again: it is still there."""
    with started() as (listener, peer):
        send(peer, 10 * MESSAGES_QUEUED_MAX)
        peer.close()
        time.sleep(HEARTBEATS)
        lives(listener)


def test_a_peer_that_vanishes_while_the_process_is_stopped() -> None:
    """Messages, and what else the peer sends, wait in the kernel, and the connection is broken:
    the process finds all of that at once when it goes on, and lives."""
    with started() as (listener, peer):
        listener.send_signal(signal.SIGSTOP)
        for _ in range(3):
            send(peer, MESSAGES_QUEUED_MAX - 10)
            time.sleep(HEARTBEATS / 2)
        peer.close()
        listener.send_signal(signal.SIGCONT)
        lives(listener)


@contextmanager
def started() -> Iterator[tuple[subprocess.Popen[str], ConnectingSocket]]:
    """A process that listens and does not read, and a peer that is connected to it."""
    listener = subprocess.Popen(
        [sys.executable, "-c", LISTENER],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with listener:
        assert listener.stdout is not None
        peer = ConnectingSocket(listener.stdout.readline().strip(), "peer", MIB)
        try:
            assert peer.socket.poll(round(PATIENCE * 1000), zmq.POLLOUT)
            yield listener, peer
        finally:
            peer.close()
            listener.kill()


def send(peer: ConnectingSocket, messages: int) -> None:
    """As many as are taken, which is all while the kernel has room."""
    for _ in range(messages):
        if not peer.send(b"ten bytes."):
            peer.socket.poll(200, zmq.POLLOUT)


def lives(listener: subprocess.Popen[str]) -> None:
    """It reads what has come, and ends as it should."""
    out, says = listener.communicate("go on\n", timeout=PATIENCE)
    assert (out.strip(), listener.returncode) == ("lives", 0), says
