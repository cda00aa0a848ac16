"""The control log's storage, and the desk over which the core uses it without waiting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from zstream.model.ids import LogNumber

LOG = "ctl"  # the folder of the log's records in a blob store


class LogStore(Protocol):
    """Numbered blobs, create-if-absent, strong reads. May block (fsync): runs beside the loop."""

    def create(self, number: LogNumber, payload: bytes) -> bool:
        """Write durably under a number nobody has used; False when it is taken.

        Raises OSError when it is not known whether it was written.
        """

    def read_from(self, number: LogNumber) -> list[tuple[LogNumber, bytes]]:
        """All that stands at `number` and above, ascending."""

    def delete_below(self, number: LogNumber) -> None:
        """Clean away everything below `number`, which holds a base record."""


@dataclass(frozen=True)
class LogAppend:
    """Create `number`, then read everything from it on: the two together are one operation."""

    token: int
    number: LogNumber
    payload: bytes


@dataclass(frozen=True)
class LogRead:
    """Read everything from `first` on."""

    token: int
    first: LogNumber


@dataclass(frozen=True)
class LogClean:
    """Delete everything below `below`."""

    token: int
    below: LogNumber


LogOperation = LogAppend | LogRead | LogClean


@dataclass(frozen=True)
class LogAnswer:
    """What came of an operation.

    outcome: "created", "taken", "unknown" (of an append), "read", "cleaned" or "failed".
    records: what stood at and above the number, read *after* the create; empty for failed.
    """

    token: int
    outcome: str
    records: tuple[tuple[LogNumber, bytes], ...]
    cause: str = ""


class LogDesk(Protocol):
    """Operations are handed in and answered later, in order, by an event."""

    def submit(self, operation: LogOperation) -> None: ...


def perform(store: LogStore, operation: LogOperation) -> LogAnswer:
    """Do one operation on a store; called beside the loop by every shell."""
    try:
        if isinstance(operation, LogClean):
            store.delete_below(operation.below)
            return LogAnswer(operation.token, "cleaned", ())
        if isinstance(operation, LogRead):
            return LogAnswer(operation.token, "read", tuple(store.read_from(operation.first)))
    except OSError as error:
        return LogAnswer(operation.token, "failed", (), str(error))
    try:
        outcome = "created" if store.create(operation.number, operation.payload) else "taken"
        cause = ""
    except OSError as error:
        outcome, cause = "unknown", str(error)
    try:
        return LogAnswer(operation.token, outcome, tuple(store.read_from(operation.number)), cause)
    except OSError as error:
        return LogAnswer(operation.token, "failed", (), str(error))
