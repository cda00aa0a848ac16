"""The plots of docs/performance.md, as SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

from benchmarks.peer import PEERS
from benchmarks.report import title_of
from benchmarks.results import Results, figures
from benchmarks.spread import spread

# Equal figures give equal files: no date, no random names, text as text.
matplotlib.rcParams.update({"svg.hashsalt": "zstream", "svg.fonttype": "none"})
WIDTH = 9.0  # inches


def draw(results: Results, folder: Path) -> None:
    """All plots for which there are results."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = {}
    if any(True for _ in results.cases()):
        plots["throughput"] = _throughput(results)
    if "workers" in results:
        plots["workers"] = _workers(results["workers"])
    if "rescale" in results:
        plots["rescale"] = _rescale(results["rescale"])
    if "latency" in results:
        plots["latency"] = _latency(results["latency"])
    for name, figure in plots.items():
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
        pyplot.close(figure)


def _throughput(results: Results) -> Any:
    """For each case a bar for each peer, with the lowest and the highest run."""
    cases = [(job, case) for job, case in results.cases() if job != "workers"]
    peers = [name for name in PEERS if any(figures(case, name, "rate") for _, case in cases)]
    figure, axes = pyplot.subplots(figsize=(WIDTH, 0.3 + 0.22 * len(cases) * len(peers)))
    height = 0.8 / len(peers)
    for number, peer in enumerate(peers):
        shown = [
            (place, spread(rates))
            for place, (_, case) in enumerate(cases)
            if (rates := figures(case, peer, "rate"))
        ]
        middles = [found.middle for _, found in shown]
        errors = [
            [found.middle - found.low for _, found in shown],
            [found.high - found.middle for _, found in shown],
        ]
        places = [place + height * (number - (len(peers) - 1) / 2) for place, _ in shown]
        axes.barh(places, middles, height, xerr=errors, label=PEERS[peer].title, ecolor="grey")
    axes.set_yticks(range(len(cases)), [f"{job}, {title_of(case)}" for job, case in cases])
    axes.invert_yaxis()
    axes.set_xlabel("records (word count: words) a second; median, lowest and highest")
    axes.legend()
    return figure


def _workers(result: dict[str, Any]) -> Any:
    """Throughput over workers."""
    figure, axes = pyplot.subplots(figsize=(WIDTH, 4))
    for name, peer in PEERS.items():
        shown = [
            (case["workers"], spread(rates))
            for case in result["cases"]
            if (rates := figures(case, name, "rate"))
        ]
        if len(shown) > 1:
            sizes, found = zip(*shown, strict=True)
            axes.plot(sizes, [each.middle for each in found], marker="o", label=peer.title)
            axes.fill_between(
                sizes, [each.low for each in found], [each.high for each in found], alpha=0.2
            )
    axes.set_xscale("log", base=2)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"workers, on {result['machine']['cores']} cores")
    axes.set_ylabel("records a second")
    axes.legend()
    return figure


def _rescale(result: dict[str, Any]) -> Any:
    """Latency over time, of the last run at half load."""
    run = result["half"][-1]
    figure, axes = pyplot.subplots(figsize=(WIDTH, 4))
    times, *columns = zip(*run["over_time"], strict=True)
    for name, column in zip(("median", "99th percentile", "longest"), columns, strict=True):
        axes.plot(times, column, label=name, linewidth=1)
    opened, closed, opened_again, closed_again = run["marks"]
    axes.axvspan(opened, closed, color="lightgrey", label="2 -> 3 workers")
    axes.axvspan(opened_again, closed_again, color="wheat", label="3 -> 2 workers")
    axes.set_yscale("log")
    axes.set_xlabel(f"seconds; {result['keys']:,} keys")
    axes.set_ylabel("latency, ms, of each tenth of a second")
    axes.legend()
    return figure


def _latency(result: dict[str, Any]) -> Any:
    """Latency against load."""
    shares = {share: runs for share, runs in result["shares"].items() if runs}
    figure, axes = pyplot.subplots(figsize=(WIDTH, 4))
    loads = [float(share.rstrip("%")) for share in shares]
    for what, title in (("p50", "median"), ("p99", "99th percentile"), ("p999", "99.9th")):
        found = [spread(run[what] for run in runs) for runs in shares.values()]
        middles = [each.middle for each in found]
        axes.plot(loads, middles, marker="o", label=title)
        axes.fill_between(loads, [f.low for f in found], [f.high for f in found], alpha=0.2)
    axes.set_yscale("log")
    axes.set_xlabel(f"load, % of {result['saturation']['zstream']:,} records a second")
    axes.set_ylabel("latency, ms")
    axes.legend()
    return figure
