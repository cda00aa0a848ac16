"""What a member tells the leader of itself."""

from __future__ import annotations

from dataclasses import dataclass

from zstream.control.events import LocalChanged
from zstream.model.ids import WorkerName
from zstream.wire.messages import Report


@dataclass(frozen=True)
class Seen:
    """A member's newest report, and when it came."""

    report: Report
    at: float


def report_of(local: LocalChanged, name: WorkerName, draining: bool) -> Report:
    """The whole standing, as a message."""
    return Report(
        name=name,
        run=local.run,
        generation=local.generation,
        connected=local.connected,
        installed=local.installed,
        settled=local.settled,
        empty=local.empty,
        draining=draining,
        sent=local.sent,
        applied=local.applied,
        ended=local.ended,
        pressure=local.pressure,
        sizes=local.sizes,
        costs=local.costs,
        durable=local.durable,
        oldest=local.oldest,
        committed=local.committed,
        damaged=local.damaged,
        readable=local.readable,
        load=local.load,
        statistics=local.statistics,
        newest_dead_letters=local.newest_dead_letters,
    )


def matters(local: LocalChanged, close: bool) -> tuple[object, ...]:
    """What the leader wants to know at once; `close`: while it waits for members to get on."""
    always = (
        local.connected,
        local.run,
        local.generation,
        local.ended,
        local.pressure,
        bool(local.sizes),
        local.durable,
        local.committed,
        local.damaged,
        local.readable,
    )
    return (*always, local.installed, local.settled, local.empty) if close else always
