"""What the store or a sink takes long for: said while it lasts, and when it is over.

An operation that hangs has neither failed nor been done, so nobody else would say why checkpoints
and rescales stand still.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zstream.config import Config
from zstream.ports.shell import Shell


@dataclass
class _Wait:
    """since: when the operation was seen first, in monotonic seconds."""

    doing: str
    since: float
    said: bool = False


class Waits:
    """Watches what is under way, from outside: it changes nothing."""

    def __init__(self, config: Config, shell: Shell) -> None:
        self._slow = config.slow_after_ms / 1000
        self._shell = shell
        self._waits: dict[str, _Wait] = {}

    def look(self, under_way: Mapping[str, str], now: float) -> None:
        """Once a turn. under_way: what each operation does that was not answered yet, by its id."""
        for name, doing in under_way.items():
            wait = self._waits.setdefault(name, _Wait(doing, now))
            if not wait.said and now - wait.since >= self._slow:
                wait.said = True
                text = f"{doing} has taken {self._slow:g} s so far."
                self._shell.say("warning", "slow", text, {"doing": doing})
        for name in [name for name in self._waits if name not in under_way]:
            wait = self._waits.pop(name)
            if wait.said:
                took = now - wait.since
                text, fields = f"{wait.doing} took {took:.1f} s.", {"seconds": round(took, 4)}
                self._shell.say("info", "slow_over", text, {"doing": wait.doing, **fields})
