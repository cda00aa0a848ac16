"""The control log alone: several authors, one store, all its troubles, thousands of appends.

A whole cluster reaches the log's odd corners seldom. Here authors do nothing but open terms,
append while they believe to lead, write base records and clean, with pauses, stalls and lost
answers in between, and the truth is kept beside: what was the first thing ever created under
each number, and what a reader of all of it would heed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from zstream.control.log import ControlLog, Folded
from zstream.control.state import ClusterState, Kept, apply, as_base, effective
from zstream.errors import InvariantBroken
from zstream.model.ids import Incarnation, LogNumber, RequestId, RescaleId, Term
from zstream.model.records import Base, LogRecord, RescaleOpened, TermOpened
from zstream.ports.log import LogAnswer, LogOperation
from zstream.sim.disk import Desk, Disk, DiskTrouble
from zstream.sim.kernel import Kernel
from zstream.wire.codec import decode_record

KEPT = Kept(outcomes=4, manifests=2)
RECORDS_BEFORE_BASE = 6


class Truth(Disk):
    """A store that remembers what was first created under each number, cleaned or not.

    states: after each number, as a reader of everything folds it. heeded: nonces that count, and
    where they stand.
    """

    def __init__(self) -> None:
        super().__init__()
        self.states = {LogNumber(0): ClusterState()}
        self.heeded: dict[int, LogNumber] = {}

    def create(self, number: LogNumber, payload: bytes) -> bool:
        created = super().create(number, payload)
        if created and number not in self.states:
            before, record = self.states[LogNumber(number - 1)], decode_record(payload)
            if effective(before, record):
                self.heeded[record.nonce] = number
                self.states[number] = apply(before, number, record, KEPT)
            else:
                self.states[number] = replace(before, tail=number)
        return created


@dataclass(frozen=True)
class Verdict:
    """What an author was told about one of its appends. base: the newest base it knew then."""

    author: str
    record: LogRecord
    won: bool
    base: LogNumber


class Author:
    """One process that reads and appends, as an agent would."""

    def __init__(self, duel: Duel, name: str, incarnation: int) -> None:
        self.name = name
        self.me = Incarnation(incarnation)
        self.log = ControlLog(KEPT)
        self._duel = duel
        self._desk = Desk(duel.kernel, duel.disk, duel.trouble, name, self._answered)
        self._record: LogRecord | None = None
        self._count = 0
        self._dirty = False  # a base record of one's own was won and nothing cleaned since
        self._step()

    def pause(self, seconds: float) -> None:
        self._desk.pause()
        self._duel.kernel.after(seconds, self._desk.resume)

    def _step(self) -> None:
        kernel = self._duel.kernel
        if not self.log.busy:
            self._go_on()
        kernel.after(kernel.between((0.005, 0.03)), self._step)

    def _go_on(self) -> None:
        chance = self._duel.kernel.chance
        state = self.log.state
        if not self.log.idle:
            self._submit(self.log.read())
        elif state.leader == self.me and self._dirty:
            self._dirty = False
            self._submit(self.log.clean())
        elif state.leader == self.me and chance.random() < 0.8:
            self._append(self._next_record(state))
        elif chance.random() < self._duel.ambition:
            self._append(
                TermOpened(
                    term=Term(state.term + 1),
                    nonce=self._nonce(),
                    author=self.me,
                    name=self.name,
                    control="",
                    cluster="duel",
                    cause="it is time",
                    begins="",
                    savepoint=None,
                )
            )
        else:
            self._submit(self.log.read())

    def _next_record(self, state: ClusterState) -> LogRecord:
        if state.tail - state.base >= RECORDS_BEFORE_BASE:
            return as_base(state, LogNumber(state.tail + 1), self._nonce())
        self._count += 1
        return RescaleOpened(
            term=state.term,
            nonce=self._nonce(),
            id=RescaleId(f"grow-{state.rescales + 1}"),
            kind="grow",
            cause=f"{self.name} {self._count}",
            requests=(RequestId(f"{self.name}-{self._count}"),),
            joiners=(),
            leavers=(),
            says="",
        )

    def _nonce(self) -> int:
        return self._duel.kernel.chance.getrandbits(63)

    def _append(self, record: LogRecord) -> None:
        self._record = record
        self._submit(self.log.append(record))

    def _submit(self, operation: LogOperation) -> None:
        self._desk.submit(operation)

    def _answered(self, answer: LogAnswer) -> None:
        folded: Folded = self.log.on_answer(answer)
        kernel = self._duel.kernel
        kernel.note(self.name, answer.outcome, f"tail {self.log.state.tail}", folded.won)
        self._duel.check_fold(self)
        if folded.won is not None and self._record is not None:
            self._duel.verdicts.append(
                Verdict(self.name, self._record, folded.won, self.log.state.base)
            )
            self._dirty = self._dirty or (folded.won and isinstance(self._record, Base))
            self._record = None


class Duel:
    """Authors on one store for a while, then calm; `check` raises InvariantBroken."""

    def __init__(self, seed: int, authors: int = 3) -> None:
        self.kernel = Kernel(seed)
        chance = self.kernel.chance
        self.ambition = chance.choice([0.02, 0.1, 0.3])
        self.trouble = DiskTrouble(
            lost_answer=chance.choice([0.0, 0.1, 0.3]),
            failed_create=chance.choice([0.0, 0.1]),
            failed_read=chance.choice([0.0, 0.1, 0.2]),
            stall=chance.choice([0.0, 0.05, 0.2]),
            stall_seconds=(0.05, 0.6),
        )
        self.disk = Truth()
        self.verdicts: list[Verdict] = []
        self.authors = [Author(self, f"a{n}", n + 1) for n in range(authors)]

    def run(self, seconds: float = 1.5) -> None:
        for _ in range(self.kernel.chance.randrange(4)):
            when = self.kernel.chance.uniform(0.0, seconds)
            author = self.kernel.chance.choice(self.authors)
            length = self.kernel.chance.uniform(0.05, 0.5)
            self.kernel.at(when, lambda a=author, s=length: a.pause(s))  # type: ignore[misc]
        self.kernel.run(seconds)
        self.trouble.calm()
        before = len(self.verdicts)
        self.kernel.run(seconds + 1.5)
        if not any(verdict.won for verdict in self.verdicts[before:]):
            raise InvariantBroken("nobody appends anything, although all is calm")
        self.check()

    def check_fold(self, author: Author) -> None:
        """What this author has folded is what stands in the log."""
        state = author.log.state
        truth = self.disk.states.get(state.tail)
        if truth is None:
            raise InvariantBroken(f"{author.name} folded {state.tail}, which nobody wrote")
        said = (state.term, state.leader, state.rescales, state.open)
        true = (truth.term, truth.leader, truth.rescales, truth.open)
        if said != true:
            raise InvariantBroken(f"{author.name} at {state.tail} sees {said}, but it is {true}")

    def check(self) -> None:
        """Every author was told the truth about every append.

        One exception: who finds a base record above its own may not know any more, and then must
        take its append for lost and look at the state instead.
        """
        for verdict in self.verdicts:
            heeded_at = self.disk.heeded.get(verdict.record.nonce)
            if verdict.won == (heeded_at is not None):
                continue
            if heeded_at is not None and verdict.base > heeded_at:
                continue
            says = "won" if verdict.won else "lost"
            raise InvariantBroken(
                f"{verdict.author} was told that it {says} {verdict.record}, and that is wrong"
            )
