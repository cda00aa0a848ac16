"""The control log's desk: a thread that does what may wait for a disk, in the order asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread

from zstream.ports.log import LogAnswer, LogOperation, LogStore, perform


class ThreadedLogDesk:
    """A `zstream.ports.log.LogDesk`.

    What is submitted before the store is open waits for it: a joiner learns from the cluster
    where the log is. The agent has one operation under way at a time, so the queue stays short.

    wake: called from the thread when there is an answer to `take`.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._asked: SimpleQueue[LogOperation | None] = SimpleQueue()
        self._answers: deque[LogAnswer] = deque()
        self._closing = Lock()  # between the thread's last wake and `close`
        self._closed = False
        self._thread: Thread | None = None

    def open(self, store: LogStore) -> None:
        """Begin to work on this store. A desk is opened once."""
        self._thread = Thread(target=self._work, args=(store,), name="zstream-log", daemon=True)
        self._thread.start()

    def submit(self, operation: LogOperation) -> None:
        self._asked.put(operation)

    def take(self) -> list[LogAnswer]:
        """What has been answered since the last call, in the order it was asked."""
        answers = []
        while self._answers:
            answers.append(self._answers.popleft())
        return answers

    def close(self, deadline_s: float) -> bool:
        """Do what was submitted and stop; False when the store held it up past the deadline."""
        if self._thread is None:
            return True
        self._asked.put(None)
        self._thread.join(deadline_s)
        with self._closing:
            self._closed = True
        return not self._thread.is_alive()

    def _work(self, store: LogStore) -> None:
        while (operation := self._asked.get()) is not None:
            answer = perform(store, operation)
            with self._closing:
                if self._closed:
                    return
                self._answers.append(answer)
                self._wake()
