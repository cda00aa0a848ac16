"""This worker's side of epochs and recoveries: what goes over the shell's desk, and in which order.

    cut         the dataflow cuts, positions and output are taken            (at_cut)
    part        when the dataflow has it: written beside the loop            -> durable
    manifest    sources acknowledge; each sink's output is committed         -> committed
    recovery    drop all; read the manifest's parts, then those that hold the state of what is
                owned here; restore; seek; commit what the manifest names    -> a member again
    savepoint   a checkpoint is copied to another store, for the leader only

What fails is tried again for as long as it is wanted. What a manifest names of authors that are
gone is spread over the members, the same on each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from zstream.config import Config
from zstream.control.events import CopySavepoint, SavepointCopied
from zstream.dataflow.engine import Dataflow
from zstream.driver.outputs import Commit, Outputs
from zstream.driver.partitions import Partitions
from zstream.errors import ConnectorError, WireError
from zstream.model.ids import Epoch, Incarnation
from zstream.model.membership import Member
from zstream.model.records import EpochAbandoned, EpochOpened, GenerationOpened, Manifest
from zstream.ports.desk import (
    DeskAnswer,
    DeskOperation,
    OutputCommit,
    PartRead,
    PartsClean,
    PartWrite,
    SavepointCopy,
)
from zstream.ports.shell import Shell
from zstream.wire.codec import decode_savepoint
from zstream.wire.parts import Part, PartName, open_part, parts_needed

SAY_SECONDS = 5.0  # between two lines about the same operation that fails


@dataclass
class _Restore:
    """A recovery between its decision and its last part. began: seconds."""

    began: float
    opened: GenerationOpened
    awaited: set[PartName]
    parts: dict[PartName, Part]

    @property
    def manifest_names(self) -> list[PartName]:
        restore = self.opened.restore
        if restore is None:
            return []
        return [PartName(restore.run, restore.epoch, author) for author in restore.authors]


class Checkpoints:
    """Times are monotonic seconds."""

    def __init__(
        self,
        config: Config,
        me: Member,
        shell: Shell,
        partitions: Partitions,
        outputs: Outputs,
        restored: Callable[[], None],
    ) -> None:
        """restored: called when a recovery is done, before anything is read or received."""
        self.dataflow: Dataflow  # set by the driver: each needs the other
        self.durable = Epoch(0)
        self.oldest = Epoch(0)
        self.damaged = ""
        self._retry = config.retry_ms / 1000
        self._me = me
        self._shell = shell
        self._partitions = partitions
        self._outputs = outputs
        self._restored = restored
        self._token = 0
        self._asked: dict[int, tuple[DeskOperation, Any]] = {}  # and what it is for
        self._again: list[tuple[float, DeskOperation, Any]] = []  # failed: when to try again
        self._said_at: dict[str, float] = {}
        self._committing: set[str] = set()  # sinks of which a commit is under way
        self._open = Epoch(0)  # cut, and its part is not handed in yet
        self._manifest = Epoch(0)  # the newest that is known
        self._committed = Epoch(0)
        self._restore: _Restore | None = None
        self._saved: list[SavepointCopied] = []

    # ---- what the driver asks

    @property
    def recovering(self) -> bool:
        """Whether this worker has dropped all and is not restored yet."""
        return self._restore is not None

    @property
    def committed(self) -> Epoch:
        """All output up to this epoch that this worker is to commit is committed."""
        if not self.recovering and self._outputs.all_committed:
            self._committed = self._manifest
        return self._committed

    @property
    def under_way(self) -> dict[str, str]:
        """What the desk does and a checkpoint or a recovery waits for, by an id of this worker."""
        kinds = [(token, type(operation)) for token, (operation, _) in self._asked.items()]
        waited_for = (PartWrite, PartRead, OutputCommit)
        return {f"desk {token}": _DOING[kind] for token, kind in kinds if kind in waited_for}

    def next_timer(self) -> float | None:
        return min((at for at, _, _ in self._again), default=None)

    # ---- epochs

    def at_cut(self, epoch: Epoch) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The dataflow cuts now: positions by partition, prepared output by sink."""
        self._open = epoch
        return self._partitions.cut(epoch), self._outputs.prepare(epoch)

    def cut(self, opened: EpochOpened, now: float) -> None:
        """The leader's word."""
        if not self.recovering:
            self.dataflow.cut(opened.run, opened.epoch, now)

    def turn(self, now: float) -> None:
        """Once a turn: a part that is whole goes out, and what has failed is tried again."""
        if self._open:
            part = self.dataflow.part(self._open)
            if part is not None:
                oldest = self.dataflow.oldest(self._open)
                name = self.dataflow.part_name(self._open)
                self._submit(PartWrite(0, name.blob(), part), (name, oldest))
                self._open = Epoch(0)
        due = [(operation, what) for at, operation, what in self._again if at <= now]
        self._again = [item for item in self._again if item[0] > now]
        for operation, what in due:
            if self._is_wanted(operation, what):
                self._submit(operation, what)
            elif isinstance(operation, OutputCommit):
                self._committing.discard(what[0])
        for sink, commit in self._outputs.next_commits():
            self._commit(sink, commit)

    def takes_part(self, opened: GenerationOpened) -> None:
        """A joiner owes nothing of what was decided before its run began."""
        if opened.restore is not None:
            self._manifest = max(self._manifest, opened.restore.epoch)

    def decided(self, manifest: Manifest) -> None:
        """A manifest stands in the log."""
        self._manifest = max(self._manifest, manifest.epoch)
        if self.recovering or manifest.run != self.dataflow.run:
            return
        if self._me.incarnation not in manifest.authors:
            return  # we have left, or are not in yet: what a late barrier made us cut is nobody's
        outputs = self.dataflow.manifest_appended(manifest.epoch)
        self._outputs.commit(manifest.epoch, self._me.incarnation, outputs)
        self._partitions.acknowledge(manifest.epoch)

    def abandoned(self, record: EpochAbandoned) -> None:
        if record.run == self.dataflow.run:
            self.dataflow.abandon(record.epoch)
            self._open = Epoch(0)

    def clean(self, below: Epoch) -> None:
        """Parts of lower epochs are needed no more."""
        self._submit(PartsClean(0, below), None)

    def save(self, effect: CopySavepoint, is_wanted: Callable[[], bool]) -> None:
        """Copy a savepoint; what comes of it is among `take_saved`. It is tried once only."""
        copy = SavepointCopy(0, effect.savepoint, effect.to, is_wanted)
        self._submit(copy, effect.savepoint.request)

    def take_saved(self) -> list[SavepointCopied]:
        """Copies that have ended since the last call."""
        saved, self._saved = self._saved, []
        return saved

    # ---- recovery

    def recover(self, opened: GenerationOpened, now: float) -> None:
        """A new run: nothing of the one before counts."""
        self.dataflow.begin(opened.run)
        self._outputs.abort()
        self._open = self.durable = self.oldest = self._committed = Epoch(0)
        self._manifest = opened.restore.epoch if opened.restore else Epoch(0)
        self.damaged = ""
        self._restore = _Restore(now, opened, set(), {})
        self._read(self._restore.manifest_names)

    def try_restore(self, now: float) -> None:
        """Go on when all parts that are needed are there.

        May raise what user code raises, and ConnectorError for state that is not understood.
        """
        doing = self._restore
        if doing is None or doing.awaited or self.damaged:
            return
        opened, me = doing.opened, self._me.incarnation
        manifest = [doing.parts[name] for name in doing.manifest_names]
        needed = parts_needed(manifest, set(opened.table.groups_of(me)))
        if missing := needed - doing.parts.keys():
            self._read(sorted(missing))
            return
        positions = {p: at for part in manifest for p, at in part.positions.items()}
        self._partitions.seek(positions, opened.placement)
        try:
            dropped = self.dataflow.restore(opened.run, opened, doing.parts, now)
        except WireError as error:  # sound, so an earlier one would be no better
            raise ConnectorError(f"this version cannot go on with the state: {error}") from error
        self._restore = None
        if dropped:
            text = (
                f"{dropped:,} records were on their way to operators and sinks that this topology "
                "has no more: they are dropped"
            )
            self._shell.say("warning", "records_dropped", text, {"records": dropped})
        committed = opened.restore is not None and opened.restore.committed
        for part in manifest if not committed else ():
            if _committer(part.name.incarnation, opened) == me:
                self._outputs.commit(part.name.epoch, part.name.incarnation, part.prepared)
        self._restored()
        if opened.restore is not None:
            took, size = now - doing.began, len(doing.parts)
            text = f"went back to epoch {opened.restore.epoch}: {size} parts read in {took:.2f} s"
            fields = {"epoch": opened.restore.epoch, "parts": size, "seconds": round(took, 4)}
            self._shell.say("info", "restored", text, fields)

    def _read(self, names: list[PartName]) -> None:
        if self._restore is not None:
            self._restore.awaited.update(names)
        for name in names:
            self._submit(PartRead(0, name.blob()), (self.dataflow.run, name))

    # ---- the desk

    def on_answer(self, answer: DeskAnswer, now: float) -> None:
        """An operation was done, or has failed."""
        operation, what = self._asked.pop(answer.token)
        if isinstance(operation, OutputCommit):
            self._on_commit(operation, what, answer, now)
        elif isinstance(operation, SavepointCopy):
            there = decode_savepoint(answer.payload) if answer.payload else None
            self._saved.append(SavepointCopied(what, there, answer.failed))
        elif not self._is_wanted(operation, what):
            return
        elif answer.failed:
            self._fail(operation, what, answer.failed, now)
        elif isinstance(operation, PartWrite):
            name, oldest = what
            self.durable, self.oldest = name.epoch, oldest
        elif isinstance(operation, PartRead) and self._restore is not None:
            self._on_part(what[1], answer.payload, self._restore)

    def _on_part(self, name: PartName, payload: bytes | None, doing: _Restore) -> None:
        if name not in doing.awaited:
            return
        try:
            if payload is None:
                raise WireError(f"part {name.blob()} is not there.")
            doing.parts[name] = open_part(name, payload)
        except WireError as error:
            self.damaged = str(error)
            return
        doing.awaited.discard(name)

    def _on_commit(
        self, operation: OutputCommit, what: tuple[str, Commit], answer: DeskAnswer, now: float
    ) -> None:
        sink, commit = what
        if answer.failed and self._outputs.is_first(sink, commit):
            self._fail(operation, what, answer.failed, now)
            return  # it is under way until it is tried again
        self._committing.discard(sink)
        if not answer.failed:
            self._outputs.committed(sink, commit)

    def _is_wanted(self, operation: DeskOperation, what: Any) -> bool:
        """Whether the outcome still matters: what is of an ended run does not."""
        if isinstance(operation, PartWrite):
            name: PartName = what[0]
            return name.run == self.dataflow.run and name.epoch > self.durable
        if isinstance(operation, PartRead):
            return self.recovering and bool(what[0] == self.dataflow.run)
        if isinstance(operation, OutputCommit):
            return self._outputs.is_first(*what)
        return True

    def _commit(self, sink: str, commit: Commit) -> None:
        committer = self._outputs.committer(sink)
        if committer is not None and sink not in self._committing:
            self._committing.add(sink)
            operation = OutputCommit(0, committer, commit.epoch, commit.author, commit.outputs)
            self._submit(operation, (sink, commit))

    def _submit(self, operation: DeskOperation, what: Any) -> None:
        self._token += 1
        operation = replace(operation, token=self._token)
        self._asked[self._token] = (operation, what)
        self._shell.desk.submit(operation)

    def _fail(self, operation: DeskOperation, what: Any, cause: str, now: float) -> None:
        self._again.append((now + self._retry, operation, what))
        kind = type(operation).__name__
        if now - self._said_at.get(kind, float("-inf")) >= SAY_SECONDS:
            self._said_at[kind] = now
            text = f"{_DOING[type(operation)]} failed: {cause} Trying again."
            self._shell.say("warning", "checkpoint_waits", text, {})


_DOING: Mapping[type, str] = {
    PartWrite: "writing a checkpoint",
    PartRead: "reading a checkpoint",
    PartsClean: "deleting old checkpoints",
    OutputCommit: "committing output",
}


def _committer(author: Incarnation, opened: GenerationOpened) -> Incarnation:
    """Who commits what this author has prepared: it, or one of the members in its stead."""
    members = opened.table.members
    if opened.table.member(author) is not None or opened.restore is None:
        return author
    place = sorted(opened.restore.authors).index(author)
    return members[place % len(members)].incarnation
