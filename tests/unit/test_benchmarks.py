"""What the benchmarks' driver computes from runs, and the jobs against another way to do them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from benchmarks.goals import GOALS, rows
from benchmarks.jobs import JOBS, counting, market_spread
from benchmarks.jobs.job import together
from benchmarks.report import report
from benchmarks.results import Results
from benchmarks.spread import added, percentiles, ratios, spread
from benchmarks.tables import table

MACHINE = {
    "at": "2026-01-01T00:00:00",
    "processor": "one",
    "cores": 2,
    "memory_gib": 4,
    "kernel": "Linux",
    "python": "CPython",
    "versions": {"pyzmq": "1"},
    "commit": "1234567",
    "load": 0.5,
}


def alphabet(workers: int, **rates: list[int]) -> dict[str, Any]:
    """One case of the alphabet; rates by peer, one a turn."""
    peers = {
        name.replace("_", "-"): {"runs": [{"rate": rate, "cpu_rate": rate} for rate in found]}
        for name, found in rates.items()
    }
    return {"workers": workers, "keys": 26, "wire": "", "peers": peers}


def results(*cases: dict[str, Any]) -> Results:
    job = {"machine": MACHINE, "says": "votes", "unit": "records", "cases": list(cases)}
    return Results({"alphabet": job})


def goal(found: Results, what: str) -> tuple[str, str]:
    """What is measured for a goal, and whether it is reached."""
    for name, _, measured, reached in rows(found, {goal.benchmark for goal in GOALS}):
        if name == what:
            return measured, reached
    raise KeyError(what)


def test_ratios_are_taken_turn_by_turn() -> None:
    """A machine that was slow in one turn was slow for both."""
    assert ratios([10, 2, 6], [5, 1, 3]) == (2.0, 2.0, 2.0)
    assert ratios([], [1.0]) is None
    assert spread([3, 1, 2]) == (2, 1, 3)


def test_a_goal_is_measured_beside_its_peer() -> None:
    """2.4 times is not 2.5 times; 60 of 100 are 60 %."""
    found = results(alphabet(1, bare=[100] * 3, zstream=[60] * 3, bytewax=[25] * 3))
    text, reached = goal(found, "alphabet, one worker, beside Bytewax per item")
    assert text.startswith("2.40 x") and reached == "no"
    text, reached = goal(found, "alphabet, one worker, beside the bare loop")
    assert text.startswith("60%") and reached == "yes"
    assert goal(found, "import zstream") == ("not measured", "")


def test_two_workers_are_held_against_one() -> None:
    """A job that is slower with two is named."""
    found = results(alphabet(1, zstream=[100]), alphabet(2, zstream=[90]))
    text, reached = goal(found, "two workers beside one, on two cores, in every job")
    assert text.startswith("0.90 x in alphabet") and reached == "no"


def test_the_report_says_where_a_peer_is_better_and_who_did_not_run() -> None:
    """Both without being asked."""
    case = alphabet(1, zstream=[100], bytewax=[150])
    case["peers"]["bytewax-batch"] = {"failed": "It could not be installed."}
    page = report(results(case))
    assert "- Bytewax, per item: 1.50 x as much a second in alphabet, 1 worker, 26 keys." in page
    assert "alphabet, 1 worker, 26 keys: It could not be installed." in page


def test_percentiles_are_those_of_all_histograms() -> None:
    """A histogram's numbers are logarithms of microseconds: 345 is 1 ms, 691 is 1 s."""
    found = percentiles(added([{"345": 98}, {"345": 1, "691": 1}]))
    assert found["records"] == 100
    assert found["p50"] == pytest.approx(1, rel=0.02)
    assert found["p99"] == pytest.approx(1, rel=0.02)
    assert found["max"] == pytest.approx(1000, rel=0.02)


def test_columns_of_a_table_are_as_wide_as_their_widest_cell() -> None:
    """So it can be read as text."""
    assert table(("a", "b"), [("long", "c")]).splitlines() == [
        "| a    | b |",
        "|------|---|",
        "| long | c |",
    ]


def test_the_alphabet_keeps_a_running_total() -> None:
    """The last output of each letter is the sum of its votes."""
    job = JOBS["alphabet"]
    votes = job.make(26)[:5000]
    totals: Counter[str] = Counter()
    for letter, count in votes:
        totals[letter] += count
    outputs = job.plain(votes, {})
    assert len(outputs) == 5000 and dict(outputs) == dict(totals)


def test_words_are_counted_without_regard_to_case() -> None:
    """24 words a line, as the docs say."""
    job = JOBS["wordcount"]
    lines = job.make(0)[:100]
    counts = Counter(word.lower() for line in lines for word in line.split())
    assert dict(job.plain(lines, {})) == dict(counts)
    assert {len(line.split()) for line in lines} == {24}


def test_the_stateless_chain_is_five_steps() -> None:
    """What the steps give one after the other is what the loop gives."""
    job = JOBS["stateless"]
    lines = job.make(0)[:50]
    values: list[Any] = lines
    for _, step in job.steps:
        values = [step(value) for value in values]
    assert values == job.plain(lines, {}) and len(job.steps) == 5


def test_a_wide_quote_rejects_the_orders_after_it() -> None:
    """And a narrow one lets them pass."""
    order = market_spread.Order("S", 7, 0, 1, 1.0, 1.0)
    wide, narrow = (market_spread.Quote("S", 10.0, offer) for offer in (11.0, 10.01))
    assert JOBS["market_spread"].plain([wide, order, narrow, order], {}) == [("S", 7)]


def test_the_sum_of_all_counts_is_known() -> None:
    """For any number of votes of a source that goes round its keys."""
    votes = counting.make(7)
    given = [votes[number % 7] for number in range(40)]
    assert sum(counting.JOB.plain(given, {})) == counting.sum_wanted(7, 40)


def test_a_key_that_moved_counts_once() -> None:
    """Two workers gave totals of a: the one that has it now gave the higher ones."""
    assert together([{"a": 7, "b": 5}, {"a": 3}]) == together([{"a": 7}, {"b": 5}])
    assert together([{"a": 7}]) != together([{"a": 3}])
    assert together([2, 3]) == 5
    assert together([{"1": {"345": 1}}, {}]) == [{"1": {"345": 1}}, {}]
