"""What a cluster tells about itself, as values. Their names are the keys of the tools' JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class WorkerStatus(NamedTuple):
    """One worker. A figure that is not known yet is None.

    records_lost: what a source gave and after a recovery could not give again.
    stays_because: why it may not leave, "" when it may. waits_for: sentences, such as "sink
    totals: nobody listens at 127.0.0.1:7002". external: where the tools reach it, host:port.
    """

    name: str
    key_groups: int
    keys: int | None
    state_bytes: int | None
    records_in_per_second: float | None
    records_out_per_second: float | None
    records_in: int | None
    records_out: int | None
    busy_ratio: float | None
    dead_letters: int
    late_records: int
    records_lost: int
    oldest_ms: float | None
    waits_for: list[str]
    external: str
    eligible: bool
    stays_because: str


class Status(NamedTuple):
    """A cluster as its leader sees it.

    key_groups: how many the topology has. oldest_ms: age of the oldest record under way.
    rescale: the one under way, with id, cause, phase, wave, waves, says; last_rescale: the one
    that ended last. None where there is none. waits_for: sentences, while it is not up yet.
    """

    topology: str
    fingerprint: str
    processing_messages: bool
    worker_count: int
    worker_names: list[str]
    leader: str
    term: int
    generation: int
    epoch: int
    key_groups: int
    rescale_in_progress: bool
    rescale: dict[str, Any] | None
    last_rescale: dict[str, Any] | None
    workers: list[WorkerStatus]
    waits_for: list[str]
    dead_letters: int
    late_records: int
    records_lost: int
    oldest_ms: float | None

    def json(self) -> dict[str, Any]:
        """As `cluster_status --json` prints it."""
        return {**self._asdict(), "workers": [worker._asdict() for worker in self.workers]}


class Eligibility(NamedTuple):
    """Who may leave, and for the others why they stay."""

    node_count: int
    node_names: list[str]
    staying: dict[str, str]


class Rescale(NamedTuple):
    """One rescale. outcome: "done", "undone", "failed"; "waiting" or "running" while it goes on.

    Times are in seconds and milliseconds as named; says is the cluster's own sentence.
    """

    id: str
    cause: str
    outcome: str
    joined: list[str]
    left: list[str]
    key_groups_moved: int
    seconds: float
    slowest_key_group_ms: float
    records_held: int
    says: str


class Saved(NamedTuple):
    """A savepoint that was asked for. outcome: "done" or "failed"; "waiting" or "running" while it
    goes on.

    to: the URL of its store. epoch: of the checkpoint that was copied. says is the cluster's own
    sentence.
    """

    to: str
    outcome: str
    epoch: int
    parts: int
    bytes: int
    seconds: float
    says: str


NO_STATUS = Status(
    topology="",
    fingerprint="",
    processing_messages=False,
    worker_count=0,
    worker_names=[],
    leader="",
    term=0,
    generation=0,
    epoch=0,
    key_groups=0,
    rescale_in_progress=False,
    rescale=None,
    last_rescale=None,
    workers=[],
    waits_for=[],
    dead_letters=0,
    late_records=0,
    records_lost=0,
    oldest_ms=None,
)
NO_WORKER_STATUS = WorkerStatus(
    name="",
    key_groups=0,
    keys=None,
    state_bytes=None,
    records_in_per_second=None,
    records_out_per_second=None,
    records_in=None,
    records_out=None,
    busy_ratio=None,
    dead_letters=0,
    late_records=0,
    records_lost=0,
    oldest_ms=None,
    waits_for=[],
    external="",
    eligible=False,
    stays_because="",
)
NO_RESCALE = Rescale("", "", "", [], [], 0, 0.0, 0.0, 0, "")


def status_from(data: Mapping[str, Any]) -> Status:
    """The leader's mapping; what a cluster that is not up yet leaves out is empty or None."""
    workers = [
        NO_WORKER_STATUS._replace(**only(WorkerStatus._fields, worker))
        for worker in data.get("workers", ())
    ]
    return NO_STATUS._replace(**{**only(Status._fields, data), "workers": workers})


def rescale_from(data: Mapping[str, Any], outcome: str, says: str) -> Rescale:
    """The leader's mapping of one rescale; `outcome` and `says` where it does not say them."""
    return NO_RESCALE._replace(**{"outcome": outcome, "says": says, **only(Rescale._fields, data)})


def saved_from(data: Mapping[str, Any], to: str, outcome: str, says: str) -> Saved:
    """The leader's mapping of one savepoint, empty unless it is done."""
    return Saved(to, outcome, 0, 0, 0, 0.0, says)._replace(**only(Saved._fields, data))


def only(names: Sequence[str], data: Mapping[str, Any]) -> dict[str, Any]:
    """What is known here: a newer cluster may say more."""
    return {name: data[name] for name in names if name in data}
