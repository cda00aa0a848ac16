"""What of a checkpoint may have to wait for a disk, a network or a receiver: done beside the loop.

Operations are handed in and answered later, in any order. Who hands them in waits for one answer
before it asks for what must come after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from zstream.errors import ConnectorError, UsageError, WireError
from zstream.model.ids import Epoch
from zstream.model.savepoint import Savepoint
from zstream.ports.blobs import BlobStore
from zstream.ports.savepoints import write_savepoint

PARTS = "parts"  # the folder of all parts; see zstream.wire.parts.PartName.blob


class Committing(Protocol):
    """What can commit: a writer, or the dead letters."""

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        """See zstream.ports.connectors.Writer."""


@dataclass(frozen=True)
class PartWrite:
    """Write a part; answered when it is durable."""

    token: int
    name: str
    payload: bytes


@dataclass(frozen=True)
class PartRead:
    """Read a part."""

    token: int
    name: str


@dataclass(frozen=True)
class PartsClean:
    """Delete all parts of epochs below this one, of whatever run."""

    token: int
    below: Epoch


@dataclass(frozen=True)
class OutputCommit:
    """Commit what was prepared for an epoch by `author`."""

    token: int
    sink: Committing
    epoch: Epoch
    author: int
    outputs: Sequence[Any]


@dataclass(frozen=True)
class SavepointCopy:
    """Copy a savepoint to the store at `to`; the answer's payload is its description there.

    is_wanted: asked from beside the loop, before each part.
    """

    token: int
    savepoint: Savepoint
    to: str
    is_wanted: Callable[[], bool]


DeskOperation = PartWrite | PartRead | PartsClean | OutputCommit | SavepointCopy
OpenStore = Callable[[str], BlobStore]


@dataclass(frozen=True)
class DeskAnswer:
    """What came of an operation. failed: why it is not known to be done, or "".

    payload: what was read, None for nothing there.
    """

    token: int
    failed: str = ""
    payload: bytes | None = None


class CheckpointDesk(Protocol):
    """Takes operations; the answers come back as events."""

    def submit(self, operation: DeskOperation) -> None: ...


def no_other_store(url: str) -> BlobStore:
    """For shells that reach one store only."""
    raise ConnectorError(f"{url} cannot be reached from here.")


def perform(
    store: BlobStore, operation: DeskOperation, open_other: OpenStore = no_other_store
) -> DeskAnswer:
    """Do one operation; called beside the loop by every shell.

    open_other: opens another store, made if need be; raises ConnectorError or UsageError.
    """
    try:
        if isinstance(operation, PartWrite):
            store.put(operation.name, operation.payload)
        elif isinstance(operation, PartRead):
            return DeskAnswer(operation.token, payload=store.read(operation.name))
        elif isinstance(operation, PartsClean):
            _clean(store, operation.below)
        elif isinstance(operation, SavepointCopy):
            other, url = open_other(operation.to), operation.to
            standing = write_savepoint(store, other, url, operation.savepoint, operation.is_wanted)
            return DeskAnswer(operation.token, payload=standing)
        else:
            operation.sink.commit(operation.epoch, operation.author, operation.outputs)
    except (OSError, ConnectorError, UsageError, WireError) as error:
        return DeskAnswer(operation.token, failed=str(error) or type(error).__name__)
    return DeskAnswer(operation.token)


def _clean(store: BlobStore, below: Epoch) -> None:
    for name in store.names(PARTS):
        folder = name.split("/")[2]  # parts/r1/e7/8231.part
        if folder[1:].isdecimal() and int(folder[1:]) < below:
            store.delete(name)
