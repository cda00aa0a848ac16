"""What every control log store must do, run on the directory store: one winner a number."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from zstream.errors import ConnectorError
from zstream.model.ids import LogNumber
from zstream.stores.directory import DirectoryLog, PrivateHold, private_directory

RACER = """
import sys
from zstream.stores.directory import DirectoryLog
log, me = DirectoryLog(sys.argv[1]), sys.argv[2]
sys.stdin.readline()
won = [n for n in range(1, 41) if log.create(n, f"{me}:{n}".encode() * 500)]
print(" ".join(map(str, won)))
"""


def test_of_racing_processes_exactly_one_wins_each_number(tmp_path: Path) -> None:
    """Four processes create the numbers 1 to 40; every number has one winner, whose bytes stand."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), str(racer)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for racer in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    winners: dict[int, int] = {}
    for index, racer in enumerate(racers):
        out, _ = racer.communicate(timeout=30)
        assert racer.returncode == 0
        for number in map(int, out.split()):
            assert number not in winners, f"{number} was won twice"
            winners[number] = index
    assert sorted(winners) == list(range(1, 41))
    stands = DirectoryLog(tmp_path).read_from(LogNumber(1))
    assert stands == [(n, f"{winners[n]}:{n}".encode() * 500) for n in range(1, 41)]


def test_a_taken_number_is_refused_and_keeps_its_bytes(tmp_path: Path) -> None:
    """The second create of a number says False and changes nothing, from another object too."""
    assert DirectoryLog(tmp_path).create(LogNumber(7), b"first")
    assert not DirectoryLog(tmp_path).create(LogNumber(7), b"second")
    assert DirectoryLog(tmp_path).read_from(LogNumber(0)) == [(7, b"first")]


def test_reading_starts_at_a_number_and_ascends_by_value(tmp_path: Path) -> None:
    """9 comes before 10, and what is below the asked number is left out."""
    log = DirectoryLog(tmp_path)
    for number in (10, 8, 9, 100):
        assert log.create(LogNumber(number), str(number).encode())
    assert [number for number, _ in log.read_from(LogNumber(9))] == [9, 10, 100]


def test_deleting_below_keeps_the_rest_and_clears_torn_leftovers(tmp_path: Path) -> None:
    """A crash left a half-written name for 2; it goes with the numbers below 3."""
    log = DirectoryLog(tmp_path)
    for number in range(1, 6):
        log.create(LogNumber(number), b"x")
    torn = tmp_path / "00000000000000000002.abc.writing"
    torn.write_bytes(b"half")
    assert [number for number, _ in log.read_from(LogNumber(1))] == [1, 2, 3, 4, 5]
    log.delete_below(LogNumber(3))
    assert [number for number, _ in log.read_from(LogNumber(1))] == [3, 4, 5]
    assert not torn.exists()


def test_a_create_leaves_no_temporary_name(tmp_path: Path) -> None:
    """Neither the winner nor the refused leaves anything but the record."""
    log = DirectoryLog(tmp_path)
    log.create(LogNumber(1), b"x")
    log.create(LogNumber(1), b"y")
    assert [path.name for path in tmp_path.iterdir()] == ["00000000000000000001.record"]


def test_a_directory_that_is_gone_is_an_error_and_not_a_lost_race(tmp_path: Path) -> None:
    """Nobody won: the caller must not take it for "taken"."""
    log = DirectoryLog(tmp_path / "gone")
    with pytest.raises(FileNotFoundError):
        log.create(LogNumber(1), b"x")
    with pytest.raises(FileNotFoundError):
        log.read_from(LogNumber(1))


def test_a_listing_with_a_hole_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system's listing misses 2, created while it ran, but has 3: read_from has both."""
    log = DirectoryLog(tmp_path)
    for number in range(1, 4):
        log.create(LogNumber(number), b"x")
    real = log._numbers_from
    listings = iter([[1, 3]])
    monkeypatch.setattr(log, "_numbers_from", lambda number: next(listings, None) or real(number))
    assert [number for number, _ in log.read_from(LogNumber(1))] == [1, 2, 3]


def test_a_directory_that_never_stands_still_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each listing differs from the one before: after a bounded number, OSError."""
    log = DirectoryLog(tmp_path)
    endless = iter(range(1, 10**6))
    monkeypatch.setattr(log, "_numbers_from", lambda number: [next(endless)])
    with pytest.raises(OSError, match="changed during each"):
        log.read_from(LogNumber(1))


def test_the_probe_accepts_a_good_directory_and_leaves_nothing(tmp_path: Path) -> None:
    """Created twice, refused the second time, and cleaned."""
    DirectoryLog(tmp_path).probe()
    assert list(tmp_path.iterdir()) == []


def test_the_probe_names_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No directory; one without hard links; one where a name can be created twice."""
    with pytest.raises(ConnectorError, match="is not a directory"):
        DirectoryLog(tmp_path / "none").probe()

    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("zstream.stores.directory.os.link", no_links)
    with pytest.raises(ConnectorError, match=r"cannot be used: Operation not permitted\. It needs"):
        DirectoryLog(tmp_path).probe()
    monkeypatch.setattr("zstream.stores.directory.os.link", lambda *_: None)
    with pytest.raises(ConnectorError, match="lets a name be created twice"):
        DirectoryLog(tmp_path).probe()


def test_a_private_directory_is_removed_by_its_last_holder() -> None:
    """Two workers hold it; the first to go leaves it, the last removes it."""
    path = private_directory("orders/by day")
    assert path.stat().st_mode & 0o777 == 0o700
    first, second = PrivateHold(path), PrivateHold(path)
    assert DirectoryLog(path).create(LogNumber(1), b"x")
    first.release()
    assert DirectoryLog(path).read_from(LogNumber(1)) == [(1, b"x")]
    second.release()
    second.release()
    assert not path.exists()


def test_a_named_store_is_never_removed(tmp_path: Path) -> None:
    """A directory that a person named stays when its workers go."""
    hold = PrivateHold(tmp_path)
    hold.release()
    assert tmp_path.is_dir()


def test_a_private_directory_under_removal_takes_no_new_holder() -> None:
    """A joiner that comes while the last worker removes the store is told that it has ended."""
    import fcntl
    import os

    path = private_directory("x")
    remover = os.open(path / "private", os.O_RDWR)
    fcntl.flock(remover, fcntl.LOCK_EX)
    with pytest.raises(ConnectorError, match="has ended"):
        PrivateHold(path)
    os.close(remover)
    hold = PrivateHold(path)
    hold.release()
    assert not path.exists()
