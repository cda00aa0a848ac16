"""Private directories: one holder after the other goes, and the last takes it along."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from zstream.errors import ConnectorError
from zstream.stores.files import FileStore
from zstream.stores.private import PrivateHold, private_directory


def test_a_private_directory_is_removed_by_its_last_holder() -> None:
    """Two workers hold it; the first to go leaves it, the last removes it."""
    path = private_directory("orders/by day")
    assert path.stat().st_mode & 0o777 == 0o700
    first, second = PrivateHold(path), PrivateHold(path)
    assert FileStore(path).create("ctl/1", b"x")
    first.release()
    assert FileStore(path).names() == ["ctl/1"]
    second.release()
    second.release()
    assert not path.exists()


def test_a_named_store_is_never_removed(tmp_path: Path) -> None:
    """A directory that a person named stays when its workers go; a bucket is held by nobody."""
    PrivateHold(tmp_path).release()
    assert tmp_path.is_dir()
    PrivateHold(None).release()


def test_a_private_directory_under_removal_takes_no_new_holder() -> None:
    """A joiner that comes while the last worker removes the store is told that it has ended."""
    path = private_directory("x")
    remover = os.open(path / ".private", os.O_RDWR)
    fcntl.flock(remover, fcntl.LOCK_EX)
    with pytest.raises(ConnectorError, match="has ended"):
        PrivateHold(path)
    os.close(remover)
    hold = PrivateHold(path)
    hold.release()
    assert not path.exists()
