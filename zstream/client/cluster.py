"""A running cluster, asked from a program: `Cluster("127.0.0.1:5050").shrink(count=2)`."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, cast

from zstream.client.channel import FINAL, Channel, WorkerGone
from zstream.client.status import (
    Eligibility,
    Rescale,
    Saved,
    Status,
    rescale_from,
    saved_from,
    status_from,
)
from zstream.config import Config
from zstream.errors import ClusterUnreachable, Refused, UsageError, WireError
from zstream.model.ids import RequestId
from zstream.stores.registry import store_url
from zstream.wire.codec import decode_plain
from zstream.wire.messages import (
    Answer,
    ClientRequest,
    SavepointRequest,
    ShrinkRequest,
    ShutdownRequest,
    StatusRequest,
)

LAST_TRY_SECONDS = 0.5  # for another worker, when the first one went at the very end
Told = Callable[[str, str], None]


def tell_nobody(state: str, says: str) -> None:
    """The default listener to a request's progress."""


class Cluster:
    """Asks through any worker's external address, "host:port".

    timeout: how long each call may take; what was asked for goes on after that.
    cause: who asks; it stands in the history of rescales. config: limits, for tests.
    Every call raises ClusterUnreachable (nobody there, or no zworker), ClusterTimeout, Refused.
    Any thread may call; each call has a socket of its own.
    """

    def __init__(
        self,
        external: str,
        timeout: timedelta = timedelta(seconds=60),
        *,
        cause: str = "zstream.client",
        config: Config | None = None,
    ) -> None:
        host, _, port = external.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise UsageError(f"external must be host:port, it is {external!r}.")
        if timeout <= timedelta(0):
            raise UsageError("timeout must be above 0.")
        self.external = external
        self.timeout = timeout
        self.cause = cause
        self.config = config or Config()

    def status(self) -> Status:
        """The cluster as its leader sees it now."""
        return status_from(self._look("status"))

    def eligibility(self) -> Eligibility:
        """Who may leave, and why the others stay."""
        data = self._look("eligible")
        names = list(data.get("node_names", ()))
        return Eligibility(data.get("node_count", len(names)), names, dict(data.get("staying", {})))

    def eligible(self) -> list[str]:
        """Names of the workers that may leave."""
        return self.eligibility().node_names

    def rescales(self) -> list[dict[str, Any]]:
        """The rescales that are remembered, oldest first, as `cluster_status --rescales --json`."""
        return list(self._look("rescales").get("rescales", ()))

    def dead_letters(self) -> list[dict[str, Any]]:
        """The newest records that a function refused, oldest first."""
        return list(self._look("dead_letters").get("dead_letters", ()))

    def shrink(
        self,
        *,
        count: int | None = None,
        workers: Sequence[str] = (),
        wait: bool = True,
        told: Told = tell_nobody,
    ) -> Rescale:
        """Let `count` workers leave, or these; Refused when nothing was changed.

        wait: until it has ended, with outcome "done", "undone" or "failed"; else until it is
        accepted, with outcome "running" or "waiting". told(state, says) hears each new state.
        """
        if (count is None) == (not workers):
            raise UsageError("shrink wants either a count or names of workers.")
        if count is not None and count < 1:
            raise UsageError(f"count must be at least 1, it is {count}.")
        request = ShrinkRequest(new_id(), tuple(workers), count or 0, self.cause)
        # The worker asked may be one that leaves: then another one knows how it ended.
        known = self.status().workers if wait else []
        others = [worker.external for worker in sorted(known, key=lambda w: w.eligible)]
        answer = self._ask(request, wait=wait, told=told, others=others)
        return rescale_from(mapping_of(answer), answer.state, answer.says)

    def savepoint(self, to: str, *, wait: bool = True, told: Told = tell_nobody) -> Saved:
        """Have the next checkpoint copied to a store of its own, a directory or URL; the cluster
        goes on meanwhile. The leader's machine writes it. Refused when the cluster is not up.

        wait: until it has ended, with outcome "done" or "failed"; else until it is accepted, with
        outcome "running" or "waiting". told(state, says) hears each new state.
        """
        url = store_url(to)
        request = SavepointRequest(new_id(), url, int(time.time()))
        # The worker asked may die: then another one goes on with the same request.
        others = [worker.external for worker in self.status().workers] if wait else []
        answer = self._ask(request, wait=wait, told=told, others=others)
        return saved_from(mapping_of(answer), url, answer.state, answer.says)

    def shutdown(self, wait: bool = True, *, told: Told = tell_nobody) -> str:
        """Drain and stop the whole cluster; the cluster's last sentence, or ""."""
        return self._ask(ShutdownRequest(new_id(), self.cause), wait=wait, told=told).says

    def _look(self, what: str) -> Mapping[str, Any]:
        return mapping_of(self._ask(StatusRequest(new_id(), what), wait=True, told=tell_nobody))

    def _ask(
        self, request: ClientRequest, *, wait: bool, told: Told, others: Sequence[str] = ()
    ) -> Answer:
        started = time.monotonic()
        states: set[str] = set()

        def enough(answer: Answer) -> bool:
            if answer.state not in states | FINAL:
                states.add(answer.state)
                told(answer.state, answer.says)
            return not wait

        addresses = [self.external, *(other for other in others if other != self.external)]
        shutdown = isinstance(request, ShutdownRequest)
        seconds, gone = self.timeout.total_seconds(), False
        while True:
            channel = Channel(addresses.pop(0), seconds, self.config)
            try:
                answer = channel.ask(request, enough, ends_with_it=shutdown)
                break
            except ClusterUnreachable as error:
                gone = gone or isinstance(error, WorkerGone)
                if not gone or not addresses:
                    raise
                left = self.timeout.total_seconds() - (time.monotonic() - started)
                seconds = max(left, LAST_TRY_SECONDS)
        if answer.state == "refused" or (answer.state in ("undone", "failed") and shutdown):
            raise Refused(answer.code, answer.says, answer.do)
        return answer


def new_id() -> RequestId:
    """An id that nobody else has: asking again with it is the same request."""
    return RequestId(uuid.uuid4().hex)


def mapping_of(answer: Answer) -> Mapping[str, Any]:
    """The answer's data; empty when it has none."""
    if not answer.data:
        return {}
    try:
        data = decode_plain(answer.data)
    except WireError as error:
        raise ClusterUnreachable(f"the worker's answer cannot be read: {error}") from error
    return cast("Mapping[str, Any]", data) if isinstance(data, Mapping) else {}
