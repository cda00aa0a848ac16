"""A way to wake the loop from a thread or a signal: a pipe that its poller watches."""

from __future__ import annotations

import os
from contextlib import suppress


class Waker:
    """`wake` may be called from any thread; the loop polls `descriptor` and then `drain`s it."""

    def __init__(self) -> None:
        self.descriptor, self.signal_descriptor = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self.signal_descriptor, False)

    def wake(self) -> None:
        with suppress(BlockingIOError):  # full: it will wake anyway
            os.write(self.signal_descriptor, b"\0")

    def drain(self) -> None:
        with suppress(BlockingIOError):
            while len(os.read(self.descriptor, 4096)) == 4096:
                pass

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self.signal_descriptor)
