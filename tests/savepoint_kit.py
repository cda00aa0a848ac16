"""A checkpoint of two workers, three parts in all, and the savepoint that is made of it."""

from __future__ import annotations

from pathlib import Path

from zstream.model.ids import Epoch, Incarnation, RequestId, Run, Term
from zstream.model.records import Manifest
from zstream.model.savepoint import Savepoint
from zstream.ports.blobs import BlobStore
from zstream.ports.savepoints import write_savepoint
from zstream.stores.files import FileStore
from zstream.wire.parts import History, PartName, PartWriter, Span
from zstream.wire.values import Registry

OLD = PartName(Run(1), Epoch(5), Incarnation(1))
FIRST = PartName(Run(1), Epoch(7), Incarnation(1))
SECOND = PartName(Run(1), Epoch(7), Incarnation(2))
NEEDLESS = PartName(Run(1), Epoch(6), Incarnation(2))

MANIFEST = Manifest(
    term=Term(1),
    nonce=1,
    run=Run(1),
    epoch=Epoch(7),
    authors=(Incarnation(1), Incarnation(2)),
    oldest=Epoch(5),
    operators=("tally",),
    key_groups=4,
    committed=True,
)
SAVEPOINT = Savepoint(
    request=RequestId("s1"),
    asked_at=1_700_000_000,
    cluster="votes-1",
    topology="votes",
    fingerprint="9f2c01e7",
    outline=(("operator tally", "a stateful_map", "votes.py:16"),),
    version="1.0",
    parts=0,
    bytes=0,
    manifest=MANIFEST,
)


def part_bytes(name: PartName, spans: dict[int, Span], names: set[PartName]) -> bytes:
    """A part with a row for each key group that it holds."""
    writer = PartWriter(name, Registry(), 4, ["tally"])
    for group in spans:
        writer.add_states("tally", [group], [f"k{group}"], [1])
    return writer.finish(History(spans, names), {}, {})


def fill(store: BlobStore) -> None:
    """The parts, and one that no manifest needs any more."""
    whole, since = Span(Epoch(7), Epoch(7)), Span(Epoch(5), Epoch(7))
    store.put(OLD.blob(), part_bytes(OLD, {1: Span(Epoch(5), Epoch(5))}, {OLD}))
    store.put(NEEDLESS.blob(), part_bytes(NEEDLESS, {2: Span(Epoch(6), Epoch(6))}, {NEEDLESS}))
    store.put(FIRST.blob(), part_bytes(FIRST, {0: whole, 1: since}, {OLD, FIRST}))
    store.put(SECOND.blob(), part_bytes(SECOND, {2: whole, 3: whole}, {SECOND}))


def a_savepoint_in(place: Path) -> None:
    """Make a cluster's store beside it, and the savepoint of that."""
    for path in (place, place.with_name("cluster")):
        path.mkdir()
    cluster = FileStore(place.with_name("cluster"))
    fill(cluster)
    write_savepoint(cluster, FileStore(place), f"file://{place}", SAVEPOINT, lambda: True)
