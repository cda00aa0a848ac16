"""A savepoint in a store: what is copied, what stands in the way, and that it may be done again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.savepoint_kit import FIRST, NEEDLESS, OLD, SAVEPOINT, SECOND, fill
from zstream.errors import ConnectorError, UsageError, WireError
from zstream.model.ids import RequestId
from zstream.ports.desk import SavepointCopy, perform
from zstream.ports.log import LOG
from zstream.ports.savepoints import DESCRIPTION, read_savepoint, write_savepoint
from zstream.stores.files import FileStore
from zstream.wire.codec import decode_savepoint, encode_savepoint


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """A cluster's."""
    (tmp_path / "cluster").mkdir()
    store = FileStore(tmp_path / "cluster")
    fill(store)
    return store


@pytest.fixture
def target(tmp_path: Path) -> FileStore:
    (tmp_path / "save").mkdir()
    return FileStore(tmp_path / "save")


def test_the_parts_that_it_needs_are_there_and_no_others(
    store: FileStore, target: FileStore
) -> None:
    standing = write_savepoint(store, target, "file:///save", SAVEPOINT, lambda: True)
    names = [OLD.blob(), FIRST.blob(), SECOND.blob()]
    assert target.names() == sorted([*names, DESCRIPTION])
    size = sum(len(store.read(name) or b"") for name in names)
    written = decode_savepoint(standing)
    assert written == replace(SAVEPOINT, parts=3, bytes=size)
    assert read_savepoint(target, "file:///save") == written
    assert all(target.read(name) == store.read(name) for name in names)


def test_what_was_begun_is_ended_by_who_comes_next(store: FileStore, target: FileStore) -> None:
    """A leader dies after two parts; the next one is asked with the same request. Asked once more
    when all is done, by then with a later checkpoint, it gives what stands there."""
    asked: list[None] = []

    def twice() -> bool:
        asked.append(None)
        return len(asked) <= 2

    with pytest.raises(ConnectorError, match="given up"):
        write_savepoint(store, target, "file:///save", SAVEPOINT, twice)
    assert len(target.names("parts")) == 2 and target.read(DESCRIPTION) is None
    first = write_savepoint(store, target, "file:///save", SAVEPOINT, lambda: True)
    store.delete(OLD.blob())
    later = replace(SAVEPOINT, version="2.0")
    assert write_savepoint(store, target, "file:///save", later, lambda: False) == first


def test_a_place_that_is_taken_is_refused(store: FileStore, target: FileStore) -> None:
    """By another savepoint; by a cluster's log, its own store too."""
    write_savepoint(store, target, "file:///save", SAVEPOINT, lambda: True)
    other = replace(SAVEPOINT, request=RequestId("s2"))
    with pytest.raises(ConnectorError) as caught:
        write_savepoint(store, target, "file:///save", other, lambda: True)
    assert str(caught.value) == (
        "file:///save holds a savepoint already, of votes at epoch 7. Choose another place."
    )
    store.put(f"{LOG}/00000000000000000001", b"")
    with pytest.raises(ConnectorError, match=r"file:///c is the store of a cluster\."):
        write_savepoint(store, store, "file:///c", SAVEPOINT, lambda: True)
    assert store.read(DESCRIPTION) is None


def test_a_damaged_part_makes_no_savepoint(store: FileStore, target: FileStore) -> None:
    """It is found while it is copied, not when the state is needed."""
    payload = bytearray(store.read(OLD.blob()) or b"")
    payload[len(payload) // 2] ^= 1
    store.put(OLD.blob(), bytes(payload))
    with pytest.raises(WireError, match=f"part {OLD.blob()} is damaged"):
        write_savepoint(store, target, "file:///save", SAVEPOINT, lambda: True)
    assert target.read(DESCRIPTION) is None
    assert NEEDLESS.blob() not in target.names()


def test_a_flipped_bit_in_the_description_is_found(store: FileStore, target: FileStore) -> None:
    payload = bytearray(encode_savepoint(SAVEPOINT))
    payload[-1] ^= 1
    target.put(DESCRIPTION, bytes(payload))
    with pytest.raises(ConnectorError, match=r"the savepoint file:///save cannot be read: .*check"):
        read_savepoint(target, "file:///save")


def test_the_desk_answers_with_what_stands_there_or_why_not(
    store: FileStore, target: FileStore
) -> None:
    copy = SavepointCopy(5, SAVEPOINT, "file:///save", lambda: True)
    answer = perform(store, copy, lambda url: target)
    assert (answer.token, answer.failed, answer.payload) == (5, "", target.read(DESCRIPTION))

    def refuse(url: str) -> FileStore:
        raise UsageError(f"a store cannot be {url}.")

    assert perform(store, copy, refuse).failed == "a store cannot be file:///save."
    assert perform(store, copy).failed == "file:///save cannot be reached from here."
