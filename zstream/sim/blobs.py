"""The store of checkpoints' parts: what is written, what is durable, what a power loss leaves.

A write has two instants, as in `zstream.stores.files`: `place` gives the blob its name, so that
everybody sees it; `sync` makes it durable. A read syncs what it has read. What is deleted may be
back after a power loss. `rot` is what a disk does by itself.
"""

from __future__ import annotations

from collections.abc import Callable

from zstream.errors import InvariantBroken
from zstream.ports.blobs import check_name
from zstream.sim.kernel import Kernel


class Blobs:
    """A `zstream.ports.blobs.BlobStore` in memory.

    written: what was ever written under each name. deleting: told of each name before it goes.
    power_losses: how many there were; a write that began before one cannot be synced after it.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.written: dict[str, bytes] = {}
        self.deleting: Callable[[str], None] = lambda name: None
        self.deleted = 0
        self.power_losses = 0
        self._unsynced: set[str] = set()
        self._gone: dict[str, bytes] = {}  # deleted, and may be back after a power loss

    def place(self, name: str, payload: bytes) -> None:
        """Everybody sees it from now on. Raises InvariantBroken for a name used for another."""
        check_name(name)
        if self.written.setdefault(name, payload) != payload:
            raise InvariantBroken(f"{name} was written twice, with different contents")
        if name not in self.blobs:
            self.blobs[name] = payload
            self._unsynced.add(name)

    def sync(self, name: str) -> None:
        self._unsynced.discard(name)

    def is_durable(self, name: str) -> bool:
        return name in self.blobs and name not in self._unsynced

    def create(self, name: str, payload: bytes) -> bool:
        if name in self.blobs:
            return False
        self.put(name, payload)
        return True

    def put(self, name: str, payload: bytes) -> None:
        self.place(name, payload)
        self.sync(name)

    def read(self, name: str) -> bytes | None:
        self.sync(name)
        return self.blobs.get(name)

    def names(self, folder: str = "") -> list[str]:
        return sorted(name for name in self.blobs if not folder or name.startswith(f"{folder}/"))

    def delete(self, name: str) -> None:
        if name in self.blobs:
            self.deleting(name)
            self.deleted += 1
            self._gone[name] = self.blobs.pop(name)
            self._unsynced.discard(name)

    def lose_power(self, kernel: Kernel) -> None:
        """Each write that is not durable is there afterwards, or is not; each delete too."""
        self.power_losses += 1
        for name in sorted(self._unsynced):
            if kernel.chosen(0.5):
                kernel.note("store", "lost", name)
                del self.blobs[name]
        self._unsynced.clear()
        for name, payload in sorted(self._gone.items()):
            if name not in self.blobs and kernel.chosen(0.5):
                self.blobs[name] = payload
        self._gone.clear()

    def rot(self, name: str, kernel: Kernel) -> None:
        """One bit of a blob is another from now on."""
        payload = bytearray(self.blobs[name])
        place = kernel.chance.randrange(len(payload) * 8)
        payload[place // 8] ^= 1 << place % 8
        kernel.note("store", "rots", name, place)
        self.blobs[name] = bytes(payload)
