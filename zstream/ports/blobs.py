"""Where the control log and the checkpoints lie: named bytes, whole or not there at all."""

from __future__ import annotations

import re
from typing import Protocol

from zstream.errors import InvariantBroken

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class BlobStore(Protocol):
    """Blobs by name, on a disk or behind a network, shared by all workers of a cluster.

    A name is like "parts/r1/e7/8231.part": slashes make folders, a folder is never a blob too,
    and a name is never used for two different contents, also not after it was deleted.
    What was written is seen by everybody at once; nobody ever sees half of it.

    Every method may block (a sync, a request), so none is called from the loop, and may be called
    from several threads. Each raises OSError when it is not known what happened.
    """

    def create(self, name: str, payload: bytes) -> bool:
        """Write durably under a name that nobody has used; False when it is taken.

        Of several who try at once exactly one has True. False can also mean that this very call
        won: a request was repeated on the way because its answer was lost. So whoever must know
        writes something of its own into the payload and looks at what stands there.
        """

    def put(self, name: str, payload: bytes) -> None:
        """Write durably. Writing the same bytes again is harmless."""

    def read(self, name: str) -> bytes | None:
        """What stands under the name, None for nothing. It will stand after a power loss too."""

    def names(self, folder: str = "") -> list[str]:
        """The names of all blobs below a folder, "" for all, ascending; [] for no such folder.

        No snapshot: what is created or deleted meanwhile may be in it or not.
        """

    def delete(self, name: str) -> None:
        """Remove a blob, harmless when there is none. It may be back after a power loss."""


def is_name(name: str) -> bool:
    """Whether it can be a blob's or a folder's name; what else lies in a store is not ours."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Raise InvariantBroken unless it is a name: none leads out of the store."""
    if not is_name(name):
        raise InvariantBroken(
            f"{name!r} cannot name a blob: letters, digits and . _ - between slashes, no part "
            "begins with a dot."
        )
