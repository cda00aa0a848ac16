"""SIGINT and SIGTERM: the first asks the worker to leave, the second stops it at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from zstream.runtime.wake import Waker

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAME_WISH_S = 0.25


class LeaveSignals:
    """Counts signals while `install`ed; outside the main thread, where Python gives none, never.

    A second one that comes at once is the same wish: who signals a process and its group, as
    timeout(1) does, reaches it twice. A later one raises KeyboardInterrupt wherever the loop is,
    in a user's function too: one that never returns must not make a worker unstoppable.
    """

    def __init__(self, waker: Waker) -> None:
        self._waker = waker
        self._came_at: float | None = None
        self._told = False
        self._before: list[tuple[int, Callable[[int, FrameType | None], Any] | int | None]] = []
        self._wakeup_before = -1

    def install(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self._before = [(number, signal.signal(number, self._on_signal)) for number in _SIGNALS]
        self._wakeup_before = signal.set_wakeup_fd(
            self._waker.signal_descriptor, warn_on_full_buffer=False
        )

    def restore(self) -> None:
        """Put back what was there before `install`. Twice is harmless."""
        if not self._before:
            return
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before:
            signal.signal(number, handler)
        self._before = []

    def take_leave_asked(self) -> bool:
        """True once, after the first signal."""
        if self._came_at is not None and not self._told:
            self._told = True
            return True
        return False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._came_at is None:
            self._came_at = now
        elif now - self._came_at > _SAME_WISH_S:
            raise KeyboardInterrupt
