"""Cutting CSV bytes into rows, each a dict of column name to text.

The first line names the columns. Cells may be quoted and a quoted cell may hold newlines
(RFC 4180); the text is UTF-8, with or without a byte order mark.
"""

from __future__ import annotations

import csv
from typing import Any

from zstream.connectors.framing import LineCutter
from zstream.errors import ConnectorError, LimitExceeded, ZstreamError
from zstream.topology.specs import FRAME_BYTES_MAX


class RowCutter:
    """A `MarkedCutter` for CSV: lines, joined where a quote is open, then split into cells."""

    def __init__(self, who: str) -> None:
        self.fault: ZstreamError | None = None
        self._who = who
        self._lines = LineCutter(who, FRAME_BYTES_MAX, "utf-8")
        self._open: list[str] = []  # lines of a row in which a quote is open
        self._open_bytes = 0
        self._open_fed = 0  # bytes as they came in, from the first open line on
        self._columns: list[str] = []
        self._rows = 0  # given so far, for messages

    def feed(self, chunk: bytes) -> list[Any]:
        if self.fault is not None:
            return []
        held, open_before = self._lines.held(), len(self._open)
        lines = self._lines.feed(chunk)
        rows = self._rows_of(lines)
        if open_before and len(self._open) == open_before + len(lines):
            self._open_fed += len(chunk)
        elif self._open:
            self._open_fed = len(chunk) - _begin_of_last(len(self._open), chunk, held)
        return rows

    def finish(self) -> list[Any]:
        return self._rows_of(self._lines.finish()) if self.fault is None else []

    def held(self) -> int:
        return self._open_fed if self._open else self._lines.held()

    def mark(self) -> list[Any]:
        """The columns, how many rows there were, and how many lines."""
        return [self._columns, self._rows, self._lines.mark() - len(self._open)]

    def go_on(self, mark: list[Any]) -> None:
        self._columns, self._rows, lines = mark
        self._lines.go_on(lines)

    def _rows_of(self, lines: list[str]) -> list[dict[str, str]]:
        if self._open or any('"' in line for line in lines):
            lines = self._joined(lines)
        rows: list[dict[str, str]] = []
        try:
            for cells in csv.reader(lines):
                if self._columns:
                    if cells:
                        rows.append(dict(zip(self._columns, cells)))  # noqa: B905
                elif cells:
                    self._columns = [cells[0].removeprefix("\ufeff"), *cells[1:]]
        except csv.Error as error:
            self.fault = ConnectorError(
                f"{self._who}: row {self._rows + len(rows) + 1:,} is not CSV: {error}."
            )
        self._rows += len(rows)
        self.fault = self.fault or self._lines.fault
        return rows

    def _joined(self, lines: list[str]) -> list[str]:
        """Whole rows. In a whole row the number of quotes is even."""
        whole: list[str] = []
        for line in lines:
            odd = line.count('"') % 2 == 1
            if not self._open and not odd:
                whole.append(line)
                continue
            opened = bool(self._open)
            self._open.append(line)
            self._open_bytes += len(line) + 1
            if opened and odd:
                whole.append("\n".join(self._open))
                self._open, self._open_bytes = [], 0
            elif self._open_bytes > FRAME_BYTES_MAX:
                self.fault = LimitExceeded(
                    "max_bytes",
                    f"{self._who}: a row has more than {FRAME_BYTES_MAX:,} bytes. "
                    "Is a quote opened and not closed?",
                )
                break
        return whole


def _begin_of_last(lines: int, chunk: bytes, held: int) -> int:
    """Where the last so many whole lines begin, in bytes from the chunk's begin.

    The first of them may have begun in an earlier chunk, `held` bytes before.
    """
    place = chunk.rfind(b"\n")
    for _ in range(lines):
        place = chunk.rfind(b"\n", 0, place)
    return place + 1 if place >= 0 else -held
