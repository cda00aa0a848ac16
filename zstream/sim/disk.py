"""The control log's store as a cluster may meet it: slow, stalled, with lost answers.

One `Disk` is shared by all workers, as a directory on a file server is; each worker has a `Desk`
that does its operations one after the other, beside the loop. An append is steps at instants of
their own, the create, its sync, and the read, as `zstream.ports.log.perform` does them: whatever
happens between them happens here too.

What was created is seen by everybody at once, and is durable when its writer has synced it, or
anybody has read it, as `zstream.stores.files` has it. A power loss of the store takes what is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from zstream.model.ids import LogNumber
from zstream.ports.log import LogAnswer, LogAppend, LogClean, LogOperation, LogRead
from zstream.sim.kernel import Kernel


@dataclass
class DiskTrouble:
    """What the store does to operations now. Chances are per operation."""

    latency: tuple[float, float] = (0.0005, 0.004)
    lost_answer: float = 0.0  # it was written, and the answer is an OSError
    failed_create: float = 0.0  # it was not written, and the answer is an OSError
    failed_read: float = 0.0
    stall: float = 0.0  # the create is done much later, although its writer may have died by then
    stall_seconds: tuple[float, float] = (0.2, 2.0)
    unreachable: set[str] = field(default_factory=set)  # hosts that do not reach the store
    is_down: bool = False  # the store itself has no power

    def keeps_out(self, host: str) -> bool:
        """Whether nothing of this host reaches the store now."""
        return self.is_down or host in self.unreachable

    def calm(self) -> None:
        self.lost_answer = self.failed_create = self.failed_read = self.stall = 0.0
        self.unreachable.clear()
        self.is_down = False


class Disk:
    """A LogStore in memory: create is atomic, reads are strong and sync what they have read.

    history: what was first durable under each number, also when it was cleaned away since.
    decided: told of each such record, in the order in which they became durable: nobody can have
    acted on it before.
    power_losses: how many there were; a write that began before one cannot be synced after it.
    """

    def __init__(self) -> None:
        self.records: dict[LogNumber, bytes] = {}
        self.history: dict[LogNumber, bytes] = {}
        self.decided: Callable[[LogNumber, bytes], None] = lambda number, payload: None
        self.power_losses = 0
        self._unsynced: set[LogNumber] = set()
        self._deleted: dict[LogNumber, bytes] = {}  # and may be back after a power loss

    def create(self, number: LogNumber, payload: bytes) -> bool:
        """Everybody sees it from now on; it is durable after `sync`."""
        if number in self.records:
            return False
        self.records[number] = payload
        self._unsynced.add(number)
        return True

    def sync(self, number: LogNumber) -> None:
        if number in self._unsynced:
            self._unsynced.discard(number)
            if number not in self.history:
                self.history[number] = self.records[number]
                self.decided(number, self.records[number])

    def read_from(self, number: LogNumber) -> list[tuple[LogNumber, bytes]]:
        found = [(n, self.records[n]) for n in sorted(self.records) if n >= number]
        for there, _ in found:
            self.sync(there)
        return found

    def delete_below(self, number: LogNumber) -> None:
        for there in [n for n in self.records if n < number]:
            self._deleted[there] = self.records.pop(there)
            self._unsynced.discard(there)

    def lose_power(self, kernel: Kernel) -> None:
        """Each write that is not durable is there afterwards, or is not; each delete too."""
        self.power_losses += 1
        for number in sorted(self._unsynced):
            if kernel.chosen(0.5):
                kernel.note("disk", "lost", number)
                del self.records[number]
        self._unsynced = {n for n in self._unsynced if n in self.records}
        for number, payload in sorted(self._deleted.items()):
            if number not in self.records and kernel.chosen(0.5):
                self.records[number] = payload
        self._deleted.clear()


class Desk:
    """One worker's way to the disk: operations in order, answered later."""

    def __init__(
        self,
        kernel: Kernel,
        disk: Disk,
        trouble: DiskTrouble,
        host: str,
        answer: Callable[[LogAnswer], None],
    ) -> None:
        self._kernel = kernel
        self._disk = disk
        self._trouble = trouble
        self._host = host
        self._answer = answer
        self._waiting: deque[LogOperation] = deque()
        self._working = False
        self._gone = False
        self._paused = False
        self._parked: Callable[[], None] | None = None

    def submit(self, operation: LogOperation) -> None:
        self._waiting.append(operation)
        if not self._working:
            self._next()

    def pause(self) -> None:
        """The process is stopped: what the store was told is done, and no one reads the answer."""
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self._parked is not None:
            parked, self._parked = self._parked, None
            parked()

    def abandon(self) -> None:
        """The process died: what it handed to the store is still done, the rest is not."""
        self._gone = True
        self._waiting.clear()

    def _next(self) -> None:
        if not self._waiting or self._gone:
            self._working = False
            return
        self._working = True
        operation = self._waiting.popleft()
        delay = self._kernel.between(self._trouble.latency)
        if isinstance(operation, LogAppend):
            append = operation
            if self._kernel.chosen(self._trouble.stall):
                delay += self._kernel.between(self._trouble.stall_seconds)
                self._kernel.note(self._host, "stalled append", append.number, f"{delay:.3f}")
            self._kernel.after(delay, lambda: self._create(append))
        else:
            self._kernel.after(delay, lambda: self._finish(operation, "read", ""))

    def _create(self, operation: LogAppend) -> None:
        trouble = self._trouble
        outcome, cause = "unknown", "the store does not answer"
        if not trouble.keeps_out(self._host) and not self._kernel.chosen(trouble.failed_create):
            outcome = (
                "created" if self._disk.create(operation.number, operation.payload) else "taken"
            )
            cause = ""
            if self._kernel.chosen(trouble.lost_answer):
                outcome, cause = "unknown", "the answer was lost"
        self._kernel.note(self._host, "append", operation.number, outcome)
        losses = self._disk.power_losses
        delay = self._kernel.between(trouble.latency)
        self._kernel.after(delay, lambda: self._sync(operation, outcome, cause, losses))

    def _sync(self, operation: LogAppend, outcome: str, cause: str, losses: int) -> None:
        """Whoever died before this has left a record that is seen, and may not be durable yet."""
        if self._gone:
            return
        if self._paused:
            self._parked = lambda: self._sync(operation, outcome, cause, losses)
            return
        if outcome == "created" and losses == self._disk.power_losses:
            self._disk.sync(operation.number)
        elif outcome == "created":
            outcome, cause = "unknown", "the store had no power"
        self._finish(operation, outcome, cause)

    def _finish(self, operation: LogOperation, outcome: str, cause: str) -> None:
        if self._gone:
            return
        if self._paused:
            self._parked = lambda: self._finish(operation, outcome, cause)
            return
        trouble = self._trouble
        failed = trouble.keeps_out(self._host) or self._kernel.chosen(trouble.failed_read)
        if failed:
            answer = LogAnswer(operation.token, "failed", (), cause or "the store does not answer")
        elif isinstance(operation, LogClean):
            self._disk.delete_below(operation.below)
            answer = LogAnswer(operation.token, "cleaned", ())
        else:
            first = operation.first if isinstance(operation, LogRead) else operation.number
            records = tuple(self._disk.read_from(first))
            answer = LogAnswer(operation.token, outcome, records, cause)
        self._answer(answer)
        self._next()
