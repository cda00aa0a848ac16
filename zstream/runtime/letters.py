"""Dead letters: records that a user's function raised on, kept in a file of JSON lines.

They are output like any other: what was refused since the last cut is in the checkpoint, and goes
to the file when that is decided, so none is lost there and none is doubled.
"""

from __future__ import annotations

import errno
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from zstream.ports.letters import DeadLetter
from zstream.runtime.named_lines import NamedLines

Say = Callable[[str, str, str, Mapping[str, Any]], None]

_REPR_MAX = 64 * 1024  # characters of one record, as Python shows it, in the file
_REPR_SHOWN_MAX = 200  # and in a line of the log
_NEWEST_KEPT = 20
_NEWEST_TEXT_MAX = 1000  # characters of each of their fields: they travel to the status tool
_KINDS_MAX = 1000  # different errors that are said; beyond, letters are only counted
_REFUSED = (  # of a file that does not become writable by itself
    errno.EACCES,
    errno.EPERM,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EROFS,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENXIO,
)
_SHORT = ("time", "worker", "operator", "where", "at", "key", "record", "error")


class DeadLetterFile:
    """A `zstream.ports.letters.DeadLetters` in a file, made by the first letter.

    Several workers may have one file. What waits for a checkpoint and the file itself are both at
    most `bytes_max`; above it letters are only counted. say: as in `zstream.ports.shell.Shell`.
    """

    def __init__(self, path: str, worker: str, bytes_max: int, say: Say) -> None:
        self.count = 0
        self._path = path
        self._worker = worker
        self._bytes_max = bytes_max
        self._say = say
        self._lines = NamedLines(path, bytes_max)
        self._gathered: list[str] = []
        self._gathered_bytes = 0
        self._left_out = 0  # of those since the last cut
        self._stopped = False  # the file is full or refused by the system: said once
        self._kinds: set[tuple[str, str, str]] = set()
        self._newest: deque[dict[str, Any]] = deque(maxlen=_NEWEST_KEPT)

    def add(self, letter: DeadLetter) -> None:
        """Keep it; say it unless the same operator raised the same kind of error before."""
        self.count += 1
        entry = self._entry(letter)
        kept = {name: text[:_NEWEST_TEXT_MAX] for name, text in entry.items() if name in _SHORT}
        self._newest.append(kept)
        if not self._stopped:
            self._gather(entry)
        kind = (letter.operator, letter.at, letter.error.partition(":")[0])
        if kind not in self._kinds and len(self._kinds) < _KINDS_MAX:
            self._kinds.add(kind)
            self._say_first(letter)

    def prepare(self, epoch: int) -> list[str] | None:
        """The letters since the last call, a JSON object each; None for none."""
        gathered, left_out = self._gathered, self._left_out
        self.abort()
        if left_out:
            self._say(
                "error",
                "dead_letters_not_kept",
                f"between two checkpoints there is room for {self._bytes_max:,} bytes of dead "
                f"letters (limit dead_letters_bytes_max); only counted: {left_out:,}.",
                {"path": self._path, "letters": left_out},
            )
        return gathered or None

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        """Append what was prepared, each letter once, under its epoch, author, and number in it.

        Called beside the loop; may block for some seconds. Raises OSError for what may pass, such
        as a full disk. A file that can never be written is no reason to stop: it is said.
        """
        lines = [line for output in outputs for line in output]
        try:
            left = self._lines.commit(epoch, author, lines)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            self._stop(f"{self._path} cannot be written: {error.strerror}", len(lines))
            return
        if left:
            self._stop(
                f"{self._path} has reached {self._bytes_max:,} bytes (limit "
                "dead_letters_bytes_max)",
                left,
            )

    def abort(self) -> None:
        """Forget what was added since the last `prepare`: its records come again."""
        self._gathered = []
        self._gathered_bytes = 0
        self._left_out = 0

    def newest(self) -> tuple[Mapping[str, Any], ...]:
        """The newest letters, oldest first, cut short."""
        return tuple(self._newest)

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

    def _gather(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry)
        if self._gathered_bytes + len(line) > self._bytes_max:
            self._left_out += 1
            return
        self._gathered_bytes += len(line)
        self._gathered.append(line)

    def _stop(self, why: str, letters: int) -> None:
        """Called beside the loop."""
        if self._stopped:
            return
        self._stopped = True
        self._say(
            "error",
            "dead_letters_not_kept",
            f"{why}; dead letters that are not in it: {letters:,}; further ones are only counted.",
            {"path": self._path, "letters": letters},
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
