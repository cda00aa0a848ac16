"""PostgreSQL: rows of a table, changed with the checkpoint that they belong to.

Through psycopg, the extra zstream[postgres]. What is promised: the rows of an epoch are seen all
at once, once, whatever dies. They and the epoch's mark, in a table `zstream_epochs` beside the
sink's, are one transaction. A mark is the highest epoch of a sink and an author: who comes with it
or an older one again, a worker that was taken for dead perhaps, finds it and changes nothing.

    write      a row is a line of names and a line of values (zstream.topology.rows)
    prepare    chunks of runs: rows of the same columns, of a key only the last
    commit     mark; then for each run: COPY into a table of the session's own, INSERT from there

Two workers write of one key in the same epoch when its key group moves in between, and either may
commit first. So who gave or took a key group in an epoch notes, in the same transaction, what it
writes of which key at which tick (zstream.ports.connectors.Tick), in a table `zstream_moves`. What
another one has noted there at a higher tick is newer, and is left as it is. The upsert of a note
locks it until the end, so of two workers the second sees what the first has noted. All notes come
before the rows, in the order of keys. A later epoch removes them: by then all have committed this.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from zstream.connectors.address import split_address
from zstream.connectors.postgres_runs import Run, key_lines, move, runs_of, without_older
from zstream.connectors.staged import StagedWriter, chunks_of, pack
from zstream.errors import ConnectorError
from zstream.ports.connectors import Tick
from zstream.topology.rows import cut_row

MARKS = "zstream_epochs"
MOVES = "zstream_moves"
CONNECT_S = 5  # to connect, and then to look at the table: a joiner's loop waits for it
STATEMENT_S = 30  # one statement; the server ends it then
LOCK_S = 10  # for a row or table that somebody else holds
ANSWER_S = 60.0  # a whole commit; then the connection is cut, for a server that hangs says nothing
MARKS_KEPT_DAYS = 30  # of authors that commit no more; far longer than anything is tried again
SHOWN_MAX = 100  # characters of a value or a cause in a sentence

_SETTINGS = {
    "statement_timeout": f"{STATEMENT_S}s",
    "lock_timeout": f"{LOCK_S}s",
    "idle_in_transaction_session_timeout": f"{STATEMENT_S}s",  # a worker that hangs holds a mark
    "timezone": "UTC",  # times without a zone mean the same on every worker
}
# What makes a libpq give up on a network that is gone. The person's dsn may say otherwise.
_PATIENCE = {
    "connect_timeout": CONNECT_S,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_NOT_THERE = ("08", "53", "57P")  # kinds of SQLSTATE: connections, resources, shutting down
_ORDINAL = "zstream row"  # the column of the session's own table that knows what came last
_WROTE = "zstream wrote"  # a column of such a table, too: what is noted of a key
_ROWS_LOOKED_AT = 100  # to guess the types of columns
_NOTED = (  # the end of a statement: who comes second learns what the first has written
    " ON CONFLICT (sink, run, epoch, key) "
    "DO UPDATE SET others = note.wrote, wrote = note.wrote || excluded.wrote"
)
_COPY_PLACE = re.compile(r"COPY .*, line (\d+), column ([^:]+)(?:: (.*))?", re.DOTALL)


class PostgresWriter(StagedWriter):
    """Holds rows back until their checkpoint is decided, and then inserts or updates them.

    sink: the name that marks are kept under. table: "name" or "schema.name". key: its columns.
    dsn: "" where the environment says all. address: "host:port", goes before the dsn's.
    Raises ConnectorError where the server cannot be reached or the table cannot be used.
    """

    def __init__(
        self, who: str, sink: str, table: str, key: Sequence[str], dsn: str = "", address: str = ""
    ) -> None:
        super().__init__(who)
        self._sink = sink
        self._table = table
        self._key = tuple(key)
        self._parameters = _parameters(who, dsn, address)
        self._session: _Session | None = None
        self._in_use = threading.Lock()  # the session: by a commit's thread, or by `close`
        self._closed = False
        self._tick = Tick(0, 0)
        self._has_moved = False  # since the last `prepare`
        with self._sentences([]):
            self._open_session()

    def packed(self, records: Sequence[bytes]) -> bytes:
        """One chunk of runs, in the order in which they came."""
        places = len(self._key)
        fields: list[bytes] = []
        for names, rows in groupby(map(cut_row, records), key=lambda row: row[0]):
            last = {tuple(values.split(b"\t", places)[:places]): values for _, values in rows}
            fields += [names, b"".join(values + b"\n" for values in last.values())]
        return pack(fields)

    def moved(self, tick: Tick) -> None:
        """A chunk says so, also for what was written before it in the same epoch."""
        if self._has_moved and tick == self._tick:
            return
        if self._records:
            self._pack()
        chunk = move(self._tick, tick)
        self._chunks.append(chunk)
        self._chunks_bytes += len(chunk)
        self._tick, self._has_moved = tick, True

    def prepare(self, epoch: int) -> list[bytes] | None:
        self._has_moved = False
        return super().prepare(epoch)

    def abort(self) -> None:
        super().abort()
        self._tick, self._has_moved = Tick(0, 0), False  # they begin anew with the run

    def commit(self, epoch: int, author: int, outputs: Sequence[Any]) -> None:
        """See zstream.ports.connectors.Writer. The connection is kept for the next one."""
        runs, moves_of = runs_of(chunks_of(outputs, self.who))
        try:
            with self._in_use, self._sentences(runs):
                session = self._session or self._open_session()
                session.commit(epoch, author, runs, moves_of)
        finally:
            if self._closed:
                self.close()

    def close(self) -> None:
        """Nothing is waited for: a commit under way closes the connection at its end."""
        super().close()
        self._closed = True
        if self._in_use.acquire(blocking=False):
            try:
                self._drop_session()
            finally:
                self._in_use.release()

    def _open_session(self) -> _Session:
        self._session = _Session(
            psycopg.connect(**self._parameters, autocommit=True, prepare_threshold=None),
            self._sink,
            self._table,
            self._key,
        )
        self._session.prepare()
        return self._session

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.connection.close()

    @contextmanager
    def _sentences(self, runs: Sequence[Run]) -> Iterator[None]:
        """Say what psycopg raises in words; after any error the next commit connects anew."""
        try:
            yield
        except BaseException as error:
            session = self._session
            self._drop_session()
            if not isinstance(error, (psycopg.Error, _NoTable, OSError)):
                raise
            if session is not None and session.cut_off:
                says = f"PostgreSQL gave no answer for {session.cut_off:g} s"
            elif isinstance(error, _NoTable) or (
                isinstance(error, errors.UndefinedTable)
                and not any(ours in str(error) for ours in (MARKS, MOVES))
            ):
                says = (
                    f"there is no table {self._table}, or this user may not see it. "
                    f"Make it: {create_table(self._table, self._key, runs)}"
                )
            elif isinstance(error, psycopg.Error) and error.sqlstate is not None:
                says = self._refused(error, session, runs)
            else:
                says = self._unreachable(str(error))
            raise ConnectorError(f"{self.who}: {says}.") from error

    def _unreachable(self, cause: str) -> str:
        line = cause.partition("\n")[0].removeprefix("connection failed: ").rstrip(".")
        return (
            f"PostgreSQL cannot be reached: {line}. Where it is: dsn=, "
            f"--out {self._sink}@HOST:PORT, or PGHOST, PGPORT, PGDATABASE, PGUSER and PGPASSWORD"
        )

    def _refused(self, error: psycopg.Error, session: _Session | None, runs: Sequence[Run]) -> str:
        """The clause for what the server refused, and what can be done about it."""
        said = error.diag
        what = said.message_primary or str(error)
        table, key = self._table, ", ".join(self._key)
        if (error.sqlstate or "").startswith(_NOT_THERE):
            return self._unreachable(what)
        if isinstance(error, errors.InvalidColumnReference):
            return (
                f"the table {table} has no unique constraint on {key}, so its rows cannot be told "
                f"apart by it. Add it: ALTER TABLE {table} ADD UNIQUE ({key})"
            )
        if isinstance(error, errors.UndefinedColumn):
            return (
                f"the table {table} has not all columns that the records have: {what}. "
                f"Add it: ALTER TABLE {table} ADD COLUMN {_missing(what, runs)}"
            )
        if isinstance(error, errors.InsufficientPrivilege):
            return (
                f"{what}. This user needs SELECT, INSERT and UPDATE on {table}, and SELECT, "
                "INSERT, UPDATE and DELETE on two tables beside it: "
                f"{create_marks(MARKS)}; {create_moves(MOVES)}"
            )
        place = _COPY_PLACE.match(said.context or "")
        if place is not None:
            line, column, value = place.groups()
            which = session.record(int(line)) if session is not None else ""
            return (
                f"the column {column} of the table {table} does not take {value or 'a value'}: "
                f"{what}{which}. The output waits until it does"
            )
        detail = f" ({said.message_detail:.{SHOWN_MAX}})" if said.message_detail else ""
        return f"the table {table} does not take the output: {what}{detail}"


class _NoTable(Exception):
    """The table is not there."""


class _Session:
    """One connection, and what was found over it. cut_off: seconds after which it was cut."""

    def __init__(
        self, connection: psycopg.Connection[Any], sink: str, table: str, key: tuple[str, ...]
    ) -> None:
        self.connection = connection
        self.cut_off = 0.0
        self._sink = sink
        self._key = sql.SQL(", ").join(map(sql.Identifier, key))
        self._key_names = key
        self._name = sql.Identifier(*table.split(".", 1))
        self._table = self._marks = self._moves = self._name
        self._noted: tuple[int, int] | None = None  # where, should it not be removed yet
        self._putting: tuple[tuple[str, ...], list[bytes]] = ((), [])  # for what is said of errors

    def prepare(self) -> None:
        """Find the table, make ours beside it, and let the server plan what will be done."""
        self.connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        with self._cut_off_after(CONNECT_S):
            with self._transaction():
                self._look()
                marks, moves = (
                    name.as_string(self.connection) for name in (self._marks, self._moves)
                )
                there = self._one("SELECT to_regclass(%s), to_regclass(%s)", marks, moves)
            if there is None or None in there:
                with self._transaction():
                    # IF NOT EXISTS alone fails where two workers come at the same moment.
                    self._one("SELECT pg_advisory_xact_lock(%s)", zlib.crc32(marks.encode()))
                    self._do(create_marks("{marks}"))
                    self._do(create_moves("{moves}"))
            with self._transaction():
                for ours in (self._marks, self._moves):
                    self._do(
                        "DELETE FROM {ours} "
                        "WHERE sink = %s AND committed_at < now() - make_interval(days => %s)",
                        self._sink,
                        MARKS_KEPT_DAYS,
                        ours=ours,
                    )
                self._do("EXPLAIN INSERT INTO {moves} AS note SELECT * FROM {moves}" + _NOTED)

    def _look(self) -> None:
        found = self._one(
            "SELECT nspname, relname FROM pg_class c JOIN pg_namespace n "
            "ON n.oid = relnamespace WHERE c.oid = to_regclass(%s)",
            self._name.as_string(self.connection),
        )
        if found is None:
            raise _NoTable
        schema, name = found
        self._table = sql.Identifier(schema, name)
        self._marks = sql.Identifier(schema, MARKS)
        self._moves = sql.Identifier(schema, MOVES)
        self._do(
            "EXPLAIN INSERT INTO {table} ({key}) SELECT {key} FROM {table} "
            "ON CONFLICT ({key}) DO UPDATE SET {first} = excluded.{first}",
            first=sql.Identifier(self._key_names[0]),
        )

    def commit(self, epoch: int, author: int, runs: list[Run], moves_of: int | None) -> None:
        """All or nothing; nothing where the mark says that it was done."""
        with self._transaction():
            marked = self._do(
                "INSERT INTO {marks} AS mark (sink, author, epoch) VALUES (%s, %s, %s) "
                "ON CONFLICT (sink, author) DO UPDATE SET epoch = excluded.epoch, "
                "committed_at = now() WHERE mark.epoch < excluded.epoch",
                self._sink,
                author,
                epoch,
            )
            if not marked:
                return
            if self._noted is not None and self._noted[1] < epoch:
                self._forget(*self._noted)
            if moves_of is not None:
                runs = self._newest(epoch, moves_of, runs)
            for columns, bodies, is_there in _together(runs):
                self._putting = columns, bodies
                self._put(columns, bodies, is_there)
        if moves_of is not None:
            self._noted = moves_of, epoch

    def _newest(self, epoch: int, moves_of: int, runs: list[Run]) -> list[Run]:
        """Note what these runs write of which key; return what nobody has written later."""
        self._putting = (), []
        parts: dict[str, sql.Composable] = {
            "ordinal": sql.Identifier(_ORDINAL),
            "wrote": sql.Identifier(_WROTE),
            "sink": sql.Literal(self._sink),  # not values beside it: a column may be called "%s"
            "run": sql.Literal(moves_of),
            "epoch": sql.Literal(epoch),
        }
        # A key is known by the text that the server gives it, for it may come in several.
        digest = "sha256(convert_to(ROW({key})::text, 'UTF8'))"
        self._do(
            "CREATE TEMPORARY TABLE zstream_keys ON COMMIT DROP "
            "AS SELECT {key} FROM {table} WITH NO DATA"
        )
        self._do(
            "ALTER TABLE pg_temp.zstream_keys ADD COLUMN {wrote} jsonb, "
            "ADD COLUMN {ordinal} bigint GENERATED ALWAYS AS IDENTITY",
            **parts,
        )
        with (
            self.connection.cursor() as cursor,
            cursor.copy(
                self._query("COPY pg_temp.zstream_keys ({key}, {wrote}) FROM STDIN", parts)
            ) as copy,
        ):
            for line in key_lines(runs, len(self._key_names)):
                copy.write(line)
        self._do(
            "INSERT INTO {moves} AS note (sink, run, epoch, key, wrote) "
            f"SELECT {{sink}}, {{run}}, {{epoch}}, {digest}, jsonb_agg(DISTINCT {{wrote}}) "
            "FROM pg_temp.zstream_keys GROUP BY 4 ORDER BY 4" + _NOTED,
            **parts,
        )
        others = self.connection.execute(
            self._query(
                "SELECT own.number, note.others FROM {moves} AS note JOIN "
                f"(SELECT {{ordinal}} AS number, {digest} AS digest FROM pg_temp.zstream_keys) "
                "AS own ON own.digest = note.key WHERE note.sink = {sink} AND note.run = {run} "
                "AND note.epoch = {epoch} AND note.others IS NOT NULL",
                parts,
            )
        )
        return list(without_older(runs, dict(others), self._key_names))

    def _forget(self, moves_of: int, epoch: int) -> None:
        """All have committed this epoch: nobody asks for its notes. One worker removes them."""
        lock = zlib.crc32(f"{MOVES} {self._sink}".encode())
        self._do(
            "DELETE FROM {moves} WHERE sink = %s AND run = %s AND epoch <= %s "
            "AND (SELECT pg_try_advisory_xact_lock(%s))",
            self._sink,
            moves_of,
            epoch,
            lock,
        )
        self._noted = None

    def record(self, line: int) -> str:
        """Which record a line of what was put last is, by its key."""
        columns, bodies = self._putting
        if line > sum(body.count(b"\n") for body in bodies):
            return ""
        values = Run(b"", b"".join(bodies)).rows(line)[-1]
        row = zip(columns, values[: len(self._key_names)])  # noqa: B905 -- only the key
        return f" (the record of {', '.join(f'{name} {value}' for name, value in row)})"

    def _put(self, columns: tuple[str, ...], bodies: list[bytes], is_there: bool) -> None:
        """Rows by COPY, which is the fastest way in, and from there to where they belong."""
        stage = f"zstream_{zlib.crc32(json.dumps(columns).encode()):08x}"
        others = [name for name in columns if name not in self._key_names]
        parts: dict[str, sql.Composable] = {
            "stage": sql.Identifier(stage),
            "ordinal": sql.Identifier(_ORDINAL),
            "columns": sql.SQL(", ").join(map(sql.Identifier, columns)),
            "changes": _each("{0} = came.{0}" if is_there else "{0} = excluded.{0}", others),
            "same": _each("there.{0} = came.{0}", self._key_names, " AND "),
        }
        # It has the columns as the table has them, so that COPY finds what they do not take.
        self._do(
            "CREATE TEMPORARY TABLE IF NOT EXISTS {stage} ON COMMIT DELETE ROWS "
            "AS SELECT {columns} FROM {table} WITH NO DATA",
            **parts,
        )
        self._do(
            "ALTER TABLE pg_temp.{stage} "
            "ADD COLUMN IF NOT EXISTS {ordinal} bigint GENERATED ALWAYS AS IDENTITY",
            **parts,
        )
        self._do("TRUNCATE pg_temp.{stage}", **parts)
        with (
            self.connection.cursor() as cursor,
            cursor.copy(self._query("COPY pg_temp.{stage} ({columns}) FROM STDIN", parts)) as copy,
        ):
            for body in bodies:
                copy.write(body)
        # In the order of keys, so that two workers do not wait for each other's rows.
        rows = (
            "SELECT DISTINCT ON ({key}) {columns} FROM pg_temp.{stage} "
            "ORDER BY {key}, {ordinal} DESC"
        )
        if is_there:
            what = f"UPDATE {{table}} AS there SET {{changes}} FROM ({rows}) AS came WHERE {{same}}"
        else:
            then = "DO UPDATE SET {changes}" if others else "DO NOTHING"
            what = f"INSERT INTO {{table}} ({{columns}}) {rows} ON CONFLICT ({{key}}) {then}"
        self._do(what, **parts)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One transaction in which every wait has an end."""
        with self._cut_off_after(ANSWER_S), self.connection.transaction():
            settings = sql.SQL(", ").join(
                sql.SQL("set_config({}, {}, true)").format(name, value)
                for name, value in _SETTINGS.items()
            )
            self.connection.execute(sql.SQL("SELECT {}").format(settings))
            # A server that loses what it said was done would lose it for good.
            self.connection.execute(
                "SELECT set_config('synchronous_commit', 'on', true) "
                "WHERE current_setting('synchronous_commit') = 'off'"
            )
            yield

    @contextmanager
    def _cut_off_after(self, seconds: float) -> Iterator[None]:
        with socket.socket(fileno=os.dup(self.connection.fileno())) as line:

            def cut_off() -> None:
                self.cut_off = seconds
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)

            timer = threading.Timer(seconds, cut_off)
            timer.daemon = True
            timer.start()
            try:
                yield
            finally:
                timer.cancel()
                timer.join()

    def _one(self, query: str, *values: Any) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self.connection.execute(query.encode(), values).fetchone()
        return row

    def _do(self, query: str, *values: Any, **parts: sql.Composable) -> int:
        """Execute it; how many rows it changed."""
        done: int = self.connection.execute(self._query(query, parts), values or None).rowcount
        return done

    def _query(self, query: str, parts: dict[str, sql.Composable]) -> sql.Composed:
        names = {
            "table": self._table,
            "marks": self._marks,
            "moves": self._moves,
            "key": self._key,
        }
        return sql.SQL(query).format(**names, **parts)


def create_marks(name: str) -> str:
    """The statement that makes the table of marks."""
    return (
        f"CREATE TABLE IF NOT EXISTS {name} (sink text, author bigint, epoch bigint NOT NULL, "
        "committed_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (sink, author))"
    )


def create_moves(name: str) -> str:
    """The statement that makes the table of what was written of which key when it moved.

    wrote: [number, columns] of each tick; others: what was there before the last one came.
    """
    return (
        f"CREATE TABLE IF NOT EXISTS {name} (sink text, run bigint, epoch bigint, key bytea, "
        "wrote jsonb NOT NULL, others jsonb, committed_at timestamptz NOT NULL DEFAULT now(), "
        "PRIMARY KEY (sink, run, epoch, key))"
    )


def create_table(table: str, key: Sequence[str], runs: Sequence[Run]) -> str:
    """A statement that makes a table for these rows, as far as their texts tell the types."""
    types = {**dict.fromkeys(key, "text"), **_likely_types(runs)}
    columns = "".join(f"{name} {type_}, " for name, type_ in types.items())
    rest = "" if runs else "..., "
    return f"CREATE TABLE {table} ({columns}{rest}PRIMARY KEY ({', '.join(key)}))"


def _missing(what: str, runs: Sequence[Run]) -> str:
    """Name and likely type of the column that a server's message is about."""
    named = re.search('"([^"]+)"', what)
    name = named[1] if named else "..."
    return f"{name} {_likely_types(runs).get(name, '...')}"


def _likely_types(runs: Sequence[Run]) -> dict[str, str]:
    types: dict[str, str] = {}
    for run in runs:
        for name, *values in zip(run.columns(), *run.rows(_ROWS_LOOKED_AT), strict=True):
            types[name] = _likely_type(values)
    return types


_LIKELY = {
    "boolean": r"[tf]",
    "bigint": r"0|-?[1-9]\d{0,17}",
    "double precision": r"-?\d+(\.\d+)?(e[+-]?\d+)?|-?inf|nan",
    "timestamptz": r"\d{4}-\d\d-\d\dT.*",
    "date": r"\d{4}-\d\d-\d\d",
    "interval": r".* days .* seconds",
    "uuid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "bytea": r"\\\\x.*",
    "jsonb": r"\{(\}|\".*\":.*)",
    "text[]": r"\{.*\}",
}


def _likely_type(values: Sequence[str]) -> str:
    known = [value for value in values if value != "\\N"]
    for type_, form in _LIKELY.items():
        if known and all(re.fullmatch(form, value, re.DOTALL) for value in known):
            return type_
    return "text"


def _each(form: str, names: Sequence[str], between: str = ", ") -> sql.Composed:
    """The form for each of these columns."""
    return sql.SQL(between).join(sql.SQL(form).format(sql.Identifier(name)) for name in names)


def _together(runs: Sequence[Run]) -> Iterator[tuple[tuple[str, ...], list[bytes], bool]]:
    """Columns, the bodies of all runs with them that come one after the other, and `is_there`."""
    for (_, is_there), alike in groupby(runs, key=lambda run: (run.names, run.is_there)):
        some = list(alike)
        yield some[0].columns(), [run.body for run in some], is_there


def _parameters(who: str, dsn: str, address: str) -> dict[str, Any]:
    """What libpq is given. A dsn that cannot be read is not shown: it may hold a password."""
    try:
        said = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        raise ConnectorError(
            f"{who}: its dsn cannot be read. Write postgresql://USER@HOST:PORT/DATABASE."
        ) from None
    where: dict[str, Any] = {}
    if address:
        where["host"], where["port"] = split_address(address)
        said.pop("hostaddr", None)
    return {"client_encoding": "UTF8", **_PATIENCE, **said, **where}
