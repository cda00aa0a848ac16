"""Two workers write of one key in one epoch, for it moved: whoever commits first, the later wins.

The schedules of `test_recovery`; then all that was committed goes, authors of an epoch in any
order, into a table that replaces rows, with the chunks and by the rule of PostgresSink.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from tests.properties.test_recovery import Schedule
from zstream.connectors.postgres_runs import Run, key_lines, move, runs_of, without_older
from zstream.connectors.staged import pack
from zstream.dataflow.migration import Migration
from zstream.model.ids import Incarnation
from zstream.ports.connectors import Tick

SCHEDULES = int(os.environ.get("ZSTREAM_TEST_SCHEDULES", "60"))
SEEDS_TO_FIND = 60
NAMES = b'["key", "place"]'


class Table:
    """rows: by key, the place in the key's order of the record that the row is of."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.counts: Counter[str] = Counter()
        self._ticks: dict[Incarnation, Tick] = {}

    def commit(self, by_author: dict[Incarnation, list[Any]], random: Random) -> None:
        """One epoch, its authors in any order."""
        notes: defaultdict[bytes, list[Any]] = defaultdict(list)
        for author in random.sample(sorted(by_author), len(by_author)):
            runs, of_run = runs_of(self._chunks(author, by_author[author]))
            self.counts["plain" if of_run is None else "moved"] += 1
            if of_run is not None:
                runs = self._newest(runs, notes)
            for run in runs:
                for key, place in run.rows(len(run.lines())):
                    self.rows[key] = int(place)

    def _chunks(self, author: Incarnation, outputs: list[Any]) -> list[bytes]:
        """As a writer makes them; a record here and there shares one with the next."""
        chunks: list[bytes] = []
        for output in outputs:
            if type(output) is Tick:
                before = self._ticks.get(author, Tick(0, 0))
                chunks.append(move(before if before.run == output.run else Tick(0, 0), output))
                self._ticks[author] = output
            else:
                place, _, item = output
                chunks.append(pack([NAMES, f"{item.second}\t{place}\n".encode()]))
        return chunks

    def _newest(self, runs: list[Run], notes: defaultdict[bytes, list[Any]]) -> list[Run]:
        """What the server does for a session."""
        rows = [line.split(b"\t") for line in b"".join(key_lines(runs, 1)).splitlines()]
        others = {n: list(notes[key]) for n, (key, _) in enumerate(rows, 1) if notes[key]}
        for key, wrote in rows:
            notes[key].append(json.loads(wrote))
        newest = list(without_older(runs, others, ["key"]))
        self.counts["left out"] += len(rows) - sum(len(run.lines()) for run in newest)
        return newest


def check(seed: int) -> Counter[str]:
    schedule = Schedule(seed)
    schedule.run()
    table, random = Table(), Random(seed)
    newest: dict[str, int] = {}
    for by_author in schedule.net.by_author:
        for outputs in by_author.values():
            for output in outputs:
                if type(output) is not Tick:
                    place, _, item = output
                    newest[item.second] = max(place, newest.get(item.second, 0))
        table.commit(by_author, random)
        assert table.rows == newest
    return table.counts


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_a_row_is_of_the_last_record_of_its_key(seed: int) -> None:
    check(seed)


def test_most_epochs_cost_nothing_and_some_rows_are_left_out() -> None:
    """Both happen in the schedules, or nothing was shown by them."""
    counts = sum((check(seed) for seed in range(20)), Counter())
    assert counts["left out"] > 50
    assert counts["plain"] > counts["moved"] > 20


# ---------------------------------------------------------------- each rule taken away


def generation_of_the_switch(patch: pytest.MonkeyPatch) -> None:
    """As if a worker's output belonged to the newest generation that it routes by."""
    switch = Migration.switch

    def switched(self: Migration, opened: Any, now: float) -> None:
        switch(self, opened, now)
        self.tick = Tick(self.tick.run, opened.table.generation)
        self._moved(self.tick)

    patch.setattr(Migration, "switch", switched)
    patch.setattr(Migration, "_install", without_tick)


def tick_stays_at_home(patch: pytest.MonkeyPatch) -> None:
    """A target goes on with its own, whatever the snapshot carries."""
    patch.setattr(Migration, "_install", without_tick)


INSTALL = Migration._install


def without_tick(self: Migration, group: Any, snapshot: bytes) -> None:
    tick, moved = self.tick, self._moved
    self._moved = lambda _: None
    INSTALL(self, group, snapshot)
    self.tick, self._moved = tick, moved
    self._moved(tick)


def origin_says_nothing(patch: pytest.MonkeyPatch) -> None:
    """Only the target notes what it writes."""
    ship = Migration._ship

    def quiet(self: Migration, *arguments: Any) -> int:
        moved, self._moved = self._moved, lambda _: None
        size = ship(self, *arguments)
        self._moved = moved
        return size

    patch.setattr(Migration, "_ship", quiet)


@pytest.mark.parametrize(
    "taken_away", [generation_of_the_switch, tick_stays_at_home, origin_says_nothing]
)
def test_each_rule_is_needed(
    taken_away: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_away(monkeypatch)
    for seed in range(SEEDS_TO_FIND):
        try:
            check(seed)
        except AssertionError:
            return
    pytest.fail(f"{SEEDS_TO_FIND} schedules do not find it")
