"""Waking the loop: from threads and from signals."""

from __future__ import annotations

import os
import select
import signal

import pytest

from zstream.runtime.signals import LeaveSignals
from zstream.runtime.wake import Waker


def is_awake(waker: Waker) -> bool:
    return bool(select.select([waker.descriptor], [], [], 0)[0])


def test_many_wakes_are_one_and_draining_ends_it() -> None:
    """More wakes than the pipe holds: none blocks, and one drain clears them."""
    waker = Waker()
    assert not is_awake(waker)
    for _ in range(200_000):
        waker.wake()
    assert is_awake(waker)
    waker.drain()
    assert not is_awake(waker)
    waker.wake()
    assert is_awake(waker)
    waker.close()


def test_the_first_signal_asks_to_leave_and_a_later_one_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGTERM wakes the loop and asks once, SIGTERM again at once is the same wish; SIGINT later
    interrupts whatever runs."""
    now = [100.0]
    monkeypatch.setattr("zstream.runtime.signals.time.monotonic", lambda: now[0])
    waker = Waker()
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    signals = LeaveSignals(waker)
    signals.install()
    try:
        assert not signals.take_leave_asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert is_awake(waker)
        assert signals.take_leave_asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert not signals.take_leave_asked()
        now[0] += 1
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signals.restore()
        signals.restore()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    waker.close()
