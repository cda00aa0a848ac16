"""What one process of a peer is told."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from benchmarks.jobs import JOBS


@dataclass(frozen=True)
class Case:
    """A job, over so many keys, by so many workers.

    rounds: how often the input is read. size: at most so many records of the input; 0 for all.
    wire: "" for memory, "tcp" for frames over TCP. mode: what else the peer is told.
    rate: records a second over all workers, each stamped with when it was due; 0 for as they are
    taken. seconds: then for so long. stop: read again and again until this file is there.
    """

    job: str
    keys: int
    workers: int = 1
    rounds: int = 1
    size: int = 0
    wire: str = ""
    mode: str = ""
    rate: float = 0.0
    seconds: float = 0.0
    stop: str = ""

    @staticmethod
    def of_command() -> Case:
        """The one that the driver put on the command line."""
        return Case(**json.loads(sys.argv[1]))

    @property
    def is_keyed(self) -> bool:
        return any(kind == "key_by" for kind, _ in JOBS[self.job].steps)

    def share(self, index: int) -> list[Any]:
        """What one worker reads, made before the clock starts.

        Who joins later reads nothing, and to make it would take the processor from the others.
        """
        if index >= self.workers:
            return []
        job = JOBS[self.job]
        records = job.make(self.keys)
        return job.share(records[: self.size or len(records)], index, self.workers)
