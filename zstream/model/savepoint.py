"""What a savepoint is: a checkpoint that was asked for, in a place of its own, and is kept."""

from __future__ import annotations

from dataclasses import dataclass

from zstream.model.ids import RequestId
from zstream.model.records import Manifest


@dataclass(frozen=True)
class Savepoint:
    """The only blob of a savepoint beside its parts; it is written last, so who finds it has all.

    request, asked_at: who asked says when, in whole seconds since 1970, UTC.
    topology, fingerprint, outline, version: the software that it was taken from.
    parts, bytes: what was copied. manifest: its output is committed.
    """

    request: RequestId
    asked_at: int
    cluster: str
    topology: str
    fingerprint: str
    outline: tuple[tuple[str, str, str], ...]
    version: str
    parts: int
    bytes: int
    manifest: Manifest
