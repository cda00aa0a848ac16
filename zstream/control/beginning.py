"""How the initializer begins: with an empty store, or with what a cluster has left in it.

    LOOK    the log is empty                                -> its first term
            it is not, and we shall or can go on with it    -> WATCH; a clean end needs no watching
            it is not, and we cannot                        -> refused
    WATCH   somebody of that cluster answers, or the log
            has grown when the time is over                 -> refused: that cluster is alive
            neither                                         -> a term that begins anew

To look twice costs a moment and spares a running cluster its leader. It is no safety: should the
old cluster be alive after all, then its workers find in the log that it goes on without them.
"""

from __future__ import annotations

from dataclasses import dataclass

from zstream.config import Config
from zstream.control.joining import Start
from zstream.control.requests import Software
from zstream.control.state import ClusterState
from zstream.model.ids import LogNumber
from zstream.model.records import Manifest

WATCH_LEASES = 2  # how long an old cluster's log is watched


@dataclass(frozen=True)
class Verdict:
    """open: append the term that begins so; refused: stop with this sentence; both "": wait.

    says: what of the old state is found, new, or left behind; "" for nothing to say.
    """

    open: str = ""
    refused: str = ""
    says: str = ""


class Beginning:
    """The initializer's view of its store before its first term. Times are monotonic seconds."""

    def __init__(self, start: Start, software: Software, config: Config, store: str) -> None:
        self._start = start
        self._software = software
        self._watch = WATCH_LEASES * config.lease_ms / 1000
        self._store = store
        self._tail = LogNumber(0)
        self.until: float | None = None  # when to look again

    def on_read(self, state: ClusterState, now: float) -> Verdict:
        """The log was read to its end."""
        if state.tail == 0:
            return self._begin("fresh" if self._start.savepoint else "first", None)
        if self.until is None:
            refused = self._cannot(state)
            if refused:
                return Verdict(refused=refused)
            if state.stopped is None:
                self._tail, self.until = state.tail, now + self._watch
                return Verdict()
        elif state.tail > self._tail:
            return Verdict(refused=self.in_use(state))
        how = "fresh" if self._start.fresh else "resume"
        return self._begin(how, None if self._start.fresh else state.manifest)

    def in_use(self, state: ClusterState) -> str:
        """The sentence for a store whose cluster is alive."""
        who, at = state.leader_name, state.leader_at
        up = state.generation is not None
        is_there = f"is running (leader {who} at {at})" if up else f"{who} at {at} is starting"
        return (
            f"the store {self._store} belongs to cluster {state.cluster}, which {is_there}. To add "
            f"this worker to it: {'--join' if up else '--control'} {at}. To start another one: "
            "another --store."
        )

    def _cannot(self, state: ClusterState) -> str:
        """Why the cluster in the store cannot be gone on with, or ""."""
        topology = state.cluster.rpartition("-")[0]
        if topology != self._software.topology and not self._start.fresh:
            return (
                f"the store {self._store} holds cluster {state.cluster}, of topology {topology}; "
                f"this is {self._software.topology}. Choose another --store, or start anew in "
                "this one with --fresh."
            )
        if self._start.savepoint is not None and not self._start.fresh:
            return (
                f"the store {self._store} holds cluster {state.cluster} already, up to epoch "
                f"{state.committed}. To start from the savepoint instead, say --fresh, too."
            )
        return ""

    def _begin(self, how: str, manifest: Manifest | None) -> Verdict:
        goes_on = manifest or self._start.savepoint
        if goes_on is None:
            return Verdict(open=how)
        refused, says = fit(goes_on, self._start)
        return Verdict(refused=refused) if refused else Verdict(open=how, says=says)


def fit(manifest: Manifest, start: Start) -> tuple[str, str]:
    """Whether the state in a manifest fits this topology: (why not, what it finds)."""
    store = "the savepoint" if manifest.committed else "the store"
    if manifest.key_groups != start.key_groups:
        return (
            f"{store} has state in {manifest.key_groups:,} key groups and the topology has "
            f"{start.key_groups:,}. Their number is fixed once there is state: say "
            f"key_groups={manifest.key_groups}."
        ), ""
    there = set(manifest.operators)
    found = {name: old for name, was, _ in start.stateful for old in (name, was) if old in there}
    new = [f"{name} ({where})" for name, _, where in start.stateful if name not in found]
    left = there - set(found.values())
    unasked = sorted(left - set(start.leave_state))
    if unasked:
        names = ", ".join(unasked)
        hint = f"; {', '.join(new)} {'is' if len(new) == 1 else 'are'} new" if new else ""
        renamed = f' If it was renamed: was="{unasked[0]}".' if new else ""
        return (
            f"{store} has state of {names} and no operator of that name{hint}.{renamed} "
            f"To leave it: --leave-state {','.join(unasked)}."
        ), ""
    begins = "begins from a savepoint of" if manifest.committed else "goes on from"
    says = [f"{begins} epoch {manifest.epoch}"]
    if found:
        says.append(f"state of {', '.join(sorted(found))} found")
    if new:
        says.append(f"{', '.join(new)} begins empty")
    if left:
        says.append(f"state of {', '.join(sorted(left))} left behind")
    return "", "; ".join(says)
