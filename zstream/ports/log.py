"""Storage of the control log: numbered blobs, create-if-absent, strong reads."""

from __future__ import annotations

from typing import Protocol

from zstream.model.ids import LogNumber


class LogStore(Protocol):
    """May block (fsync); shells run it beside the loop. One winner a number, in any schedule."""

    def create(self, number: LogNumber, payload: bytes) -> bool:
        """Write durably under a number nobody has used; False when it is taken.

        Raises OSError when it is not known whether it was written.
        """

    def read_from(self, number: LogNumber) -> list[tuple[LogNumber, bytes]]:
        """All that stands at `number` and above, ascending. May have gaps below a base record."""

    def delete_below(self, number: LogNumber) -> None:
        """Clean away everything below `number`, which holds a base record."""
