"""What the initializer begins with: a store that is none, and savepoints that do not fit."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.savepoint_kit import SAVEPOINT, a_savepoint_in
from zstream.control.joining import Start
from zstream.errors import ConnectorError
from zstream.ports.log import LOG
from zstream.runtime.options import WorkerOptions
from zstream.runtime.origin import store_of, with_savepoint
from zstream.stores.files import FileStore
from zstream.stores.registry import store_url

START = Start("initializer", "", 1, {}, (), key_groups=4, stateful=(("tally", "", "votes.py:16"),))


def say(level: str, event: str, text: str, fields: object) -> None:
    """Nobody listens."""


@pytest.fixture
def own(tmp_path: Path) -> FileStore:
    (tmp_path / "own").mkdir()
    return FileStore(tmp_path / "own")


@pytest.fixture
def saved(tmp_path: Path) -> str:
    """The URL of a savepoint."""
    a_savepoint_in(tmp_path / "save")
    return store_url(str(tmp_path / "save"))


def test_a_savepoint_is_no_clusters_store(saved: str) -> None:
    """It is kept: a cluster would clean its parts away."""
    options = WorkerOptions("initializer", "w0", {}, {}, store=saved)
    with ExitStack() as closing, pytest.raises(ConnectorError) as caught:
        store_of("votes", options, closing)
    assert str(caught.value) == (
        f"{saved} is a savepoint, which is never written to. Begin from it with --from {saved}, "
        "and say another --store."
    )


def test_all_parts_are_in_the_own_store_before_the_cluster_begins(
    saved: str, own: FileStore, tmp_path: Path
) -> None:
    start = with_savepoint(START, saved, own, say)
    assert start.savepoint == replace(SAVEPOINT.manifest, committed=True)
    assert own.names("parts") == FileStore(tmp_path / "save").names("parts")
    assert len(own.names("parts")) == 3


def test_what_does_not_fit_is_refused_before_anything_is_copied(saved: str, own: FileStore) -> None:
    """State that no operator claims; another number of key groups."""
    renamed = replace(START, stateful=(("votes", "", "votes.py:16"),))
    with pytest.raises(ConnectorError) as caught:
        with_savepoint(renamed, saved, own, say)
    assert str(caught.value) == (
        "the savepoint has state of tally and no operator of that name; votes (votes.py:16) is "
        'new. If it was renamed: was="tally". To leave it: --leave-state tally.'
    )
    with pytest.raises(ConnectorError, match="has state in 4 key groups and the topology has 8"):
        with_savepoint(replace(START, key_groups=8), saved, own, say)
    assert own.names() == []


def test_a_store_with_a_cluster_in_it_gets_nothing_unless_it_begins_afresh(
    saved: str, own: FileStore
) -> None:
    """The core refuses it when it has read the log."""
    own.put(f"{LOG}/00000000000000000001", b"")
    with_savepoint(START, saved, own, say)
    assert own.names("parts") == []
    with_savepoint(replace(START, fresh=True), saved, own, say)
    assert len(own.names("parts")) == 3


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("parts/r1/e7/2.part", "cannot be copied: part parts/r1/e7/2.part is not there"),
        ("savepoint", "there is no savepoint at file://"),
    ],
)
def test_what_is_missing_is_named(
    name: str, says: str, saved: str, own: FileStore, tmp_path: Path
) -> None:
    FileStore(tmp_path / "save").delete(name)
    with pytest.raises(ConnectorError, match=says):
        with_savepoint(START, saved, own, say)


def test_a_directory_that_is_not_there_and_a_clusters_store_are_no_savepoints(
    own: FileStore, tmp_path: Path
) -> None:
    with pytest.raises(ConnectorError, match="nowhere is not a directory"):
        with_savepoint(START, store_url(str(tmp_path / "nowhere")), own, say)
    own.put(f"{LOG}/00000000000000000001", b"")
    url = store_url(str(own.path))
    with pytest.raises(ConnectorError, match=f"go on with it: --store {url}"):
        with_savepoint(START, url, own, say)
