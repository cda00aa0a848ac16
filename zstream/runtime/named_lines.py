"""A file of JSON lines to which several processes append, each line once, whatever crashed before.

Each line begins with its name:

    {"epoch": 7, "author": 8231, "number": 3, "time": ...

Who appends holds a lock on the file, first cuts off a line that a crash tore, and looks at what
was appended since it looked last: what is there already is not written again.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from zstream.stores.files import sync_directory

_BEGINNING = b'{"epoch": '
_NAME = re.compile(rb'\{"epoch": (\d+), "author": (\d+), "number": (\d+), ')
_LOCK_S = 10.0  # to wait for others that append
_LOCK_LOOK_S = 0.02


class NamedLines:
    """One such file; it is made by the first line. bytes_max: it does not grow above that.

    Something that is no regular file, /dev/null or a pipe, is only written to.
    """

    def __init__(self, path: str, bytes_max: int) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._file = (0, 0)  # device and inode of the file that was looked at
        self._looked = 0  # up to this offset, which is behind a line
        self._there: dict[tuple[int, int], set[int]] = {}  # the file's limit bounds it
        self._is_name_durable = False

    def commit(self, epoch: int, author: int, lines: Sequence[str]) -> int:
        """Append, durably, those of the lines that are not there; numbers count from 1.

        lines: JSON objects with at least one field. Returns how many found no room, the last ones.
        May block for some seconds. Raises OSError.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        file = os.open(self._path, flags, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                _write(
                    file,
                    b"".join(_named(epoch, author, n, line) for n, line in enumerate(lines, 1)),
                )
                return 0
            with self._locked(file):
                self._look(file, epoch)
                left = self._append(file, epoch, author, lines)
                os.fsync(file)  # also when all was there: nobody knows whether that was durable
        finally:
            os.close(file)
        if not self._is_name_durable:
            with suppress(PermissionError):  # one may write here and yet not list what is here
                sync_directory(Path(self._path).absolute().parent)
            self._is_name_durable = True
        return left

    def _append(self, file: int, epoch: int, author: int, lines: Sequence[str]) -> int:
        """Write what is missing and fits; returns how many lines did not."""
        there = self._there.setdefault((epoch, author), set())
        missing = [number for number in range(1, len(lines) + 1) if number not in there]
        room = self._bytes_max - self._looked
        fitting: list[bytes] = []
        for number in missing:
            named = _named(epoch, author, number, lines[number - 1])
            room -= len(named)
            if room < 0:
                break
            fitting.append(named)
        data = b"".join(fitting)
        _write(file, data)
        self._looked += len(data)
        there.update(missing[: len(fitting)])
        return len(missing) - len(fitting)

    @contextmanager
    def _locked(self, file: int) -> Iterator[None]:
        deadline = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{self._path} is locked by another process") from None
            time.sleep(_LOCK_LOOK_S)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)

    def _look(self, file: int, epoch: int) -> None:
        """Note the names of lines that were appended since; the file ends with a line then."""
        status = os.fstat(file)
        if self._file != (status.st_dev, status.st_ino) or status.st_size < self._looked:
            # The old one was moved away, or emptied. What of this epoch was in it is not doubled.
            self._there = {name: each for name, each in self._there.items() if name[0] == epoch}
            self._file = (status.st_dev, status.st_ino)
            self._looked = 0
        with open(file, "rb", closefd=False) as reader:
            reader.seek(self._looked)
            for line in reader:
                if not line.endswith(b"\n"):
                    if _is_torn(line):
                        os.ftruncate(file, self._looked)
                        return
                    os.write(file, b"\n")
                    self._looked += 1
                if name := _NAME.match(line):
                    epoch, author, number = map(int, name.groups())
                    self._there.setdefault((epoch, author), set()).add(number)
                self._looked += len(line)


def _named(epoch: int, author: int, number: int, line: str) -> bytes:
    name = f'{{"epoch": {epoch}, "author": {author}, "number": {number}, '
    return f"{name}{line[1:]}\n".encode()


def _is_torn(tail: bytes) -> bool:
    """Whether a last line without its end is one of ours and not whole.

    After a power loss there may be zeros where it was. What others wrote is never cut off.
    """
    if not tail.startswith(_BEGINNING) and not _BEGINNING.startswith(tail.rstrip(b"\0")):
        return False
    try:
        json.loads(tail)
    except ValueError:
        return True
    return False


def _write(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
