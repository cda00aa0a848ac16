"""For programs beside the engine: Cluster."""

from __future__ import annotations

from zstream.client.cluster import Cluster
from zstream.client.status import Eligibility, Rescale, Status, WorkerStatus

__all__ = ["Cluster", "Eligibility", "Rescale", "Status", "WorkerStatus"]
