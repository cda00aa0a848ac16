"""What is decided: the control log folded as it becomes durable, and what its manifests name.

No worker is asked. At the instant at which a record becomes durable it must be right: a manifest
names parts that are there and whole, an epoch is opened when all before it is committed. And what
workers do to the outside must be decided by then: nothing else is committed, acknowledged, deleted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from zstream.control.invariants import broken
from zstream.control.state import ClusterState, Kept, apply, effective
from zstream.errors import InvariantBroken
from zstream.model.ids import Epoch, Incarnation, LogNumber, Run
from zstream.model.records import (
    EpochOpened,
    GenerationOpened,
    LogRecord,
    Manifest,
    RescaleOpened,
    ShutdownClosed,
    ShutdownOpened,
    TermOpened,
)
from zstream.sim.cluster import SimulatedCluster
from zstream.sim.outside import Outlet, Script, Token
from zstream.wire.codec import decode_record
from zstream.wire.parts import Part, PartName, open_part


class Decided(NamedTuple):
    """What a manifest stands for.

    positions: by partition, how many records of it are in. outputs: what is to be committed, by
    sink and author. blobs: the names of all parts that are needed to read it.
    """

    positions: Mapping[str, int]
    outputs: Mapping[tuple[str, int], list[Token]]
    blobs: frozenset[str]


class Truth:
    """Follows the store of one simulated cluster. state: what all of the log says.

    decided: by epoch, all that ever were. rolled_back: epochs with a manifest that the cluster
    went back behind, because a part had rotted. shut_down_in: the run in which the newest shutdown
    was opened.
    """

    def __init__(self, cluster: SimulatedCluster) -> None:
        self.state = ClusterState()
        self.decided: dict[Epoch, Decided] = {}
        self.rolled_back: list[Epoch] = []
        self.counts: Counter[str] = Counter()
        self.shut_down_in = Run(0)
        self._cluster = cluster
        self._began_with: set[Incarnation] = set()  # the members at the newest recovery
        self._positions: dict[str, int] = {}  # the highest that a manifest ever named
        self._uncommitted: set[tuple[str, Epoch, int]] = set()  # sink, epoch, author
        world = cluster.world
        world.disk.decided = self._on_record
        world.blobs.deleting = self._on_delete
        for outlet in (*world.outlets.values(), world.letters):
            outlet.committing = self._on_commit

    def follow(self, script: Script) -> None:
        """Check what is acknowledged to this script."""
        script.acknowledging = self._on_acknowledge

    @property
    def is_rotten(self) -> bool:
        """Whether something in the store is not what was written."""
        blobs = self._cluster.world.blobs
        return any(blobs.written[name] != payload for name, payload in blobs.blobs.items())

    # ---- the log

    def _on_record(self, number: LogNumber, payload: bytes) -> None:
        before, record = self.state, decode_record(payload)
        if number != before.tail + 1:
            raise InvariantBroken(f"log record {number} came to stand behind {before.tail}")
        if isinstance(record, TermOpened) and record.author == before.leader:
            raise InvariantBroken(f"{record.name} opened a term over its own")
        if not effective(before, record):
            self.state = replace(before, tail=number)
            return
        config = self._cluster.config
        kept = Kept(config.outcomes_kept, config.manifests_kept)
        self.state = apply(before, number, record, kept)
        self.counts[type(record).__name__] += 1
        self._cluster.kernel.note("log", str(number), told(record))
        if what := broken(before, record, self.state):
            raise InvariantBroken(what)
        if isinstance(record, Manifest):
            self._on_manifest(before, record)
        elif isinstance(record, GenerationOpened):
            self._on_generation(before, record)
        elif isinstance(record, ShutdownOpened):
            self.shut_down_in = before.run
        elif isinstance(record, EpochOpened) or (
            isinstance(record, ShutdownClosed) and record.drained
        ):
            self._nothing_is_uncommitted(record)
        self._cluster.world.moment(type(record).__name__, "")

    def _on_manifest(self, before: ClusterState, manifest: Manifest) -> None:
        """Everything it names must be durable now."""
        what = f"the manifest of epoch {manifest.epoch}"
        opened = before.epoch
        if opened is None or (opened.run, opened.epoch) != (manifest.run, manifest.epoch):
            raise InvariantBroken(f"{what} closes {opened}")
        if set(manifest.authors) != {member.incarnation for member in before.table.members}:
            raise InvariantBroken(f"{what} has parts of {manifest.authors}, not of all members")
        parts = [self._part(what, manifest, author) for author in manifest.authors]
        self._check_histories(what, manifest, parts)
        found = decided_by(what, parts)
        before_it = self.decided[before.committed].positions if before.manifest else {}
        ends = before.shutdown
        if ends and before.committed > ends.epoch and found.positions != before_it:
            raise InvariantBroken(f"{what} has read on in a shutdown: {found.positions}")
        for partition, place in before_it.items():
            if found.positions.get(partition, -1) < place:
                raise InvariantBroken(
                    f"{what} has position {found.positions.get(partition)} of {partition}, "
                    f"and the one before had {place}"
                )
        self.decided[manifest.epoch] = found
        self._positions.update(
            {p: max(place, self._positions.get(p, 0)) for p, place in found.positions.items()}
        )
        self._uncommitted.update((sink, manifest.epoch, author) for sink, author in found.outputs)

    def _part(self, what: str, manifest: Manifest, author: int) -> Part:
        name = PartName(manifest.run, manifest.epoch, author)  # type: ignore[arg-type]
        blobs = self._cluster.world.blobs
        if not blobs.is_durable(name.blob()):
            raise InvariantBroken(f"{what} names {name.blob()}, which is not durable")
        return open_part(name, blobs.written[name.blob()])

    def _check_histories(self, what: str, manifest: Manifest, parts: Sequence[Part]) -> None:
        """Each key group in one part, and all parts that its state is in are there."""
        groups = Counter(group for part in parts for group in part.history.spans)
        wrong = {g for g in range(self._cluster.plan.key_groups) if groups[g] != 1}
        if wrong:
            raise InvariantBroken(f"{what}: key groups {sorted(wrong)} are not in one part each")
        for part in parts:
            for name in part.history.names:
                if not self._cluster.world.blobs.is_durable(name.blob()):
                    raise InvariantBroken(f"{what} needs {name.blob()}, which is not there")
                if name.epoch < manifest.oldest:
                    raise InvariantBroken(f"{what} needs {name.blob()}: {manifest.oldest} is wrong")

    def _on_generation(self, before: ClusterState, opened: GenerationOpened) -> None:
        gone_back = [
            manifest.epoch
            for manifest in before.manifests
            if opened.recovers and manifest.epoch > (opened.restore.epoch if opened.restore else 0)
        ]
        if gone_back:
            if not self.is_rotten or "cannot read" not in opened.cause:
                raise InvariantBroken(f"epochs {gone_back} are given up: {opened.cause}")
            self.rolled_back += gone_back
            self._uncommitted = {u for u in self._uncommitted if u[1] not in gone_back}
        here = {member.incarnation for member in opened.table.members}
        if opened.recovers:
            self.counts["recoveries"] += 1
            self._began_with = here
            return
        if self._began_with and not here & self._began_with:
            raise InvariantBroken(f"nobody has stayed who knows what run {opened.run} began with")
        if before.epoch is not None:
            raise InvariantBroken(f"a generation was opened in epoch {before.epoch.epoch}")
        left = {u for u in self._uncommitted if u[2] not in here}
        gone = {member.incarnation for member in before.table.members} - here
        if gone and left:
            raise InvariantBroken(f"who left had not committed {sorted(left)}")

    def _nothing_is_uncommitted(self, record: LogRecord) -> None:
        if self._uncommitted:
            raise InvariantBroken(
                f"{type(record).__name__}, and not committed is {sorted(self._uncommitted)}"
            )

    # ---- the outside

    def _on_commit(self, outlet: Outlet, epoch: int, author: int, outputs: Sequence[Token]) -> None:
        decided = self.decided.get(Epoch(epoch))
        named = decided.outputs.get((outlet.sink, author)) if decided else None
        if named != outputs:
            raise InvariantBroken(
                f"{outlet.sink}: {author} commits {outputs} in epoch {epoch}, and the manifest "
                f"names {named}"
            )
        self._uncommitted.discard((outlet.sink, Epoch(epoch), author))

    def _on_acknowledge(self, script: Script, count: int) -> None:
        decided = self._positions.get(script.partition, 0)
        if count > decided:
            raise InvariantBroken(
                f"{script.partition} was acknowledged up to {count}; decided is {decided}"
            )

    def _on_delete(self, name: str) -> None:
        for manifest in self.state.manifests:
            if name in self.decided[manifest.epoch].blobs:
                raise InvariantBroken(
                    f"{name} is deleted; the kept epoch {manifest.epoch} needs it"
                )


def decided_by(what: str, parts: Sequence[Part]) -> Decided:
    """What the parts of a manifest say together."""
    positions: dict[str, int] = {}
    outputs: dict[tuple[str, int], list[Token]] = {}
    for part in parts:
        for partition, position in part.positions.items():
            place = _place(partition, position)
            if positions.setdefault(partition, place) != place:
                raise InvariantBroken(f"{what} has two positions of {partition}")
        for sink, prepared in part.prepared.items():
            if prepared:
                outputs[sink, part.name.incarnation] = [list(token) for token in prepared]
    blobs = {name.blob() for part in parts for name in (part.name, *part.history.names)}
    return Decided(positions, outputs, frozenset(blobs))


def _place(partition: str, position: Any) -> int:
    if position[0] != partition:
        raise InvariantBroken(f"the position of {partition} is {position}")
    return int(position[1])


def told(record: LogRecord) -> str:
    """A log record in a line, for a story."""
    if isinstance(record, GenerationOpened):
        table = record.table
        owners = "".join(str(owner) for owner in table.owners)
        members = " ".join(member.name for member in table.members)
        back_to = f" from epoch {record.restore.epoch if record.restore else 0}"
        return (
            f"t{record.term} generation {table.generation} r{record.run} [{members}] {owners} "
            f"wave {record.wave}/{record.waves} {record.rescale}"
            f"{back_to if record.recovers else ''}: {record.cause}"
        )
    if isinstance(record, TermOpened):
        return f"t{record.term} opened by {record.name} {record.begins}: {record.cause}"
    if isinstance(record, RescaleOpened):
        joiners = [member.name for member in record.joiners]
        leavers = [member.name for member in record.leavers]
        return f"t{record.term} {record.id} opened {joiners} {leavers} {record.cause}"
    number = f" {record.epoch}" if isinstance(record, EpochOpened | Manifest) else ""
    return f"t{record.term} {type(record).__name__}{number} {getattr(record, 'says', '')}"
