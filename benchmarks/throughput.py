"""Each job, with so many workers and keys, by each peer in turns."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cache
from typing import Any

from benchmarks import peer
from benchmarks.case import Case
from benchmarks.jobs import JOBS
from benchmarks.options import Options
from benchmarks.peer import PEERS, SIZES, Missing, Peer

NAMES = ("alphabet", "wordcount", "stateless", "dicts", "market_spread")
SIZES_JOB = Case("counting", keys=20_000, rounds=100)
MANY = 100_000  # keys: with so many the input is read once, as some peers take long for each
SMALL = 5_000  # records, where it is only seen that it runs
KEPT = ("seconds", "cpu_seconds", "records", "outputs", "peak_kib")


def cases(job: str, small: bool) -> list[Case]:
    """All that is measured of a job."""
    rounds, size = (1, SMALL) if small else (JOBS[job].rounds, 0)
    counts = JOBS[job].keys[:1] if small else JOBS[job].keys
    found = [
        Case(job, keys, workers, rounds if keys < MANY else 1, size)
        for keys in counts
        for workers in (1, 2)
    ]
    if JOBS[job].wire:
        found.append(replace(found[0], wire="tcp"))
    return found


def measure(job: str, options: Options) -> Iterator[dict[str, Any]]:
    """All cases of a job that are wanted; each has the runs of each peer, in the order of turns."""
    yield from _all(job, cases(job, options.small), options)


def measure_sizes(options: Options) -> Iterator[dict[str, Any]]:
    """One job by more and more workers, on as many cores as there are."""
    sizes, case = (SIZES[:3], replace(SIZES_JOB, rounds=1)) if options.small else (SIZES, SIZES_JOB)
    yield from _all(case.job, [replace(case, workers=size) for size in sizes], options)


def _all(job: str, cases: list[Case], options: Options) -> Iterator[dict[str, Any]]:
    """What there is so far, after each case."""
    measured: list[dict[str, Any]] = []
    for case in filter(options.wants, cases):
        measured.append({**asdict(case), "peers": _in_turns(case, options)})
        yield {"says": JOBS[job].says, "unit": JOBS[job].unit, "cases": measured}


def _in_turns(case: Case, options: Options) -> dict[str, Any]:
    """A run of each peer, and again from the first, as often as asked for. A peer that fails is
    out, with a sentence.
    """
    taking = {name: PEERS[name] for name in options.peers if PEERS[name].takes(case)}
    found: dict[str, Any] = {name: {"runs": []} for name in taking}
    for turn in range(options.runs):
        for name, each in taking.items():
            if "failed" in found[name]:
                continue
            told = each.told(case)
            try:
                result = _checked(peer.run(each, told), told, each)
            except Missing as missing:
                found[name] = {"failed": str(missing)}
                print(f"  {missing}", file=sys.stderr, flush=True)
                continue
            amount = _amount(result, case.job)
            result["rate"] = round(amount / result["seconds"])
            if "cpu_seconds" in result:
                result["cpu_rate"] = round(amount / result["cpu_seconds"])
            found[name]["runs"].append(result)
            shown = f"{_name(case)}, turn {turn + 1}: {name:<14}{result['rate']:>12,} /s"
            if "cpu_rate" in result:
                shown += f"{result['cpu_rate']:>12,} a second of the processor"
            print(f"  {shown}", file=sys.stderr, flush=True)
    return found


def _amount(result: dict[str, Any], job: str) -> int:
    amount: int = result["records" if JOBS[job].unit == "records" else "outputs"]
    return amount


def _checked(result: dict[str, Any], case: Case, each: Peer) -> dict[str, Any]:
    """What is kept of a result, if it found what the plain loop finds."""
    wanted = _expected(replace(case, workers=1, mode="", wire=""))
    for name in each.checked:
        if result[name] != wanted[name]:
            says = f"{each.title} is wrong: {name} is {result[name]}, not {wanted[name]}."
            raise Missing(says)
    return {name: result[name] for name in KEPT if name in result}


@cache
def _expected(case: Case) -> dict[str, Any]:
    return peer.run(PEERS["bare"], case)


def _name(case: Case) -> str:
    workers = f"{case.workers} worker{'s' * (case.workers > 1)}"
    return f"{case.job}, {workers}, {case.keys:,} keys{' over ' * bool(case.wire)}{case.wire}"
