"""Bytes queued for a file descriptor, written without ever waiting for who reads them."""

from __future__ import annotations

import os
import select
import stat
from collections import deque

from zstream.errors import ConnectorError


class DescriptorOutput:
    """A queue of bytes in front of a file, a terminal or a pipe.

    A regular file takes everything. A pipe or terminal is asked first, and then takes PIPE_BUF
    bytes without blocking: making the descriptor non-blocking instead would change it for every
    other process that shares it, the shell for one.
    """

    def __init__(self, descriptor: int, who: str) -> None:
        self.pending = 0
        self.descriptor = descriptor
        self._who = who
        self._regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._queue: deque[bytes] = deque()
        self._view = memoryview(b"")

    def add(self, data: bytes) -> None:
        if data:
            self.pending += len(data)
            self._queue.append(data)

    def flush(self) -> None:
        """Write what the descriptor takes now. Raises ConnectorError when it takes no more."""
        try:
            while self.pending and (self._regular or self._poll.poll(0)):
                if not self._view:
                    self._view = memoryview(b"".join(self._queue))
                    self._queue.clear()
                piece = self._view if self._regular else self._view[: select.PIPE_BUF]
                written = os.write(self.descriptor, piece)
                self._view = self._view[written:]
                self.pending -= written
        except BlockingIOError:  # somebody else made it non-blocking, and it is full
            return
        except BrokenPipeError as error:
            raise ConnectorError(f"{self._who}: nobody reads its output any more.") from error
        except OSError as error:
            raise ConnectorError(f"{self._who} cannot write: {error.strerror}.") from error

    def waiting(self) -> tuple[int, ...]:
        """The descriptor, while something waits for it."""
        return (self.descriptor,) if self.pending else ()
