"""Which spec is opened how: one line a system."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from zstream.config import Config
from zstream.connectors.csv_rows import RowCutter
from zstream.connectors.epoch_files import FileWriter
from zstream.connectors.file import FileReader
from zstream.connectors.framing import make_cutter
from zstream.connectors.memory import GenerateReader, MemoryReader
from zstream.connectors.stdout import StdoutWriter
from zstream.connectors.tcp import TcpReader, TcpWriter, listen
from zstream.connectors.zmq_sink import ZmqWriter
from zstream.connectors.zmq_source import ZmqReader
from zstream.errors import ConnectorError, UsageError
from zstream.ports.connectors import Reader, Writer
from zstream.topology import specs


def _tcp_source(spec: specs.TcpSource[Any], name: str, address: str, config: Config) -> Reader:
    who = f"source {name}"
    cutter = partial(make_cutter, spec.framing, who)
    cutter()  # a framing that cannot work is refused here, not when the first sender comes
    return TcpReader(who, listen(address, who, f"--in {name}@HOST:PORT"), cutter, config)


def _file_source(spec: specs.FileSource[Any], name: str, _: str, config: Config) -> Reader:
    who = f"source {name}"
    make_cutter(spec.framing, who)  # as above; in a directory there may be no file to try it on
    return FileReader(who, spec.path, partial(make_cutter, spec.framing), spec.follow, config)


def _csv_source(spec: specs.CsvSource[Any], name: str, _: str, config: Config) -> Reader:
    return FileReader(f"source {name}", spec.path, RowCutter, spec.follow, config)


def _postgres_sink(spec: specs.PostgresSink[Any], name: str, address: str) -> Writer:
    who = f"sink {name}"
    try:
        from zstream.connectors.postgres import PostgresWriter
    except ImportError as error:
        raise ConnectorError(
            f"{who}: PostgresSink needs psycopg: pip install 'zstream[postgres]' ({error})"
        ) from error
    return PostgresWriter(who, name, spec.table, spec.key, spec.dsn or "", address)


def _zmq_source(_: specs.ZmqSource[Any], name: str, address: str, config: Config) -> Reader:
    return ZmqReader(name, address, config)


# Each is called with the spec, the name, the address ("" where none is needed), and the limits.
READERS: dict[type, Callable[[Any, str, str, Config], Reader]] = {
    specs.TcpSource: _tcp_source,
    specs.FileSource: _file_source,
    specs.CsvSource: _csv_source,
    specs.Memory: lambda spec, *_: MemoryReader(spec.records),
    specs.Generate: lambda spec, *_: GenerateReader(spec.per_second, spec.count),
    specs.ZmqSource: _zmq_source,
}
WRITERS: dict[type, Callable[[Any, str, str], Writer]] = {
    specs.TcpSink: lambda _, name, address: TcpWriter(f"sink {name}", address),
    specs.FileSink: lambda spec, name, _: FileWriter(f"sink {name}", spec.path),
    specs.Stdout: lambda _, name, __: StdoutWriter(f"sink {name}"),
    specs.PostgresSink: _postgres_sink,
    specs.ZmqSink: lambda _, name, address: ZmqWriter(name, address),
}


def open_reader(
    spec: specs.Source[Any], name: str, address: str | None, config: Config | None = None
) -> Reader:
    """The open source. Its records are not decoded yet: that is `spec.decode`.

    address: "host:port" that was bound to the name, or None to take the spec's own.
    Raises ConnectorError when the outside refuses, UsageError when an address is missing.
    """
    at = address or spec.address or ""
    if spec.needs_address and not at:
        raise UsageError(f"source {name} has no address. Say --in {name}@HOST:PORT.")
    opener = READERS.get(type(spec))
    if opener is None:
        raise ConnectorError(f"source {name}: nothing here can read a {type(spec).__name__}.")
    return opener(spec, name, at, config or Config())


def open_writer(spec: specs.Sink[Any], name: str, address: str | None) -> Writer:
    """The open sink, which takes encoded records. Address and errors as in `open_reader`."""
    at = address or spec.address or ""
    if spec.needs_address and not at:
        raise UsageError(f"sink {name} has no address. Say --out {name}@HOST:PORT.")
    opener = WRITERS.get(type(spec))
    if opener is None:
        raise ConnectorError(f"sink {name}: nothing here can write a {type(spec).__name__}.")
    return opener(spec, name, at)
