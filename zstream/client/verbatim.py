"""Lines exactly as they are, newline included, for the tools that stand outside of a cluster."""

from __future__ import annotations

from zstream.errors import ZstreamError

HELD_BYTES_MAX = 64 * 1024  # what has no newline for so long is no line, and is passed on


class VerbatimCutter:
    """A `Cutter` that changes no byte: whole lines, so that two streams can share an output."""

    def __init__(self) -> None:
        self.fault: ZstreamError | None = None
        self._held = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        lines = (self._held + chunk).split(b"\n")
        self._held = lines.pop()
        records = [line + b"\n" for line in lines]
        return records + self.finish() if len(self._held) > HELD_BYTES_MAX else records

    def finish(self) -> list[bytes]:
        held, self._held = self._held, b""
        return [held] if held else []

    def held(self) -> int:
        return len(self._held)
