"""One line on a terminal that shows how far a tool is."""

from __future__ import annotations

import sys
import time

REDRAW_SECONDS = 0.2
BAR_CELLS = 30


class Progress:
    """Redraws its line a few times a second; draws nothing where no person watches."""

    def __init__(self, quiet: bool, total_bytes: int = 0) -> None:
        """total_bytes: how much there is to do, 0 when it is not known."""
        self._drawing = not quiet and sys.stderr.isatty()
        self._total = total_bytes
        self._started = time.monotonic()
        self._next = self._started

    def seconds(self) -> float:
        """Since the start; never 0."""
        return max(time.monotonic() - self._started, 1e-6)

    def show(self, records: int, done_bytes: int) -> None:
        """Say how far it is, if it is time to."""
        if not self._drawing or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + REDRAW_SECONDS
        bar = ""
        if self._total:
            share = min(1.0, done_bytes / self._total)
            bar = f"[{'#' * int(share * BAR_CELLS):{BAR_CELLS}}] {share:4.0%}  "
        rate = records / self.seconds()
        sys.stderr.write(f"\r{bar}{records:,} records  {rate:,.0f} a second\x1b[K")
        sys.stderr.flush()

    def end(self) -> None:
        """Take the line away."""
        if self._drawing:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
