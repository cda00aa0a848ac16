"""Our sources that can be replayed, taken through the contract kit; and the kit, with broken ones.

For a new kind of source, add its world to WORLDS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from zstream.config import Config
from zstream.connectors.memory import MemoryReader
from zstream.connectors.registry import open_reader
from zstream.ports.connectors import Reader
from zstream.testing.contracts import SOURCE_CHECKS, SourceWorld
from zstream.topology.specs import (
    CsvSource,
    FileSource,
    FixedSize,
    Generate,
    LengthPrefix,
    Memory,
    Source,
)

COUNT = 23


class SpecWorld(SourceWorld):
    """A source that is opened by its spec, in chunks of a few bytes."""

    spec: Source[Any]

    def open(self) -> Reader:
        return open_reader(self.spec, "s", None, Config(source_read_bytes_max=5))


class Numbers(SpecWorld):
    """Lines of one file."""

    def __init__(self, path: Path) -> None:
        self.expected = [str(n) for n in range(COUNT)]
        (path / "lines").write_text("\n".join(self.expected))
        self.spec = FileSource(str(path / "lines"))


class Frames(SpecWorld):
    """Frames of several lengths."""

    def __init__(self, path: Path) -> None:
        self.expected = [b"x" * (n % 4) + b"%d" % n for n in range(COUNT)]
        frames = b"".join(len(each).to_bytes(2, "big") + each for each in self.expected)
        (path / "frames").write_bytes(frames)
        self.spec = FileSource(str(path / "frames"), LengthPrefix(">H"))


class Blocks(SpecWorld):
    """Records of one size."""

    def __init__(self, path: Path) -> None:
        self.expected = [b"%03d" % n for n in range(COUNT)]
        (path / "blocks").write_bytes(b"".join(self.expected))
        self.spec = FileSource(str(path / "blocks"), FixedSize(3))


class Row(NamedTuple):
    number: int
    text: str


class Rows(SpecWorld):
    """CSV with rows of several lines."""

    def __init__(self, path: Path) -> None:
        self.expected = [{"number": f"{n}", "text": f"ü\n{n}"} for n in range(COUNT)]
        rows = "".join(f'{n},"ü\r\n{n}"\r\n' for n in range(COUNT))
        (path / "rows").write_bytes(f"number,text\r\n{rows}".encode())
        self.spec = CsvSource(str(path / "rows"), Row)


class Folder(SpecWorld):
    """Files of a directory."""

    def __init__(self, path: Path) -> None:
        self.expected = [str(n) for n in range(COUNT)]
        for first in range(0, COUNT, 3):
            lines = "\n".join(self.expected[first : first + 3])
            (path / f"part-{first:03d}").write_text(lines)
        self.spec = FileSource(str(path))


class GrowingFolder(SpecWorld):
    """Lines are added to the last file of a directory, and now and then there is a new one."""

    def __init__(self, path: Path) -> None:
        self.expected = [str(n) for n in range(COUNT)]
        self.spec = FileSource(str(path), follow=True)
        self._path = path
        self._written = 0

    def idle(self) -> None:
        if self._written < COUNT:
            name = f"part-{self._written // 4:03d}"
            with (self._path / name).open("a") as file:
                file.write(f"{self._written}\n")
            self._written += 1


class InMemory(SpecWorld):
    """Records that are there."""

    def __init__(self, _: Path) -> None:
        self.expected = list(range(COUNT))
        self.spec = Memory(self.expected)


class Counted(SpecWorld):
    """Numbers that are made, some of them at their time."""

    def __init__(self, _: Path) -> None:
        self.expected = list(range(COUNT))
        self.spec = Generate(abs, per_second=1e6, count=COUNT)


WORLDS: list[Callable[[Path], SourceWorld]] = [
    *(Numbers, Frames, Blocks, Rows, Folder, GrowingFolder, InMemory, Counted)
]


@pytest.mark.parametrize("check", SOURCE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("world", WORLDS)
def test_a_source_keeps_its_contract(
    world: Callable[[Path], SourceWorld],
    check: Callable[[Callable[[], SourceWorld]], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Every record once and in order, whatever dies when."""
    check(lambda: world(tmp_path_factory.mktemp("world")))


class Forgets(MemoryReader):
    """`seek` does nothing."""

    def seek(self, position: Any) -> int:
        return 0


class GoesOneTooFar(MemoryReader):
    """`seek` passes over the first record after a position."""

    def seek(self, position: Any) -> int:
        return super().seek(position + 1 if position else position)


class Replays(MemoryReader):
    """A position is that of the last record, and not of the next one."""

    def position(self) -> int:
        return max(0, super().position() - 1)


class IsNowhere(MemoryReader):
    """A position that cannot be told from none."""

    def position(self) -> Any:
        return super().position() or None


class Overflows(MemoryReader):
    """`read` gives more than it was asked for."""

    def read(self, limit: int) -> list[Any]:
        return super().read(limit + 1)


class Counts(MemoryReader):
    """Says that something is lost."""

    def seek(self, position: Any) -> int:
        super().seek(position)
        return 1 if position else 0


class Ends(MemoryReader):
    """Ends one record too early."""

    def __init__(self, records: Sequence[int]) -> None:
        super().__init__(records[:-1])


@pytest.mark.parametrize(
    "broken", [Forgets, GoesOneTooFar, Replays, IsNowhere, Overflows, Counts, Ends]
)
def test_the_kit_finds_a_broken_source(broken: type[MemoryReader]) -> None:
    """With the story of what was done."""

    class World(SourceWorld):
        expected = tuple(range(COUNT))

        def open(self) -> Reader:
            return broken(self.expected)

    with pytest.raises(AssertionError, match="after: read"):
        for check in SOURCE_CHECKS:
            check(World)


def test_lanes_may_overtake_each_other_and_records_of_one_may_not() -> None:
    """As of several producers: another order among them is no fault."""

    class World(SourceWorld):
        given = (1, 10, 2, 20)
        expected = (1, 2, 10, 20)

        def open(self) -> Reader:
            return MemoryReader(self.given)

        def lane(self, record: int) -> bool:
            return record > 9

    for check in SOURCE_CHECKS:
        check(World)
    World.given = (2, 1, 10, 20)
    with pytest.raises(AssertionError, match="not those that were to be read"):
        SOURCE_CHECKS[0](World)
