"""docs/performance.md, from what lies in benchmarks/results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks import goals
from benchmarks.peer import PEERS
from benchmarks.results import Case, Results, figures
from benchmarks.spread import Spread, ratios, spread
from benchmarks.tables import table

METHOD = """\
# Performance

Written by `python -m benchmarks report` from the runs in `benchmarks/results`. To measure again:
`tox -e bench -- alphabet rescale`, or any of the names that `tox -e bench -- --list` gives.

## Method

- Every peer runs in an environment of its own, with pinned versions (`requirements/bench-*.txt`),
  on the same input and with the same functions of the user (`benchmarks/jobs`). How each is told
  the job stands in `benchmarks/peers`.
- The input is made before and held in memory. Each worker has a source of its own with its share
  of it, and a sink of its own. The clock runs from the first record that any worker reads to the
  last output that any sink is given.
- Peers take turns: one run of each, and again from the first. Shown is the median, with the
  lowest and the highest in brackets. Ratios are taken turn by turn.
- Every run is checked: as many outputs as the plain loop gives, and the same last total for each
  key.
- "In processor time" is what all workers together spent while the clock ran. On a machine with
  other work it is steadier than time of the clock; it does not see waiting.
- zstream runs with default settings: among them a checkpoint each second, on disk. Its extra `fast`
  is installed, which the bare loop has, too. The others run without their checkpoints, as they do
  by default. No peer was tuned by somebody who knows it well.
- Pathway gives changes of a table once a tenth of a second, and not an output for each record; it
  sums with its own reducer. PyFlink's clock runs in the operator that keeps the totals, on a
  smaller input, and of its processor time nothing is known.
- *Bare interpreter* is no engine: a plain loop that calls the same functions. With two workers it
  is two such loops which send each other columns in MessagePack over ZeroMQ, and nothing else.
  That is what the interpreter allows.
"""

NOT_MEASURED = (
    "Quix Streams and Faust read and write Kafka only: without a broker they do not run, and with "
    "one its cost is in every figure",
)


def report(results: Results) -> str:
    """The whole page."""
    parts = [METHOD, _machines(results), _goals(results), "## Throughput\n"]
    if any(True for _ in results.cases()):
        parts.append("![Throughput by workers and peers](performance/throughput.svg)\n")
    parts += _throughput(results)
    sections = {
        "rescale": _rescale,
        "latency": _latency,
        "start": _start,
        "memory": _memory,
        "checkpoint": _checkpoint,
        "recovery": _recovery,
        "growth": _growth,
    }
    parts += [section(results[name]) for name, section in sections.items() if name in results]
    parts += [_where_others_are_better(results), _not_measured(results)]
    return "\n".join(parts)


def _machines(results: Results) -> str:
    """Each machine once, with when the benchmarks ran on it."""
    rows: dict[str, list[tuple[str, ...]]] = {}
    for name, result in results.items():
        it = result["machine"]
        versions = ", ".join(f"{package} {number}" for package, number in it["versions"].items())
        machine = f"{it['processor']}, {it['cores']} cores, {it['memory_gib']} GiB"
        where = f"{machine}; {it['kernel']}, {it['python']}, {versions}."
        at = it["at"][:16].replace("T", " ")
        rows.setdefault(where, []).append((name, at, it["commit"], f"{it['load']}"))
    head = ("benchmark", "measured (UTC)", "commit", "load when it began")
    parts = [f"{where}\n\n{table(head, some)}\n" for where, some in rows.items()]
    return "\n".join(["## Machine\n", *parts])


def _goals(results: Results) -> str:
    head = ("", "goal", "measured", "reached")
    found = goals.rows(results, {goal.benchmark for goal in goals.GOALS})
    return f"## Goals\n\n{table(head, found)}\n"


def _throughput(results: Results) -> Iterator[str]:
    told = ""
    for job, case in results.cases():
        if job != told:
            told = job
            yield f"### {job}\n\n{_sentence(results[job]['says'])}\n"
            if job == "workers":
                yield "![Throughput over workers](performance/workers.svg)\n"
        unit = results[job]["unit"]
        turns = max(len(found.get("runs", ())) for found in case["peers"].values())
        head = (
            f"{title_of(case)}; {turns} turns",
            f"{unit} a second",
            "zstream to it",
            "a second of processor time",
            "zstream to it",
        )
        yield f"{table(head, [row for peer in case['peers'] for row in _row(case, peer)])}\n"


def title_of(case: Case) -> str:
    """ "2 workers, 100,000 keys" """
    workers = "1 worker" if case["workers"] == 1 else f"{case['workers']} workers"
    keys = f", {case['keys']:,} keys" if case["keys"] else ""
    return workers + keys + (", TCP in and out" if case["wire"] else "")


def _row(case: Case, peer: str) -> Iterator[tuple[str, ...]]:
    if not figures(case, peer, "rate"):
        return
    cells = [PEERS[peer].title]
    for what in ("rate", "cpu_rate"):
        if not figures(case, peer, what):
            cells += ["", ""]
            continue
        cells.append(amounts(spread(figures(case, peer, what))))
        ratio = ratios(figures(case, "zstream", what), figures(case, peer, what))
        cells.append("" if peer == "zstream" or ratio is None else f"{ratio.middle:.2f} x")
    yield tuple(cells)


def amounts(found: Spread) -> str:
    """ "1.87 M [1.62-1.98]": millions or thousands, as the median asks for."""
    factor, unit = (1e6, " M") if found.middle >= 1e6 else (1e3, " k")
    middle, low, high = (f"{value / factor:.3g}" for value in found)
    return f"{middle}{unit} [{low}-{high}]"


def _rescale(result: dict[str, Any]) -> str:
    head = ("", "took s", "slowest key group waited ms", "records that waited", "worst dip")
    rows = []
    for load in ("half", "full"):
        for number, name in enumerate(("2 -> 3", "3 -> 2")):
            runs = [run["rescales"][number] for run in result[load]]
            cells = [
                _cell(run[what] for run in runs)
                for what in ("seconds", "slowest_key_group_ms", "records_held")
            ]
            rows.append(
                (f"{name}, {load} load", *cells, _cell(100 * run["dip"] for run in runs) + " %")
            )
        before = _cell(100 * run["dip_before"] for run in result[load])
        rows.append((f"nothing changed, {load} load", "", "", "", f"{before} %"))
    text = f"## Rescale\n\n{_sentence(result['says'])}"
    text += (
        " Full load is all that two workers take from memory; half is half of that, at a steady"
        " rate. The dip is how far the worst half second lies below the median of the stretch"
        " before; the last row of each load is what it is when nothing is changed. Number of runs:"
        f" {len(result['full'])}.\n\n"
    )
    text += f"{table(head, rows)}\n\n![Latency over time](performance/rescale.svg)\n\n"
    text += f"{_stretches(result['half'])}\n\n{_restarts(result['restarts'])}\n"
    return text


def _stretches(runs: list[dict[str, Any]]) -> str:
    names = list(runs[0]["latency_ms"])
    rows = [
        (
            f"latency, {title}, ms",
            *(_cell(run["latency_ms"][name][what] for run in runs) for name in names),
        )
        for what, title in (("p50", "median"), ("p99", "99th percentile"), ("max", "longest"))
    ]
    return table(("at half load", *names), rows)


def _restarts(restarts: dict[str, Any]) -> str:
    sentences = []
    for keys, found in restarts.items():
        if "failed" in found:
            sentences.append(found["failed"])
        else:
            sentences.append(
                f"with {int(keys):,} keys no output comes for {found['downtime_seconds']:.1f} s"
            )
    if not sentences:
        return ""
    return (
        "Bytewax changes its number of workers by a stop and a start from its recovery store (6 "
        f"partitions, snapshots each second, one run): {'; '.join(sentences)}."
    )


def _latency(result: dict[str, Any]) -> str:
    head = ("", "median ms", "99th percentile", "99.9th", "longest")
    whats = ("p50", "p99", "p999", "max")

    def row(title: str, runs: list[dict[str, float]]) -> tuple[str, ...]:
        return (title, *(_cell(run[what] for run in runs) for what in whats))

    peers = [row(PEERS[name].title, runs) for name, runs in result["peers"].items()]
    hot = [row(who, runs) for who, runs in result["hot"].items()]
    shares = [row(share, runs) for share, runs in result["shares"].items() if runs]
    saturation = ", ".join(
        f"{PEERS[name].title} {rate:,}" for name, rate in result["saturation"].items()
    )
    return (
        f"## Latency\n\n{_sentence(result['says'])} It is the time from when a record was due to "
        f"when its output was at the sink. Records a second at saturation: {saturation}. Number of "
        f"runs: {len(result['peers']['zstream'])}.\n\n"
        f"At {result['rate']:,} records a second, half of where Bytewax saturates:\n\n"
        f"{table(head, peers)}\n\n"
        f"zstream at shares of its own saturation:\n\n{table(head, shares)}\n\n"
        "![Latency by load](performance/latency.svg)\n\n"
        "zstream at half of its saturation, with half of all records for one key, whose worker so "
        f"has three quarters of them:\n\n{table(head, hot)}\n"
    )


def _start(result: dict[str, Any]) -> str:
    rows = [
        (PEERS[name].title, _cell(starts), _cell(result["import_seconds"][name]))
        for name, starts in result["start_seconds"].items()
    ]
    return f"## Start\n\n{table(('', 'start to first output s', 'import s'), rows)}\n"


def _memory(result: dict[str, Any]) -> str:
    rows = [(PEERS[name].title, _cell(found)) for name, found in result["bytes"].items()]
    head = (f"{result['keys']:,} keys", "bytes a key")
    return f"## Memory\n\n{_sentence(result['says'])}\n\n{table(head, rows)}\n"


def _checkpoint(result: dict[str, Any]) -> str:
    rows = [
        (
            f"{int(keys):,}",
            f"{found['throughput']['ratio']:.0%}",
            f"{found['of one key in a hundred']['ratio']:.0%}",
            f"{max(found['calls']['later_epochs']['longest_ms'].values()):.1f}",
            *(f"{sum(parts.values()):.2f}" for parts in found["recovery_seconds"].values()),
        )
        for keys, found in result["by_keys"].items()
    ]
    head = (
        "keys",
        "throughput with a checkpoint a second",
        "one key in a hundred changes",
        "longest call ms",
        "restored from one part s",
        "and sixty more s",
    )
    return f"## Checkpoint\n\n{_sentence(result['says'])}\n\n{table(head, rows)}\n"


def _recovery(result: dict[str, Any]) -> str:
    kinds = result["seconds"]
    head = ("", *next(iter(kinds.values())))
    rows = [(kind, *(_cell(values) for values in parts.values())) for kind, parts in kinds.items()]
    return f"## Recovery\n\n{_sentence(result['says'])}\n\n{table(head, rows)}\n"


def _growth(result: dict[str, Any]) -> str:
    rows = [
        (
            f"{size['workers']}",
            f"{size['up_seconds']:.2f}",
            f"{size['rest']['messages']:.1f}",
            f"{size['rest']['bytes']:,.0f}",
            f"{size['rest']['leader_messages']:.0f}",
            f"{size['grow']['seconds']:.2f}",
            f"{size['grow']['messages']:,}",
        )
        for size in result["sizes"]
    ]
    if len(result["sizes"]) > 1:
        rows.append(_on_paper(*result["sizes"][-2:]))
    head = (
        "workers",
        "all up after s",
        "messages a worker and second",
        "their bytes",
        "messages of the leader a second",
        "two more join, s",
        "messages of all meanwhile",
    )
    return (
        "## Growth\n\nControl messages by the size of the cluster, at rest, with 1,024 key groups. "
        "Measured on the simulator, with its clock: the same on every machine. On paper: most tell "
        "how far a link has come, three times a second for each two workers, as barriers of the "
        "checkpoints pass all links. So what a worker sends grows with the number of the others, "
        "and what all send while two join with its square.\n\n"
        f"{table(head, rows)}\n"
    )


def _on_paper(one: dict[str, Any], other: dict[str, Any]) -> tuple[str, ...]:
    """A row for PAPER workers, from those of the two largest clusters."""
    more = (PAPER - one["workers"]) / (other["workers"] - one["workers"])

    def rest(name: str) -> float:
        small, large = (float(size["rest"][name]) for size in (one, other))
        return small + (large - small) * more

    joining = other["grow"]["messages"] * (PAPER / other["workers"]) ** 2
    return (
        f"{PAPER:,}, on paper",
        "",
        f"{rest('messages'):,.0f}",
        f"{rest('bytes'):,.0f}",
        f"{rest('leader_messages'):,.0f}",
        "",
        f"{joining:,.0f}",
    )


PAPER = 1_000  # workers
UNITS = {"rate": "as much a second", "cpu_rate": "as much a second of processor time"}
COSTS = (
    ("start", "start_seconds", "from start to first output"),
    ("start", "import_seconds", "to import"),
    ("memory", "bytes", "of memory for a key"),
)


def _where_others_are_better(results: Results) -> str:
    """Every figure in which a peer is ahead of zstream."""
    found = []
    for job, case in results.cases():
        for peer in case["peers"]:
            for what, unit in UNITS.items():
                ratio = ratios(figures(case, peer, what), figures(case, "zstream", what))
                where = f"in {job}, {title_of(case)}"
                found.append((peer, ratio, f"{unit} {where}"))
    for benchmark, figure, what in COSTS:
        by_peer = results.get(benchmark, {}).get(figure, {})
        for peer, costs in by_peer.items():
            found.append((peer, ratios(by_peer.get("zstream", ()), costs), f"less {what}"))
    by_peer = results.get("latency", {}).get("peers", {})
    for peer, runs in by_peer.items():
        for what in ("p50", "p99", "p999", "max"):
            costs = [[run[what] for run in each] for each in (by_peer["zstream"], runs)]
            found.append((peer, ratios(*costs), f"less latency ({what})"))
    lines = [
        f"- {PEERS[peer].title}: {ratio.middle:.2f} x {what}."
        for peer, ratio, what in found
        if ratio is not None and ratio.middle > 1 and peer not in ("zstream", "bare")
    ]
    text = "\n".join(lines) or "- Nowhere in what was measured."
    return f"## Where a peer is better\n\n{text}\n"


def _not_measured(results: Results) -> str:
    sentences = dict.fromkeys(NOT_MEASURED)
    for job, case in results.cases():
        for peer, found in case["peers"].items():
            if "failed" in found:
                sentences[f"{PEERS[peer].title} in {job}, {title_of(case)}: {found['failed']}"] = (
                    None
                )
    return "## What was not measured\n\n" + "\n".join(f"- {text}" for text in sentences) + "\n"


def _cell(values: Any) -> str:
    """A median with the lowest and the highest."""
    middle, low, high = map(_short, spread(values))
    return f"{middle} [{low}-{high}]"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
