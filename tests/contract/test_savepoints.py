"""Savepoints from and to every kind of store; the kit's stores are those of `conftest.url`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.savepoint_kit import SAVEPOINT, fill
from zstream.errors import ConnectorError
from zstream.ports.desk import SavepointCopy, perform
from zstream.ports.savepoints import copy_parts, read_savepoint, write_savepoint
from zstream.stores.files import FileStore
from zstream.stores.registry import open_store, open_to_read


def test_there_and_back(url: str, tmp_path: Path) -> None:
    """A cluster's parts go to the place, are read there, and are another cluster's, byte by byte.
    The place keeps what it has: who asks for the same again is given it, another is refused."""
    (tmp_path / "cluster").mkdir()
    (tmp_path / "other").mkdir()
    cluster, other = FileStore(tmp_path / "cluster"), FileStore(tmp_path / "other")
    fill(cluster)
    copy = SavepointCopy(1, SAVEPOINT, url, lambda: True)
    answer = perform(cluster, copy, lambda to: open_store(to, make=True))
    assert answer.failed == ""
    place = open_to_read(url)
    savepoint = read_savepoint(place, url)
    assert (savepoint.parts, savepoint.manifest) == (3, SAVEPOINT.manifest)
    assert copy_parts(place, other, savepoint.manifest, lambda: True) == (3, savepoint.bytes)
    assert {name: other.read(name) for name in other.names()} == {
        name: cluster.read(name) for name in other.names()
    }
    assert perform(cluster, copy, open_store).payload == answer.payload
    other.put("ctl/00000000000000000001", b"")
    with pytest.raises(ConnectorError, match="is the store of a cluster"):
        write_savepoint(cluster, other, "file:///other", SAVEPOINT, lambda: True)


def test_there_is_none(url: str) -> None:
    with pytest.raises(ConnectorError, match=f"there is no savepoint at {url}"):
        read_savepoint(open_store(url, make=True), url)
