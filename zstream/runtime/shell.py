"""The surroundings of one worker process: `zstream.ports.shell.Shell` in production."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from zstream.connectors.registry import open_reader, open_writer
from zstream.errors import ConnectorError
from zstream.ports.connectors import Reader, Writer
from zstream.runtime.checkpoint_desk import ThreadedCheckpointDesk
from zstream.runtime.letters import DeadLetterFile
from zstream.runtime.log_desk import ThreadedLogDesk
from zstream.runtime.options import WorkerOptions
from zstream.runtime.store_opening import StoreOpening
from zstream.runtime.telemetry import Telemetry
from zstream.runtime.wake import Waker
from zstream.runtime.zmq_transport import ZmqTransport
from zstream.stores.log import BlobLog
from zstream.stores.private import PrivateHold
from zstream.stores.registry import open_store
from zstream.topology.plan import Plan

_LOG_S = 2.0  # for the last operation of the control log when the worker ends


class WorkerShell:
    """Opens things for the driver, and closes all of them at the end."""

    def __init__(
        self,
        plan: Plan,
        options: WorkerOptions,
        transport: ZmqTransport,
        telemetry: Telemetry,
        waker: Waker,
    ) -> None:
        self._plan = plan
        self._options = options
        self._telemetry = telemetry
        self._opening = StoreOpening(waker.wake)
        self._hold: PrivateHold | None = None
        self.transport = transport
        self.log = ThreadedLogDesk(waker.wake)
        self.desk = ThreadedCheckpointDesk(
            waker.wake, self.say, lambda url: open_store(url, make=True)
        )
        self.dead_letters = DeadLetterFile(
            options.dead_letters, options.name, options.config.dead_letters_bytes_max, self.say
        )
        self.readers: list[WatchedReader] = []
        self.writers: list[Writer] = []

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def open_log(self, url: str) -> None:
        """Open the cluster's store at `url` beside the loop; the answer comes by `take_opened`."""
        if self._hold is None:
            self._opening.begin(url)

    def take_opened(self) -> list[str | ConnectorError]:
        """The URL of the store that was opened, both desks work on it now; or why it cannot be."""
        opened = self._opening.take()
        if opened is None:
            return []
        if isinstance(opened, ConnectorError):
            return [opened]
        self._hold = opened.hold
        self.log.open(BlobLog(opened.store))
        self.desk.open(opened.store)
        return [opened.url]

    def can_read(self, source: str) -> bool:
        """Whether this worker has what it needs to open the source, should it be placed here."""
        spec = self._plan.sources[source].spec
        return not spec.needs_address or bool(self._options.inputs.get(source) or spec.address)

    def open_reader(self, source: str) -> Reader:
        """Open a source that is placed on this worker. Raises ConnectorError."""
        spec = self._plan.sources[source].spec
        address = self._options.inputs.get(source)
        reader = WatchedReader(open_reader(spec, source, address, self._options.config))
        self.readers.append(reader)
        return reader

    def open_writer(self, sink: str) -> Writer:
        """Open a sink. Raises ConnectorError."""
        spec = self._plan.sinks[sink].spec
        writer = open_writer(spec, sink, self._options.outputs.get(sink))
        self.writers.append(writer)
        return writer

    def say(self, level: str, event: str, text: str, fields: Mapping[str, Any]) -> None:
        self._telemetry.say(level, event, text, fields)

    def close(self, flush_s: float) -> None:
        """Close all. flush_s: for what writers and the checkpoints' desk have still to do.

        With 0 it is not waited for: output of a decided checkpoint is committed by another worker.
        """
        for reader in self.readers:
            reader.close()
        self._flush_writers(flush_s)
        if not self.desk.close(flush_s) and flush_s:  # before the writers that it calls
            self.say("warning", "desk_stuck", "the store or a sink stalls; not waiting for it.", {})
        for writer in self.writers:
            writer.close()
        if not self.log.close(_LOG_S):
            self.say("warning", "log_stuck", "the store does not answer; not waiting for it.", {})
        self._opening.close()
        if self._hold is not None:
            self._hold.release()

    def _flush_writers(self, flush_s: float) -> None:
        deadline = time.monotonic() + flush_s
        while left := sum(writer.pending_bytes() for writer in self.writers):
            now = time.monotonic()
            if now >= deadline:
                break
            for writer in self.writers:
                writer.flush(now)
            time.sleep(0.001)
        else:
            return
        self.say(
            "error",
            "output_lost",
            f"{left:,} bytes of output were not taken by their receivers and are lost.",
            {"bytes": left},
        )


class WatchedReader:
    """A reader that remembers whether it was read in this turn of the loop.

    The driver stops reading a source under pressure; its descriptors must then not wake the loop,
    or it would spin on input that nobody takes.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._closed = False
        self._was_read = False

    def take_descriptors(self) -> Sequence[int]:
        """What to wait on until the next turn; () when this turn did not read."""
        was_read, self._was_read = self._was_read, False
        return self._reader.descriptors() if was_read and not self._closed else ()

    def read(self, limit: int) -> list[Any]:
        self._was_read = True
        return self._reader.read(limit)

    def position(self) -> Any:
        return self._reader.position()

    def acknowledge(self, position: Any) -> None:
        self._reader.acknowledge(position)

    def seek(self, position: Any) -> int:
        return self._reader.seek(position)

    def descriptors(self) -> Sequence[int]:
        return self._reader.descriptors()

    def wake_at(self, now: float) -> float | None:
        return self._reader.wake_at(now)

    def waits_for(self) -> str:
        return self._reader.waits_for()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._reader.close()
