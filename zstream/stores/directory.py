"""The control log in a directory: one file a record, and the first to link a number has it.

A record is written under a temporary name, synced, linked to its number and only then there, so a
reader sees all of it or nothing; the link fails when the number is taken. The directory may lie
on a file system that several hosts share, as long as that has atomic hard links.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from zstream.errors import ConnectorError
from zstream.model.ids import LogNumber

_SUFFIX = ".record"
_DIGITS = 20  # file names in the order of their numbers, for people who list the directory
_LISTINGS_MAX = 50  # then the directory changes too fast to be read, and the caller tries again
_PRIVATE = "private"  # a file of this name marks a directory that ends with its last user


class DirectoryLog:
    """A `zstream.ports.log.LogStore` in one directory, which must be there already."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def create(self, number: LogNumber, payload: bytes) -> bool:
        """Write durably under a number nobody has used; False when it is taken.

        Raises OSError when it is not known whether it was written.
        """
        temporary = self.path / f"{number:0{_DIGITS}}.{secrets.token_hex(8)}.writing"
        try:
            _write_synced(temporary, payload)
            try:
                os.link(temporary, self._file(number))
            except FileExistsError:
                return False
            _sync_directory(self.path)
            return True
        finally:
            with suppress(OSError):  # a name left behind is removed with the records below it
                temporary.unlink()

    def read_from(self, number: LogNumber) -> list[tuple[LogNumber, bytes]]:
        """All that stands at `number` and above, ascending.

        A listing is no snapshot: it may miss a record and yet have a later one. Two that agree
        have no such hole, because the second began when everything in the first was there.
        """
        before: list[LogNumber] | None = None
        for _ in range(_LISTINGS_MAX):
            numbers = self._numbers_from(number)
            if numbers == before:
                try:
                    return [(n, self._file(n).read_bytes()) for n in numbers]
                except FileNotFoundError:  # cleaned away meanwhile: list again
                    before = None
                    continue
            before = numbers
        raise OSError(f"{self.path} changed during each of {_LISTINGS_MAX} listings")

    def delete_below(self, number: LogNumber) -> None:
        """Clean away everything below `number`, lowest first so that no hole appears."""
        for name in sorted(os.listdir(self.path)):
            head, dot, _ = name.partition(".")
            if dot and head.isdecimal() and int(head) < number:
                (self.path / name).unlink(missing_ok=True)

    def probe(self) -> None:
        """Create one name twice and expect the refusal. Raises ConnectorError when unfit."""
        if not self.path.is_dir():
            raise ConnectorError(f"the store {self.path} is not a directory.")
        name = self.path / f"{secrets.token_hex(8)}.probe"
        link = name.with_suffix(".taken")
        try:
            _write_synced(name, b"probe")
            os.link(name, link)
            _sync_directory(self.path)
            try:
                os.link(name, link)
            except FileExistsError:
                return
        except OSError as error:
            raise ConnectorError(
                f"the store {self.path} cannot be used: {error.strerror or error}. "
                "It needs a directory where this worker may write and make hard links."
            ) from error
        finally:
            for made in (name, link):
                with suppress(OSError):
                    made.unlink()
        raise ConnectorError(
            f"the store {self.path} lets a name be created twice, so two leaders could both win. "
            "It needs a file system with exclusive hard links."
        )

    def _file(self, number: LogNumber) -> Path:
        return self.path / f"{number:0{_DIGITS}}{_SUFFIX}"

    def _numbers_from(self, number: LogNumber) -> list[LogNumber]:
        found = (
            int(name[: -len(_SUFFIX)])
            for name in os.listdir(self.path)
            if name.endswith(_SUFFIX) and name[: -len(_SUFFIX)].isdecimal()
        )
        return sorted(LogNumber(n) for n in found if n >= number)


def private_directory(cluster: str) -> Path:
    """Make a store of its own for a cluster on this machine, for the time of its life.

    Only this person may read it. It is removed by the last worker that holds it (`PrivateHold`).
    """
    word = "".join(c if c.isalnum() or c in "-_" else "-" for c in cluster)[:40]
    path = Path(tempfile.mkdtemp(prefix=f"zstream-{word}-"))  # mode 0700
    (path / _PRIVATE).touch(mode=0o600)
    return path


class PrivateHold:
    """A worker's share of a private directory, a shared file lock: a crash lets go of it too.

    On a directory that is not private it holds nothing and removes nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = -1
        with suppress(FileNotFoundError):
            self._lock = os.open(path / _PRIVATE, os.O_RDWR | os.O_CLOEXEC)
        if self._lock >= 0:
            self._share()

    def _share(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:  # its last worker is removing it
            os.close(self._lock)
            self._lock = -1
            raise ConnectorError(f"the cluster whose store was {self._path} has ended.") from error

    def release(self) -> None:
        """Let go, and remove the directory when nobody else holds it. Twice is harmless."""
        if self._lock < 0:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(self._path, ignore_errors=True)
        except OSError:
            pass  # another worker holds it, and will remove it
        finally:
            os.close(self._lock)
            self._lock = -1


def _write_synced(path: Path, payload: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
