"""What a source reads and a sink writes, as frozen values: nothing here opens anything.

A connector's room turns a spec into an open reader or writer on the worker where it runs, so a
topology can be built, compared and drawn where neither port nor library exists.

    spec            record before decode      address
    TcpSource       bytes or str, as framed   needed: --in NAME@HOST:PORT, or address=
    FileSource      bytes or str, as framed   none
    CsvSource       dict[str, str], one row   none
    Memory          as given, no decode       none
    Generate        int, 0 upwards            none
    ZmqSource       bytes                     needed: --in NAME@HOST:PORT, or address=

    spec            record after encode       address
    TcpSink         bytes                     needed: --out NAME@HOST:PORT, or address=
    FileSink        bytes                     none
    Stdout          bytes, one line           none
    PostgresSink    bytes, one row            may be given: --out NAME@HOST:PORT
    ZmqSink         bytes                     needed: --out NAME@HOST:PORT, or address=
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar, overload

from zstream.config import MIB
from zstream.errors import UsageError
from zstream.topology.json_values import json_line, row_decoder
from zstream.topology.rows import row_encoder

T = TypeVar("T")
F = TypeVar("F")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

READ_AGAIN = "nothing: it is read again from the last checkpoint"
FRAME_BYTES_MAX = 16 * MIB  # a length above it is taken for rubbish, not for a large record


@dataclass(frozen=True, kw_only=True)
class Source(Generic[T_co]):
    """Base of all source specs.

    decode: turns what the reader gives into a record, or None where it gives records.
    parallel: read by each worker that the cluster starts with, not by the initializer alone.
    after_crash: what is lost when a worker that reads it dies.
    """

    decode: Callable[[Any], T_co] | None = None
    address: str | None = None
    parallel: bool = False
    needs_address: ClassVar[bool] = False
    after_crash: ClassVar[str] = "what was read and is under way; a new start reads from the first"


@dataclass(frozen=True, kw_only=True)
class Sink(Generic[T_contra]):
    """Base of all sink specs.

    encode: turns a record into bytes; str is written as UTF-8.
    takes_address: --out may name it although it does without.
    after_crash: what is lost when a worker that writes it dies.
    """

    encode: Callable[[T_contra], bytes | str] | None = None
    address: str | None = None
    needs_address: ClassVar[bool] = False
    takes_address: ClassVar[bool] = False
    after_crash: ClassVar[str] = "what was on its way out; nothing is written twice"


# ---------------------------------------------------------------- framings


class Framing(Generic[T_co]):
    """How a stream of bytes is cut into records of type T."""


@dataclass(frozen=True)
class Lines(Framing[str]):
    """Text lines without their newline ("\\n" or "\\r\\n"). max_bytes: a longer line is refused."""

    encoding: str = "utf-8"
    max_bytes: int = FRAME_BYTES_MAX

    def __post_init__(self) -> None:
        _positive("Lines", "max_bytes", self.max_bytes)
        try:
            "".encode(self.encoding)
        except LookupError:
            raise UsageError(f"Lines: there is no encoding {self.encoding!r}.") from None


@dataclass(frozen=True)
class ByteLines(Framing[bytes]):
    """Lines as bytes, without their newline. max_bytes: a longer line is refused."""

    max_bytes: int = FRAME_BYTES_MAX

    def __post_init__(self) -> None:
        _positive("ByteLines", "max_bytes", self.max_bytes)


@dataclass(frozen=True)
class LengthPrefix(Framing[bytes]):
    """A header with the payload's length before each payload; the payload is the record.

    fmt: a `struct` format of one whole number, ">I" for four bytes big-endian.
    max_bytes: a longer payload is refused.
    """

    fmt: str = ">I"
    max_bytes: int = FRAME_BYTES_MAX

    def __post_init__(self) -> None:
        _positive("LengthPrefix", "max_bytes", self.max_bytes)
        try:
            size = struct.calcsize(self.fmt)
            numbers = struct.unpack(self.fmt, bytes(size))
        except struct.error as error:
            raise UsageError(f"LengthPrefix: {self.fmt!r} is no struct format: {error}.") from None
        if len(numbers) != 1 or not isinstance(numbers[0], int):
            raise UsageError(
                f"LengthPrefix: {self.fmt!r} must hold one whole number, such as '>I'."
            )


@dataclass(frozen=True)
class FixedSize(Framing[bytes]):
    """Every record is `size` bytes."""

    size: int

    def __post_init__(self) -> None:
        _positive("FixedSize", "size", self.size)


# ---------------------------------------------------------------- sources


@dataclass(frozen=True, init=False)
class TcpSource(Source[T]):
    """Listens on TCP; everything that connects sends records. Nothing can be read again.

    Without `address` it is bound by name when it runs: `--in NAME@HOST:PORT`.
    """

    framing: Framing[Any]
    needs_address: ClassVar[bool] = True
    after_crash: ClassVar[str] = "what was sent and is under way; senders must connect again"

    @overload
    def __init__(
        self, framing: Framing[T], *, address: str | None = None, parallel: bool = False
    ) -> None: ...
    @overload
    def __init__(
        self,
        framing: Framing[F],
        decode: Callable[[F], T],
        *,
        address: str | None = None,
        parallel: bool = False,
    ) -> None: ...
    def __init__(
        self,
        framing: Framing[Any],
        decode: Callable[[Any], T] | None = None,
        *,
        address: str | None = None,
        parallel: bool = False,
    ) -> None:
        _check_framing("TcpSource", framing)
        _check_function("TcpSource", "decode", decode)
        _freeze(self, framing=framing, decode=decode, address=address, parallel=parallel)


@dataclass(frozen=True, init=False)
class FileSource(Source[T]):
    """Reads a file from its start to its end, or all files of a directory in the order of names.

    follow: then waits for more, as `tail -f` does, and for new files. A file must not grow any more
    once there is one whose name sorts after its own; new ones should sort after those that are
    there. Names that begin with a dot are passed over.
    """

    path: str
    framing: Framing[Any]
    follow: bool
    after_crash: ClassVar[str] = READ_AGAIN

    @overload
    def __init__(self: FileSource[str], path: str, *, follow: bool = False) -> None: ...
    @overload
    def __init__(self, path: str, framing: Framing[T], *, follow: bool = False) -> None: ...
    @overload
    def __init__(
        self, path: str, framing: Framing[F], decode: Callable[[F], T], *, follow: bool = False
    ) -> None: ...
    def __init__(
        self,
        path: str,
        framing: Framing[Any] | None = None,
        decode: Callable[[Any], Any] | None = None,
        *,
        follow: bool = False,
    ) -> None:
        framing = Lines() if framing is None else framing
        _check_framing("FileSource", framing)
        _check_function("FileSource", "decode", decode)
        _freeze(self, path=str(path), framing=framing, decode=decode, follow=follow)


@dataclass(frozen=True, init=False)
class CsvSource(Source[T]):
    """Reads a CSV file whose first line names its columns; each row becomes a `row`.

    path, follow: as in FileSource; each file of a directory has its own first line.

    row: a dataclass or NamedTuple whose fields are named as columns. Columns without a field are
    passed over. An empty cell or NA is None where the field may be None, else its default.
    """

    path: str
    row: type[T]
    follow: bool
    after_crash: ClassVar[str] = READ_AGAIN

    def __init__(self, path: str, row: type[T], *, follow: bool = False) -> None:
        _freeze(self, path=str(path), row=row, decode=row_decoder(row), follow=follow)


@dataclass(frozen=True, init=False)
class Memory(Source[T]):
    """Gives the records that it holds, then ends. For tests and first steps."""

    records: tuple[T, ...] = field(repr=False)

    def __init__(self, records: Iterable[T]) -> None:
        _freeze(self, records=tuple(records))


@dataclass(frozen=True, init=False)
class Generate(Source[T]):
    """make(0), make(1), ... as fast as they are taken, or so many `per_second`; `count` in all."""

    per_second: float | None
    count: int | None

    def __init__(
        self,
        make: Callable[[int], T],
        *,
        per_second: float | None = None,
        count: int | None = None,
    ) -> None:
        _check_function("Generate", "make", make)
        if per_second is not None:
            _positive("Generate", "per_second", per_second)
        if count is not None and count < 0:
            raise UsageError(f"Generate: count must not be negative, it is {count}.")
        _freeze(self, decode=make, per_second=per_second, count=count)


@dataclass(frozen=True, init=False)
class ZmqSource(Source[T]):
    """Listens on ZeroMQ for producers (zstream.client.Producer), which number their records.

    Each record is read once, whoever dies: producers keep it until it is in a checkpoint, and
    send it again if they are asked. A producer always speaks to the same address.
    Without `address` it is bound by name when it runs: `--in NAME@HOST:PORT`.
    """

    needs_address: ClassVar[bool] = True
    after_crash: ClassVar[str] = "nothing: producers send again what is in no checkpoint"

    def __init__(
        self,
        decode: Callable[[bytes], T],
        *,
        address: str | None = None,
        parallel: bool = False,
    ) -> None:
        _check_function("ZmqSource", "decode", decode)
        _freeze(self, decode=decode, address=address, parallel=parallel)


# ---------------------------------------------------------------- sinks


@dataclass(frozen=True, init=False)
class TcpSink(Sink[T_contra]):
    """Connects over TCP and sends what `encode` gives, as it is: no frame is put around it.

    Without `address` it is bound by name when it runs: `--out NAME@HOST:PORT`.
    """

    needs_address: ClassVar[bool] = True

    def __init__(
        self, encode: Callable[[T_contra], bytes | str], *, address: str | None = None
    ) -> None:
        _check_function("TcpSink", "encode", encode)
        _freeze(self, encode=encode, address=address)


@dataclass(frozen=True, init=False)
class FileSink(Sink[T_contra]):
    """Writes what `encode` gives to a directory: one file for each checkpoint and worker.

    The files' names are in the order of checkpoints (`zstream.connectors.epoch_files`). Each is
    there whole or not at all, and holds each record once, whoever dies.
    """

    path: str
    after_crash: ClassVar[str] = "nothing; it is there once, with its checkpoint"

    def __init__(self, path: str, encode: Callable[[T_contra], bytes | str] = json_line) -> None:
        _check_function("FileSink", "encode", encode)
        _freeze(self, path=str(path), encode=encode)


@dataclass(frozen=True, init=False)
class Stdout(Sink[T_contra]):
    """Prints each record as one line; `format` makes the text, without its newline."""

    def __init__(self, format: Callable[[T_contra], str] = str) -> None:
        _check_function("Stdout", "format", format)
        _freeze(self, encode=format)


@dataclass(frozen=True, init=False)
class PostgresSink(Sink[T_contra]):
    """Keeps a row for each key in a table of PostgreSQL: what comes is inserted or updates it.

    A record is a dict, a dataclass or a NamedTuple; its fields are columns. Columns that a record
    does not have stay as they are in the table. The last record of a key wins.

    table: "name" or "schema.name", spelled as the database spells it.
    key: the column or columns that tell rows apart; the table has a unique constraint on them.
    dsn: "postgresql://user@host:port/database" or libpq's NAME=VALUE form. What it does not say
    comes from the environment (PGHOST, PGDATABASE, PGUSER, PGPASSWORD, ...), and
    `--out NAME@HOST:PORT` goes before its host and port.
    """

    table: str
    key: tuple[str, ...]
    dsn: str | None = field(repr=False)
    takes_address: ClassVar[bool] = True
    after_crash: ClassVar[str] = "nothing; a row is changed with its checkpoint, once"

    def __init__(self, table: str, *, key: str | Sequence[str], dsn: str | None = None) -> None:
        columns = (key,) if isinstance(key, str) else tuple(key)
        if not table or not all(columns) or not columns:
            raise UsageError('PostgresSink needs a table and a key: ("balances", key="account").')
        _freeze(self, table=table, key=columns, dsn=dsn, encode=row_encoder(columns))


@dataclass(frozen=True, init=False)
class ZmqSink(Sink[T_contra]):
    """Connects over ZeroMQ to a consumer (zstream.client.Consumer), which drops what it has seen.

    What `encode` gives goes out with its checkpoint, each record once, whoever dies.
    Without `address` it is bound by name when it runs: `--out NAME@HOST:PORT`.
    """

    needs_address: ClassVar[bool] = True
    after_crash: ClassVar[str] = "nothing; the consumer is given each record once"

    def __init__(
        self, encode: Callable[[T_contra], bytes | str], *, address: str | None = None
    ) -> None:
        _check_function("ZmqSink", "encode", encode)
        _freeze(self, encode=encode, address=address)


# ---------------------------------------------------------------- checks


def _freeze(spec: object, **values: object) -> None:
    """Set the fields of a frozen value whose signature is not the list of its fields."""
    vars(spec).update(values)


def _positive(what: str, setting: str, value: float) -> None:
    if value <= 0:
        raise UsageError(f"{what}: {setting} must be above 0, it is {value}.")


def _check_framing(what: str, framing: object) -> None:
    if not isinstance(framing, Framing):
        raise UsageError(f"{what} needs a framing such as Lines(), it got {framing!r}.")


def _check_function(what: str, role: str, function: object) -> None:
    if function is not None and not callable(function):
        raise UsageError(f"{what}: {role} must be a function, it is {function!r}.")
