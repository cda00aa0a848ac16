"""A cluster's status and histories as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zstream.client.status import Status, WorkerStatus

HEAD = ("WORKER", "KEY GROUPS", "KEYS", "STATE", "IN/S", "OUT/S", "BUSY", "MAY LEAVE")
UNKNOWN = "-"


def status_text(status: Status) -> str:
    """The cluster in a line, its rescale in another, its workers as a table, what waits."""
    if not status.workers:
        return ", ".join([f"{status.topology or 'cluster'}: not up yet", *status.waits_for])
    doing = "processing" if status.processing_messages else "not processing"
    workers = f"{status.worker_count} worker" + ("s" if status.worker_count != 1 else "")
    lines = [
        f"{status.topology}: {doing}, {workers}, leader {status.leader} (term {status.term}), "
        f"generation {status.generation}, epoch {status.epoch}",
        f"rescale: {rescale_line(status)}",
        *table([HEAD, *(row(worker) for worker in status.workers)]),
        f"dead letters {status.dead_letters:,}, late {status.late_records:,}"
        + (f", lost {status.records_lost:,}" if status.records_lost else "")
        + figure(status.oldest_ms, ", oldest record under way {:,.0f} ms", ""),
    ]
    for worker in status.workers:
        lines += [f"{worker.name} waits: {what}" for what in worker.waits_for]
    return "\n".join(lines)


def rescale_line(status: Status) -> str:
    """The rescale under way, else the last one."""
    now, last = status.rescale, status.last_rescale
    if now is not None:
        return str(now.get("says") or f"{now.get('id')} is under way")
    if last is None:
        return "none"
    return (
        f"none; last {last['id']} {last['outcome']} in {last['seconds']:.2f} s, "
        f"slowest key group {last['slowest_key_group_ms']:.0f} ms"
    )


def row(worker: WorkerStatus) -> tuple[str, ...]:
    """One worker's cells, in the order of HEAD."""
    return (
        worker.name,
        f"{worker.key_groups:,}",
        figure(worker.keys, "{:,}"),
        figure(worker.state_bytes and worker.state_bytes / 1e6, "{:,.1f} MB"),
        figure(worker.records_in_per_second, "{:,.0f}"),
        figure(worker.records_out_per_second, "{:,.0f}"),
        figure(worker.busy_ratio, "{:.0%}"),
        "yes" if worker.eligible else f"no: {worker.stays_because}",
    )


def figure(value: float | None, form: str, unknown: str = UNKNOWN) -> str:
    """The value in its form, or that it is not known."""
    return unknown if value is None else form.format(value)


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns as wide as their widest cell: the first and last to the left, the rest right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *middle, last in rows:
        cells = [cell.rjust(width) for cell, width in zip(middle, widths[1:-1], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells, last]))
    return lines


def rescales_text(rescales: Sequence[Mapping[str, Any]]) -> str:
    """Each rescale: how it ended, its cause, what happened when."""
    if not rescales:
        return "no rescale yet"
    lines = []
    for rescale in rescales:
        ended = f"{rescale['id']} {rescale['outcome']} in {rescale['seconds']:.2f} s"
        lines.append(f"{ended}: {rescale['cause']}")
        lines.append(f"  {rescale['says']}")
        lines.append(
            f"  {rescale['key_groups_moved']:,} key groups moved, slowest waited "
            f"{rescale['slowest_key_group_ms']:.1f} ms, {rescale['records_held']:,} records held"
        )
        lines += [f"  {seconds:9.3f} s  {what}" for what, seconds in rescale.get("timeline", ())]
    return "\n".join(lines)


def letters_text(letters: Sequence[Mapping[str, Any]]) -> str:
    """Each dead letter in a line: who refused it, how, which key and record."""
    if not letters:
        return "no dead letters"
    return "\n".join(
        f"{letter['operator']} ({letter['where']}) raised {letter['error']}, "
        f"key {letter['key']}, record {letter['record']}"
        + (f", at {letter['at']}" if letter.get("at") else "")
        for letter in letters
    )
