"""What the control log must do on every kind of store: one winner a number, in their order."""

from __future__ import annotations

from zstream.model.ids import LogNumber
from zstream.stores.log import BlobLog
from zstream.stores.registry import open_store


def log_at(url: str) -> BlobLog:
    return BlobLog(open_store(url))


def test_a_taken_number_is_refused_and_keeps_its_bytes(url: str) -> None:
    """The second create of a number says False and changes nothing, from another object too."""
    assert log_at(url).create(LogNumber(7), b"first")
    assert not log_at(url).create(LogNumber(7), b"second")
    assert log_at(url).read_from(LogNumber(0)) == [(7, b"first")]


def test_reading_starts_at_a_number_and_ascends_by_value(url: str) -> None:
    """9 comes before 10, and what is below the asked number is left out."""
    log = log_at(url)
    for number in (10, 8, 9, 100):
        assert log.create(LogNumber(number), str(number).encode())
    assert log.read_from(LogNumber(9)) == [(9, b"9"), (10, b"10"), (100, b"100")]
    assert log.read_from(LogNumber(101)) == []


def test_deleting_below_keeps_the_rest(url: str) -> None:
    """Another reader does not see them either; a second time is harmless."""
    log = log_at(url)
    for number in range(1, 6):
        log.create(LogNumber(number), b"x")
    for _ in range(2):
        log.delete_below(LogNumber(3))
        assert [number for number, _ in log_at(url).read_from(LogNumber(1))] == [3, 4, 5]


def test_what_is_not_the_logs_is_left_alone(url: str) -> None:
    """Parts of checkpoints lie in the same store, and a name in the log's folder is no number."""
    store = open_store(url)
    others = ["ctl/00000000000000000001.note", "parts/r1/e1/5.part"]
    for name in others:
        store.put(name, b"x")
    log = log_at(url)
    assert log.create(LogNumber(1), b"one")
    assert log.read_from(LogNumber(1)) == [(1, b"one")]
    log.delete_below(LogNumber(9))
    assert store.names() == others
