"""Pathway: a running sum for each key, by its own reducer.

It gives changes of its tables, once for each commit of a tenth of a second, and not an output for
each record: the last totals are those of the others, the number of outputs is not.
"""

from __future__ import annotations

import os
from typing import Any

import pathway as pw

from benchmarks.case import Case
from benchmarks.held import Counted, Held, merged, report, source_of
from benchmarks.workers import say

BATCH = 1000
COMMIT_MS = 100


class Vote(pw.Schema):
    name: str
    votes: int


class Votes(pw.io.python.ConnectorSubject):
    """The source."""

    def __init__(self, held: Held) -> None:
        super().__init__()
        self._held = held

    def run(self) -> None:
        while not self._held.is_done:
            for name, votes in self._held.read(BATCH):
                self.next(name=name, votes=votes)


def main() -> None:
    case = Case.of_command()
    held, counted = source_of(case, 0), Counted(case)

    def on_change(key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
        if is_addition:
            counted.take([(row["name"], row["total"])])

    votes = pw.io.python.read(Votes(held), schema=Vote, autocommit_duration_ms=COMMIT_MS)
    totals = votes.groupby(votes.name).reduce(votes.name, total=pw.reducers.sum(votes.votes))
    pw.io.subscribe(totals, on_change=on_change)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    say(merged([report(held, counted)]))
    os._exit(0)  # its threads would be awaited


if __name__ == "__main__":
    main()
