"""What an encoder may give: bytes go out as they are, str as UTF-8."""

from __future__ import annotations

from collections.abc import Sequence

from zstream.errors import ConnectorError


def as_bytes(records: Sequence[object], who: str) -> list[bytes]:
    """The records as bytes; ConnectorError that names the sink when one is something else."""
    encoded: list[bytes] = []
    for record in records:
        if type(record) is bytes:
            encoded.append(record)
        elif isinstance(record, str):
            encoded.append(record.encode())
        elif isinstance(record, (bytes, bytearray, memoryview)):
            encoded.append(bytes(record))
        else:
            raise ConnectorError(
                f"{who}: its encoder gave a {type(record).__name__}, {record!r:.100}. "
                "An encoder must return bytes or str."
            )
    return encoded
