"""What a PostgresSink keeps in a checkpoint: runs of rows, and when key groups have moved.

    chunk    [names, values, names, values, ...]: runs of rows of the same columns, in their order
    move     [run, number before, number from here on]: between two chunks; see Tick

Most epochs have no move. In one that has, another worker may have written of the same keys, so the
rows are compared with what that one has noted (see `without_older`).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from zstream.connectors.staged import pack, unpack
from zstream.ports.connectors import Tick
from zstream.topology.rows import column_names, shown_values

_MOVE = struct.Struct(">QQQ")

Others = Sequence[tuple[int, Sequence[str]]]  # what others wrote of a row's key: tick, columns


@dataclass(frozen=True)
class Run:
    """Rows of the same columns, one after the other. body: lines of values, as COPY reads them.

    tick: the number of that which they were written at. is_there: no row is to be inserted, for
    another worker has done that, with newer values in other columns.
    """

    names: bytes
    body: bytes
    tick: int = 0
    is_there: bool = False

    def columns(self) -> tuple[str, ...]:
        return column_names(self.names)

    def lines(self) -> list[bytes]:
        return self.body.removesuffix(b"\n").split(b"\n")

    def rows(self, limit: int) -> list[tuple[str, ...]]:
        """The values of the first lines, as texts."""
        lines = self.body.removesuffix(b"\n").split(b"\n", limit)
        return [shown_values(line) for line in lines[:limit]]


def move(before: Tick, tick: Tick) -> bytes:
    """The chunk that stands between what was written at these two."""
    return pack([_MOVE.pack(tick.run, before.number, tick.number)])


def runs_of(chunks: Iterable[bytes]) -> tuple[list[Run], int | None]:
    """The runs of one author's epoch, and the ticks' run if key groups have moved in it."""
    runs: list[Run] = []
    of_run: int | None = None
    tick = 0
    for chunk in chunks:
        fields = unpack(chunk)
        if len(fields) == 1:
            first = of_run is None
            of_run, before, tick = _MOVE.unpack(fields[0])
            if first:
                runs = [replace(run, tick=before) for run in runs]
        else:
            pairs = zip(fields[::2], fields[1::2], strict=True)
            runs += [Run(names, body, tick) for names, body in pairs]
    return runs, of_run


def key_lines(runs: Iterable[Run], places: int) -> Iterator[bytes]:
    """For each run, of each row a line for COPY: its key, and [tick, columns] as JSON."""
    for run in runs:
        wrote = b"[%d, %s]" % (run.tick, run.names.replace(b"\\", b"\\\\"))
        keys = (b"\t".join(line.split(b"\t", places)[:places]) for line in run.lines())
        yield b"".join(b"%s\t%s\n" % (key, wrote) for key in keys)


def without_older(
    runs: Sequence[Run], others: Mapping[int, Others], key: Sequence[str]
) -> Iterator[Run]:
    """The rows without the values that another worker has written later. others: by the number of
    the row, from 1, over all runs.
    """
    number = 0
    for run in runs:
        lines = run.lines()
        numbers = range(number + 1, number + 1 + len(lines))
        number += len(lines)
        if others.keys().isdisjoint(numbers):
            yield run
            continue
        for row, line in zip(numbers, lines, strict=True):
            newer = {n for tick, names in others.get(row, ()) if tick > run.tick for n in names}
            if not newer:
                yield replace(run, body=line + b"\n")
            elif not newer.issuperset(run.columns()):
                yield _left_over(run, line, newer.difference(key))


def _left_over(run: Run, line: bytes, newer: set[str]) -> Run:
    """A row of this run without the columns that are newer elsewhere."""
    names, values = run.columns(), line.split(b"\t")
    left = [place for place, name in enumerate(names) if name not in newer]
    return replace(
        run,
        names=json.dumps([names[place] for place in left]).encode(),
        body=b"\t".join(values[place] for place in left) + b"\n",
        is_there=True,
    )
