"""What the tools are told: the cluster as its leader knows it, in plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zstream.control.reports import Seen
from zstream.control.requests import Software, eligible, outcome_data, waves_done
from zstream.control.state import ClusterState
from zstream.model.ids import Incarnation
from zstream.model.membership import Member
from zstream.wire.codec import decode_plain

Reports = Mapping[Incarnation, Seen]


def status_data(
    state: ClusterState,
    reports: Reports,
    software: Software,
    phase: str = "",
    start_lacks: str = "",
) -> dict[str, Any]:
    """`cluster_status --json`. phase, start_lacks: the leader's, "" for who knows none."""
    members = state.table.members
    workers = [_worker(state, reports, member) for member in members]
    last = state.closed[-1] if state.closed else None
    return {
        "topology": software.topology,
        "fingerprint": software.fingerprint,
        "processing_messages": state.generation is not None and state.shutdown is None,
        "worker_count": len(members),
        "worker_names": [member.name for member in members],
        "leader": state.leader_name,
        "term": state.term,
        "generation": state.table.generation,
        "epoch": state.committed,
        "key_groups": len(state.table.owners),
        "rescale_in_progress": state.open is not None,
        "rescale": _under_way(state, phase),
        "last_rescale": None if last is None else _brief(outcome_data(last)),
        "workers": workers,
        "waits_for": [start_lacks] if start_lacks else [],
        "dead_letters": sum(worker["dead_letters"] for worker in workers),
        "late_records": sum(worker["late_records"] for worker in workers),
        "records_lost": sum(worker["records_lost"] for worker in workers),
        "oldest_ms": max((worker["oldest_ms"] for worker in workers), default=0.0),
    }


def eligible_data(state: ClusterState) -> dict[str, Any]:
    """`cluster_shrinker --query --json`."""
    free, staying = eligible(state)
    return {
        "node_count": len(free),
        "node_names": [member.name for member in free],
        "staying": staying,
    }


def rescales_data(state: ClusterState) -> dict[str, Any]:
    """`cluster_status --rescales --json`."""
    return {"rescales": [outcome_data(closed) for closed in state.closed]}


def dead_letters_data(reports: Reports) -> dict[str, Any]:
    """`cluster_status --dead-letters --json`: the newest of each worker, by time."""
    letters = [
        decode_plain(letter)
        for seen in reports.values()
        for letter in seen.report.newest_dead_letters
    ]
    return {"dead_letters": sorted(letters, key=lambda letter: str(letter.get("time", "")))}


def _under_way(state: ClusterState, phase: str) -> dict[str, Any] | None:
    if state.open is None:
        return None
    generation = state.generation
    begun = state.begun and generation is not None
    return {
        "id": state.open.id,
        "kind": state.open.kind,
        "cause": state.open.cause,
        "phase": phase,
        "wave": generation.wave if begun and generation else 0,
        "waves": generation.waves if begun and generation else 0,
        "says": f"{state.open.id} is under way{waves_done(state)}",
    }


def _brief(closed: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in closed.items() if key not in ("pauses_ms", "timeline")}


def _worker(state: ClusterState, reports: Reports, member: Member) -> dict[str, Any]:
    because = state.placement.stays_because(member.name)
    seen = reports.get(member.incarnation)
    figures = seen.report.statistics if seen else None
    return {
        "name": member.name,
        "key_groups": len(state.table.groups_of(member.incarnation)),
        "keys": figures.keys if figures else 0,
        "state_bytes": figures.state_bytes if figures else 0,
        "records_in_per_second": round(figures.records_in_per_second, 1) if figures else 0.0,
        "records_out_per_second": round(figures.records_out_per_second, 1) if figures else 0.0,
        "records_in": figures.records_in if figures else 0,
        "records_out": figures.records_out if figures else 0,
        "busy_ratio": round(figures.busy_ratio, 3) if figures else 0.0,
        "dead_letters": figures.dead_letters if figures else 0,
        "late_records": figures.late_records if figures else 0,
        "records_lost": figures.records_lost if figures else 0,
        "oldest_ms": round(figures.oldest_ms, 1) if figures else 0.0,
        "waits_for": list(figures.waits_for) if figures else [],
        "external": member.external,
        "eligible": not because,
        "stays_because": because,
    }
