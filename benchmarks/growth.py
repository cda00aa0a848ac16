"""What a cluster says to itself, by its size: control messages on a simulated network.

The simulator runs the whole engine with default settings and 1,024 key groups; only sockets,
clocks and disks are not real. So the figures are exact and the same on every machine, and a
hundred workers need no hundred machines. An epoch is decided each second; no records flow, for
what they cost is measured elsewhere.

    up        from the start of all workers to a running cluster, seconds of the simulated clock
    rest      control messages and their bytes that a worker sends each second in a cluster at
              rest, on the average, and messages that the leader sends
    grow      two workers join: seconds to the end of the rescale, messages of the whole cluster
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from zstream.config import Config
from zstream.sim.cluster import SimulatedCluster
from zstream.sim.node import SimulatedWorker
from zstream.sim.numbered import ECHOES, numbered_topology
from zstream.wire.codec import decode_message
from zstream.wire.messages import Envelope

SIZES = (1, 2, 4, 8, 16, 32, 64, 100)
KEY_GROUPS = 1024
REST_SECONDS = 4
PATIENCE_SECONDS = 60  # of the simulated clock


def measure(small: bool = False) -> dict[str, Any]:
    """All sizes; the small ones only for a check that it runs."""
    return {"sizes": [of_size(size) for size in (SIZES[:3] if small else SIZES)]}


def of_size(size: int) -> dict[str, Any]:
    """A cluster of so many workers: started, at rest, and grown by two."""
    topology = numbered_topology(key_groups=KEY_GROUPS)
    cluster = SimulatedCluster(1, topology.plan, topology.registry, Config(), sent_at_once={ECHOES})
    sent = Sent(cluster)
    began = time.process_time()
    cluster.start(size)
    up = _until(cluster, _is_settled)
    sent.clear()
    cluster.run(REST_SECONDS)
    rest = {
        "messages": sent.messages / REST_SECONDS / size,
        "bytes": sent.bytes / REST_SECONDS / size,
        "by_kind": {kind: n / REST_SECONDS / size for kind, n in sent.kinds.most_common()},
        "leader_messages": sent.by["w0"] / REST_SECONDS,
    }
    sent.clear()
    cluster.join(["j1", "j2"])
    grow = {"seconds": _until(cluster, _is_settled), "messages": sent.messages, "bytes": sent.bytes}
    return {
        "workers": size,
        "up_seconds": up,
        "rest": rest,
        "grow": grow,
        "cpu_seconds": time.process_time() - began,
    }


class Sent:
    """Counts control messages of a simulated cluster from its making on."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        network = cluster.world.network
        send = network.send_control

        def counted(sender: str, address: str, payload: bytes) -> None:
            envelope = decode_message(payload)
            assert isinstance(envelope, Envelope), "workers send each other nothing else"
            self.kinds[type(envelope.message).__name__] += 1
            self.by[sender] += 1
            self.messages += 1
            self.bytes += len(payload)
            send(sender, address, payload)

        self.clear()
        network.send_control = counted  # type: ignore[method-assign]

    def clear(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.by: Counter[str] = Counter()
        self.messages = self.bytes = 0


def _is_settled(worker: SimulatedWorker) -> bool:
    state = worker.driver.agent.state
    return state.open is None and state.table.member(worker.member.incarnation) is not None


def _until(cluster: SimulatedCluster, done: Callable[[SimulatedWorker], bool]) -> float:
    """Run until all workers are there; how long that took."""
    began = cluster.kernel.now
    while not all(map(done, cluster.workers)):
        if cluster.kernel.now > began + PATIENCE_SECONDS:
            raise SystemExit(f"{len(cluster.workers)} workers were not there in time")
        cluster.run(0.01)
    return cluster.kernel.now - began
