"""The sinks of this worker: what they are given, hold back, and show when it may be shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zstream.config import Config
from zstream.control.epochs import UNCOMMITTED
from zstream.model.ids import Epoch, Incarnation
from zstream.ports.connectors import Tick, Writer
from zstream.ports.desk import Committing
from zstream.ports.shell import Shell
from zstream.topology.plan import Plan

DEAD_LETTERS = "!dead-letters"  # a sink of the engine's own; no operator can be called so


@dataclass(frozen=True)
class Commit:
    """Output that a manifest names."""

    epoch: Epoch
    author: Incarnation
    outputs: Sequence[Any]


class Outputs:
    """Open writers, by sink, and the commits that each has still to do, one at a time."""

    def __init__(self, config: Config, plan: Plan, shell: Shell) -> None:
        self._config = config
        self._plan = plan
        self._shell = shell
        self._writers: dict[str, Writer] = {}
        self._commits: dict[str, deque[Commit]] = {}
        self._prepared_bytes: dict[str, int] = {}  # that are not committed yet
        self._said: dict[str, None] = {}

    def open(self) -> None:
        """Open every sink, once; raises ConnectorError."""
        for sink in self._plan.sinks:
            if sink not in self._writers:
                self._writers[sink] = self._shell.open_writer(sink)

    def emit(self, sink: str, records: list[Any]) -> None:
        """Queue encoded records for a sink."""
        self._writers[sink].write(records)

    def moved(self, tick: Tick) -> None:
        """A key group has left or come in: what is emitted from here on is of this tick."""
        for writer in self._writers.values():
            writer.moved(tick)

    def flush(self, now: float) -> None:
        for writer in self._writers.values():
            writer.flush(now)
        self._say_waits()

    # ---- epochs

    def prepare(self, epoch: Epoch) -> dict[str, Any]:
        """What each sink calls its output since the last time; None for none."""
        prepared: dict[str, Any] = {}
        for sink, writer in self._writers.items():
            held = writer.uncommitted_bytes()
            self._prepared_bytes[sink] = self._prepared_bytes.get(sink, 0) + held
            prepared[sink] = writer.prepare(epoch)
        prepared[DEAD_LETTERS] = self._shell.dead_letters.prepare(epoch)
        return prepared

    def commit(
        self, epoch: Epoch, author: Incarnation, by_sink: Mapping[str, Sequence[Any]]
    ) -> None:
        """A manifest names this. What is of a sink that this topology has no more is left."""
        for sink, outputs in by_sink.items():
            if outputs and self.committer(sink) is not None:
                line = self._commits.setdefault(sink, deque())
                line.append(Commit(epoch, author, outputs))

    def committer(self, sink: str) -> Committing | None:
        """Who commits for this sink."""
        return self._shell.dead_letters if sink == DEAD_LETTERS else self._writers.get(sink)

    def next_commits(self) -> list[tuple[str, Commit]]:
        """The first in line of each sink."""
        return [(sink, line[0]) for sink, line in self._commits.items() if line]

    def is_first(self, sink: str, commit: Commit) -> bool:
        """Whether this one is first in line still, and no recovery came between."""
        line = self._commits.get(sink)
        return bool(line and line[0] is commit)

    def committed(self, sink: str, commit: Commit) -> None:
        """This one is done."""
        if self.is_first(sink, commit):
            self._commits[sink].popleft()
            if not self._commits[sink]:
                self._prepared_bytes.pop(sink, None)

    @property
    def all_committed(self) -> bool:
        return not any(self._commits.values())

    def abort(self) -> None:
        """A recovery: what is in no manifest never was, and what is to be committed comes anew."""
        for writer in self._writers.values():
            writer.abort()
        self._shell.dead_letters.abort()
        self._commits.clear()
        self._prepared_bytes.clear()

    # ---- limits and what is waited for

    def pressure(self) -> str:
        """The sink that is at its limit, or ""."""
        for sink, writer in self._writers.items():
            if writer.pending_bytes() >= self._config.sink_bytes_max:
                return f"sink {sink}"
            held = writer.uncommitted_bytes() + self._prepared_bytes.get(sink, 0)
            if held >= self._config.uncommitted_bytes_max:
                return f"{UNCOMMITTED} sink {sink}"
        return ""

    @property
    def empty(self) -> bool:
        """Whether the outside has taken all output that is not held back for an epoch."""
        return not any(writer.pending_bytes() for writer in self._writers.values())

    def waits_for(self) -> list[str]:
        """What a person must do before records go out."""
        return [text for writer in self._writers.values() if (text := writer.waits_for())]

    def _say_waits(self) -> None:
        """Each new thing that is waited for is said once, and again when it comes back."""
        waits = dict.fromkeys(self.waits_for())  # in the order of the sinks, not a set's
        for text in waits:
            if text not in self._said:
                self._shell.say("warning", "waits", text, {})
        self._said = waits

    def wake_times(self, now: float) -> list[float]:
        """When a sink wants to be called although none of its descriptors is ready."""
        times = [writer.wake_at(now) for writer in self._writers.values()]
        return [time for time in times if time is not None]
