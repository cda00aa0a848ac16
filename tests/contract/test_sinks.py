"""Our sinks that commit, taken through the contract kit; and the kit, with broken ones.

For a new kind of sink, add its world to WORLDS.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from zstream.connectors.registry import open_writer
from zstream.connectors.staged import StagedWriter, chunks_of, unpack
from zstream.ports.connectors import Writer
from zstream.testing.contracts import SINK_CHECKS, SinkWorld
from zstream.topology.specs import FileSink

OF_FILES = ("open", "write", "fsync", "close", "replace", "listdir", "unlink", "makedirs", "stat")


class Directory(SinkWorld):
    """A file sink; its reader reads the files in the order of their names."""

    faults = tuple((os, name) for name in OF_FILES)

    def __init__(self, path: Path) -> None:
        self._path = path / "out"

    def open(self) -> Writer:
        return open_writer(FileSink(str(self._path)), "out", None)

    def seen(self) -> list[str]:
        files = sorted(file for file in self._path.iterdir() if file.name[0] != ".")
        texts = [file.read_text() for file in files]
        assert all(text.endswith("\n") for text in texts), "a file is torn"
        return [line for text in texts for line in text.splitlines()]


WORLDS: list[Callable[[Path], SinkWorld]] = [Directory]


@pytest.mark.parametrize("check", SINK_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("world", WORLDS)
def test_a_sink_keeps_its_contract(
    world: Callable[[Path], SinkWorld],
    check: Callable[[Callable[[], SinkWorld]], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """What is committed is seen once, in order and whole; what is not, never."""
    check(lambda: world(tmp_path_factory.mktemp("world")))


class Board:
    """An outside that keeps texts by name; `post` is what a commit calls."""

    def __init__(self) -> None:
        self.posted: dict[tuple[int, int, int], str] = {}

    def post(self, name: tuple[int, int, int], text: str) -> None:
        self.posted.setdefault(name, text)


class Sound(StagedWriter):
    """Posts each record under its epoch, author and number."""

    def __init__(self, board: Board) -> None:
        super().__init__("sink board")
        self.board = board

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        for number, text in enumerate(self.texts(outputs)):
            self.board.post((epoch, author, number), text)

    def texts(self, outputs: Sequence[Any]) -> list[str]:
        return [
            record.decode().strip()
            for chunk in chunks_of(outputs, self.who)
            for record in unpack(chunk)
        ]


class Doubles(Sound):
    """Takes what is committed again for new."""

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        for text in self.texts(outputs):
            self.board.post((epoch, author, len(self.board.posted)), text)


class MixesAuthors(Sound):
    """Names output by its epoch only."""

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        super().commit(epoch, 0, outputs)


class Marks(Sound):
    """Notes that an epoch is committed, and posts then."""

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        if (epoch, author, -1) not in self.board.posted:
            self.board.post((epoch, author, -1), "")
            super().commit(epoch, author, outputs)


class Swallows(Sound):
    """Takes a failed call for a good one."""

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        for number, text in enumerate(self.texts(outputs)):
            try:
                self.board.post((epoch, author, number), text)
            except OSError:
                continue


class NeverAborts(Sound):
    """Keeps what was written."""

    def abort(self) -> None:
        pass


class Hasty(Sound):
    """Shows what was prepared before it is decided."""

    def prepare(self, epoch: int) -> list[bytes] | None:
        output = super().prepare(epoch)
        self.commit(epoch, 0, [output] if output else [])
        return output


class KeepsItself(Sound):
    """Keeps what was prepared, in the place of handing it over."""

    last: list[bytes] | None = None

    def prepare(self, epoch: int) -> list[bytes] | None:
        self.last = super().prepare(epoch)
        return [] if self.last else None

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        super().commit(epoch, author, [self.last] if self.last else [])


class TakesOne(Sound):
    """Forgets the output of epochs that were abandoned before."""

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        super().commit(epoch, author, outputs[-1:])


class Bulletin(SinkWorld):
    """The board, with one kind of writer."""

    def __init__(self, kind: type[Sound]) -> None:
        self.board = Board()
        self.faults = [(self.board, "post")]
        self._kind = kind

    def open(self) -> Writer:
        return self._kind(self.board)

    def seen(self) -> list[str]:
        return [text for _, text in sorted(self.board.posted.items()) if text]


@pytest.mark.parametrize("check", SINK_CHECKS, ids=lambda check: check.__name__)
def test_a_sink_whose_output_is_numbered_keeps_the_contract(
    check: Callable[[Callable[[], SinkWorld]], None],
) -> None:
    """It may show an epoch in pieces, as long as none is shown twice."""
    check(lambda: Bulletin(Sound))


@pytest.mark.parametrize(
    "broken",
    [Doubles, MixesAuthors, Marks, Swallows, NeverAborts, Hasty, KeepsItself, TakesOne],
)
def test_the_kit_finds_a_broken_sink(broken: type[Sound]) -> None:
    """Each by one of the checks at least."""
    with pytest.raises(AssertionError):
        for check in SINK_CHECKS:
            check(lambda: Bulletin(broken))
