"""Dead letters: records that a user's function raised on, kept in a file of JSON lines."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from zstream.ports.letters import DeadLetter

Say = Callable[[str, str, str, Mapping[str, Any]], None]

_REPR_MAX = 64 * 1024  # characters of one record, as Python shows it, in the file
_REPR_SHOWN_MAX = 200  # and in a line of the log
_NEWEST_KEPT = 20
_NEWEST_TEXT_MAX = 1000  # characters of each of their fields: they travel to the status tool
_KINDS_MAX = 1000  # different errors that are said; beyond, letters are only counted
_SHORT = ("time", "worker", "operator", "where", "at", "key", "record", "error")


class DeadLetterFile:
    """A `zstream.ports.letters.DeadLetters` in a file, opened at the first letter.

    Several workers may append to one file: each letter is one write. Above `bytes_max` letters are
    only counted. say: as in `zstream.ports.shell.Shell`.
    """

    def __init__(self, path: str, worker: str, bytes_max: int, say: Say) -> None:
        self.count = 0
        self._path = path
        self._worker = worker
        self._bytes_max = bytes_max
        self._say = say
        self._file = -1
        self._stopped = False  # full or refused by the system: said once
        self._kinds: set[tuple[str, str, str]] = set()
        self._newest: deque[dict[str, Any]] = deque(maxlen=_NEWEST_KEPT)

    def add(self, letter: DeadLetter) -> None:
        """Keep it; say it unless the same operator raised the same kind of error before."""
        self.count += 1
        entry = self._entry(letter)
        kept = {name: text[:_NEWEST_TEXT_MAX] for name, text in entry.items() if name in _SHORT}
        self._newest.append(kept)
        self._write(entry)
        kind = (letter.operator, letter.at, letter.error.partition(":")[0])
        if kind not in self._kinds and len(self._kinds) < _KINDS_MAX:
            self._kinds.add(kind)
            self._say_first(letter)

    def newest(self) -> tuple[Mapping[str, Any], ...]:
        """The newest letters, oldest first, cut short."""
        return tuple(self._newest)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _entry(self, letter: DeadLetter) -> dict[str, Any]:
        entry = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "worker": self._worker,
            "operator": letter.operator,
            "where": letter.where,
            "at": letter.at,
            "key": shown(letter.key, _REPR_MAX),
            "record": shown(letter.record, _REPR_MAX),
            "error": letter.error,
            "traceback": letter.traceback,
        }
        with suppress(TypeError, ValueError, RecursionError):
            as_json = json.dumps(letter.record)
            if len(as_json) <= _REPR_MAX:
                entry["record_json"] = json.loads(as_json)
        return entry

    def _write(self, entry: Mapping[str, Any]) -> None:
        if self._stopped:
            return
        line = (json.dumps(entry) + "\n").encode()
        try:
            if self._file < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._file = os.open(self._path, flags, 0o666)
            is_full = os.fstat(self._file).st_size + len(line) > self._bytes_max
            if not is_full:
                os.write(self._file, line)
        except OSError as error:
            self._stop(f"{self._path} cannot be written: {error.strerror or error}")
            return
        if is_full:
            self._stop(
                f"{self._path} has reached {self._bytes_max:,} bytes (limit dead_letters_bytes_max)"
            )

    def _stop(self, why: str) -> None:
        self._stopped = True
        self._say(
            "error",
            "dead_letters_not_kept",
            f"{why}; from dead letter {self.count} on they are only counted.",
            {"path": self._path},
        )

    def _say_first(self, letter: DeadLetter) -> None:
        key = "" if letter.key is None else f", key {shown(letter.key, _REPR_SHOWN_MAX)}"
        at = f", at {letter.at}" if letter.at else ""
        self._say(
            "error",
            "dead_letter",
            f"{letter.operator} ({letter.where}) raised {letter.error}{key}, "
            f"record {shown(letter.record, _REPR_SHOWN_MAX)}{at}; "
            f"dead letter {self.count}, {self._path}. The same again is only counted.",
            {"operator": letter.operator, "error": letter.error, "count": self.count},
        )


def shown(value: object, length_max: int) -> str:
    """As Python shows it, cut at a length; a __repr__ that raises is named instead."""
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__} whose __repr__ raised {type(error).__name__}>"
    return text if len(text) <= length_max else f"{text[:length_max]}... ({len(text):,} characters)"
