"""The control log in a blob store: one blob a record, and the first to create a number has it."""

from __future__ import annotations

from zstream.model.ids import LogNumber
from zstream.ports.blobs import BlobStore
from zstream.ports.log import LOG

_DIGITS = 20  # names in the order of their numbers, for people who list the store
_LISTINGS_MAX = 50  # then the log changes too fast to be read, and the caller tries again


class BlobLog:
    """A `zstream.ports.log.LogStore`."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store

    def create(self, number: LogNumber, payload: bytes) -> bool:
        """Write durably under a number nobody has used; False when it is taken.

        Raises OSError when it is not known whether it was written.
        """
        return self._store.create(_name(number), payload)

    def read_from(self, number: LogNumber) -> list[tuple[LogNumber, bytes]]:
        """All that stands at `number` and above, ascending.

        A listing is no snapshot: it may miss a record and yet have a later one. One without a
        hole after `number` misses at most the end, as if it had been read earlier. Of others,
        two that agree have no hole that is not there, because the second began when everything in
        the first stood.
        """
        before: list[LogNumber] | None = None
        for _ in range(_LISTINGS_MAX):
            numbers = self._numbers_from(number)
            if numbers == before or numbers == list(range(number, number + len(numbers))):
                records = [(n, self._store.read(_name(n))) for n in numbers]
                whole = [(n, payload) for n, payload in records if payload is not None]
                if len(whole) == len(records):
                    return whole
                before = None  # cleaned away meanwhile: list again
            else:
                before = numbers
        raise OSError(f"the control log changed during each of {_LISTINGS_MAX} listings")

    def delete_below(self, number: LogNumber) -> None:
        """Clean away everything below `number`, lowest first so that no hole appears."""
        for there in self._numbers_from(LogNumber(0)):
            if there < number:
                self._store.delete(_name(there))

    def _numbers_from(self, number: LogNumber) -> list[LogNumber]:
        ends = (name.removeprefix(f"{LOG}/") for name in self._store.names(LOG))
        return sorted(LogNumber(int(end)) for end in ends if end.isdecimal() and int(end) >= number)


def _name(number: LogNumber) -> str:
    return f"{LOG}/{number:0{_DIGITS}}"
