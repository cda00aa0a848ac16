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
    """A `Cutter` for CSV: lines, joined where a quote is open, then split into cells."""

    def __init__(self, who: str) -> None:
        self.fault: ZstreamError | None = None
        self._who = who
        self._lines = LineCutter(who, FRAME_BYTES_MAX, "utf-8")
        self._open: list[str] = []  # lines of a row in which a quote is open
        self._open_bytes = 0
        self._columns: list[str] = []
        self._rows = 0  # given so far, for messages

    def feed(self, chunk: bytes) -> list[Any]:
        return self._rows_of(self._lines.feed(chunk)) if self.fault is None else []

    def finish(self) -> list[Any]:
        return self._rows_of(self._lines.finish()) if self.fault is None else []

    def held(self) -> int:
        return self._lines.held() + self._open_bytes

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
