"""Blobs in a directory: after a power loss, after writers that died, when it is gone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from zstream.stores.files import FileStore, make_directory


class Disk:
    """Knows what of a directory would be there after a power loss: what was synced.

    Contents count from a sync of the file, names from a sync of the folder that they are in.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.contents: dict[int, bytes] = {}
        self.folders: dict[int, dict[str, int]] = {}
        self._real_fsync = os.fsync
        self._torn: list[str] = []
        monkeypatch.setattr(os, "fsync", self._fsync)
        for name in ("link", "replace"):
            monkeypatch.setattr(os, name, self._watched(getattr(os, name)))

    def survivors(self) -> dict[str, bytes]:
        """Name -> contents of the blobs after a power loss now."""
        assert not self._torn, f"named before their contents were synced: {self._torn}"
        found: dict[str, bytes] = {}
        self._walk(os.stat(self.root).st_ino, "", found)
        return found

    def _walk(self, folder: int, name: str, found: dict[str, bytes]) -> None:
        for entry, inode in self.folders.get(folder, {}).items():
            if entry.startswith("."):
                continue
            if inode in self.folders:
                self._walk(inode, f"{name}{entry}/", found)
            elif inode in self.contents:
                found[name + entry] = self.contents[inode]

    def _fsync(self, descriptor: int) -> None:
        self._real_fsync(descriptor)
        path, status = os.readlink(f"/proc/self/fd/{descriptor}"), os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            with os.scandir(path) as entries:
                self.folders[status.st_ino] = {entry.name: entry.inode() for entry in entries}
        else:
            self.contents[status.st_ino] = Path(path).read_bytes()

    def _watched(self, real: object) -> object:
        def call(source: Path, target: Path) -> None:
            if self.contents.get(os.stat(source).st_ino) != source.read_bytes():
                self._torn.append(target.name)
            assert callable(real)
            real(source, target)

        return call


@pytest.mark.parametrize("way", ["create", "put"])
def test_what_was_written_survives_a_power_loss(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contents, name, and every new folder on the way are synced when the call returns."""
    disk, store = Disk(tmp_path, monkeypatch), FileStore(tmp_path)
    written = {}
    for name in ("parts/r1/e1/5.part", "parts/r1/e1/6.part", "parts/r1/e2/5.part", "top"):
        getattr(store, way)(name, name.encode())
        written[name] = name.encode()
        assert disk.survivors() == written


def test_it_survives_in_a_folder_that_another_worker_made_and_has_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other died between making the folder and syncing the one above it."""
    (tmp_path / "parts" / "r1").mkdir(parents=True)
    disk = Disk(tmp_path, monkeypatch)
    FileStore(tmp_path).put("parts/r1/5.part", b"part")
    assert disk.survivors() == {"parts/r1/5.part": b"part"}


def test_it_survives_in_a_folder_that_was_cleaned_away_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder that this worker knew was empty and removed, by itself and by another."""
    disk, store = Disk(tmp_path, monkeypatch), FileStore(tmp_path)
    for cleaner in (store, FileStore(tmp_path)):
        store.put("parts/e1/1", b"old")
        cleaner.delete("parts/e1/1")
        assert not (tmp_path / "parts").exists()
        disk.folders.clear()
        store.put("parts/e1/2", b"new")
        assert disk.survivors() == {"parts/e1/2": b"new"}
        store.delete("parts/e1/2")


def test_it_survives_in_a_folder_that_it_removed_and_another_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it once synced the way to a folder of this name says nothing of the new one."""
    disk, store = Disk(tmp_path, monkeypatch), FileStore(tmp_path)
    store.put("parts/e1/1", b"old")
    store.delete("parts/e1/1")
    (tmp_path / "parts" / "e1").mkdir(parents=True)
    disk.folders.clear()
    store.put("parts/e1/2", b"new")
    assert disk.survivors() == {"parts/e1/2": b"new"}


def test_what_was_read_survives_a_power_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer has not synced the folder yet, and whoever reads it acts on it."""
    disk = Disk(tmp_path, monkeypatch)
    real_fsync = os.fsync

    def only_files(descriptor: int) -> None:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            real_fsync(descriptor)

    with monkeypatch.context() as slow:
        slow.setattr(os, "fsync", only_files)
        FileStore(tmp_path).create("ctl/1", b"decided")
    assert disk.survivors() == {}
    assert FileStore(tmp_path).read("ctl/1") == b"decided"
    assert disk.survivors() == {"ctl/1": b"decided"}


def test_a_directory_made_for_a_store_survives_a_power_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all that is missing above it; making it again is harmless."""
    disk = Disk(tmp_path, monkeypatch)
    for _ in range(2):
        make_directory(tmp_path / "a" / "b")
    FileStore(tmp_path / "a" / "b").put("x", b"x")
    assert disk.survivors() == {"a/b/x": b"x"}


def test_nothing_temporary_is_left(tmp_path: Path) -> None:
    """Neither by the winner nor by who was refused."""
    store = FileStore(tmp_path)
    assert store.create("ctl/1", b"x")
    assert not store.create("ctl/1", b"y")
    store.put("ctl/2", b"z")
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["1", "2"]


def test_a_torn_temporary_file_is_no_blob_and_is_cleared_in_time(tmp_path: Path) -> None:
    """One of a writer that died a day ago goes; one that may be under way stays."""
    store = FileStore(tmp_path)
    store.put("ctl/1", b"x")
    dead, alive = tmp_path / ".writing" / "dead", tmp_path / ".writing" / "alive"
    for torn in (dead, alive):
        torn.write_bytes(b"half")
    long_ago = dead.stat().st_mtime - 25 * 3600
    os.utime(dead, (long_ago, long_ago))
    store.clear_leftovers()
    assert store.names() == ["ctl/1"]
    assert not dead.exists()
    assert alive.exists()


def test_what_a_person_keeps_there_is_no_blob(tmp_path: Path) -> None:
    """A file system's own folder, and a hidden file."""
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "lost+found" / "x").touch()
    (tmp_path / ".private").touch()
    assert FileStore(tmp_path).names() == []


def test_a_directory_that_is_gone_is_an_error_and_not_an_empty_store(tmp_path: Path) -> None:
    """Nobody won and nothing is known; and it is not made again, it may be a mount that failed."""
    store = FileStore(tmp_path / "gone")
    for use in (
        lambda: store.create("ctl/1", b"x"),
        lambda: store.put("ctl/1", b"x"),
        lambda: store.read("ctl/1"),
        lambda: store.names("ctl"),
    ):
        with pytest.raises(FileNotFoundError):
            use()
    assert not store.path.exists()


def test_a_folder_that_is_always_cleaned_away_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bounded number of tries."""
    store = FileStore(tmp_path)
    tries = []

    def never(source: Path, target: Path) -> None:
        tries.append(target)
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "link", never)
    with pytest.raises(FileNotFoundError):
        store.create("ctl/1", b"x")
    assert len(tries) == 10
