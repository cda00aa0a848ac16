"""A worker's checkpoint desk: several threads, each held up as the store and the outside have it.

Operations are done in any order, but a sink commits one thing at a time. Each has its instants:
it is handed in, it is done, it is answered. Between them a process may be stopped, and then its
threads stand still too, or killed: what it had begun is done all the same, or is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zstream.ports.desk import (
    DeskAnswer,
    DeskOperation,
    OutputCommit,
    PartRead,
    PartsClean,
    PartWrite,
    perform,
)
from zstream.sim.blobs import Blobs
from zstream.sim.disk import DiskTrouble
from zstream.sim.kernel import Kernel

THREADS = 3  # how many operations a desk has under way at once
NO_ANSWER = "the store does not answer"

_NAMES: dict[type, str] = {
    PartWrite: "part written",
    PartRead: "part read",
    PartsClean: "parts cleaned",
    OutputCommit: "output committed",
}
ASKED, DONE, ANSWERED = "asked", "done", "answered"
MOMENTS = tuple(f"{name} {step}" for name in _NAMES.values() for step in (ASKED, DONE, ANSWERED))


@dataclass(eq=False)
class _Work:
    """An operation under way. is_sent: it will be done even if the process dies before."""

    operation: DeskOperation
    is_sent: bool = False


class SimulatedDesk:
    """A `zstream.ports.desk.CheckpointDesk`.

    moment: told of each of MOMENTS as it comes; the process may be killed in it.
    """

    def __init__(
        self,
        kernel: Kernel,
        blobs: Blobs,
        trouble: DiskTrouble,
        host: str,
        answer: Callable[[DeskAnswer], None],
        moment: Callable[[str], None],
    ) -> None:
        self._kernel = kernel
        self._blobs = blobs
        self._trouble = trouble
        self._host = host
        self._answer = answer
        self._moment = moment
        self._waiting: list[DeskOperation] = []
        self._working: list[_Work] = []
        self._parked: list[Callable[[], None]] = []
        self._paused = False
        self._gone = False

    def submit(self, operation: DeskOperation) -> None:
        self._waiting.append(operation)
        self._moment(f"{_NAMES[type(operation)]} {ASKED}")
        self._fill()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        parked, self._parked = self._parked, []
        for action in parked:
            action()

    def abandon(self) -> None:
        """The process died. Each thing that it had begun is done later, or never."""
        self._gone = True
        self._waiting.clear()
        self._parked.clear()
        for work in self._working:
            work.is_sent = self._kernel.chosen(0.5)

    # ---- the threads

    def _fill(self) -> None:
        """Give free threads what they may do: one thing at a time for each sink."""
        for operation in list(self._waiting):
            if len(self._working) >= THREADS or self._gone:
                return
            if not self._may_begin(operation):
                continue
            self._waiting.remove(operation)
            work = _Work(operation)
            self._working.append(work)
            delay = self._kernel.between(self._trouble.latency)
            if self._kernel.chosen(self._trouble.stall):
                delay += self._kernel.between(self._trouble.stall_seconds)
                self._kernel.note(self._host, "stalls", _NAMES[type(operation)], f"{delay:.3f}")
            self._later(delay, work, lambda w=work: self._do(w))  # type: ignore[misc]

    def _may_begin(self, operation: DeskOperation) -> bool:
        return not isinstance(operation, OutputCommit) or not any(
            isinstance(work.operation, OutputCommit) and work.operation.sink is operation.sink
            for work in self._working
        )

    def _later(self, delay: float, work: _Work, action: Callable[[], None]) -> None:
        def now() -> None:
            if self._gone and not work.is_sent:
                return
            if self._paused and not self._gone:
                self._parked.append(action)
            else:
                action()

        self._kernel.after(delay, now)

    def _do(self, work: _Work) -> None:
        operation, kernel, trouble = work.operation, self._kernel, self._trouble
        answer = DeskAnswer(operation.token, NO_ANSWER)
        if not self._is_in_the_way(operation):
            if isinstance(operation, PartWrite):
                self._blobs.place(operation.name, operation.payload)
                answer = DeskAnswer(operation.token)
            else:
                answer = perform(self._blobs, operation)
            if kernel.chosen(trouble.lost_answer):
                answer = DeskAnswer(operation.token, "the answer was lost")
        self._moment(f"{_NAMES[type(operation)]} {DONE}")
        losses = self._blobs.power_losses
        self._later(
            kernel.between(trouble.latency), work, lambda: self._finish(work, answer, losses)
        )

    def _is_in_the_way(self, operation: DeskOperation) -> bool:
        """Whether something keeps it from being done. Output does not go to the store."""
        trouble = self._trouble
        writes = isinstance(operation, PartWrite)
        chance = trouble.failed_create if writes else trouble.failed_read
        kept_out = not isinstance(operation, OutputCommit) and trouble.keeps_out(self._host)
        return kept_out or self._kernel.chosen(chance)

    def _finish(self, work: _Work, answer: DeskAnswer, losses: int) -> None:
        operation = work.operation
        if isinstance(operation, PartWrite) and not answer.failed:
            if losses == self._blobs.power_losses and not self._trouble.keeps_out(self._host):
                self._blobs.sync(operation.name)
            else:
                answer = DeskAnswer(operation.token, NO_ANSWER)
        if self._gone:
            return
        self._working.remove(work)
        if answer.failed:
            self._kernel.note(self._host, f"no {_NAMES[type(operation)]}", answer.failed)
        self._moment(f"{_NAMES[type(operation)]} {ANSWERED}")
        self._answer(answer)
        self._fill()
