"""What a worker says: a line of text for a person, or of JSON for a program.

All of it goes through the standard library's logging, logger "zstream", to standard error, as do
the few lines that connectors log by themselves. Standard output is for the data of a Stdout sink
and for `--json`.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, TextIO

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_REPEAT_S = 5.0  # the same warning is said at most this often
_REMEMBERED_MAX = 1000  # different warnings whose repetition is noticed


class Telemetry:
    """Says things in the name of one worker.

    log_format: "text" or "json". json_lines: also one JSON object a line on standard output.
    clock: seconds, for the limit of repeated warnings.
    """

    def __init__(
        self,
        worker: str,
        log_format: str,
        json_lines: bool,
        *,
        log: TextIO | None = None,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker = worker
        self._out = (out or sys.stdout) if json_lines else None
        self._repeats = RepeatLimit(clock)
        self._logger = logging.getLogger("zstream")
        self._handler = logging.StreamHandler(log or sys.stderr)
        form = JsonLines if log_format == "json" else Text
        self._handler.setFormatter(form(worker))
        self._logger.addHandler(self._handler)
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False

    def say(self, level: str, event: str, text: str, fields: Mapping[str, Any]) -> None:
        """One line. The same warning or error again within seconds is counted, not said."""
        number = _LEVELS[level]
        if number >= logging.WARNING:
            times = self._repeats.admit(event, text)
            if times is None:
                return
            if times:
                text = f"{text} ({times} times more since it was last said)"
        self._logger.log(number, "%s", text, extra={"event": event, "fields": dict(fields)})
        if self._out is not None:
            line = {**fields, "event": event, "worker": self._worker, "text": text}
            try:
                print(as_json(line), file=self._out, flush=True)
            except OSError:  # whoever read it has gone; the worker goes on
                self._out = None

    def close(self) -> None:
        self._handler.flush()
        self._logger.removeHandler(self._handler)


class RepeatLimit:
    """Lets a repeated line through at most every few seconds, and counts the others."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def admit(self, event: str, text: str) -> int | None:
        """How often it was held back since it was last admitted; None: hold it back now."""
        now = self._clock()
        last, held_back = self._said.pop((event, text), (float("-inf"), 0))
        if now - last < _REPEAT_S:
            self._said[event, text] = (last, held_back + 1)
            return None
        self._said[event, text] = (now, 0)
        while len(self._said) > _REMEMBERED_MAX:
            self._said.popitem(last=False)
        return held_back


class Text(logging.Formatter):
    """The worker's name and the sentence: "w0: cluster `alphabet` is up"."""

    def __init__(self, worker: str) -> None:
        super().__init__(f"{worker}: %(message)s")


class JsonLines(logging.Formatter):
    """An object a line: ts, level, event, worker, text, and the fields of the event."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        line = {
            **getattr(record, "fields", {}),
            "ts": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "log"),
            "worker": self._worker,
            "text": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return as_json(line)


def as_json(value: Mapping[str, Any]) -> str:
    """One line of JSON; what JSON has no form for is written as Python shows it."""
    return json.dumps(value, default=repr, ensure_ascii=False)
