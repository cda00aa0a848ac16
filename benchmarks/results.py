"""What was measured, as it lies in benchmarks/results: one file a benchmark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.spread import Spread, ratios

Case = dict[str, Any]


class Results(dict[str, Any]):
    """By the benchmark's name."""

    @staticmethod
    def read(folder: Path) -> Results:
        return Results(
            {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
        )

    def cases(self) -> Iterator[tuple[str, Case]]:
        """All cases of throughput, with their job."""
        for name, result in self.items():
            for case in result.get("cases", ()):
                yield name, case

    def runs(self, job: str, peer: str, what: str = "rate", **fields: Any) -> list[float]:
        """A figure of each run of the first case with these fields; [] where there is none."""
        for name, case in self.cases():
            if name == job and all(case[field] == value for field, value in fields.items()):
                return figures(case, peer, what)
        return []

    def ratio(self, job: str, peer: str, what: str = "rate", **fields: Any) -> Spread | None:
        """zstream's figure to that of a peer, turn by turn."""
        ours = self.runs(job, "zstream", what, **fields)
        return ratios(ours, self.runs(job, peer, what, **fields))


def figures(case: Case, peer: str, what: str) -> list[float]:
    """A figure of each run of a peer; [] where it failed or was not asked."""
    return [run[what] for run in case["peers"].get(peer, {}).get("runs", ()) if what in run]
