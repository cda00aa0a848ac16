"""A directory as a sink: one file for each checkpoint and worker that wrote something in it.

    delays/0000000000000041-6148914691236517205
    delays/0000000000000042-3074457345618258602
    delays/0000000000000042-6148914691236517205

The names are epoch and author, so that names in order are epochs in order. A file is there whole or
not at all, also after a power loss, and never changes: it is written in the folder `.writing`,
synced, moved to its name, and then the directory is synced. Output that is committed again, by
anybody, finds its file and leaves it. So whoever takes files away, takes one only when there is one
of a later epoch: what is committed again then is never older.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from zstream.connectors.file import seen_from
from zstream.connectors.staged import StagedWriter, chunks_of
from zstream.errors import ConnectorError

WRITING = ".writing"
EPOCH_DIGITS = 16


class FileWriter(StagedWriter):
    """Writes bytes (or str, as UTF-8) to files in a directory, which is made if it is missing."""

    def __init__(self, who: str, path: str) -> None:
        super().__init__(who)
        self._path = os.path.abspath(path)
        self._writing = os.path.join(self._path, WRITING)
        self._check(path)

    def packed(self, records: Sequence[bytes]) -> bytes:
        """As it will stand in the file: what separates records is the encoder's."""
        return b"".join(records)

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        """Make the file of this epoch and author, unless it is there."""
        chunks = chunks_of(outputs, self.who)
        if not chunks:
            return
        name = f"{epoch:0{EPOCH_DIGITS}d}-{author}"
        file = os.path.join(self._path, name)
        try:
            if not _is_there(file):
                self._write(file, os.path.join(self._writing, name), chunks)
            _sync_directory(self._path)  # also when another worker moved it there just now
            self._clear(epoch, author)
        except OSError as error:
            raise ConnectorError(
                f"{self.who} cannot write {file}: {error.strerror or error}. "
                "It is tried again; its output is kept."
            ) from error

    def _write(self, file: str, writing: str, chunks: Sequence[bytes]) -> None:
        temporary = f"{writing}-{secrets.token_hex(4)}"  # another worker may do the same just now
        os.makedirs(self._writing, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            try:
                for chunk in chunks:
                    _write_all(descriptor, chunk)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, file)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def _clear(self, epoch: int, author: int) -> None:
        """Remove what a worker that died left half written.

        Earlier epochs were committed by all before this one was opened, and this author's output
        of this epoch stands. Who is still at one of these, after a long sleep, cannot move it any
        more, tries again, and finds the file there.
        """
        try:
            names = os.listdir(self._writing)
        except FileNotFoundError:
            return
        for name in names:
            of_epoch, _, rest = name.partition("-")
            if not of_epoch.isdecimal():
                continue
            mine = int(of_epoch) == epoch and rest.partition("-")[0] == str(author)
            if int(of_epoch) < epoch or mine:
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._writing, name))

    def _check(self, path: str) -> None:
        """Make the directory, or raise ConnectorError that says what is in the way."""
        try:
            with suppress(FileExistsError):
                os.mkdir(path)
                _sync_directory(os.path.dirname(self._path))
            is_directory = stat.S_ISDIR(os.stat(path).st_mode)
        except OSError as error:
            raise ConnectorError(
                f"{self.who} cannot make the directory {path}: {error.strerror}{seen_from(path)}."
            ) from error
        if not is_directory:
            raise ConnectorError(
                f"{self.who} cannot write {path}: it is a file, and this sink writes a directory "
                "with a file for each checkpoint. Take another name, or move the file away."
            )
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise ConnectorError(f"{self.who} cannot write {path}: permission denied.")


def _is_there(file: str) -> bool:
    try:
        os.stat(file)
    except FileNotFoundError:
        return False
    return True


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
