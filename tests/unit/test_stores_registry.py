"""From a store's URL to an open store: what is refused, and in which words."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from zstream.errors import ConnectorError, UsageError
from zstream.stores.registry import directory_of, open_store, probe, store_url


class FakeStore:
    """Blobs in memory, with one thing wrong."""

    def __init__(self, wrong: str = "") -> None:
        self.wrong = wrong
        self.blobs: dict[str, bytes] = {}

    def create(self, name: str, payload: bytes) -> bool:
        if self.wrong == "is full":
            raise OSError(28, "No space left on device")
        if name in self.blobs and not self.wrong.startswith("ignores"):
            return False
        self.blobs[name] = payload
        return self.wrong != "ignores and says taken"

    def put(self, name: str, payload: bytes) -> None:
        self.blobs[name] = payload

    def read(self, name: str) -> bytes | None:
        return None if self.wrong == "reads late" else self.blobs.get(name)

    def names(self, folder: str = "") -> list[str]:
        return [] if self.wrong == "lists late" else sorted(self.blobs)

    def delete(self, name: str) -> None:
        if self.wrong != "keeps":
            self.blobs.pop(name, None)


def test_the_probe_passes_a_good_store_and_leaves_nothing() -> None:
    """Created, refused, read, listed, deleted."""
    store = FakeStore()
    probe(store, "x://y", "needs.", "refuses.")
    assert store.blobs == {}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            "ignores",
            "the store x://y lets a name be created twice, so two leaders could both win. Refuse.",
        ),
        (
            "ignores and says taken",
            "the store x://y lets a name be created twice, so two leaders could both win. Refuse.",
        ),
        (
            "reads late",
            "the store x://y does not show what was just written or deleted. Need.",
        ),
        (
            "lists late",
            "the store x://y does not show what was just written or deleted. Need.",
        ),
        ("keeps", "the store x://y does not show what was just written or deleted. Need."),
        ("is full", "the store x://y cannot be used: No space left on device. Need."),
    ],
)
def test_the_probe_says_what_is_wrong(wrong: str, says: str) -> None:
    """Each of these would break the control log."""
    with pytest.raises(ConnectorError) as refusal:
        probe(FakeStore(wrong), "x://y", "Need.", "Refuse.")
    assert str(refusal.value) == says


def test_a_store_is_named_by_a_url_or_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers elsewhere get the URL, which does not depend on the current directory."""
    monkeypatch.chdir(tmp_path)
    assert store_url("logs/z") == f"file://{tmp_path}/logs/z"
    assert store_url("file:///var/z/") == "file:///var/z"
    assert store_url("s3://bucket/a/b/") == "s3://bucket/a/b"
    assert directory_of("file:///var/z") == Path("/var/z")
    assert directory_of("gs://bucket/a") is None


@pytest.mark.parametrize("said", ["ftp://host/x", "file://host/x", "s3://", "s3:///x", "", "://x"])
def test_what_names_no_store_is_refused(said: str) -> None:
    """An unknown scheme, a relative file URL, no bucket."""
    with pytest.raises(UsageError) as refusal:
        open_store(said)
    assert str(refusal.value) == (
        "a store is file:///DIR or a directory, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or "
        f"az://CONTAINER/PREFIX; it cannot be {said!r}."
    )


@pytest.mark.parametrize("kind", ["s3", "gs", "az"])
def test_a_bucket_without_its_extra_is_said(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """obstore is not installed."""
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "zstream.stores.objects", raising=False)
    with pytest.raises(ConnectorError) as refusal:
        open_store(f"{kind}://bucket/prefix")
    assert str(refusal.value) == f"{kind}:// needs obstore: pip install 'zstream[{kind}]'"


def test_a_directory_is_made_only_for_who_starts_the_cluster(tmp_path: Path) -> None:
    """A joiner that does not see it would start a log of its own."""
    path = tmp_path / "a" / "b"
    with pytest.raises(ConnectorError, match=f"^the store file://{path} is not a directory.$"):
        open_store(str(path))
    assert not path.exists()
    assert open_store(str(path), make=True).names() == []
    (tmp_path / "file").touch()
    with pytest.raises(ConnectorError, match="is not a directory"):
        open_store(str(tmp_path / "file"), make=True)


@pytest.mark.parametrize("broken", ["open", "mkdir", "link"])
def test_a_directory_that_cannot_be_written_is_said(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's directory, or a file system without hard links."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # In Python 3.10 a path keeps its own os.mkdir.
    monkeypatch.setattr(Path if broken == "mkdir" else os, broken, refused)
    with pytest.raises(ConnectorError) as refusal:
        open_store(f"file://{tmp_path}")
    assert str(refusal.value) == (
        f"the store file://{tmp_path} cannot be used: Permission denied. "
        "It needs a directory where this worker may write and make hard links."
    )


def test_a_file_system_that_links_over_a_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second link replaces the first: two leaders could both win."""
    monkeypatch.setattr(os, "link", os.replace)
    with pytest.raises(ConnectorError, match=r"created twice.* It needs a file system with excl"):
        open_store(f"file://{tmp_path}")
