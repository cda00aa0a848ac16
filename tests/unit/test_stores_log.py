"""The control log over a store whose listings are no snapshots."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from zstream.model.ids import LogNumber
from zstream.stores.log import BlobLog


class ScriptedStore:
    """Blobs in memory; each listing is the next of a script, then what is there."""

    def __init__(self, there: Iterable[int], *listings: Iterable[int]) -> None:
        self.blobs = {name_of(n): str(n).encode() for n in there}
        self.script = [list(listing) for listing in listings]
        self.listed = 0

    def names(self, folder: str = "") -> list[str]:
        self.listed += 1
        if self.script:
            return [name_of(n) for n in self.script.pop(0)]
        return sorted(self.blobs)

    def read(self, name: str) -> bytes | None:
        return self.blobs.get(name)

    def create(self, name: str, payload: bytes) -> bool:
        return self.blobs.setdefault(name, payload) is payload

    def put(self, name: str, payload: bytes) -> None:
        self.blobs[name] = payload

    def delete(self, name: str) -> None:
        del self.blobs[name]


def name_of(number: int) -> str:
    return f"ctl/{number:020}"


def numbers_read(store: ScriptedStore, first: int) -> list[int]:
    records = BlobLog(store).read_from(LogNumber(first))
    assert all(payload == str(number).encode() for number, payload in records)
    return [number for number, _ in records]


def test_a_listing_with_a_hole_is_taken_again() -> None:
    """The listing misses 2, created while it ran, but has 3: read_from has both."""
    assert numbers_read(ScriptedStore([1, 2, 3], [1, 3]), 1) == [1, 2, 3]


def test_a_listing_that_misses_the_first_number_is_taken_again() -> None:
    """5 and 6 were created while it ran, and it has only 6."""
    assert numbers_read(ScriptedStore([5, 6], [6]), 5) == [5, 6]


def test_a_hole_that_stays_is_a_hole() -> None:
    """1 to 7 were cleaned away, and a stalled writer wrote 3 again: two listings agree on it."""
    store = ScriptedStore([3, 8, 9])
    assert numbers_read(store, 1) == [3, 8, 9]
    assert store.listed == 2


def test_a_listing_without_a_hole_is_believed_at_once() -> None:
    """Nothing new, or the next two: listing a bucket takes a while and costs money."""
    store = ScriptedStore([4, 5])
    assert numbers_read(store, 6) == []
    assert numbers_read(store, 4) == [4, 5]
    assert store.listed == 2


def test_a_record_that_is_cleaned_away_while_it_is_read_is_no_record() -> None:
    """4 was listed and is gone when it is read: list again."""
    assert numbers_read(ScriptedStore([5, 6], [4, 5, 6]), 4) == [5, 6]


def test_a_log_that_never_stands_still_is_an_error() -> None:
    """Each listing differs from the one before: after a bounded number, OSError."""
    store = ScriptedStore([], *([n] for n in range(2, 1_000)))
    with pytest.raises(OSError, match="changed during each of 50 listings"):
        numbers_read(store, 1)


def test_cleaning_begins_at_the_lowest() -> None:
    """A reader that comes in between sees no hole."""
    store = ScriptedStore([12, 10, 9, 11])
    deleted: list[str] = []
    store.delete = deleted.append  # type: ignore[method-assign]
    BlobLog(store).delete_below(LogNumber(12))
    assert deleted == [name_of(9), name_of(10), name_of(11)]
