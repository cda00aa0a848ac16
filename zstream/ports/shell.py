"""All that a worker's driver needs of the world around it, in one port."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from zstream.ports.connectors import Reader, Writer
from zstream.ports.desk import CheckpointDesk
from zstream.ports.letters import DeadLetters
from zstream.ports.log import LogDesk
from zstream.ports.transport import Transport


@dataclass(frozen=True)
class Exit:
    """How a worker ended. says: a sentence for its last line, or "" when all is said."""

    code: int
    says: str


class Shell(Protocol):
    """The surroundings of one worker process; production and simulator each have one."""

    @property
    def transport(self) -> Transport: ...

    @property
    def log(self) -> LogDesk: ...

    @property
    def desk(self) -> CheckpointDesk: ...

    @property
    def dead_letters(self) -> DeadLetters: ...

    def now(self) -> float:
        """Monotonic seconds, to see how long something took; what is decided goes by `now` as it is
        given with each call.
        """

    def open_log(self, url: str) -> None:
        """The cluster's store is at `url`: open it for `log` and `desk`, beside the loop.

        Returns at once. The answer is an event, one for all calls until it: the driver's
        `on_store_opened(url, now)`, or `on_store_failed(error, now)` with a ConnectorError that
        says why it is out of reach; then it may be called again. What is submitted to the desks
        before that waits.
        """

    def can_read(self, source: str) -> bool:
        """Whether this worker has what it needs to open the source, should it be placed here."""

    def open_reader(self, source: str) -> Reader:
        """Open a source that is placed on this worker. Raises ConnectorError."""

    def open_writer(self, sink: str) -> Writer:
        """Open a sink. Raises ConnectorError."""

    def say(self, level: str, event: str, text: str, fields: Mapping[str, Any]) -> None:
        """One line for people and programs. level: "debug", "info", "warning" or "error"."""
