"""For programs beside the engine: Cluster, and Producer and Consumer of records."""

from __future__ import annotations

from zstream.client.cluster import Cluster
from zstream.client.consumer import Consumer
from zstream.client.producer import Producer
from zstream.client.status import Eligibility, Rescale, Saved, Status, WorkerStatus

__all__ = [
    "Cluster",
    "Consumer",
    "Eligibility",
    "Producer",
    "Rescale",
    "Saved",
    "Status",
    "WorkerStatus",
]
