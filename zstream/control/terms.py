"""The store within reach of this worker, and its tries to lead: a term is won by an append."""

from __future__ import annotations

from collections.abc import Callable

from zstream.config import Config
from zstream.control.beginning import Beginning
from zstream.control.events import OpenStore, Stop, SubmitLog
from zstream.control.joining import Start
from zstream.control.requests import Software
from zstream.control.voice import Voice
from zstream.model.ids import Term
from zstream.model.records import TermOpened
from zstream.wire.messages import LeaderQuery


class Terms:
    """One worker's part. Times are monotonic seconds."""

    def __init__(
        self,
        voice: Voice,
        start: Start,
        software: Software,
        config: Config,
        draw: Callable[[], int],
    ) -> None:
        self.store = ""  # once it is open
        self._voice = voice
        self._start = start
        self._software = software
        self._config = config
        self._draw = draw
        self._asked = ""
        self._beginning: Beginning | None = None  # until the initializer knows its store

    def open_store(self, url: str) -> None:
        """The cluster's store is at `url`; once is enough."""
        if url and not self._asked:
            self._asked = url
            self._voice.do(OpenStore(url))

    def on_store(self, url: str) -> None:
        """The store is within reach. The initializer looks at what is in it."""
        self.store = self._asked = url
        if self._start.role == "initializer" and self._voice.log.state.term == 0:
            self._beginning = Beginning(self._start, self._software, self._config, url)
            self._voice.do(SubmitLog(self._voice.log.read()))

    # ---- the initializer's beginning

    @property
    def beginning(self) -> bool:
        """Whether the initializer does not know yet how to begin."""
        return self._beginning is not None

    @property
    def look_at(self) -> float | None:
        """When `look` wants to be called, None for never."""
        return self._beginning.until if self._beginning else None

    def look(self) -> None:
        """Read the log of the cluster that may be alive once more."""
        if not self._voice.log.busy:
            self._voice.do(SubmitLog(self._voice.log.read()))

    def is_alive(self) -> None:
        """Somebody of the cluster in the store has answered."""
        if self._beginning is not None:
            self._voice.do(Stop(1, self._beginning.in_use(self._voice.log.state)))

    def on_read(self, now: float) -> None:
        """The log was read to its end while this worker begins."""
        if self._beginning is None:
            return
        voice, state = self._voice, self._voice.log.state
        verdict = self._beginning.on_read(state, now)
        if verdict.refused:
            voice.do(Stop(1, verdict.refused))
        elif verdict.open:
            self._beginning = None
            if verdict.says:
                cluster = state.cluster or self._software.topology
                voice.say("info", "resumes", f"cluster {cluster} {verdict.says}")
            self.open("the cluster starts", "" if verdict.open == "first" else verdict.open)
        else:
            others = {person.control for person in state.people} | {state.leader_at}
            for address in sorted(others - {voice.me.control}):  # nobody of then is where we are
                voice.send(address, LeaderQuery(state.tail))

    # ---- a term

    def open(self, cause: str, begins: str = "") -> None:
        """Stand for leader: whoever's record stands in the log first is it."""
        voice, state = self._voice, self._voice.log.state
        if not voice.log.idle or not self.store:
            return
        record = TermOpened(
            term=Term(state.term + 1),
            nonce=self._draw(),
            author=voice.me.incarnation,
            name=voice.me.name,
            control=voice.me.control,
            cluster=state.cluster or f"{self._software.topology}-{self._draw():x}",
            cause=cause,
            begins=begins,
            savepoint=self._start.savepoint if begins == "fresh" else None,
        )
        voice.do(SubmitLog(voice.log.append(record)))
