"""Blobs in a directory: one file each, there whole or not at all, also after a power loss.

A blob is written under a temporary name in a folder of their own, synced, and then linked to its
name (`create`: the link fails when the name is taken) or moved to it (`put`); then the folder is
synced, and the way up to it when this is the first blob in it that this worker sees. The directory
may lie on a file system that several hosts share, as long as that has atomic hard links.

What is named otherwise is no blob: a person's own files, or with a dot at the beginning the
temporary ones and the mark of a private directory.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zstream.ports.blobs import check_name, is_name

_WRITING = ".writing"
_LEFTOVER_S = 24 * 3600.0  # no write takes so long: whoever made such a temporary name has died
_FOLDER_TRIES_MAX = 10  # a folder may be cleaned away just before something is written into it
_KNOWN_FOLDERS_MAX = 1000
_NO_BLOB = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class FileStore:
    """A `zstream.ports.blobs.BlobStore` in one directory, which must be there already."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._known: set[Path] = set()  # folders whose names are durable in those above them

    def create(self, name: str, payload: bytes) -> bool:
        with self._written(payload) as temporary:
            try:
                self._place(name, lambda file: os.link(temporary, file))
            except FileExistsError:
                return False
        return True

    def put(self, name: str, payload: bytes) -> None:
        with self._written(payload) as temporary:
            self._place(name, lambda file: os.replace(temporary, file))

    def read(self, name: str) -> bytes | None:
        """What stands under the name.

        Its writer may not have synced the folder yet. It is done here then, because whoever acts
        on what was read must not outlive it.
        """
        file = self._file(name)
        try:
            payload = file.read_bytes()
            self._sync_way(file.parent)
        except _NO_BLOB:
            os.stat(self.path)  # a directory that is gone is an error, not an empty store
            return None
        return payload

    def names(self, folder: str = "") -> list[str]:
        if folder:
            check_name(folder)
        os.stat(self.path)
        found: list[str] = []
        waiting = [folder]
        while waiting:
            inside = waiting.pop()
            with (
                suppress(FileNotFoundError, NotADirectoryError),
                os.scandir(self.path / inside) as entries,
            ):
                for entry in entries:
                    if is_name(entry.name):
                        name = f"{inside}/{entry.name}" if inside else entry.name
                        (waiting if entry.is_dir() else found).append(name)
        return sorted(found)

    def delete(self, name: str) -> None:
        """Remove a blob, and the folders that are empty then."""
        file = self._file(name)
        with suppress(*_NO_BLOB):
            file.unlink()
        folder = file.parent
        with suppress(OSError):  # there is something in it, or another worker was faster
            while folder != self.path:
                folder.rmdir()
                self._known.discard(folder)
                folder = folder.parent

    def clear_leftovers(self) -> None:
        """Remove what writers that died left half written, long ago by the file system's clock."""
        with self._written(b"") as fresh:
            now = fresh.stat().st_mtime
            for file in fresh.parent.iterdir():
                with suppress(FileNotFoundError):
                    if now - file.stat().st_mtime > _LEFTOVER_S:
                        file.unlink()

    def _file(self, name: str) -> Path:
        check_name(name)
        return self.path / name

    @contextmanager
    def _written(self, payload: bytes) -> Iterator[Path]:
        """A synced file under a temporary name, which is gone afterwards."""
        folder = self.path / _WRITING
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        temporary = folder / secrets.token_hex(8)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            with open(os.open(temporary, flags, 0o600), "wb") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            with suppress(OSError):  # moved to its name, or to be cleared as a leftover
                temporary.unlink()

    def _place(self, name: str, place: Callable[[Path], None]) -> None:
        """Give a synced file its name, durably, in folders that are made as needed."""
        file = self._file(name)
        for tries_left in reversed(range(_FOLDER_TRIES_MAX)):
            try:
                place(file)
                break
            except FileNotFoundError:
                if not tries_left:
                    raise
                self._make_folders(file.parent)
        self._sync_way(file.parent)

    def _make_folders(self, folder: Path) -> None:
        """Make what is missing below the store's directory, and never that itself."""
        if folder == self.path:
            return
        self._known.discard(folder)
        self._make_folders(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)

    def _sync_way(self, folder: Path) -> None:
        """Sync a folder's names, and its own name and those above unless that was done before."""
        sync_directory(folder)
        way = []
        while folder != self.path and folder not in self._known:
            way.append(folder)
            folder = folder.parent
            sync_directory(folder)
        if len(self._known) > _KNOWN_FOLDERS_MAX:
            self._known.clear()
        self._known.update(way)


def make_directory(path: Path) -> None:
    """Make a directory for a store, durably, with what is missing above it."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_directory(folder.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
