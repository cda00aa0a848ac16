"""The contract kits: a source or a sink of your own, taken through a crash at every step.

Describe the world in which yours stands, and let each check have it:

    class Tickets(SourceWorld):
        def __init__(self, path): ...            # a new world, with all its input
        expected = [b"1", b"2", ...]             # what is to be read, in order
        def open(self): return TicketReader(...)

    @pytest.mark.parametrize("check", SOURCE_CHECKS)
    def test_tickets(check, tmp_path_factory):
        check(lambda: Tickets(tmp_path_factory.mktemp("tickets")))

A check makes as many worlds as it needs and closes them. It raises AssertionError with the story:
what was done in that world, and what was wrong then. Positions and prepared output go through a
checkpoint on their way, as they do in a cluster.

The kits are for what can be exactly once: a source that can be replayed, and a sink that holds its
output back until its checkpoint is decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

from zstream.errors import ConnectorError
from zstream.model.ids import Epoch, Incarnation, Run
from zstream.ports.connectors import EndOfInput, Reader, Tick, Writer
from zstream.wire.parts import History, PartName, PartWriter, open_part
from zstream.wire.values import Registry

READS_MAX = 5000  # in a row that give nothing, each after `idle`; then nothing more will come
QUIET_READS = 20  # after the last record: enough for one that comes twice to show itself
COMMITS_MAX = 20  # a commit may fail for a while, until a connection stands, say


class SourceWorld:
    """Where a source stands: what there is to be read, and how a reader is opened.

    expected: all records as `read` gives them, before decode.
    """

    expected: Sequence[Any] = ()

    def open(self) -> Reader:
        """A new reader; the ones before it were closed or have crashed."""
        raise NotImplementedError

    def crash(self, reader: Reader) -> None:
        """The process of this reader dies: whatever it would still say is not said."""
        reader.close()

    def idle(self) -> None:
        """A read gave nothing: let the outside get on, or wait for some milliseconds."""

    def lane(self, record: Any) -> Any:
        """Records of one lane come in their order; those of different lanes in any."""
        return None

    def close(self) -> None:
        """The check is done."""


class SinkWorld:
    """Where a sink stands: how a writer is opened, and what the outside sees.

    faults: the functions that a commit needs, as (module or class, name): each call fails in turn.
    """

    faults: Sequence[tuple[Any, str]] = ()

    def open(self) -> Writer:
        """A new writer; others may be open at the same time, as on other workers."""
        raise NotImplementedError

    def crash(self, writer: Writer) -> None:
        """The process of this writer dies."""
        writer.close()

    def record(self, text: str) -> Any:
        """What an encoder gives for this text; no two texts are equal."""
        return f"{text}\n".encode()

    def seen(self) -> list[str]:
        """The texts of all that a reader outside has seen, in the order of epochs."""
        raise NotImplementedError

    def close(self) -> None:
        """The check is done."""


# ---------------------------------------------------------------- sources


class _Reading:
    """A worker that reads: what it holds is lost with it, but for what a manifest says."""

    def __init__(self, world: SourceWorld) -> None:
        self.story: list[str] = []
        self._world = world
        self._reader = world.open()
        self._held: list[Any] = []
        self._cut: tuple[Any, list[Any]] | None = None
        self._manifest: tuple[Any, list[Any]] = (None, [])

    def do(self, step: str) -> None:
        """A step by its name: "read 3", "cut", "decide", "abandon", "crash", "go back"."""
        self.story.append(step)
        word, _, argument = step.partition(" ")
        if word == "read":
            self._read(int(argument), self._world.idle, READS_MAX)
        elif word == "cut":
            self._cut = (self._position(), list(self._held))
        elif word == "abandon":
            self._cut = None
        elif word == "decide" and self._cut is not None:
            self._manifest, self._cut = self._cut, None
            self._reader.acknowledge(self._manifest[0])
        elif word == "crash":
            self._world.crash(self._reader)
            self._reader = self._world.open()
            self._restore()
        elif word == "go":
            self._restore()

    def end(self) -> None:
        """Read the rest, and compare."""
        self.story.append("read all")
        wanted = len(self._world.expected)
        while len(self._held) < wanted and self._read(100, self._world.idle, READS_MAX):
            pass
        self._read(100, self._world.idle, QUIET_READS)
        assert self._by_lane(self._held) == self._by_lane(self._world.expected), (
            f"the records are not those that were to be read, {self}"
        )

    def close(self) -> None:
        self._reader.close()
        self._world.close()

    def __str__(self) -> str:
        return f"after: {', '.join(self.story)}"

    def _read(self, limit: int, idle: Callable[[], None], reads_max: int) -> bool:
        """Whether a record came before the end, or before so many reads gave nothing."""
        for _ in range(reads_max):
            try:
                records = self._reader.read(limit)
            except EndOfInput:
                return False
            assert len(records) <= limit, f"{len(records)} records of at most {limit}, {self}"
            self._held += records
            if records:
                return True
            wake = self._reader.wake_at(1.0)
            assert wake is None or wake >= 1.0, f"it wants to be woken in the past, {self}"
            idle()
        return False

    def _position(self) -> Any:
        position = self._reader.position()
        assert position is not None, f"a position is never None, {self}"
        return _kept(position)

    def _restore(self) -> None:
        position, held = self._manifest
        self._cut = None
        self._held = list(held)
        lost = self._reader.seek(position)
        assert lost == 0, f"seek says that {lost} records are lost, {self}"

    def _by_lane(self, records: Sequence[Any]) -> dict[Any, list[Any]]:
        lanes: dict[Any, list[Any]] = {}
        for record in records:
            lanes.setdefault(self._world.lane(record), []).append(record)
        return lanes


_READING = [
    *("read 1", "cut", "read 2", "decide", "read 3", "cut", "decide", "read 1", "cut", "abandon"),
    *("read 5", "cut", "read 1", "decide", "cut", "decide", "read 2", "read 1"),
]


def _read_through(make: Callable[[], SourceWorld], steps: Sequence[str]) -> None:
    reading = _Reading(make())
    try:
        for step in steps:
            reading.do(step)
        reading.end()
    finally:
        reading.close()


def each_record_is_read_once(make: Callable[[], SourceWorld]) -> None:
    """Without any crash, in small pieces and in large ones."""
    _read_through(make, _READING)
    _read_through(make, ["read 1"] * 30)
    _read_through(make, ["read 1000"])


def a_new_reader_goes_on_where_the_checkpoint_says(make: Callable[[], SourceWorld]) -> None:
    """The reader dies at each step in turn; another begins at the newest decided position."""
    for place in range(len(_READING) + 1):
        _read_through(make, [*_READING[:place], "crash", *_READING[place:]])


def the_same_reader_goes_back(make: Callable[[], SourceWorld]) -> None:
    """Another worker dies at each step in turn, and this one gives again what was not decided."""
    for place in range(len(_READING) + 1):
        _read_through(make, [*_READING[:place], "go back", *_READING[place:]])


def readers_die_again_and_again(make: Callable[[], SourceWorld]) -> None:
    """After every step, and twice in a row, before anything is read."""
    _read_through(make, [each for step in _READING for each in (step, "crash")])
    _read_through(make, [each for step in _READING for each in (step, "crash", "crash", "go back")])
    _read_through(make, [each for step in _READING for each in (step, "go back", "crash")])


SOURCE_CHECKS: tuple[Callable[[Callable[[], SourceWorld]], None], ...] = (
    each_record_is_read_once,
    a_new_reader_goes_on_where_the_checkpoint_says,
    the_same_reader_goes_back,
    readers_die_again_and_again,
)


# ---------------------------------------------------------------- sinks


class _Prepared(NamedTuple):
    """An epoch of one author. upto: how many records there are with it."""

    epoch: int
    author: int
    outputs: tuple[Any, ...]
    upto: int


class _Writing:
    """A worker that writes numbers, one after the other; a recovery goes back to the manifest's."""

    def __init__(self, world: SinkWorld) -> None:
        self.story: list[str] = []
        self.world = world
        self.writer = world.open()
        self.author = 6148914691236517205
        self._epoch = 0
        self._next = 0  # number of the next record
        self._tick = Tick(1, 0)
        self._carried: tuple[Any, ...] = ()  # of abandoned epochs
        self._cut: _Prepared | None = None
        self.manifest = _Prepared(0, self.author, (), 0)
        self._shown = 0

    def do(self, step: str) -> None:
        """A step by its name; see `_WRITING`."""
        self.story.append(step)
        word, _, argument = step.partition(" ")
        if word == "write":
            numbers = range(self._next, self._next + int(argument))
            self.writer.write([self.world.record(f"{number:04d}") for number in numbers])
            self._next = numbers.stop
            assert self.writer.uncommitted_bytes() > 0, f"what is held back counts nothing, {self}"
        elif word == "move":
            self._tick = Tick(1, self._tick.number + 1)
            self.writer.moved(self._tick)
        elif word == "cut":
            self._prepare()
        elif word == "abandon" and self._cut is not None:
            self._carried, self._cut = self._cut.outputs, None
        elif word == "decide" and self._cut is not None:
            self.manifest, self._cut, self._carried = self._cut, None, ()
        elif word == "commit":
            self.commit(self.writer)
        elif word == "crash":
            self.world.crash(self.writer)
            self.writer = self.world.open()
            self.author += 1
            self._restore()
        elif word == "go":
            self.writer.abort()
            self._restore()
        self.check(self._shown)

    def commit(self, writer: Writer) -> None:
        """What the manifest names; tried again for a while where it cannot be done."""
        epoch, author, outputs, upto = self.manifest
        for tries_left in reversed(range(COMMITS_MAX)):
            try:
                writer.commit(epoch, author, outputs)
                break
            except (OSError, ConnectorError):
                if not tries_left:
                    raise
        self._shown = upto

    def check(self, shown: int) -> None:
        """The first so many records are to be seen, and no other."""
        seen = self.world.seen()
        wanted = [f"{number:04d}" for number in range(shown)]
        assert seen == wanted, f"{seen} is seen, {wanted} was committed, {self}"

    def check_begun(self) -> None:
        """A commit was broken off: all before it is to be seen, and perhaps some of it."""
        seen = self.world.seen()
        begun = [f"{number:04d}" for number in range(len(seen))]
        assert seen == begun and self._shown <= len(seen) <= self.manifest.upto, (
            f"{seen} is seen after a commit was broken off, {self}"
        )

    def close(self) -> None:
        self.writer.close()
        self.world.close()

    def __str__(self) -> str:
        return f"after: {', '.join(self.story)}"

    def _prepare(self) -> None:
        self._epoch += 1
        output = self.writer.prepare(self._epoch)
        assert self.writer.uncommitted_bytes() == 0, f"prepared, and still held back, {self}"
        outputs = self._carried if output is None else (*self._carried, _kept(output))
        self._cut = _Prepared(self._epoch, self.author, outputs, self._next)

    def _restore(self) -> None:
        assert self.writer.uncommitted_bytes() == 0, f"output outlives its records, {self}"
        self._cut, self._carried = None, ()
        self._next = self.manifest.upto
        self.commit(self.writer)


_WRITING = [
    *("write 2", "write 1", "cut", "decide", "commit", "write 3", "cut", "abandon", "write 1"),
    *("cut", "write 2", "decide", "move", "write 1", "commit", "commit", "cut", "decide", "commit"),
    *("cut", "decide", "commit", "write 2", "go back", "write 1", "cut", "decide", "commit"),
]


def _write_through(make: Callable[[], SinkWorld], steps: Sequence[str]) -> None:
    writing = _Writing(make())
    try:
        for step in steps:
            writing.do(step)
        for step in ("write 1", "cut", "decide", "commit"):
            writing.do(step)
    finally:
        writing.close()


def what_is_committed_is_seen_once(make: Callable[[], SinkWorld]) -> None:
    """Nothing before its commit, in order, and nothing more when it is committed again."""
    _write_through(make, _WRITING)


def a_new_writer_commits_what_the_checkpoint_holds(make: Callable[[], SinkWorld]) -> None:
    """The writer dies at each step in turn; another commits, and the input comes again."""
    for place in range(len(_WRITING) + 1):
        _write_through(make, [*_WRITING[:place], "crash", *_WRITING[place:]])


def an_abort_forgets_what_was_not_decided(make: Callable[[], SinkWorld]) -> None:
    """Another worker dies at each step in turn: this writer goes back, too."""
    for place in range(len(_WRITING) + 1):
        _write_through(make, [*_WRITING[:place], "go back", *_WRITING[place:]])


def writers_die_again_and_again(make: Callable[[], SinkWorld]) -> None:
    """After every step, so that each output is committed by several."""
    _write_through(make, [each for step in _WRITING for each in (step, "crash")])
    _write_through(make, [each for step in _WRITING for each in (step, "go back", "crash")])


def two_workers_write_the_same_epoch(make: Callable[[], SinkWorld]) -> None:
    """Each one's output is seen once, whoever commits it, and in whatever order."""
    for turn in (1, -1):
        world = make()
        workers = {7: ("7a", "7b"), 15: ("15a",)}
        open_now = [world.open() for _ in range(3)]
        try:
            outputs = {}
            for writer, (author, texts) in zip(open_now, workers.items(), strict=False):
                writer.write([world.record(text) for text in texts])
                outputs[author] = _kept(writer.prepare(1))
            for author in list(workers)[::turn]:
                for writer in open_now[::turn]:
                    writer.commit(1, author, [outputs[author]])
            seen = world.seen()
            for author, texts in workers.items():
                own = [text for text in seen if text in texts]
                assert own == list(texts), f"{seen} is seen; of author {author}: {texts}"
            assert len(seen) == 3, f"{seen} is seen"
        finally:
            for writer in open_now:
                writer.close()
            world.close()


def a_commit_fails_at_every_call(make: Callable[[], SinkWorld]) -> None:
    """Each call that it makes fails in turn, or kills the process; then it is committed again."""
    for how in _FAULTS:
        for by_another in (False, True) if not how.kills else (True,):
            for place in count():
                if not _broken_off(make(), how, place, by_another):
                    break


class _Fault(NamedTuple):
    """What happens to a call. done: it was, and only its answer is lost."""

    done: bool
    kills: bool

    def __str__(self) -> str:
        end = "the process dies" if self.kills else "an OSError is raised"
        return f"{end} {'after' if self.done else 'instead of'} call"


_FAULTS = [_Fault(done, kills) for done in (False, True) for kills in (False, True)]


class _Died(BaseException):
    """The process is no more; nothing that it does in passing reaches the outside."""


def _broken_off(world: SinkWorld, how: _Fault, place: int, by_another: bool) -> bool:
    """Whether a commit makes more than `place` calls; that one fails."""
    writing = _Writing(world)
    try:
        for step in ("write 2", "cut", "decide", "commit", "write 3", "cut", "decide"):
            writing.do(step)
        with _failing(world.faults, how, place) as failed:
            try:
                epoch, author, outputs, _ = writing.manifest
                writing.writer.commit(epoch, author, outputs)
            except (OSError, ConnectorError, _Died) as error:
                writing.story.append(f"commit ({error!r})")
        if not failed:
            return False
        writing.story.append(f"{how} {failed[0]}")
        writing.check_begun()
        if by_another:
            writing.do("crash")
        for step in ("commit", "write 2", "cut", "decide", "commit"):
            writing.do(step)
        return True
    finally:
        writing.close()


@contextmanager
def _failing(functions: Sequence[tuple[Any, str]], how: _Fault, place: int) -> Iterator[list[str]]:
    """The call number `place` of any of these fails. Yields the name of the one that did."""
    numbers = count()
    failed: list[str] = []
    originals = [(owner, name, getattr(owner, name)) for owner, name in functions]

    def patched(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if failed and how.kills:
                raise _Died(f"{name} of the dead")
            if next(numbers) != place:
                return original(*args, **options)
            failed.append(f"{place}, {name}")
            if how.done:
                original(*args, **options)
            if how.kills:
                raise _Died(name)
            raise OSError(5, f"{name} failed, says the contract kit")

        return call

    try:
        for owner, name, original in originals:
            setattr(owner, name, patched(name, original))
        yield failed
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


SINK_CHECKS: tuple[Callable[[Callable[[], SinkWorld]], None], ...] = (
    what_is_committed_is_seen_once,
    a_new_writer_commits_what_the_checkpoint_holds,
    an_abort_forgets_what_was_not_decided,
    writers_die_again_and_again,
    two_workers_write_the_same_epoch,
    a_commit_fails_at_every_call,
)


def _kept(value: Any) -> Any:
    """The value as it comes out of a checkpoint's part."""
    name = PartName(Run(1), Epoch(1), Incarnation(1))
    part = PartWriter(name, Registry(), 1, ()).finish(History({}, ()), {"kept": value}, {})
    return open_part(name, part).positions["kept"]
