"""Which spec is opened how: one line a system."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zstream.config import Config
from zstream.connectors.csv_rows import RowCutter
from zstream.connectors.file import FileReader, FileWriter
from zstream.connectors.framing import make_cutter
from zstream.connectors.memory import GenerateReader, MemoryReader
from zstream.connectors.stdout import StdoutWriter
from zstream.connectors.tcp import TcpReader, TcpWriter
from zstream.errors import ConnectorError, UsageError
from zstream.ports.connectors import Reader, Writer
from zstream.topology import specs

# Each gets the spec, the name, the address ("" where the spec needs none), and the limits.
READERS: dict[type, Callable[[Any, str, str, Config], Reader]] = {
    specs.TcpSource: lambda s, name, at, config: TcpReader(name, at, s.framing, config),
    specs.FileSource: lambda s, name, _, config: FileReader(
        name, s.path, make_cutter(s.framing, f"source {name}"), s.follow, config
    ),
    specs.CsvSource: lambda s, name, _, config: FileReader(
        name, s.path, RowCutter(f"source {name}"), s.follow, config
    ),
    specs.Memory: lambda s, *_: MemoryReader(s.records),
    specs.Generate: lambda s, *_: GenerateReader(s.per_second, s.count),
}
WRITERS: dict[type, Callable[[Any, str, str], Writer]] = {
    specs.TcpSink: lambda _, name, at: TcpWriter(name, at),
    specs.FileSink: lambda s, name, _: FileWriter(name, s.path),
    specs.Stdout: lambda _, name, __: StdoutWriter(name),
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
