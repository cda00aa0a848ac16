"""PostgresSink on a real server: once, whatever dies when, and what is said when it cannot be."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import partial
from itertools import permutations
from time import monotonic
from typing import Any, NamedTuple
from uuid import UUID

import pytest

import zstream
from tests.postgres_server import IS_DEMANDED, PostgresServer, why_not
from zstream.connectors.postgres_runs import move
from zstream.connectors.registry import open_writer
from zstream.connectors.staged import pack
from zstream.errors import ConnectorError
from zstream.ports.connectors import Tick, Writer
from zstream.testing.contracts import SINK_CHECKS, SinkWorld
from zstream.topology.specs import PostgresSink

if not IS_DEMANDED and why_not():
    pytest.skip(why_not(), allow_module_level=True)

import psycopg

from zstream.connectors import postgres

ME, OTHER, THIRD = 2**62 + 7, 2**62 + 8, 2**62 + 9  # authors
RUN = 2**63 - 1  # drawn for a run, as large as may be
BALANCES = "CREATE TABLE balances (account text PRIMARY KEY, cents bigint)"


class Balance(NamedTuple):
    account: str
    cents: int


def until(happens: Callable[[], object]) -> None:
    deadline = monotonic() + 30
    while not happens():
        assert monotonic() < deadline


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    started = PostgresServer()
    try:
        started.start()
        yield started
    finally:
        started.remove()


class Database:
    """An empty schema, and a session that looks at it from outside."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.dsn = server.dsn
        self.look = psycopg.connect(self.dsn, autocommit=True)
        self.writers: list[Writer] = []
        self.do("DROP SCHEMA public CASCADE")
        self.do("CREATE SCHEMA public")

    def do(self, query: str) -> None:
        self.look.execute(query.encode())

    def rows(self, query: str = "SELECT * FROM balances ORDER BY 1") -> list[Any]:
        return self.look.execute(query.encode()).fetchall()

    def open(self, key: Any = "account", *, table: str = "balances", name: str = "out") -> Sink:
        return Sink(self, PostgresSink(table, key=key, dsn=self.dsn), name)

    def close(self) -> None:
        for writer in self.writers:
            writer.close()
        self.look.close()


class Sink:
    """An open PostgresSink, as the engine uses it."""

    def __init__(self, database: Database, spec: PostgresSink[Any], name: str = "out") -> None:
        assert spec.encode is not None
        self.encode = spec.encode
        self.writer = open_writer(spec, name, None)
        database.writers.append(self.writer)

    def write(self, *records: Any) -> None:
        self.writer.write([self.encode(record) for record in records])

    def move(self, number: int) -> None:
        """A key group has left or come in."""
        self.writer.moved(Tick(RUN, number))

    def prepared(self, epoch: int, *records: Any) -> list[Any]:
        self.write(*records)
        return [self.writer.prepare(epoch)]

    def commit(self, epoch: int, *records: Any, author: int = ME) -> list[Any]:
        outputs = self.prepared(epoch, *records)
        self.writer.commit(epoch, author, outputs)
        return outputs


@pytest.fixture
def database(server: PostgresServer) -> Iterator[Database]:
    empty = Database(server)
    yield empty
    empty.close()


@pytest.fixture
def balances(database: Database) -> Database:
    """A table of balances, and one of all that ever happened to it."""
    database.do(BALANCES)
    database.do("CREATE TABLE happened (n serial, account text, cents bigint)")
    database.do(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO happened (account, cents) VALUES (new.account, new.cents); RETURN new; END $$"
    )
    database.do(
        "CREATE TRIGGER note AFTER INSERT OR UPDATE ON balances "
        "FOR EACH ROW EXECUTE FUNCTION note()"
    )
    return database


HAPPENED = "SELECT account, cents FROM happened ORDER BY n"


def is_killed_before(statement: int, database: Database, commit: Callable[[], None]) -> bool:
    """Commit, in a session that the server ends before its so many-th statement.

    False where there were fewer statements: then it is committed.
    """
    ask = postgres._Session._query
    to_come = statement

    def killing(self: Any, query: str, parts: Any) -> Any:
        nonlocal to_come
        to_come -= 1
        if to_come == 0:
            database.do(f"SELECT pg_terminate_backend({self.connection.info.backend_pid})")
        return ask(self, query, parts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres._Session, "_query", killing)
        try:
            commit()
        except ConnectorError as error:
            assert "terminating connection" in str(error)
            return True
    return False


# ---------------------------------------------------------------- rows


def test_the_last_record_of_a_key_wins(balances: Database) -> None:
    """Within an epoch, whether in one chunk or in two, and from epoch to epoch."""
    sink = balances.open()
    many = [Balance(f"account-{n:06}", n) for n in range(20_000)]
    sink.commit(1, Balance("a", 1), Balance("b", 2), Balance("a", 3), *many, Balance("b", 4))
    few = "SELECT * FROM balances WHERE length(account) = 1 ORDER BY 1"
    assert balances.rows(few) == [("a", 3), ("b", 4)]
    assert balances.rows("SELECT count(*) FROM happened") == [(20_002,)]
    sink.commit(2, Balance("a", 5))
    assert balances.rows(few) == [("a", 5), ("b", 4)]


def test_what_a_later_record_replaces_is_not_kept(balances: Database) -> None:
    """A few keys that change all the time make a small checkpoint."""
    sink = balances.open()
    sink.writer.write([sink.encode(Balance(f"account-{n % 10}", n)) for n in range(10_000)])
    assert sink.writer.uncommitted_bytes() < 300_000
    (chunks,) = sink.prepared(1)
    assert sum(map(len, chunks)) < 1_000


def test_keys_that_are_equal_for_the_server_are_one_key(database: Database) -> None:
    """1 and 1.0 are two texts and one numeric: the last of them wins, and nothing is refused."""
    database.do("CREATE TABLE balances (account numeric PRIMARY KEY, cents bigint)")
    database.open().commit(1, {"account": 1, "cents": 1}, {"account": Decimal("1.0"), "cents": 2})
    assert database.rows() == [(Decimal("1"), 2)]


def test_values_come_as_they_are(database: Database) -> None:
    """Every type that may stand in a record, with the characters that COPY means something by."""
    database.do(
        "CREATE TABLE balances (account text, place int, flag boolean, number double precision, "
        "sum numeric, raw bytea, day date, hour time, at timestamptz, at_utc timestamp, "
        "no_zone timestamptz, length interval, id uuid, data jsonb, names text[], nothing text, "
        "PRIMARY KEY (account, place))"
    )
    at = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    record = {
        "place": -3,
        "account": "tab\t line\n return\r back\\slash \\N \\. é 😀",
        "flag": True,
        "number": float("inf"),
        "sum": Decimal("12345678901234567890.12345"),
        "raw": bytes(range(256)),
        "day": date(2026, 2, 3),
        "hour": time(1, 2, 3, 4),
        "at": at,
        "at_utc": at,
        "no_zone": datetime(2026, 1, 1, 12),
        "length": timedelta(-1, 5, 3),
        "id": UUID(int=7),
        "data": {"text": 'a"b\\c\nd', "list": [1, None, {"x": 1.5}]},
        "names": ['a"b', "c\\d", "e\tf", None, "NULL", "", "{x,y}"],
        "nothing": None,
    }
    database.open(["account", "place"]).commit(1, record)
    (row,) = database.look.execute(f"SELECT {', '.join(record)} FROM balances").fetchall()
    utc = {"at_utc": datetime(2026, 1, 1, 10), "no_zone": at + timedelta(hours=2)}
    assert dict(zip(record, row, strict=True)) == {**record, **utc}


def test_columns_that_a_record_does_not_have_stay_as_they_are(database: Database) -> None:
    """Records of several shapes take effect in their order."""
    database.do("CREATE TABLE balances (account text PRIMARY KEY, cents int, name text)")
    sink = database.open()
    sink.commit(1, {"account": "a", "cents": 1, "name": "Ada"})
    sink.commit(
        2,
        {"cents": 2, "account": "a"},
        {"account": "a", "name": "Ida"},
        {"account": "b", "cents": 3},
        {"account": "a", "cents": 4},
        {"account": "c"},
    )
    assert database.rows() == [("a", 4, "Ida"), ("b", 3, None), ("c", None, None)]
    sink.commit(3, {"account": "a"})
    assert database.rows()[0] == ("a", 4, "Ida")
    both = {"account": "a", "cents": 9, "name": "Eda"}
    sink.commit(4, {"account": "a", "cents": 8}, both, {"account": "b", "cents": 7})
    assert database.rows()[:2] == [("a", 9, "Eda"), ("b", 7, None)]


def test_names_need_not_be_plain(database: Database) -> None:
    """A schema, capitals, blanks, quotes and percent signs."""
    database.do('CREATE TABLE "Sums" ("the ""key" int PRIMARY KEY, "100 %s {x}" int)')
    sink = database.open('the "key', table="public.Sums")
    sink.commit(1, {'the "key': 1, "100 %s {x}": 2})
    assert database.rows('SELECT * FROM "Sums"') == [(1, 2)]


# ---------------------------------------------------------------- once


def test_an_epoch_that_is_committed_again_changes_nothing(balances: Database) -> None:
    """By the same writer, and by another one on another worker, in the author's name."""
    outputs = balances.open().commit(4, Balance("a", 1))
    balances.do("UPDATE balances SET cents = 50")
    balances.writers[0].commit(4, ME, outputs)
    balances.open().writer.commit(4, ME, outputs)
    assert balances.rows() == [("a", 50)]


def test_a_zombie_that_commits_an_old_epoch_late_changes_nothing(balances: Database) -> None:
    """It was taken for dead, another worker committed for it, and time went on."""
    zombie = balances.open()
    outputs = zombie.prepared(4, Balance("a", 1))
    other = balances.open()
    other.writer.commit(4, ME, outputs)
    other.commit(5, Balance("a", 2))
    zombie.writer.commit(4, ME, outputs)
    assert balances.rows(HAPPENED) == [("a", 1), ("a", 2)]


def test_authors_and_sinks_have_marks_of_their_own(balances: Database) -> None:
    """The same epoch of two workers, and of two sinks that write to the same table."""
    balances.open().commit(4, Balance("a", 1))
    balances.open().commit(4, Balance("b", 2), author=OTHER)
    balances.open(name="more").commit(4, Balance("c", 3))
    assert balances.rows() == [("a", 1), ("b", 2), ("c", 3)]
    marks = "SELECT sink, author, epoch FROM zstream_epochs ORDER BY 1, 2"
    assert balances.rows(marks) == [("more", ME, 4), ("out", ME, 4), ("out", OTHER, 4)]


def test_many_who_commit_the_same_at_once_do_it_once(balances: Database) -> None:
    """Also the very first time, when there is no table of marks: all make it."""
    outputs = [Sink(balances, PostgresSink("balances", key="account", dsn=balances.dsn))]
    prepared = outputs[0].prepared(1, Balance("a", 1))
    balances.do("DROP TABLE zstream_epochs")
    start = threading.Barrier(6)
    failed: list[BaseException] = []

    def worker(author: int) -> None:
        try:
            start.wait(10)
            balances.open().writer.commit(1, author, prepared)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=worker, args=(author,)) for author in [ME, OTHER] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failed
    assert balances.rows(HAPPENED) == [("a", 1), ("a", 1)]


def test_two_workers_with_the_same_keys_do_not_wait_for_each_other_in_a_circle(
    balances: Database,
) -> None:
    """Their records come in opposite orders; the rows are locked in the order of keys."""
    keys = [f"account-{n}" for n in range(2_000)]
    failed: list[BaseException] = []

    def worker(author: int, names: list[str]) -> None:
        try:
            sink = balances.open()
            for epoch in range(1, 11):
                sink.commit(epoch, *[Balance(name, epoch) for name in names], author=author)
        except BaseException as error:
            failed.append(error)

    threads = [
        threading.Thread(target=worker, args=(ME, keys)),
        threading.Thread(target=worker, args=(OTHER, keys[::-1])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert balances.rows("SELECT count(*), min(cents) FROM balances") == [(2_000, 10)]


def test_marks_of_authors_that_are_long_gone_are_removed(balances: Database) -> None:
    """When a worker opens the sink; those of other sinks are theirs to remove."""
    balances.open().commit(4, Balance("a", 1))
    balances.open(name="more").commit(4, Balance("c", 3))
    balances.open().commit(4, Balance("b", 2), author=OTHER)
    balances.do(
        f"UPDATE zstream_epochs SET committed_at = now() - interval '31 days' WHERE author = {ME}"
    )
    balances.open()
    assert balances.rows("SELECT sink, author FROM zstream_epochs ORDER BY 1") == [
        ("more", ME),
        ("out", OTHER),
    ]


# ---------------------------------------------------------------- key groups that move


def origin_and_target(database: Database, epoch: int = 4) -> list[Callable[[], None]]:
    """What both commit: the key a moved, after the origin wrote 1 and before the target wrote 2."""
    origin, target = database.open(), database.open()
    target.write(Balance("of target", epoch))
    origin.write(Balance("a", 1))
    origin.move(0)
    target.move(1)
    origin.write(Balance("of origin", epoch))
    target.write(Balance("a", 2))
    committing: list[Callable[[], None]] = []
    for sink, author in ((origin, ME), (target, OTHER)):
        committing.append(partial(sink.writer.commit, epoch, author, sink.prepared(epoch)))
    return committing


@pytest.mark.parametrize("turn", [1, -1])
def test_where_a_key_moved_the_later_worker_wins(balances: Database, turn: int) -> None:
    """Whichever of the two commits first, and however often; until the key's next record."""
    committing = origin_and_target(balances)[::turn]
    for commit in [committing[0], *committing, *committing]:
        commit()
    assert balances.rows() == [("a", 2), ("of origin", 4), ("of target", 4)]
    assert len(balances.rows(HAPPENED)) == (4 if turn == 1 else 3)


def test_a_key_that_moves_on_and_back_is_of_who_had_it_last(balances: Database) -> None:
    """One, two, three, one within an epoch, committed in every order, at every epoch anew."""
    sinks = [balances.open() for _ in range(3)]
    authors = (ME, OTHER, THIRD)
    for epoch, order in enumerate(permutations(range(3)), 1):
        for number, sink in enumerate((*sinks, sinks[0])):
            at = 10 * epoch + number
            sink.move(at)
            sink.write(Balance("a", at), Balance(f"own-{sinks.index(sink)}", at))
        outputs = [sink.prepared(epoch) for sink in sinks]
        for place in order:
            sinks[place].writer.commit(epoch, authors[place], outputs[place])
        assert balances.rows()[0] == ("a", 10 * epoch + 3), order
        assert [cents - 10 * epoch for _, cents in balances.rows()[1:]] == [3, 1, 2]


@pytest.mark.parametrize("turn", [1, -1])
def test_each_column_is_of_who_wrote_it_last(database: Database, turn: int) -> None:
    """Records of several shapes: what the later worker has not written stays the earlier one's."""
    database.do(
        "CREATE TABLE balances (account text PRIMARY KEY, cents int NOT NULL, name text, n int)"
    )
    origin, target = database.open(), database.open()
    origin.write({"account": "a", "cents": 1, "name": "Ada", "n": 1})
    origin.write({"account": "b", "cents": 1, "n": 1}, {"account": "b", "cents": 2, "name": "Bo"})
    origin.move(0)
    target.move(1)
    target.write({"account": "a", "cents": 5}, {"account": "b", "cents": 6, "n": 6})
    target.write({"account": "a", "cents": 7, "n": None})
    prepared = [(origin, ME, origin.prepared(1)), (target, OTHER, target.prepared(1))]
    for sink, author, outputs in prepared[::turn]:
        sink.writer.commit(1, author, outputs)
    assert database.rows() == [("a", 7, "Ada", None), ("b", 6, "Bo", 6)]


def test_keys_of_any_type_and_length_are_told_apart(database: Database) -> None:
    """By what the server takes them for: a time in two zones is one, and quotes are no matter."""
    text = '"the ""100 %s {key}"'
    database.do(f"CREATE TABLE balances (at timestamptz, {text} text, n int, UNIQUE (at, {text}))")
    at = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    texts = ["", '(",")', "tab\t\\ é", "x" * 2_600]
    keys = ["at", 'the "100 %s {key}']
    origin, target = database.open(keys), database.open(keys)
    origin.move(0)
    origin.write(*[dict(zip(keys, (at, text), strict=True), n=1) for text in texts])
    target.move(1)
    at = at.astimezone(timezone.utc)
    target.write(*[dict(zip(keys, (at, text), strict=True), n=2) for text in texts])
    for sink, author, outputs in (
        (target, OTHER, target.prepared(1)),
        (origin, ME, origin.prepared(1)),
    ):
        sink.writer.commit(1, author, outputs)
    assert database.rows("SELECT n FROM balances") == [(2,)] * len(texts)


def test_what_was_written_before_an_abandoned_epoch_is_compared_too(balances: Database) -> None:
    """The key moved after the cut of the epoch that was abandoned, or before it."""
    for epoch, moves_late in ((2, True), (4, False)):
        origin, target = balances.open(), balances.open()
        origin.write(Balance("a", epoch))
        first = [] if moves_late else [origin.move(0), target.move(1)]
        outputs = [origin.prepared(epoch - 1), target.prepared(epoch - 1)]
        if not first:
            origin.move(0)
            target.move(1)
        target.write(Balance("a", epoch + 1))
        outputs = [[*outputs[0], *origin.prepared(epoch)], [*outputs[1], *target.prepared(epoch)]]
        outputs = [[each for each in some if each is not None] for some in outputs]
        target.writer.commit(epoch, OTHER, outputs[1])
        origin.writer.commit(epoch, ME, outputs[0])
        assert balances.rows() == [("a", epoch + 1)]


def test_an_epoch_without_moves_is_as_it_always_was(
    balances: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept, and what is asked of the server; also after an epoch with moves."""
    asked: list[str] = []
    ask = postgres._Session._query

    def listening(self: Any, query: str, parts: Any) -> Any:
        asked.append(query)
        return ask(self, query, parts)

    monkeypatch.setattr(postgres._Session, "_query", listening)
    sink = balances.open()
    first = sink.commit(1, Balance("a", 1))
    sink.move(0)
    sink.commit(2, Balance("a", 2))
    assert any("{moves}" in query for query in asked)
    assert balances.rows("SELECT epoch, wrote FROM zstream_moves") == [
        (2, [[0, ["account", "cents"]]])
    ]
    sink.commit(3, Balance("a", 3))
    assert not balances.rows("SELECT 1 FROM zstream_moves")
    asked.clear()
    fourth = sink.commit(4, Balance("a", 1))
    assert fourth == first == [[pack([b'["account", "cents"]', b"a\t1\n"])]]
    assert asked
    assert not any("{moves}" in query for query in asked)


def test_notes_of_another_cluster_count_nothing(balances: Database) -> None:
    """It had the same epochs, and the table stayed; what is long gone is removed at a start."""
    earlier = balances.open()
    earlier.move(9)
    earlier.commit(4, Balance("a", 1), author=THIRD)
    balances.open().writer.moved(Tick(RUN - 1, 1))
    sink = balances.open()
    sink.writer.moved(Tick(RUN - 1, 1))
    sink.commit(4, Balance("a", 2))
    assert balances.rows() == [("a", 2)]
    balances.do(
        f"UPDATE zstream_moves SET committed_at = now() - interval '31 days' WHERE run = {RUN}"
    )
    balances.open()
    assert balances.rows("SELECT run FROM zstream_moves") == [(RUN - 1,)]


def test_a_recovery_begins_with_ticks_of_its_own(balances: Database) -> None:
    """What had moved before it, and was not decided, never was."""
    sink = balances.open()
    sink.move(7)
    sink.write(Balance("a", 1))
    sink.writer.abort()
    assert sink.prepared(1) == [None]
    sink.move(0)
    (chunks,) = sink.prepared(2)
    assert chunks == [move(Tick(0, 0), Tick(RUN, 0))]


@pytest.mark.parametrize("turn", [1, -1])
def test_a_worker_that_dies_between_two_statements_changes_nothing_of_it(
    balances: Database, turn: int
) -> None:
    """The second to commit loses its session before each statement in turn, then comes again."""
    for at in range(1, 30):
        first, second = origin_and_target(balances, at)[::turn]
        first()
        if not is_killed_before(at, balances, second):
            break
        second()
        assert balances.rows() == [("a", 2), ("of origin", at), ("of target", at)]
        balances.do("DELETE FROM balances")
    assert at > 10


def test_both_commit_at_once_and_neither_waits_in_a_circle(balances: Database) -> None:
    """Many keys that moved from one to the other, and as many back, in opposite orders."""
    one, two = balances.open(), balances.open()
    keys = [f"account-{n}" for n in range(600)]
    failed: list[BaseException] = []

    def commit(start: threading.Barrier, sink: Sink, epoch: int, author: int, output: Any) -> None:
        try:
            start.wait(10)
            sink.writer.commit(epoch, author, output)
        except BaseException as error:
            failed.append(error)

    for epoch in range(1, 13):
        at = 10 * epoch
        for sink, names in ((one, keys[:300]), (two, keys[:299:-1])):
            sink.write(*[Balance(name, at) for name in names])
            sink.move(at)
        for sink, names in ((one, keys[300:]), (two, keys[299::-1])):
            sink.move(at + 1)
            sink.write(*[Balance(name, at + 1) for name in names])
        start = threading.Barrier(2)
        threads = [
            threading.Thread(target=commit, args=(start, *each, sink.prepared(epoch)))
            for sink in (one, two)
            for each in [(sink, epoch, ME if sink is one else OTHER)]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not failed
        assert balances.rows("SELECT DISTINCT cents FROM balances") == [(at + 1,)]
    assert balances.rows("SELECT count(*) FROM balances") == [(600,)]
    assert balances.rows("SELECT DISTINCT epoch FROM zstream_moves") == [(12,)]


# ---------------------------------------------------------------- crashes


class Table(SinkWorld):
    """The contract kit's world: what ever happened to the table is what a reader has seen."""

    faults = (
        (psycopg, "connect"),
        (psycopg.Connection, "execute"),
        (psycopg.Copy, "write"),
        (psycopg.Copy, "__exit__"),
        (psycopg.Transaction, "__exit__"),
    )

    def __init__(self, balances: Database) -> None:
        self._balances = balances
        balances.do("TRUNCATE balances, happened")
        balances.do("DROP TABLE IF EXISTS zstream_epochs, zstream_moves")
        self._spec: Any = PostgresSink("balances", key="account", dsn=balances.dsn)

    def open(self) -> Writer:
        return open_writer(self._spec, "out", None)

    def record(self, text: str) -> Any:
        return self._spec.encode(Balance(text, 1))

    def seen(self) -> list[str]:
        return [account for account, _ in self._balances.rows(HAPPENED)]


@pytest.mark.parametrize("check", SINK_CHECKS, ids=lambda check: check.__name__)
def test_the_sink_keeps_its_contract(
    check: Callable[[Callable[[], SinkWorld]], None], balances: Database
) -> None:
    """What is committed is seen once and whole, what is not, never; see the kit."""
    check(lambda: Table(balances))


def test_a_connection_that_is_killed_at_any_step_leaves_all_or_nothing(balances: Database) -> None:
    """Before each statement in turn, until there is none left; then the commit is tried again."""
    sink = balances.open()
    for at in range(1, 20):
        outputs = sink.prepared(at, Balance("a", at), Balance("b", at))
        if not is_killed_before(at, balances, partial(sink.writer.commit, at, ME, outputs)):
            break
        assert ("a", at) not in balances.rows(HAPPENED)
        sink.writer.commit(at, ME, outputs)
        assert balances.rows(HAPPENED)[-2:] == [("a", at), ("b", at)]
    assert at > 5
    assert balances.rows("SELECT count(*) FROM happened") == [(2 * at,)]


def test_a_commit_whose_answer_is_lost_is_not_done_twice(
    balances: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction is in, the connection ends before the worker knows."""
    commit = postgres._Session.commit

    def losing(self: Any, *arguments: Any) -> None:
        commit(self, *arguments)
        raise psycopg.OperationalError("server closed the connection unexpectedly\n\tmore of it")

    sink = balances.open()
    outputs = sink.prepared(1, Balance("a", 1))
    with monkeypatch.context() as patch:
        patch.setattr(postgres._Session, "commit", losing)
        with pytest.raises(ConnectorError, match=r"reached: server closed .* unexpectedly\. Where"):
            sink.writer.commit(1, ME, outputs)
    assert balances.rows(HAPPENED) == [("a", 1)]
    sink.writer.commit(1, ME, outputs)
    assert balances.rows(HAPPENED) == [("a", 1)]


def test_a_server_that_is_killed_and_started_again_is_found_again(balances: Database) -> None:
    """In the middle of a commit: what it had not committed is done when it is back."""
    sink = balances.open()
    sink.commit(1, Balance("a", 1))
    balances.do("CREATE EXTENSION IF NOT EXISTS plpgsql")
    balances.do(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "PERFORM pg_sleep(20); RETURN new; END $$"
    )
    balances.do(
        "CREATE TRIGGER slow BEFORE UPDATE ON balances FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    outputs = sink.prepared(2, Balance("a", 2))
    said: list[str] = []

    def committing() -> None:
        try:
            sink.writer.commit(2, ME, outputs)
        except ConnectorError as error:
            said.append(str(error))

    thread = threading.Thread(target=committing)
    thread.start()
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    until(lambda: balances.rows(sleeping))
    balances.server.kill()
    thread.join(30)
    assert "PostgreSQL cannot be reached" in said[0]
    with pytest.raises(ConnectorError, match="Connection refused"):
        sink.writer.commit(2, ME, outputs)
    balances.server.start()
    balances.look.close()
    balances.look = psycopg.connect(balances.dsn, autocommit=True)
    balances.do("DROP TRIGGER slow ON balances")
    sink.writer.commit(2, ME, outputs)
    assert balances.rows(HAPPENED) == [("a", 1), ("a", 2)]


def test_a_server_that_hangs_is_cut_off(
    balances: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes what is sent and says nothing. The next try has a connection of its own."""
    ours = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
    before = balances.rows(ours)  # some, perhaps, of tests before this one that end only now
    sink = balances.open()
    outputs = sink.prepared(1, Balance("a", 1))
    (stopped,) = [pid for (pid,) in balances.rows(ours) if (pid,) not in before]
    os.kill(stopped, signal.SIGSTOP)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(postgres, "ANSWER_S", 0.3)
            with pytest.raises(ConnectorError, match=r"sink out: .* gave no answer for 0\.3 s\."):
                sink.writer.commit(1, ME, outputs)
        sink.writer.commit(1, ME, outputs)
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert balances.rows(HAPPENED) == [("a", 1)]


def test_a_joiner_does_not_wait_long_for_a_table_that_is_locked(
    balances: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loop waits meanwhile, so it is refused after a moment."""
    monkeypatch.setattr(postgres, "CONNECT_S", 0.3)
    balances.do("BEGIN")
    balances.do("LOCK TABLE balances IN ACCESS EXCLUSIVE MODE")
    with pytest.raises(ConnectorError, match=r"PostgreSQL gave no answer for 0\.3 s\."):
        balances.open()
    balances.do("COMMIT")


def test_a_worker_that_hangs_in_a_commit_does_not_stop_others_for_ever(
    balances: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds its author's mark. The other's wait ends with a sentence, and the hanging one's
    transaction by the server's hand; then the other commits, and the first finds it done."""
    zombie, other = balances.open(), balances.open()
    outputs = zombie.prepared(1, Balance("a", 1))
    put = postgres._Session._put
    holds, goes_on = threading.Event(), threading.Event()
    said: list[str] = []

    def hanging(self: Any, *arguments: Any) -> None:
        if threading.current_thread().name == "zombie":
            holds.set()
            goes_on.wait(30)
        put(self, *arguments)

    def committing() -> None:
        try:
            zombie.writer.commit(1, ME, outputs)
        except ConnectorError as error:
            said.append(str(error))

    monkeypatch.setattr(postgres._Session, "_put", hanging)
    assert {"lock_timeout", "idle_in_transaction_session_timeout"} < set(postgres._SETTINGS)
    monkeypatch.setitem(postgres._SETTINGS, "lock_timeout", "100ms")
    monkeypatch.setitem(postgres._SETTINGS, "idle_in_transaction_session_timeout", "1s")
    thread = threading.Thread(target=committing, name="zombie")
    thread.start()
    assert holds.wait(10)
    with pytest.raises(ConnectorError, match="canceling statement due to lock timeout"):
        other.writer.commit(1, ME, outputs)

    def committed() -> bool:
        with contextlib.suppress(ConnectorError):
            other.writer.commit(1, ME, outputs)
            return True
        return False

    until(committed)
    goes_on.set()
    thread.join(30)
    assert "idle-in-transaction timeout" in said[0]
    zombie.writer.commit(1, ME, outputs)
    assert balances.rows(HAPPENED) == [("a", 1)]


def test_a_connection_is_kept_between_commits_and_closed_with_the_writer(
    balances: Database,
) -> None:
    """Also where a commit was under way when the writer was closed."""
    ours = (
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' "
        "AND pid <> pg_backend_pid()"
    )
    sink = balances.open()
    before = balances.rows(ours)
    sink.commit(1, Balance("a", 1))
    assert balances.rows(ours) == before
    assert len(before) == 1
    outputs = sink.prepared(2, Balance("a", 2))
    balances.do("BEGIN")
    balances.do("LOCK TABLE balances IN EXCLUSIVE MODE")
    thread = threading.Thread(target=sink.writer.commit, args=(2, ME, outputs))
    thread.start()
    until(lambda: balances.rows("SELECT 1 FROM pg_locks WHERE NOT granted"))
    sink.writer.close()
    balances.do("COMMIT")
    thread.join(30)
    assert balances.rows(HAPPENED) == [("a", 1), ("a", 2)]
    until(lambda: not balances.rows(ours))  # the server takes a moment to see it


def test_a_run_in_this_process_keeps_its_rows_too(balances: Database) -> None:
    """Each run by itself; a record that can be no row is a dead letter and the others go on."""
    spec: PostgresSink[Any] = PostgresSink("balances", key="account", dsn=balances.dsn)
    for cents in (1, 2):
        records = [Balance("a", cents), Balance("b", cents), {"account": "c", "cents": {1}}]
        topology = zstream.Topology(
            "payments", zstream.source("in", zstream.Memory(records)).sink("out", zstream.Stdout())
        )
        results = topology.run(outputs={"out": spec}, on_error="dead_letter")
        (letter,) = results.dead_letters
        assert letter.operator == "out"
        assert "the column cents: a set is nothing" in letter.error
        assert balances.rows() == [("a", cents), ("b", cents)]


# ---------------------------------------------------------------- sentences


def test_a_table_that_is_not_there_is_said_at_once(database: Database) -> None:
    """With what would make it; while it runs the records tell the columns and likely types."""
    with pytest.raises(ConnectorError, match="sink out: there is no table balances, or "):
        database.open()
    database.do(BALANCES)
    sink = database.open()
    database.do("DROP TABLE balances")
    record = {
        "account": "a", "n": 1, "x": 0.5, "at": datetime.now(timezone.utc), "day": date.today(),
        "yes": True, "data": {"a": 1}, "names": ["b"], "raw": b"c", "none": None, "id": UUID(int=1),
    }  # fmt: skip
    outputs = sink.prepared(1, record)
    with pytest.raises(ConnectorError) as refused:
        sink.writer.commit(1, ME, outputs)
    statement = str(refused.value).partition("Make it: ")[2].rstrip(".")
    assert statement == (
        "CREATE TABLE balances (account text, n bigint, x double precision, at timestamptz, "
        "day date, yes boolean, data jsonb, names text[], raw bytea, none text, id uuid, "
        "PRIMARY KEY (account))"
    )
    database.do(statement)
    sink.writer.commit(1, ME, outputs)
    assert len(database.rows()) == 1


def test_a_key_without_a_unique_constraint_is_said_at_once(database: Database) -> None:
    """With the statement that adds it, which is enough."""
    database.do("CREATE TABLE balances (account text, day date, cents int)")
    with pytest.raises(ConnectorError, match="no unique constraint on account, day") as refused:
        database.open(("account", "day"))
    database.do(str(refused.value).partition("Add it: ")[2].rstrip("."))
    sink = database.open(("account", "day"))
    sink.commit(1, {"account": "a", "day": date(2026, 1, 1), "cents": 1})
    assert len(database.rows()) == 1


def test_a_column_that_the_table_lacks_is_named(balances: Database) -> None:
    """That of the key at once; another one when records come that have it."""
    with pytest.raises(ConnectorError, match='column "name" of relation "balances" does not'):
        balances.open("name")
    sink = balances.open()
    outputs = sink.prepared(1, {"account": "a", "since": date(2026, 1, 1)})
    with pytest.raises(ConnectorError, match=r'has not all columns .* "since"') as refused:
        sink.writer.commit(1, ME, outputs)
    balances.do(str(refused.value).partition("Add it: ")[2].rstrip("."))
    sink.writer.commit(1, ME, outputs)
    assert balances.rows("SELECT since FROM balances") == [(date(2026, 1, 1),)]


def test_a_value_that_a_column_does_not_take_is_shown_with_its_record(database: Database) -> None:
    """Nothing of the epoch is seen; when the column's type was changed, all of it is."""
    database.do(BALANCES)
    sink = database.open()
    outputs = sink.prepared(
        1, {"account": "a", "cents": 1}, Balance("b", 2**70), {"account": "c", "cents": 3}
    )
    sentence = (
        r"sink out: the column cents of the table balances does not take "
        r'"1180591620717411303424": value .* is out of range for type bigint '
        r"\(the record of account b\)\. The output waits until it does\."
    )
    with pytest.raises(ConnectorError, match=sentence):
        sink.writer.commit(1, ME, outputs)
    assert database.rows() == []
    database.do("ALTER TABLE balances ALTER COLUMN cents TYPE numeric")
    sink.writer.commit(1, ME, outputs)
    assert len(database.rows()) == 3


def test_a_row_that_a_constraint_refuses_is_shown(database: Database) -> None:
    """A NULL where there must be none; a check."""
    database.do(
        "CREATE TABLE balances (account text PRIMARY KEY, cents int NOT NULL CHECK (cents > 0))"
    )
    sink = database.open()
    with pytest.raises(ConnectorError, match=r'"cents" .* not-null .*Failing row .*\(a, null\)'):
        sink.commit(1, {"account": "a", "cents": None})
    with pytest.raises(ConnectorError, match=r"check constraint .*\(a, -1\)"):
        sink.commit(2, {"account": "a", "cents": -1})


def test_rights_that_are_missing_are_listed(database: Database) -> None:
    """First for the table, then for the marks; with both it works."""
    database.do("DROP ROLE IF EXISTS clerk")
    database.do("CREATE ROLE clerk LOGIN")
    database.do(BALANCES)
    spec: Any = PostgresSink(
        "balances", key="account", dsn=database.dsn.replace("tester@", "clerk@")
    )
    try:
        with pytest.raises(ConnectorError, match="no table balances, or this user may not see it"):
            Sink(database, spec)
        database.do("GRANT USAGE ON SCHEMA public TO clerk")
        with pytest.raises(ConnectorError, match="permission denied for table balances"):
            Sink(database, spec)
        database.do("GRANT SELECT, INSERT, UPDATE ON balances TO clerk")
        with pytest.raises(ConnectorError, match="permission denied for schema public") as refused:
            Sink(database, spec)
        database.do(str(refused.value).partition("beside it: ")[2].rstrip("."))
        ours = "zstream_epochs, zstream_moves"
        database.do(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {ours} TO clerk")
        Sink(database, spec).commit(1, Balance("a", 1))
        assert database.rows() == [("a", 1)]
    finally:
        for writer in database.writers:
            writer.close()
        database.do("DROP OWNED BY clerk")
        database.do("DROP ROLE clerk")


def test_where_the_server_is_comes_from_four_places(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--out before dsn= before the environment, each for what it says."""
    database.do(BALANCES)
    port = str(database.server.port)
    for name, value in {"PGHOST": "127.0.0.1", "PGPORT": port, "PGUSER": "tester"}.items():
        monkeypatch.setenv(name, value)
    spec: PostgresSink[Any] = PostgresSink("balances", key="account", dsn="dbname=postgres")
    open_writer(spec, "out", None).close()
    monkeypatch.setenv("PGPORT", "1")
    spec = PostgresSink("balances", key="account", dsn=f"dbname=postgres port={port}")
    open_writer(spec, "out", None).close()
    spec = PostgresSink("balances", key="account", dsn="dbname=postgres port=1")
    open_writer(spec, "out", f"127.0.0.1:{port}").close()


def test_nobody_there_is_said_and_never_a_password(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """An address where nobody listens, and a dsn that is none."""
    caplog.set_level(0)
    spec: PostgresSink[Any] = PostgresSink(
        "balances", key="account", dsn="postgresql://tester:geheim@127.0.0.1:1/postgres"
    )
    with pytest.raises(ConnectorError, match=r"sink out: PostgreSQL cannot be reached: .* port 1 "):
        open_writer(spec, "out", None)
    for dsn, says in {
        "postgresql://tester:geheim@:::/x": 'invalid integer value "::"',
        "geheim": "its dsn cannot be read",
        "password=geheim nonsense=1": "its dsn cannot be read",
    }.items():
        spec = PostgresSink("balances", key="account", dsn=dsn)
        assert "geheim" not in repr(spec)
        with pytest.raises(ConnectorError, match=says) as refused:
            open_writer(spec, "out", None)
        chained = [str(refused.value), str(refused.value.__cause__)]
        assert refused.value.__suppress_context__
        assert "geheim" not in "".join(chained)
    assert "geheim" not in caplog.text
