"""The log desk: operations in order, answered later, beside the loop."""

from __future__ import annotations

import threading
from pathlib import Path

from zstream.model.ids import LogNumber
from zstream.ports.log import LogAnswer, LogAppend, LogClean, LogRead
from zstream.runtime.log_desk import ThreadedLogDesk
from zstream.stores.files import FileStore
from zstream.stores.log import BlobLog


class Bell:
    """Counts wakes, and lets a test wait for a number of them."""

    def __init__(self) -> None:
        self._rung = threading.Semaphore(0)

    def ring(self) -> None:
        self._rung.release()

    def wait(self, times: int) -> None:
        for _ in range(times):
            assert self._rung.acquire(timeout=10)


class StuckStore:
    """A store whose disk does not answer until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def create(self, number: LogNumber, payload: bytes) -> bool:
        self.let_go.wait(10)
        return True

    def read_from(self, number: LogNumber) -> list[tuple[LogNumber, bytes]]:
        return []

    def delete_below(self, number: LogNumber) -> None: ...


def test_operations_are_answered_in_order(tmp_path: Path) -> None:
    """Append, append to the same number, clean, read: created, taken, cleaned, read."""
    bell = Bell()
    desk = ThreadedLogDesk(bell.ring)
    desk.open(BlobLog(FileStore(tmp_path)))
    desk.submit(LogAppend(1, LogNumber(1), b"a"))
    desk.submit(LogAppend(2, LogNumber(1), b"b"))
    desk.submit(LogClean(3, LogNumber(1)))
    desk.submit(LogRead(4, LogNumber(1)))
    bell.wait(4)
    assert desk.take() == [
        LogAnswer(1, "created", ((LogNumber(1), b"a"),)),
        LogAnswer(2, "taken", ((LogNumber(1), b"a"),)),
        LogAnswer(3, "cleaned", ()),
        LogAnswer(4, "read", ((LogNumber(1), b"a"),)),
    ]
    assert desk.take() == []
    assert desk.close(5)


def test_what_is_submitted_before_the_store_is_known_waits_for_it(tmp_path: Path) -> None:
    """A joiner asks, then learns where the log is: nothing is lost."""
    bell = Bell()
    desk = ThreadedLogDesk(bell.ring)
    desk.submit(LogRead(1, LogNumber(1)))
    assert desk.take() == []
    desk.open(BlobLog(FileStore(tmp_path)))
    bell.wait(1)
    assert [answer.outcome for answer in desk.take()] == ["read"]
    assert desk.close(5)


def test_a_store_that_fails_is_answered_and_the_next_is_served(tmp_path: Path) -> None:
    """The directory vanishes and comes back: failed, then read."""
    bell = Bell()
    desk = ThreadedLogDesk(bell.ring)
    desk.open(BlobLog(FileStore(tmp_path / "store")))
    desk.submit(LogRead(1, LogNumber(1)))
    bell.wait(1)
    (tmp_path / "store").mkdir()
    desk.submit(LogRead(2, LogNumber(1)))
    bell.wait(1)
    assert [answer.outcome for answer in desk.take()] == ["failed", "read"]
    assert desk.close(5)


def test_close_does_not_wait_for_a_stuck_disk_and_nothing_wakes_the_loop_afterwards() -> None:
    """The disk answers after close: no wake, for the pipe is gone by then."""
    woken = threading.Event()
    desk = ThreadedLogDesk(woken.set)
    store = StuckStore()
    desk.open(store)
    desk.submit(LogAppend(1, LogNumber(1), b"a"))
    assert not desk.close(0.05)
    store.let_go.set()
    assert desk.close(10)
    assert not woken.is_set()
    assert desk.take() == []


def test_closing_a_desk_that_was_never_opened_is_harmless() -> None:
    """A joiner that is refused never learns where the log is."""
    desk = ThreadedLogDesk(lambda: None)
    desk.submit(LogRead(1, LogNumber(1)))
    assert desk.close(0)
