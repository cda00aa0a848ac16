"""One line on a terminal that shows how far a tool is."""

from __future__ import annotations

import sys
import time

REDRAW_SECONDS = 0.2
BAR_CELLS = 30


class Progress:
    """Redraws its line a few times a second; draws nothing where no person watches."""

    def __init__(self, quiet: bool) -> None:
        self._drawing = not quiet and sys.stderr.isatty()
        self._started = time.monotonic()
        self._next = self._started

    def seconds(self) -> float:
        """Since the start; never 0."""
        return max(time.monotonic() - self._started, 1e-6)

    def show(self, records: int, part: float | None = None) -> None:
        """Say how far it is, if it is time to. part: of all there is to do, 0..1; None: unknown."""
        if not self._drawing or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + REDRAW_SECONDS
        bar = ""
        if part is not None:
            bar = f"[{'#' * int(part * BAR_CELLS):{BAR_CELLS}}] {part:4.0%}  "
        rate = records / self.seconds()
        sys.stderr.write(f"\r{bar}{records:,} records  {rate:,.0f} a second\x1b[K")
        sys.stderr.flush()

    def end(self) -> None:
        """Take the line away."""
        if self._drawing:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
