"""A worker's part of a checkpoint: one blob, written once, never changed.

    part    = header, block, block, ..., index, footer
    header  = magic "ZPRT", version u16, 2 zero bytes, run u64, epoch u64, incarnation u64,
              crc32 of all that u32; little-endian, 36 bytes
    block   = rows of one stateful operator: msgpack [column of key groups, None or how many rows
              each of them stands for, column of keys, column of states]; or the body of one BATCH
              frame
    index   = msgpack: what stands in which block, with its length and crc32; source positions;
              prepared output of sinks; the history of each key group; the ways of entries, if
              there are batches
    footer  = length of the index u32, crc32 of the index u32, magic "TRPZ"

A part holds *changes*: a key with its state, or with None when it is gone. A block is not of one
key group: where one key in a hundred changes, a block a group costs more than what is in it. The
state of a key group is spread over parts of several epochs, and its *span* says which: from the
part that holds it whole (`base`) to the newest one with a change of it (`last`). All parts of a
span, read in the order of epochs, give the state. The epochs of manifests only grow, over all
runs, and in one epoch a key group stands in one part: that of its holder at the cut.

Every bit is under a checksum; what does not fit is named and raises WireError.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, compress, repeat
from struct import Struct
from typing import Any, NamedTuple
from zlib import crc32

import msgpack

from zstream.errors import InvariantBroken, WireError
from zstream.model.ids import Epoch, Incarnation, Run
from zstream.wire.frames import pack_groups, unpack_groups
from zstream.wire.values import Registry

PART_FORMAT = 1

_MAGIC = b"ZPRT"
_END = b"TRPZ"
_NAMED = Struct("<4sHxxQQQ")
_CHECKSUM = Struct("<I")
_FOOTER = Struct("<II4s")
_HEADER_SIZE = _NAMED.size + _CHECKSUM.size

_IN_FLIGHT = -1  # in the place of the number of an operator


class PartName(NamedTuple):
    """Who wrote a part, and for which epoch of which run: no name is ever used twice."""

    run: Run
    epoch: Epoch
    incarnation: Incarnation

    def blob(self) -> str:
        """Its name in the store."""
        return f"parts/r{self.run}/e{self.epoch}/{self.incarnation}.part"


class Span(NamedTuple):
    """Which epochs' parts make up the state of one key group; both ends belong to it."""

    base: Epoch
    last: Epoch

    def covers(self, name: PartName) -> bool:
        return self.base <= name.epoch <= self.last


class History(NamedTuple):
    """The spans of key groups, and the names of all parts that these cover."""

    spans: Mapping[int, Span]
    names: Collection[PartName]

    def names_of(self, groups: Collection[int]) -> set[PartName]:
        """The parts that are needed for the state of some of the key groups."""
        spans = [self.spans[group] for group in groups if group in self.spans]
        return covered(self.names, spans)


class Way(NamedTuple):
    """An entry as its plan numbers it, and the stateful operators and sinks that records at it
    come to first."""

    number: int
    route: str
    name: str
    ends: tuple[str, ...]


def covered(names: Iterable[PartName], spans: Iterable[Span]) -> set[PartName]:
    """Those of the names that lie in one of the spans."""
    ascending = sorted(spans)
    bases = [span.base for span in ascending]
    furthest = list(accumulate((span.last for span in ascending), max))
    return {
        name
        for name in names
        if (below := bisect_right(bases, name.epoch)) and furthest[below - 1] >= name.epoch
    }


class PartWriter:
    """Gathers the blocks of a part. Nothing is kept of what is handed in but its bytes."""

    def __init__(
        self,
        name: PartName,
        registry: Registry,
        key_groups: int,
        operators: Sequence[str],
        ways: Sequence[Way] = (),
    ) -> None:
        self.name = name
        self._ways = ways
        self._registry = registry
        self._key_groups = key_groups
        self._operators = {operator: number for number, operator in enumerate(operators)}
        self._blocks: list[bytes] = [_header(name)]
        self._lines: list[tuple[int, int, int]] = []  # operator or _IN_FLIGHT, length, crc32

    def add_states(
        self,
        operator: str,
        groups: Sequence[int],
        keys: list[Any],
        states: list[Any],
        counts: Sequence[int] | None = None,
    ) -> int:
        """Rows of one operator; None is the state of a key that is gone. Returns how many bytes.

        groups: the key group of each row; or, with `counts`, of so many rows each.
        Raises CannotTravel for a state that cannot be encoded; then nothing was added.
        """
        pack_column = self._registry.pack_column
        body: bytes = msgpack.packb(
            (pack_groups(groups), counts, pack_column(keys), pack_column(states))
        )
        self._add(self._operators[operator], body)
        return len(body)

    def add_in_flight(self, body: bytes) -> None:
        """The body of a BATCH frame that was before its link's barrier; in order of application."""
        self._add(_IN_FLIGHT, body)

    def finish(
        self,
        history: History,
        positions: Mapping[str, Any],
        prepared: Mapping[str, Sequence[Any]],
    ) -> bytes:
        """The part. positions: by source. prepared: by sink, in the order of epochs."""
        try:
            index: bytes = msgpack.packb(
                (
                    self._key_groups,
                    list(self._operators),
                    list(zip(*self._lines, strict=True)) or [(), (), ()],
                    encode_names(history.names),
                    _encode_spans(history.spans),
                    dict(positions),
                    {sink: list(each) for sink, each in prepared.items()},
                    self._ways if any(line[0] == _IN_FLIGHT for line in self._lines) else (),
                )
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise InvariantBroken(
                f"a source's position or a sink's prepared output is not made of msgpack types: "
                f"{error}"
            ) from error
        footer = _FOOTER.pack(len(index), crc32(index), _END)
        return b"".join((*self._blocks, index, footer))

    def _add(self, operator: int, body: bytes) -> None:
        self._blocks.append(body)
        self._lines.append((operator, len(body), crc32(body)))


class Rows(NamedTuple):
    """Changes of one operator in columns; None is the state of a key that is gone."""

    operator: str
    groups: list[int]
    keys: list[Any]
    states: list[Any]


@dataclass(frozen=True)
class Part:
    """A part that was read and found sound.

    positions: by source. prepared: by sink, also that of epochs without a manifest before this
    one, which must be committed with it. ways: by entry; empty where nothing was in flight.
    """

    name: PartName
    key_groups: int
    operators: tuple[str, ...]
    history: History
    positions: Mapping[str, Any]
    prepared: Mapping[str, Sequence[Any]]
    ways: Mapping[int, Way]
    _blocks: tuple[tuple[int, bytes], ...]

    def in_flight(self) -> Iterator[bytes]:
        """Bodies of BATCH frames, in the order of their application."""
        return (body for operator, body in self._blocks if operator == _IN_FLIGHT)

    def rows(self, registry: Registry, groups: Collection[int]) -> Iterator[Rows]:
        """The changes of some key groups. Raises WireError for what is not known here."""
        for operator, body in self._blocks:
            if operator == _IN_FLIGHT:
                continue
            try:
                rows = self._rows(self.operators[operator], body, registry, groups)
            except Exception as error:
                raise WireError(f"part {self.name.blob()} cannot be read: {error}") from error
            if rows.keys:
                yield rows

    def _rows(
        self, operator: str, body: bytes, registry: Registry, groups: Collection[int]
    ) -> Rows:
        packed_groups, counts, packed_keys, packed_states = msgpack.unpackb(body)
        found = unpack_groups(packed_groups).tolist()
        named = set(found)
        if named.isdisjoint(groups):
            return Rows(operator, [], [], [])
        if counts is not None:
            found = list(chain.from_iterable(map(repeat, found, counts)))
        keys = registry.unpack_column(packed_keys)
        states = registry.unpack_column(packed_states)
        if not len(found) == len(keys) == len(states):
            raise ValueError("rows do not add up")
        if not named.issubset(groups):
            flags = list(map(groups.__contains__, found))
            found, keys, states = (list(compress(c, flags)) for c in (found, keys, states))
        return Rows(operator, found, keys, states)


def open_part(name: PartName, data: bytes) -> Part:
    """Read a part and check all of it. Raises WireError that names the part and what is wrong."""
    what = f"part {name.blob()}"
    index = _index(name, data, what)
    try:
        key_groups, operators, columns, names, spans, positions, prepared, rows = msgpack.unpackb(
            index, strict_map_key=False
        )
        lines = list(zip(*columns, strict=True))
        history = History(_decode_spans(spans), frozenset(decode_names(names)))
        ways = {row[0]: Way(row[0], row[1], row[2], tuple(row[3])) for row in rows}
    except Exception as error:
        raise WireError(f"{what} is damaged: its index cannot be read: {error}") from error
    blocks: list[tuple[int, bytes]] = []
    start = _HEADER_SIZE
    for number, (operator, length, checksum) in enumerate(lines):
        body = data[start : start + length]
        start += length
        if crc32(body) != checksum:
            of = (
                "records in flight" if operator == _IN_FLIGHT else f"state of {operators[operator]}"
            )
            raise WireError(f"{what} is damaged: block {number} ({of}), its checksum does not fit.")
        blocks.append((operator, body))
    if start != len(data) - _FOOTER.size - len(index):
        raise WireError(f"{what} is damaged: its blocks do not fill it.")
    return Part(
        name, key_groups, tuple(operators), history, positions, prepared, ways, tuple(blocks)
    )


def parts_needed(manifest: Iterable[Part], groups: Collection[int]) -> set[PartName]:
    """Which parts hold the state of these key groups, as the parts of a manifest say."""
    return {name for part in manifest for name in part.history.names_of(groups)}


def _header(name: PartName) -> bytes:
    named = _NAMED.pack(_MAGIC, PART_FORMAT, *name)
    return named + _CHECKSUM.pack(crc32(named))


def _index(name: PartName, data: bytes, what: str) -> bytes:
    """The index, when header and footer are sound."""
    if data[: len(_MAGIC)] != _MAGIC or len(data) < _HEADER_SIZE + _FOOTER.size:
        raise WireError(f"{what} is no part of a zstream checkpoint, or is cut off.")
    _, version, *written = _NAMED.unpack_from(data)
    (checksum,) = _CHECKSUM.unpack_from(data, _NAMED.size)
    if crc32(data[: _NAMED.size]) != checksum:
        raise WireError(f"{what} is damaged: the checksum of its header does not fit.")
    if version != PART_FORMAT:
        raise WireError(
            f"{what} has format {version}; this zstream reads format {PART_FORMAT}. "
            "Update this worker."
        )
    if tuple(written) != name:
        other = PartName(Run(written[0]), Epoch(written[1]), Incarnation(written[2]))
        raise WireError(f"{what} holds another part, {other.blob()}.")
    length, checksum, end = _FOOTER.unpack_from(data, len(data) - _FOOTER.size)
    start = len(data) - _FOOTER.size - length
    if end != _END or start < _HEADER_SIZE:
        raise WireError(f"{what} is damaged at its end, or cut off.")
    index = data[start : start + length]
    if crc32(index) != checksum:
        raise WireError(f"{what} is damaged: the checksum of its index does not fit.")
    return index


# ---------------------------------------------------------------- names and spans, compact


def encode_names(names: Iterable[PartName]) -> list[Any]:
    """Each writer once, with its epochs: an incarnation takes nine bytes, an epoch few."""
    epochs: dict[tuple[int, int], list[int]] = {}
    for name in sorted(names):
        epochs.setdefault((name.run, name.incarnation), []).append(name.epoch)
    return [[run, incarnation, *each] for (run, incarnation), each in epochs.items()]


def decode_names(rows: Any) -> list[PartName]:
    """Raises anything for rubbish."""
    return [
        PartName(Run(run), Epoch(epoch), Incarnation(incarnation))
        for run, incarnation, *epochs in rows
        for epoch in epochs
    ]


def _encode_spans(spans: Mapping[int, Span]) -> list[Any]:
    """Three columns; epochs as distances, because these are short."""
    groups = sorted(spans)
    newest = max((span.last for span in spans.values()), default=0)
    return [
        newest,
        groups,
        [newest - spans[group].base for group in groups],
        [newest - spans[group].last for group in groups],
    ]


def _decode_spans(columns: Any) -> dict[int, Span]:
    newest, groups, bases, lasts = columns
    return {
        group: Span(Epoch(newest - base), Epoch(newest - last))
        for group, base, last in zip(groups, bases, lasts, strict=True)
    }
