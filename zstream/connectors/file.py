"""Files: lines, frames or CSV rows in, bytes out.

What is promised. A source gives each record of the file once, in order. A sink hands every record
to the operating system, whole and in order; it appends, so several workers of one machine may
write the same file. A crash of the machine may lose what was written last.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zstream.config import Config
from zstream.connectors.descriptor import DescriptorOutput
from zstream.connectors.framing import Cutter
from zstream.connectors.outgoing import as_bytes
from zstream.errors import ConnectorError
from zstream.ports.connectors import EndOfInput

FOLLOW_SECONDS = 0.1  # how often a file that is followed is looked at for more

log = logging.getLogger(__name__)


class FileReader:
    """Reads a regular file from its start; with `follow`, waits at its end for more.

    `position` is [offset, count]: the byte where a record begins, and how many records after it
    were given. The byte alone would need the size of each record, which a cutter does not keep.
    """

    def __init__(
        self, who: str, path: str, cutter: Cutter, follow: bool, config: Config | None = None
    ) -> None:
        self._who = who
        self._path = path
        self._cutter = cutter
        self._follow = follow
        self._read_bytes = (config or Config()).source_read_bytes_max
        self._descriptor = _open(self._who, path)
        self._offset = 0  # of the next byte to read
        self._begin = 0  # of the first record in `_cut`
        self._cut: list[Any] = []  # records of the last chunk, given from `_next` on
        self._next = 0
        self._at_end = False
        self._look_at: float | None = None  # when to look for more

    def read(self, limit: int) -> list[Any]:
        """Up to `limit` records. Raises EndOfInput, or what is wrong with the file's bytes."""
        if self._next == len(self._cut):
            self._cut, self._next = self._read_on(), 0
        records = self._cut[self._next : self._next + limit]
        self._next += len(records)
        return records

    def position(self) -> list[int]:
        return [self._begin, self._next]

    def acknowledge(self, position: Any) -> None:
        """Nothing to do: a file keeps what was read."""

    def descriptors(self) -> Sequence[int]:
        """None: a file is readable always; see `wake_at`."""
        return ()

    def wake_at(self, now: float) -> float | None:
        if not (self._at_end and self._follow and self._next == len(self._cut)):
            return now
        if self._look_at is None:
            self._look_at = now + FOLLOW_SECONDS
        return self._look_at

    def waits_for(self) -> str:
        return ""

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _read_on(self) -> list[Any]:
        """The records of the next chunk."""
        if self._cutter.fault is not None:
            raise self._cutter.fault
        if self._at_end and not self._follow:
            raise EndOfInput
        self._look_at = None
        self._begin = self._offset - self._cutter.held()
        chunk = os.read(self._descriptor, self._read_bytes)
        self._offset += len(chunk)
        self._at_end = not chunk
        if chunk:
            return self._cutter.feed(chunk)
        if self._follow:
            self._check_not_cut()
            return []
        records = self._cutter.finish()
        if self._cutter.held():
            log.warning(
                "%s: %s ends in the middle of a record; the last %d bytes are dropped.",
                self._who,
                self._path,
                self._cutter.held(),
            )
        return records

    def _check_not_cut(self) -> None:
        size = os.fstat(self._descriptor).st_size
        if size < self._offset:
            raise ConnectorError(
                f"{self._who}: {self._path} was cut to {size:,} bytes after {self._offset:,} "
                "were read. A file that is followed may only grow."
            )


class FileWriter:
    """Appends bytes (or str, as UTF-8) to a file, which is made when it is not there."""

    def __init__(self, who: str, path: str) -> None:
        self._who = who
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise ConnectorError(
                f"{self._who} cannot write {path}: {error.strerror}{_seen_from(path)}."
            ) from error
        self._output = DescriptorOutput(descriptor, self._who)

    def write(self, records: list[Any]) -> None:
        self._output.add(b"".join(as_bytes(records, self._who)))

    def flush(self, now: float) -> None:
        """Write all. Raises ConnectorError when the file takes no more."""
        self._output.flush()

    def pending_bytes(self) -> int:
        return self._output.pending

    def descriptors(self) -> Sequence[int]:
        return self._output.waiting()

    def wake_at(self, now: float) -> float | None:
        return None

    def waits_for(self) -> str:
        return ""

    def prepare(self, epoch: int) -> None:
        """None: what was appended stays."""

    def commit(self, prepared: Any) -> None:
        """Nothing to do."""

    def abort(self, prepared: Any) -> None:
        """Nothing to do."""

    def close(self) -> None:
        if self._output.descriptor >= 0:
            os.close(self._output.descriptor)
        self._output.descriptor = -1


def _open(who: str, path: str) -> int:
    """A descriptor of a regular file, or ConnectorError that says what is there instead."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ConnectorError(f"{who}: there is no file {path}{_seen_from(path)}.") from error
    except OSError as error:
        raise ConnectorError(
            f"{who} cannot read {path}: {error.strerror}{_seen_from(path)}."
        ) from error
    kind = "a directory" if stat.S_ISDIR(mode) else "a pipe or a device"
    raise ConnectorError(
        f"{who} cannot read {path}: it is {kind}. Only a regular file can be read; "
        "what comes over a pipe can be sent to a TcpSource (sender --file -)."
    )


def _seen_from(path: str) -> str:
    """Where a relative path was looked for."""
    return "" if Path(path).is_absolute() else f" (looked for in {os.getcwd()})"
