"""The simulator's heart: one seed, one virtual clock, one heap of events, one trace.

Everything that happens in a simulation happens in an event of the kernel. Chance comes from
`chance` alone and two events of one instant run in the order in which they were set, so one seed
gives one story: run it twice and the traces are equal, line by line.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from typing import Any, NamedTuple


class Line(NamedTuple):
    """One line of the trace. Formatted only when somebody reads it: most runs nobody reads."""

    at: float
    who: str
    what: str
    more: tuple[Any, ...]

    def __str__(self) -> str:
        more = " ".join(str(part) for part in self.more)
        return f"{self.at:10.4f} {self.who:>8} {self.what} {more}".rstrip()


class Timer:
    """A thing that will happen, unless it is cancelled before."""

    __slots__ = ("action", "when")

    def __init__(self, when: float, action: Callable[[], None]) -> None:
        self.when = when
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class Kernel:
    """Discrete events in virtual seconds. `now` only moves in `run`."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.now = 0.0
        self.trace: list[Line] = []
        self.events = 0
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = 0

    def at(self, when: float, action: Callable[[], None]) -> Timer:
        """Let `action` happen at `when`, or now if that has passed."""
        timer = Timer(max(when, self.now), action)
        self._order += 1
        heapq.heappush(self._heap, (timer.when, self._order, timer))
        return timer

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        return self.at(self.now + seconds, action)

    def note(self, who: str, what: str, *more: Any) -> None:
        """Add a line to the trace."""
        self.trace.append(Line(self.now, who, what, more))

    def run(self, until: float, done: Callable[[], bool] | None = None) -> bool:
        """Let events happen up to the instant `until`, or until `done()`; True if it is done."""
        while self._heap and self._heap[0][0] <= until:
            if done is not None and done():
                return True
            when, _, timer = heapq.heappop(self._heap)
            if timer.action is not None:
                self.now = when
                self.events += 1
                timer.action()
        if done is not None and done():
            return True
        self.now = max(self.now, until)
        return False

    def chosen(self, probability: float) -> bool:
        """True as often as `probability` says. Draws nothing for 0, so calm weather is cheap."""
        return probability > 0 and self.chance.random() < probability

    def between(self, span: tuple[float, float]) -> float:
        low, high = span
        return low + (high - low) * self.chance.random()

    def story(self, lines: int | None = None) -> str:
        """The last `lines` lines of the trace, or all."""
        shown = self.trace if lines is None else self.trace[-lines:]
        return "\n".join(str(line) for line in shown)

    def digest(self) -> str:
        """A hash of the whole trace: equal stories, equal digests."""
        seen = hashlib.sha256()
        for line in self.trace:
            seen.update(f"{line.at!r} {line}\n".encode())
        return seen.hexdigest()
