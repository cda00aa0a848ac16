"""The checkpoints' desk: answered from threads, held up by nobody, silent about nothing."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from zstream.errors import ConnectorError
from zstream.model.ids import Epoch
from zstream.ports.desk import DeskAnswer, OutputCommit, PartRead, PartsClean, PartWrite
from zstream.runtime.checkpoint_desk import ThreadedCheckpointDesk
from zstream.stores.files import FileStore

PART = "parts/r1/e7/1.part"


class Around:
    """A desk, what it says, and a way to wait for a number of its answers."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, Mapping[str, Any]]] = []
        self.wakes = 0
        self._rung = threading.Semaphore(0)
        self.desk = ThreadedCheckpointDesk(self._ring, self._say, lambda url: FileStore(url))

    def _ring(self) -> None:
        self.wakes += 1
        self._rung.release()

    def _say(self, level: str, event: str, text: str, fields: Mapping[str, Any]) -> None:
        self.said.append((event, text, fields))

    def answers(self, count: int) -> list[DeskAnswer]:
        for _ in range(count):
            assert self._rung.acquire(timeout=10)
        return self.desk.take()


class Sink:
    """Notes what is committed; waits for `let_go` first, and raises `error` if there is one."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.let_go = threading.Event()
        self.let_go.set()
        self.entered = threading.Event()
        self.committed: list[tuple[int, int, Sequence[Any]]] = []
        self.inside = 0
        self.inside_most = 0

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        self.inside += 1
        self.inside_most = max(self.inside, self.inside_most)
        self.entered.set()
        assert self.let_go.wait(10)
        self.inside -= 1
        if self.error is not None:
            raise self.error
        self.committed.append((epoch, author, outputs))


class StuckStore:
    """A store of which the names in `stuck` are answered only when it is let go."""

    def __init__(self, stuck: set[str]) -> None:
        self.stuck = stuck
        self.let_go = threading.Event()

    def create(self, name: str, payload: bytes) -> bool:
        raise AssertionError("parts are put")

    def put(self, name: str, payload: bytes) -> None:
        if name in self.stuck:
            assert self.let_go.wait(10)

    def read(self, name: str) -> bytes | None:
        raise MemoryError("no room for it")

    def names(self, folder: str = "") -> list[str]:
        raise SystemExit(3)

    def delete(self, name: str) -> None: ...


def commit(token: int, sink: Sink, epoch: int = 7) -> OutputCommit:
    return OutputCommit(token, sink, Epoch(epoch), 1, [token])


def test_parts_are_written_read_and_cleaned(tmp_path: Path) -> None:
    """One after the other, as the driver asks: there, not there, cleaned."""
    around = Around()
    around.desk.open(FileStore(tmp_path))
    around.desk.submit(PartWrite(1, PART, b"abc"))
    assert around.answers(1) == [DeskAnswer(1)]
    around.desk.submit(PartRead(2, PART))
    assert around.answers(1) == [DeskAnswer(2, payload=b"abc")]
    around.desk.submit(PartsClean(3, Epoch(8)))
    assert around.answers(1) == [DeskAnswer(3)]
    around.desk.submit(PartRead(4, PART))
    assert around.answers(1) == [DeskAnswer(4, payload=None)]
    assert around.desk.close(10)
    assert around.said == []


def test_what_is_submitted_before_the_store_is_known_waits_for_it(tmp_path: Path) -> None:
    """More than there are threads, and a commit: all of it is done when the store is there."""
    around = Around()
    sink = Sink()
    for token in range(9):
        around.desk.submit(PartWrite(token, f"parts/r1/e7/{token}.part", b""))
    around.desk.submit(commit(9, sink))
    assert not sink.entered.wait(0.02) and around.desk.take() == []
    around.desk.open(FileStore(tmp_path))
    assert sorted(answer.token for answer in around.answers(10)) == list(range(10))
    assert len(FileStore(tmp_path).names("parts")) == 9
    assert around.desk.close(10)


def test_a_sink_that_stalls_holds_up_neither_parts_nor_other_sinks(tmp_path: Path) -> None:
    """Its own commits wait, in order and one at a time; everything else is answered."""
    around = Around()
    around.desk.open(FileStore(tmp_path))
    stalled, other = Sink(), Sink()
    stalled.let_go.clear()
    for token, epoch in ((1, 7), (2, 8), (3, 9)):
        around.desk.submit(commit(token, stalled, epoch))
    assert stalled.entered.wait(10)
    around.desk.submit(commit(4, other))
    around.desk.submit(PartWrite(5, PART, b"abc"))
    assert {answer.token for answer in around.answers(2)} == {4, 5}
    stalled.let_go.set()
    assert [answer.token for answer in around.answers(3)] == [1, 2, 3]
    assert [epoch for epoch, _, _ in stalled.committed] == [7, 8, 9]
    assert stalled.inside_most == 1
    assert around.desk.close(10)


def test_a_part_that_stalls_does_not_hold_up_another() -> None:
    """A bucket that answers one request late serves the others meanwhile."""
    around = Around()
    store = StuckStore({"parts/slow"})
    around.desk.open(store)
    around.desk.submit(PartWrite(1, "parts/slow", b""))
    around.desk.submit(PartWrite(2, "parts/quick", b""))
    assert around.answers(1) == [DeskAnswer(2)]
    store.let_go.set()
    assert around.answers(1) == [DeskAnswer(1)]
    assert around.desk.close(10)


@pytest.mark.parametrize(
    ("error", "says"),
    [(OSError("disk full"), "disk full"), (ConnectorError("nobody listens."), "nobody listens.")],
)
def test_a_failure_is_answered_and_the_next_operation_is_served(
    error: Exception, says: str, tmp_path: Path
) -> None:
    """What the outside refuses is the driver's to say and to try again."""
    around = Around()
    around.desk.open(FileStore(tmp_path))
    sink = Sink(error)
    around.desk.submit(commit(1, sink))
    assert around.answers(1) == [DeskAnswer(1, failed=says)]
    sink.error = None
    around.desk.submit(commit(2, sink))
    assert around.answers(1) == [DeskAnswer(2)]
    assert around.said == []
    assert around.desk.close(10)


def test_a_fault_in_a_thread_is_answered_and_said() -> None:
    """A sink's bug, no memory, an exit inside a thread: never a worker that waits for ever."""
    around = Around()
    around.desk.open(StuckStore(set()))
    around.desk.submit(commit(1, Sink(KeyError("oops"))))
    assert around.answers(1) == [DeskAnswer(1, failed="KeyError('oops')")]
    around.desk.submit(PartRead(2, PART))
    assert around.answers(1) == [DeskAnswer(2, failed="MemoryError('no room for it')")]
    around.desk.submit(PartsClean(3, Epoch(1)))
    assert around.answers(1) == [DeskAnswer(3, failed="SystemExit(3)")]
    assert [(event, text) for event, text, _ in around.said] == [
        ("desk_failed", f"{what} failed as nobody foresaw: {error}; it is tried again.")
        for what, error in (
            ("OutputCommit", "KeyError('oops')"),
            ("PartRead", "MemoryError('no room for it')"),
            ("PartsClean", "SystemExit(3)"),
        )
    ]
    assert "in commit" in around.said[0][2]["traceback"]
    assert around.desk.close(10)


def test_no_thread_to_be_had_is_a_failed_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's limit of threads is reached: the loop lives on, and tries again later."""
    around = Around()
    around.desk.open(FileStore(tmp_path))

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        around.desk.submit(PartWrite(1, PART, b""))
    assert around.answers(1) == [DeskAnswer(1, failed="can't start new thread")]
    around.desk.submit(PartWrite(2, PART, b""))
    assert around.answers(1) == [DeskAnswer(2)]
    assert around.desk.close(10)


def test_close_does_what_was_submitted(tmp_path: Path) -> None:
    """A worker that leaves has cleaned up after itself."""
    around = Around()
    around.desk.open(FileStore(tmp_path))
    for token in range(20):
        around.desk.submit(PartWrite(token, f"parts/r1/e7/{token}.part", b""))
    assert around.desk.close(10)
    assert len(FileStore(tmp_path).names("parts")) == 20


def test_close_does_not_wait_for_what_stalls_and_nothing_wakes_the_loop_afterwards() -> None:
    """The receiver answers after close: no wake, for the pipe is gone; what waited is not begun."""
    around = Around()
    around.desk.open(StuckStore(set()))
    sink = Sink(KeyError("said to nobody"))
    sink.let_go.clear()
    around.desk.submit(commit(1, sink, 7))
    around.desk.submit(commit(2, sink, 8))
    assert sink.entered.wait(10)
    assert not around.desk.close(0.02)
    sink.let_go.set()
    assert around.desk.close(10)  # the thread has ended
    assert around.wakes == 0 and around.desk.take() == [] and around.said == []


def test_closing_a_desk_that_was_never_opened_is_harmless() -> None:
    """A joiner that is refused never learns where the store is."""
    around = Around()
    around.desk.submit(PartRead(1, PART))
    assert around.desk.close(0)


def test_no_thread_is_left_when_there_is_nothing_to_do(tmp_path: Path) -> None:
    """Sinks come and go with each recovery; their threads do, too."""
    around = Around()
    around.desk.open(FileStore(tmp_path))
    for token in range(5):
        around.desk.submit(commit(token, Sink()))
    around.answers(5)
    assert around.desk.close(10)
    assert not [t for t in threading.enumerate() if t.name == "zstream-desk" and not _ending(t)]


def _ending(thread: threading.Thread) -> bool:
    thread.join(10)
    return not thread.is_alive()
