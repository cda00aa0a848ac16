"""The checkpoints' desk: threads that do what may wait for the store or for a sink's outside.

A few threads work for the store. Each sink that commits has its own, and so have savepoints, so
that one whose outside stalls holds up nobody else; what is committed to one sink stays in order.
A thread lives as long as there is something for it to do.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Mapping
from threading import Condition, Thread
from typing import Any

from zstream.ports.blobs import BlobStore
from zstream.ports.desk import (
    DeskAnswer,
    DeskOperation,
    OpenStore,
    OutputCommit,
    SavepointCopy,
    perform,
)

Say = Callable[[str, str, str, Mapping[str, Any]], None]

_STORE_THREADS_MAX = 4  # a recovery reads many parts, and a store behind a network is slow to begin


class _Line:
    """What waits for the store or for one sink, and how many threads work on it."""

    def __init__(self, threads_max: int) -> None:
        self.waiting: deque[DeskOperation] = deque()
        self.threads = 0
        self.threads_max = threads_max


class ThreadedCheckpointDesk:
    """A `zstream.ports.desk.CheckpointDesk`.

    What is submitted before the store is open waits for it. wake: called from a thread when there
    is an answer to `take`. say: as in `zstream.ports.shell.Shell`, called from a thread, too.
    open_other: opens the store that a savepoint is copied to, in a thread.
    """

    def __init__(self, wake: Callable[[], None], say: Say, open_other: OpenStore) -> None:
        self._wake = wake
        self._say = say
        self._open_other = open_other
        self._store: BlobStore | None = None
        self._answers: deque[DeskAnswer] = deque()
        self._lines: dict[int, _Line] = {}  # by the identity of what is worked for
        self._changed = Condition()  # guards all that is here
        self._closed = False

    def open(self, store: BlobStore) -> None:
        """Begin to work, with this store. A desk is opened once."""
        with self._changed:
            self._store = store
            for owner in list(self._lines):
                self._send_threads(owner)

    def submit(self, operation: DeskOperation) -> None:
        with self._changed:
            if isinstance(operation, OutputCommit):
                owner, threads_max = id(operation.sink), 1
            elif isinstance(operation, SavepointCopy):
                owner, threads_max = id(SavepointCopy), 1
            else:
                owner, threads_max = id(self), _STORE_THREADS_MAX
            self._lines.setdefault(owner, _Line(threads_max)).waiting.append(operation)
            self._send_threads(owner)

    def take(self) -> list[DeskAnswer]:
        """What has been answered since the last call."""
        answers = []
        while self._answers:
            answers.append(self._answers.popleft())
        return answers

    def close(self, deadline_s: float) -> bool:
        """Do what was submitted and stop; False when something held it up past the deadline."""
        with self._changed:
            done = self._store is None or self._changed.wait_for(
                lambda: not self._lines, deadline_s
            )
            self._closed = True
        return done

    def _send_threads(self, owner: int) -> None:
        """Have a thread for each operation that waits, up to the line's limit. Needs the lock."""
        line = self._lines[owner]
        if self._store is None:
            return
        for _ in range(min(len(line.waiting), line.threads_max - line.threads)):
            thread = Thread(
                target=self._work,
                args=(self._store, owner, line),
                name="zstream-desk",
                daemon=True,
            )
            try:
                thread.start()
            except RuntimeError as error:  # the system has no more threads to give
                if not line.threads:
                    self._refuse(owner, str(error))
                return
            line.threads += 1

    def _refuse(self, owner: int, why: str) -> None:
        for operation in self._lines.pop(owner).waiting:
            self._answers.append(DeskAnswer(operation.token, failed=why))
        self._wake()

    def _work(self, store: BlobStore, owner: int, line: _Line) -> None:
        while True:
            with self._changed:
                if self._closed or not line.waiting:
                    line.threads -= 1
                    if not line.threads:
                        del self._lines[owner]
                        self._changed.notify_all()
                    return
                operation = line.waiting.popleft()
            answer = self._perform(store, operation)
            with self._changed:
                if not self._closed:
                    self._answers.append(answer)
                    self._wake()

    def _perform(self, store: BlobStore, operation: DeskOperation) -> DeskAnswer:
        """Do it; whatever is raised becomes an answer, for the loop waits for one."""
        try:
            return perform(store, operation, self._open_other)
        except BaseException as error:  # also SystemExit, which ends a thread without a word
            what = type(operation).__name__
            if not self._closed:
                self._say(
                    "error",
                    "desk_failed",
                    f"{what} failed as nobody foresaw: {error!r}; it is tried again.",
                    {"operation": what, "traceback": traceback.format_exc()},
                )
            return DeskAnswer(operation.token, failed=repr(error))
