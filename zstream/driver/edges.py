"""Where records come in and go out: the readers and writers that are open on this worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from zstream.config import Config
from zstream.model.ids import Incarnation
from zstream.model.membership import Member
from zstream.ports.connectors import EndOfInput, Reader, Writer
from zstream.ports.shell import Shell
from zstream.topology.plan import Plan


class Edges:
    """Open sources and sinks, and the addresses of peers."""

    def __init__(self, config: Config, plan: Plan, shell: Shell) -> None:
        self._config = config
        self._plan = plan
        self._shell = shell
        self._readers: dict[str, Reader] = {}
        self._ended: set[str] = set()
        self._writers: dict[str, Writer] = {}
        self._peers: dict[Incarnation, Member] = {}
        self._said: set[str] = set()

    # ---- peers

    def remember(self, peer: Member) -> None:
        self._peers[peer.incarnation] = peer

    def forget(self, peer: Incarnation) -> None:
        self._peers.pop(peer, None)

    def control_address(self, peer: Incarnation) -> str:
        member = self._peers.get(peer)
        return member.control if member else ""

    # ---- sources

    def open_readers(self, sources: Iterable[str]) -> None:
        """Open these; raises ConnectorError."""
        for source in sources:
            self._readers[source] = self._shell.open_reader(source)

    @property
    def ended(self) -> bool:
        """Whether every source here has reached its end; True where there is none."""
        return self._ended == self._readers.keys()

    def read(self, feed: Callable[[str, list[Any]], None]) -> bool:
        """Read each source once, up to the limit. False when one has more to give at once."""
        read_all = True
        limit = self._config.batch_records_max
        for source, reader in self._readers.items():
            if source in self._ended:
                continue
            try:
                records = reader.read(limit)
            except EndOfInput:
                self._ended.add(source)
                continue
            if records:
                feed(source, records)
                if len(records) >= limit:
                    read_all = False
        return read_all

    # ---- sinks

    def open_writers(self) -> None:
        """Open every sink, once; raises ConnectorError."""
        for sink in self._plan.sinks:
            if sink not in self._writers:
                self._writers[sink] = self._shell.open_writer(sink)

    def emit(self, sink: str, records: list[Any]) -> None:
        """Queue encoded records for a sink."""
        self._writers[sink].write(records)

    def flush(self, now: float) -> None:
        for writer in self._writers.values():
            writer.flush(now)
        self._say_waits()

    def pressure(self) -> str:
        """The sink that is at its limit, or ""."""
        for sink, writer in self._writers.items():
            if writer.pending_bytes() >= self._config.sink_bytes_max:
                return f"sink {sink}"
        return ""

    @property
    def empty(self) -> bool:
        """Whether the outside has taken all output."""
        return not any(writer.pending_bytes() for writer in self._writers.values())

    def waits_for(self) -> tuple[str, ...]:
        """What a person must do before records go on."""
        doors: list[Reader | Writer] = [*self._readers.values(), *self._writers.values()]
        return tuple(text for door in doors if (text := door.waits_for()))

    def _say_waits(self) -> None:
        """Each new thing that is waited for is said once, and again when it comes back."""
        waits = {text for writer in self._writers.values() if (text := writer.waits_for())}
        for text in waits - self._said:
            self._shell.say("warning", "waits", text, {})
        self._said = waits

    def wake_times(self, now: float, may_read: bool) -> list[float]:
        """When a source or sink wants to be called although none of its descriptors is ready."""
        times = [writer.wake_at(now) for writer in self._writers.values()]
        if may_read:
            times += [
                reader.wake_at(now)
                for source, reader in self._readers.items()
                if source not in self._ended
            ]
        return [time for time in times if time is not None]
