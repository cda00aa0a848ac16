"""The goals: what is wanted, and how it is computed from what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.results import Results
from benchmarks.spread import Spread, ratios, spread


class Measured(NamedTuple):
    """What came out, and whether it is enough."""

    text: str
    is_reached: bool


@dataclass(frozen=True)
class Goal:
    """benchmark: whose results it needs. measure: None where they are not there."""

    benchmark: str
    what: str
    wants: str
    measure: Callable[[Results], Measured | None]


def times(wanted: float, job: str, peer: str, **fields: Any) -> Callable[[Results], Any]:
    """At least so many times what a peer reaches."""

    def measure(results: Results) -> Measured | None:
        found = results.ratio(job, peer, **fields)
        if found is None:
            return None
        text = f"{found.middle:.2f} x [{found.low:.2f}-{found.high:.2f}]"
        in_work = results.ratio(job, peer, "cpu_rate", **fields)
        if in_work is not None:
            text += f"; {in_work.middle:.2f} x in processor time"
        return Measured(text, found.middle >= wanted)

    return measure


def share(wanted: float, job: str, **fields: Any) -> Callable[[Results], Any]:
    """At least this share of what the bare interpreter reaches."""

    def measure(results: Results) -> Measured | None:
        found = results.ratio(job, "bare", **fields)
        if found is None:
            return None
        text = f"{found.middle:.0%} [{found.low:.0%}-{found.high:.0%}]"
        in_work = results.ratio(job, "bare", "cpu_rate", **fields)
        if in_work is not None:
            text += f"; {in_work.middle:.0%} in processor time"
        return Measured(text, found.middle >= wanted)

    return measure


def two_beat_one(results: Results) -> Measured | None:
    """Two workers to one, in the job where that is least."""
    found: list[tuple[Spread, str]] = []
    for job, case in results.cases():
        if case["workers"] == 1 and not case["wire"]:
            one, two = (
                results.runs(job, "zstream", keys=case["keys"], workers=workers, wire="")
                for workers in (1, 2)
            )
            ratio = ratios(two, one)
            if ratio is not None:
                found.append((ratio, f"{job} with {case['keys']:,} keys"))
    if not found:
        return None
    (least, where), (most, _) = min(found), max(found)
    text = f"{least.middle:.2f} x in {where}; at best {most.middle:.2f} x"
    return Measured(text, least.middle > 1)


def below(limit: float, benchmark: str, unit: str, values: Callable[[Any], Iterable[float]]) -> Any:
    """The median below a limit."""

    def measure(results: Results) -> Measured | None:
        found = list(values(results[benchmark])) if benchmark in results else []
        if not found:
            return None
        middle, low, high = spread(found)
        return Measured(
            f"{_number(middle)} {unit} [{_number(low)}-{_number(high)}]", middle < limit
        )

    return measure


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def none_missed(results: Results) -> Measured | None:
    if "rescale" not in results:
        return None
    runs = [*results["rescale"]["full"], *results["rescale"]["half"]]
    missed = sum(abs(run["missed"]) + (run["sum_off_by"] != 0) for run in runs)
    return Measured(f"{missed} in {len(runs)} runs of two rescales", missed == 0)


def each_rescale(load: str, figure: str, factor: float = 1.0) -> Callable[[Any], list[float]]:
    """A figure of the worse one of the two rescales of each run."""

    def values(result: Any) -> list[float]:
        return [
            factor * max(rescale[figure] for rescale in run["rescales"]) for run in result[load]
        ]

    return values


def of_latency(figure: str) -> Callable[[Any], list[float]]:
    return lambda result: [run[figure] for run in result["peers"].get("zstream", ())]


ALPHABET = {"keys": 26, "wire": ""}
GOALS = (
    Goal(
        "alphabet",
        "alphabet, one worker, beside the bare loop",
        "at least 60 %",
        share(0.60, "alphabet", workers=1, **ALPHABET),
    ),
    Goal(
        "alphabet",
        "alphabet, one worker, beside Bytewax per item",
        "at least 2.5 x",
        times(2.5, "alphabet", "bytewax", workers=1, **ALPHABET),
    ),
    Goal(
        "alphabet",
        "alphabet, two workers, beside Bytewax per item",
        "at least 6 x",
        times(6, "alphabet", "bytewax", workers=2, **ALPHABET),
    ),
    Goal(
        "alphabet",
        "alphabet, two workers, beside Bytewax in batches",
        "at least 5 x",
        times(5, "alphabet", "bytewax-batch", workers=2, **ALPHABET),
    ),
    Goal(
        "alphabet",
        "alphabet, two workers, beside two bare loops",
        "at least 55 %",
        share(0.55, "alphabet", workers=2, **ALPHABET),
    ),
    Goal(
        "alphabet",
        "alphabet with 1,000,000 keys, two workers, beside Bytewax per item",
        "at least 3 x",
        times(3, "alphabet", "bytewax", workers=2, keys=1_000_000, wire=""),
    ),
    Goal(
        "alphabet",
        "TCP in and out, one worker, beside a bare loop over the same frames",
        "at least 50 %",
        share(0.50, "alphabet", workers=1, keys=26, wire="tcp"),
    ),
    Goal(
        "wordcount",
        "word count, two workers, beside Bytewax per item",
        "at least 4 x",
        times(4, "wordcount", "bytewax", workers=2),
    ),
    Goal(
        "dicts",
        "dicts of 1 KB, two workers, beside Bytewax per item",
        "at least 3 x",
        times(3, "dicts", "bytewax", workers=2),
    ),
    Goal(
        "alphabet",
        "two workers beside one, on two cores, in every job",
        "above 1 x",
        two_beat_one,
    ),
    Goal(
        "latency",
        "median latency, two workers, half of Bytewax's load",
        "below 0.5 ms",
        below(0.5, "latency", "ms", of_latency("p50")),
    ),
    Goal(
        "latency",
        "99th percentile of latency there",
        "below 2 ms",
        below(2, "latency", "ms", of_latency("p99")),
    ),
    Goal("rescale", "outputs missed by 2 -> 3 -> 2 workers, 1,000,000 keys", "none", none_missed),
    Goal(
        "rescale",
        "slowest key group's wait, half load",
        "below 100 ms",
        below(100, "rescale", "ms", each_rescale("half", "slowest_key_group_ms")),
    ),
    Goal(
        "rescale",
        "slowest key group's wait, full load",
        "below 100 ms",
        below(100, "rescale", "ms", each_rescale("full", "slowest_key_group_ms")),
    ),
    Goal(
        "rescale",
        "dip of throughput in the worst half second, half load",
        "below 20 %",
        below(20, "rescale", "%", each_rescale("half", "dip", 100)),
    ),
    Goal(
        "rescale",
        "dip of throughput in the worst half second, full load",
        "below 20 %",
        below(20, "rescale", "%", each_rescale("full", "dip", 100)),
    ),
    Goal(
        "memory",
        "memory for a key beside the key and its state",
        "below 150 bytes",
        below(150, "memory", "bytes", lambda result: result["bytes"].get("zstream", ())),
    ),
    Goal(
        "start",
        "start to first output, one worker",
        "below 0.5 s",
        below(0.5, "start", "s", lambda result: result["start_seconds"].get("zstream", ())),
    ),
    Goal(
        "start",
        "import zstream",
        "below 0.15 s",
        below(0.15, "start", "s", lambda result: result["import_seconds"].get("zstream", ())),
    ),
)


def rows(results: Results, benchmarks: Iterable[str]) -> list[tuple[str, str, str, str]]:
    """(what, wanted, measured, reached) of the goals of these benchmarks."""
    found = []
    for goal in GOALS:
        if goal.benchmark in benchmarks:
            measured = goal.measure(results)
            if measured is None:
                found.append((goal.what, goal.wants, "not measured", ""))
            else:
                reached = "yes" if measured.is_reached else "no"
                found.append((goal.what, goal.wants, measured.text, reached))
    return found
