"""What a job is: an input that is made before, and what is done with each record of it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Step = tuple[str, Callable[..., Any]]
Plain = Callable[[list[Any], dict[Any, Any]], list[Any]]


def keyed_loop(key_of: Callable[[Any], Any], step: Callable[[Any, Any], tuple[Any, Any]]) -> Plain:
    """A job of `key_by` and `stateful_map` without an engine.

    Engines are measured against it, so nothing may stand here between a record and the two calls:
    as a closure it is as fast as a loop that names its functions.
    """

    def plain(records: list[Any], states: dict[Any, Any]) -> list[Any]:
        outputs = []
        for record in records:
            key = key_of(record)
            states[key], output = step(states.get(key), record)
            outputs.append(output)
        return outputs

    return plain


def every(records: list[Any], index: int, workers: int) -> list[Any]:
    """What one of several workers reads: every so many-th record."""
    return records[index::workers]


def last_of_each_key(seen: dict[Any, Any], outputs: list[Any]) -> None:
    """Remember the last output of each key; outputs are (key, value)."""
    seen.update(outputs)


def all_seen(seen: dict[Any, Any]) -> dict[Any, Any]:
    """The last output of each key that this worker gave."""
    return seen


def together(found: list[Any]) -> Any:
    """What all workers found. Whole numbers are added up. Of last outputs the highest of each key
    counts, for totals rise and a key that moved was seen by several; a digest is made of them.
    """
    if isinstance(found[0], int):
        return sum(found)
    if any(not isinstance(value, int) for each in found for value in each.values()):
        return found
    last: dict[str, int] = {}
    for each in found:
        for key, value in each.items():
            last[key] = max(value, last.get(key, value))
    return sum(zlib.crc32(key.encode()) * value for key, value in last.items())


@dataclass(frozen=True)
class Wire:
    """Records in frames, each with its length in four bytes before it, and outputs in lines.

    payload: a record as a frame's payload; `decode` is the way back.
    encode: an output as a line; `output_of` is the way back.
    """

    payload: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    output_of: Callable[[bytes], Any]

    def frames(self, records: list[Any]) -> bytes:
        """All of them, as a sender would send them."""
        payloads = map(self.payload, records)
        return b"".join([len(payload).to_bytes(4, "big") + payload for payload in payloads])


@dataclass(frozen=True)
class Job:
    """One job, said once for all peers.

    says: what it is, for the report.
    make: the input for so many keys, the same each time.
    steps: the job as an engine is told it: (kind, function), where a kind is the name of the
        operator in zstream: map, flat_map, key_by, stateful_map, stateful_flat_map.
    unit: what a rate counts: records that were read, or else outputs, which then are so called.
    plain: the same job without an engine: (batch, states) -> outputs.
    rounds: how often the input is read in a run that takes some seconds.
    keys: numbers of keys that it is measured with.
    share: what a worker reads of the input: (records, index, workers).
    gather: what the sink keeps, to be compared with what the plain loop gives: (seen, outputs).
        It is in C, so that looking costs every peer the same little. Values are whole numbers.
    found: what of it is told at the end; see `together`.
    is_plain: its records are made of plain types only, and travel without a codec's help.
    wire: how its records and outputs look on a connection, where that is measured too.
    """

    says: str
    make: Callable[[int], list[Any]]
    steps: tuple[Step, ...]
    plain: Plain
    rounds: int
    unit: str = "records"
    keys: tuple[int, ...] = (26,)
    share: Callable[[list[Any], int, int], list[Any]] = every
    gather: Callable[[dict[Any, Any], list[Any]], None] = last_of_each_key
    found: Callable[[dict[Any, Any]], Any] = all_seen
    is_plain: bool = True
    wire: Wire | None = None
