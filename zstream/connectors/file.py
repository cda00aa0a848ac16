"""Files as a source: lines, frames or CSV rows of one file, or of all files of a directory.

A directory's files are read in the order of their names, each once. With `follow` more is waited
for: growth of the file whose name is the last, and new files. Once a file with a later name is
there, and the end of the one before is reached, that is done with; it must not grow any more.

A file that comes late, behind others whose names sort after its own, is read as soon as the file
that is being read has come to its end. Which files were read is remembered by name for the
DONE_KEPT last names, and for what is before these by the highest name: a file that sorts even
before that is taken for an old one, or, when it is seen to come, is said and not read.
Names that begin with a dot, and what is no regular file, are passed over; so a file that is moved
into the directory under its last name is never seen half written.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from bisect import insort
from collections.abc import Callable, Sequence
from typing import Any

from zstream.config import Config
from zstream.connectors.framing import MarkedCutter
from zstream.errors import ConnectorError
from zstream.ports.connectors import EndOfInput

FOLLOW_SECONDS = 0.1  # how often a file or directory that is followed is looked at for more
LISTING_SHARE = 0.05  # listing a large directory takes at most this share of the time
DONE_KEPT = 256  # names of read files in a position: it is part of each checkpoint

log = logging.getLogger(__name__)


class FileReader:
    """Reads a regular file, or a directory of them, from the start.

    `position` is made of: at, the file that is being read as [name, offset, count, mark], which is
    what `_OpenFile.position` gives; aside, the last file, left at its end for one that came late;
    done, names of files that were read; floor, the name up to which all others were. name is ""
    where the path is a file.

    make_cutter: called with how messages name what is cut.
    """

    def __init__(
        self,
        who: str,
        path: str,
        make_cutter: Callable[[str], MarkedCutter],
        follow: bool,
        config: Config | None = None,
    ) -> None:
        self._who = who
        self._path = path
        self._make_cutter = make_cutter
        self._follow = follow
        self._read_bytes = (config or Config()).source_read_bytes_max
        self._is_directory = os.path.isdir(path)
        self._file: _OpenFile | None = None
        self._waiting: list[str] = []  # files that are read after this one, as last listed
        self._aside: list[Any] | None = None
        self._done: list[str] = []  # ascending
        self._floor = ""
        self._old: set[str] | None = None  # files up to the floor that are there; None: not known
        self._said_none = False
        self._idle = False  # there is nothing now
        self._pause = FOLLOW_SECONDS
        self._look_at: float | None = None  # when to look for more
        self.seek(None)

    def read(self, limit: int) -> list[Any]:
        """Up to `limit` records. Raises EndOfInput, or what is wrong with the file's bytes."""
        self._idle, self._look_at = False, None
        if self._file is None:
            self._begin_next()
            return []
        records = self._file.read(limit)
        if not records and self._file.at_end:
            self._end_of(self._file)
        return records

    def position(self) -> dict[str, Any]:
        return {
            "at": self._file.position() if self._file is not None else None,
            "aside": self._aside,
            "done": list(self._done),
            "floor": self._floor,
        }

    def seek(self, position: Any) -> int:
        """Go back. Raises ConnectorError where a file is gone, or shorter than what was read."""
        if position is None:
            at = None if self._is_directory else ["", 0, 0, None]
            position = {"at": at, "aside": None, "done": [], "floor": ""}
        try:
            at, aside, done, floor = (position[key] for key in ("at", "aside", "done", "floor"))
        except (TypeError, KeyError) as error:
            raise ConnectorError(
                f"{self._who}: the checkpoint has {position!r:.100} for it, which is no position "
                "in a file. Was it another kind of source then?"
            ) from error
        file = self._open(at) if at is not None else None
        self.close()
        self._file = file
        self._aside = aside
        self._done = list(done)
        self._floor = floor
        self._old = None
        self._waiting = self._listed()
        return 0

    def acknowledge(self, position: Any) -> None:
        """Nothing to do: a file keeps what was read."""

    def descriptors(self) -> Sequence[int]:
        """None: a file is readable always; see `wake_at`."""
        return ()

    def wake_at(self, now: float) -> float | None:
        if not self._idle:
            return now
        if self._look_at is None:
            self._look_at = now + self._pause
        return self._look_at

    def waits_for(self) -> str:
        if self._is_directory and self._file is None and not self._done:
            return f"{self._who}: there is no file in {self._path} yet."
        return ""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def _begin_next(self) -> None:
        """Open the next file, if there is one now."""
        if not self._waiting:
            self._waiting = self._listed()
        if not self._waiting:
            if not self._follow:
                self._say_when_there_was_none()
                raise EndOfInput
            self._idle = True
            return
        name = self._waiting[0]
        if self._aside is not None and self._aside[0] == name:
            self._file, self._aside = self._open(self._aside), None
        else:
            self._file = self._open([name, 0, 0, None])
        self._waiting.pop(0)

    def _say_when_there_was_none(self) -> None:
        if not self._done and not self._said_none:
            log.warning("%s: there is no file in %s.", self._who, self._path)
            self._said_none = True

    def _end_of(self, file: _OpenFile) -> None:
        """All that is in the file now was given: wait, or leave it for another."""
        if file.finished:
            file.close()
            self._file = None
            self._note_done(file.name)
            return
        if self._is_directory and not self._waiting:
            self._waiting = self._listed()
        if not self._follow or (self._waiting and self._waiting[-1] > file.name):
            file.finish()
        elif self._waiting:
            self._aside = file.position()
            file.close()
            self._file = None
        else:
            file.check_not_cut()
            self._idle = True

    def _note_done(self, name: str) -> None:
        insort(self._done, name)
        if len(self._done) > DONE_KEPT:
            self._floor = self._done.pop(0)
            if self._old is not None:
                self._old.add(self._floor)

    def _open(self, at: Sequence[Any]) -> _OpenFile:
        name = at[0]
        if not self._is_directory:
            return _OpenFile(self._who, self._path, self._make_cutter, self._read_bytes, at)
        who = f"{self._who}, file {name}"
        path = os.path.join(self._path, name)
        return _OpenFile(who, path, self._make_cutter, self._read_bytes, at)

    def _listed(self) -> list[str]:
        """Files of the directory that wait to be read, ascending; the one set aside among them."""
        if not self._is_directory:
            return []
        started = time.monotonic()
        there = self._names()
        behind = {name for name in there if name <= self._floor}
        if self._old is not None:
            for name in sorted(behind - self._old):
                log.warning(
                    "%s: %s/%s is not read: it sorts before %d files that were read before it "
                    "came. New files need names that sort after.",
                    self._who,
                    self._path,
                    name,
                    len(self._done),
                )
        self._old = behind
        known = {*behind, *self._done, self._file.name if self._file is not None else ""}
        self._pause = max(FOLLOW_SECONDS, (time.monotonic() - started) / LISTING_SHARE)
        return sorted(there - known)

    def _names(self) -> set[str]:
        try:
            with os.scandir(self._path) as entries:
                names = {e.name for e in entries if e.name[0] != "." and e.is_file()}
        except OSError as error:
            raise ConnectorError(
                f"{self._who} cannot read {self._path}: {error.strerror}{seen_from(self._path)}."
            ) from error
        for name in names:
            if not name.isprintable():
                raise ConnectorError(
                    f"{self._who}: {self._path} holds a file whose name is no plain text, "
                    f"{name!a}. Rename it."
                )
        return names


class _OpenFile:
    """One file, from a place in it on.

    The place is [name, offset, count, mark]: the byte where a record begins, how many records
    after it were given, and what the cutter must know to begin there. The byte alone would need
    the size of each record, which a cutter does not keep.

    at_end: nothing more was in it at the last look. finished: nor will there be.
    """

    def __init__(
        self,
        who: str,
        path: str,
        make_cutter: Callable[[str], MarkedCutter],
        read_bytes: int,
        at: Sequence[Any],
    ) -> None:
        self.name, self._begin, self._next, self._mark = at
        self.at_end = False
        self.finished = False
        self._who = who
        self._path = path
        self._read_bytes = read_bytes
        self._cutter = make_cutter(who)
        if self._mark is not None:
            self._cutter.go_on(self._mark)
        self._offset = self._begin  # of the next byte to read
        self._cut: list[Any] = []  # records from `_begin` on, given from `_next` on
        self._descriptor = _open(who, path)
        if os.fstat(self._descriptor).st_size < self._offset:
            self.close()
            raise ConnectorError(self._shorter())

    def read(self, limit: int) -> list[Any]:
        """Up to `limit` records; [] where there are none, or some to be passed over first."""
        if self._next >= len(self._cut):
            passed_over = self._next - len(self._cut)
            self._cut = self._read_on()
            self._next = passed_over
            if self.at_end and self.finished:
                self.check_not_cut()
        records = self._cut[self._next : self._next + limit]
        self._next += len(records)
        return records

    def finish(self) -> None:
        """It will not grow, but it may have since the last look: what is left at its end then is a
        record, or is dropped."""
        self.finished = True

    def position(self) -> list[Any]:
        return [self.name, self._begin, self._next, self._mark]

    def check_not_cut(self) -> None:
        size = os.fstat(self._descriptor).st_size
        if size < self._offset:
            raise ConnectorError(
                f"{self._who}: {self._path} was cut to {size:,} bytes after {self._offset:,} "
                "were read. A file that is followed may only grow."
            )
        if self._next > len(self._cut):
            raise ConnectorError(self._shorter())

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _shorter(self) -> str:
        return (
            f"{self._who}: {self._path} is shorter than what was read of it before. A file may "
            "only grow until all of it is in a checkpoint."
        )

    def _read_on(self) -> list[Any]:
        """The records of the next chunk."""
        if self._cutter.fault is not None:
            raise self._cutter.fault
        chunk = os.pread(self._descriptor, self._read_bytes, self._offset)
        self._begin = self._offset - self._cutter.held()
        self._mark = self._cutter.mark()
        self._offset += len(chunk)
        self.at_end = not chunk
        if chunk:
            return self._cutter.feed(chunk)
        if not self.finished:
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


def _open(who: str, path: str) -> int:
    """A descriptor of a regular file, or ConnectorError that says what is there instead."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ConnectorError(f"{who}: there is no file {path}{seen_from(path)}.") from error
    except OSError as error:
        raise ConnectorError(
            f"{who} cannot read {path}: {error.strerror}{seen_from(path)}."
        ) from error
    kind = "a directory" if stat.S_ISDIR(mode) else "a pipe or a device"
    raise ConnectorError(
        f"{who} cannot read {path}: it is {kind}. Only a regular file can be read; "
        "what comes over a pipe can be sent to a TcpSource (sender --file -)."
    )


def seen_from(path: str) -> str:
    """Where a relative path was looked for, to be put behind it in a message."""
    return "" if os.path.isabs(path) else f" (looked for in {os.getcwd()})"
