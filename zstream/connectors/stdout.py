"""Standard output as a sink: one line a record."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from zstream.connectors.descriptor import DescriptorOutput
from zstream.connectors.outgoing import as_bytes
from zstream.connectors.staged import SendsAtOnce


class StdoutWriter(SendsAtOnce):
    """Prints each record and a newline. A reader that stops reading stops the sources.

    Where `sys.stdout` was replaced, by a notebook or a test, lines go there instead.
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self._output: DescriptorOutput | None = None
        own = sys.__stdout__
        if own is not None and sys.stdout is own:
            own.flush()
            self._output = DescriptorOutput(own.fileno(), self._who)

    def write(self, records: list[Any]) -> None:
        lines = b"".join([record + b"\n" for record in as_bytes(records, self._who)])
        if self._output is None:
            sys.stdout.write(lines.decode(errors="replace"))
        else:
            self._output.add(lines)

    def flush(self, now: float) -> None:
        """Write what is taken now. Raises ConnectorError when nobody reads any more."""
        if self._output is not None:
            self._output.flush()

    def pending_bytes(self) -> int:
        return self._output.pending if self._output is not None else 0

    def descriptors(self) -> Sequence[int]:
        return self._output.waiting() if self._output is not None else ()

    def wake_at(self, now: float) -> float | None:
        return None

    def waits_for(self) -> str:
        return ""

    def close(self) -> None:
        """Standard output stays open: it belongs to the process."""
