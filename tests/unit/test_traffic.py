"""The demo's traffic: what it says when the source goes away under it."""

from __future__ import annotations

import socket
import struct
import threading

import pytest

from examples.traffic import Traffic


def test_a_source_that_goes_away_ends_the_sender_without_a_traceback() -> None:
    """Ctrl-C in the demo kills the workers while votes flow: the sender's thread just ends (a
    traceback of it would fail this test). Who wants a verdict all the same is told why there is
    none."""
    with socket.create_server(("127.0.0.1", 0)) as source, Traffic([b"a"], 1_000) as traffic:
        traffic.start(f"127.0.0.1:{source.getsockname()[1]}")
        worker, _ = source.accept()
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        worker.close()  # with a reset, as a process that is killed with records unread
        for thread in threading.enumerate():
            if "_send" in thread.name:
                thread.join(10)
        with pytest.raises(RuntimeError, match=r"a sender could not go on: .*(reset|pipe)"):
            traffic.stop()
