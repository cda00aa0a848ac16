"""A store for the time of a cluster's life, on one machine: removed by the last that holds it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from zstream.errors import ConnectorError

_MARK = ".private"  # a file of this name marks a directory that ends with its last user


def private_directory(cluster: str) -> Path:
    """Make a store of its own for a cluster on this machine, for the time of its life.

    Only this person may read it. It is removed by the last worker that holds it (`PrivateHold`).
    """
    word = "".join(c if c.isalnum() or c in "-_" else "-" for c in cluster)[:40]
    path = Path(tempfile.mkdtemp(prefix=f"zstream-{word}-"))  # mode 0700
    (path / _MARK).touch(mode=0o600)
    return path


class PrivateHold:
    """A worker's share of a private directory, a shared file lock: a crash lets go of it too.

    On a directory that is not private, and on None (a store that is no directory), it holds
    nothing and removes nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock = -1
        if path is None:
            return
        self._path = path
        with suppress(FileNotFoundError):
            self._lock = os.open(path / _MARK, os.O_RDWR | os.O_CLOEXEC)
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
