"""zworker: which worker a command line means, what it is told, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pytest

from zstream import LengthPrefix, Memory, Stdout, TcpSink, TcpSource, Topology, source
from zstream import main as program_main
from zstream.cli import start, zworker
from zstream.cli.roles import place_of
from zstream.cli.settings import OPTION_NAMES, variable
from zstream.cli.usage import parse
from zstream.cli.worker_usage import USAGE
from zstream.config import Config
from zstream.errors import TopologyError, UsageError, ZstreamError
from zstream.runtime.options import WorkerOptions
from zstream.topology.topology import TopologyValue

Captured = pytest.CaptureFixture[str]

A = "127.0.0.1:7010"
B = "127.0.0.1:7002"
ENDS = ["--in", A, "--out", B]


def topology_with(*sources: str, parallel: bool = False, address: str | None = None) -> Topology:
    """A topology of TCP sources, each with its own TCP sink."""
    ends = [
        source(name, TcpSource(LengthPrefix(), address=address, parallel=parallel)).sink(
            f"{name}_out", TcpSink(bytes)
        )
        for name in sources
    ]
    return Topology("app", *ends)


class Started:
    """Stands in for the runtime: remembers what it was started with."""

    def __init__(self) -> None:
        self.options: list[WorkerOptions] = []
        self.topologies: list[TopologyValue] = []
        self.raises: ZstreamError | None = None

    def __call__(self, topology: TopologyValue, options: WorkerOptions) -> int:
        if self.raises:
            raise self.raises
        self.topologies.append(topology)
        self.options.append(options)
        return 0


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Started:
    """A zworker that loads the topology with one source, and starts nothing."""
    monkeypatch.chdir(tmp_path)
    for name in [*map(variable, OPTION_NAMES.split()), *(variable(f.name) for f in fields(Config))]:
        monkeypatch.delenv(name, raising=False)
    stand_in = Started()
    monkeypatch.setattr(start, "run_worker", stand_in)
    loads(monkeypatch, topology_with("alphabet"))
    return stand_in


def loads(monkeypatch: pytest.MonkeyPatch, topology: Topology) -> None:
    def load(path: str, args: Sequence[str] = ()) -> Topology:
        return topology

    monkeypatch.setattr(zworker, "load", load)


def run(*argv: str) -> int:
    return zworker.main(["-a", "app", *argv])


# ---------------------------------------------------------------- roles


def test_alone_it_is_a_cluster_of_its_own(started: Started) -> None:
    """No -t, -c, -j: one worker named w0 on any free ports."""
    assert run(*ENDS, "--log-format", "text") == 0
    assert started.options == [
        WorkerOptions(
            role="initializer", name="w0", inputs={"alphabet": A}, outputs={"alphabet_out": B}
        )
    ]


def test_the_initializer(started: Started) -> None:
    """-t: the addresses are where it listens."""
    at = ["-c", "127.0.0.1:12500", "-d", "127.0.0.1:12501", "-e", "127.0.0.1:5050"]
    assert run(*ENDS, "-t", *at, "-n", "w1", "-w", "3", "--log-format", "json", "--json") == 0
    assert started.options == [
        WorkerOptions(
            role="initializer",
            name="w1",
            inputs={"alphabet": A},
            outputs={"alphabet_out": B},
            control="127.0.0.1:12500",
            data="127.0.0.1:12501",
            external="127.0.0.1:5050",
            worker_count=3,
            log_format="json",
            json=True,
        )
    ]


def test_one_of_those_a_cluster_starts_with(started: Started) -> None:
    """-c without -t: where the initializer is; its own addresses are -x and -y."""
    own = ["-x", "127.0.0.1:1", "-y", "127.0.0.1:2"]
    assert run(*ENDS, "-c", "127.0.0.1:12500", "-n", "w2", *own) == 0
    options = started.options[0]
    assert (options.role, options.join) == ("starter", "127.0.0.1:12500")
    assert (options.control, options.data) == ("127.0.0.1:1", "127.0.0.1:2")


def test_a_joiner(started: Started) -> None:
    """-j: any running worker, and how many join together."""
    assert run(*ENDS, "-j", "127.0.0.1:12500", "-n", "w3", "-w", "3") == 0
    options = started.options[0]
    assert (options.role, options.join, options.worker_count) == ("joiner", "127.0.0.1:12500", 3)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--worker-count 0", "--worker-count must be at least 1, it is 0."),
        ("--worker-count -1", "--worker-count must be at least 1, it is -1."),
        ("--worker-count all", "--worker-count must be a whole number, it is 'all'."),
        ("-w 2", "--worker-count 2 wants --cluster-initializer or --join."),
        ("-c 127.0.0.1:1", "--name is missing: every worker of a cluster has its own."),
        ("-j 127.0.0.1:1", "--name is missing: every worker of a cluster has its own."),
        ("-j 127.0.0.1:1 -n w -t", "--join and --cluster-initializer exclude each other."),
        (
            "-j 127.0.0.1:1 -n w -c 127.0.0.1:1",
            "--join and --control exclude each other: a joiner asks at --join.",
        ),
        (
            "-c 127.0.0.1:1 -n w -w 2",
            "--worker-count goes with --cluster-initializer or --join.",
        ),
        (
            "-d 127.0.0.1:1",
            "--data goes with --cluster-initializer; else say --my-data.",
        ),
        ("-t -y 127.0.0.1:1", "with --cluster-initializer, say --data and not --my-data."),
        ("-t -c 12500", "--control must be host:port, it is '12500'."),
        ("-t -c :12500", "--control must be host:port, it is ':12500'."),
        ("-e 127.0.0.1:65536", "--external must be host:port, it is '127.0.0.1:65536'."),
        ("-j 127.0.0.1:0 -n w", "--join must name a port above 0, it is '127.0.0.1:0'."),
        ("--join-deadline 0", "--join-deadline must be above 0 seconds, it is 0."),
        ("--join-deadline nan", "--join-deadline must be above 0 seconds, it is nan."),
        ("--checkpoint-interval 0", "--checkpoint-interval must be above 0 seconds, it is 0."),
        (
            "-j 127.0.0.1:1 -n w --fresh",
            "--fresh is for the worker that starts the cluster; the others are told.",
        ),
        (
            "-c 127.0.0.1:1 -n w --from s3://b/p",
            "--from is for the worker that starts the cluster; the others are told.",
        ),
        (
            "-j 127.0.0.1:1 -n w --leave-state tally",
            "--leave-state is for the worker that starts the cluster; the others are told.",
        ),
        (
            "--store d --fresh --leave-state tally",
            "--leave-state has nothing to leave: --fresh begins without any state.",
        ),
        (
            "--leave-state tally",
            "--leave-state has nothing to leave: a cluster without --store or --from begins "
            "without any state.",
        ),
        ("--store d --leave-state ,", "--leave-state wants names of operators, tally,totals."),
        (
            "--from nowhere://x",
            "a store is file:///DIR or a directory, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or "
            "az://CONTAINER/PREFIX; it cannot be 'nowhere://x'.",
        ),
        ("--log-format xml", "--log-format must be text or json, it is 'xml'."),
        (
            "--store ftp://host/x",
            "a store is file:///DIR or a directory, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or "
            "az://CONTAINER/PREFIX; it cannot be 'ftp://host/x'.",
        ),
    ],
)
def test_a_wrong_line_is_refused(line: str, says: str, started: Started, capsys: Captured) -> None:
    """One sentence, exit 2, before anything is loaded or opened."""
    assert run(*ENDS, *line.split()) == 2
    assert capsys.readouterr().err == f"zworker: {says}\n"
    assert started.options == []


def test_without_a_module(started: Started, capsys: Captured) -> None:
    """There is nothing to run."""
    assert zworker.main(["--in", A]) == 2
    assert capsys.readouterr().err == (
        "zworker: --application-module MODULE is missing "
        "(or ZSTREAM_APPLICATION_MODULE in the environment). See zworker --help.\n"
    )


# ---------------------------------------------------------------- --in and --out


@pytest.mark.parametrize(
    ("sources", "said", "says"),
    [
        ("alphabet", None, "source alphabet has no address. Say --in alphabet@HOST:PORT."),
        ("alphabet", f"alfabet@{A}", "--in: there is no source alfabet; there is alphabet."),
        (
            "alphabet",
            "alphabet",
            "each address of --in must be host:port, it is 'alphabet'.",
        ),
        (
            "alphabet",
            f"{A},{B}",
            "--in gives 2 addresses without a name, and alphabet needs one. "
            "Say --in alphabet@HOST:PORT.",
        ),
        ("alphabet", f"alphabet@{A},alphabet@{B}", "--in gives source alphabet two addresses."),
        (
            "orders quotes",
            A,
            "--in gives an address without a name, and orders and quotes need one. "
            "Say --in orders@HOST:PORT,quotes@HOST:PORT.",
        ),
        (
            "orders quotes",
            f"orders@{A}",
            "source quotes has no address. Say --in quotes@HOST:PORT.",
        ),
    ],
)
def test_addresses_that_do_not_fit(
    sources: str,
    said: str | None,
    says: str,
    started: Started,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    """Names are matched, never order: two streams swapped in silence would be worse."""
    names = sources.split()
    loads(monkeypatch, topology_with(*names))
    out = ",".join(f"{name}_out@{B}" for name in names)
    assert run(*([] if said is None else ["--in", said]), "--out", out) == 2
    assert capsys.readouterr().err == f"zworker: {says}\n"


def test_a_nameless_address_goes_to_the_only_one_left(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One source is named, the other gets what has no name."""
    loads(monkeypatch, topology_with("orders", "quotes"))
    outs = f"orders_out@{B},quotes_out@{B}"
    assert run("--in", f"{A}, orders@127.0.0.1:1", "--out", outs) == 0
    assert started.options[0].inputs == {"orders": "127.0.0.1:1", "quotes": A}


def test_an_address_of_the_topology_needs_none_and_can_be_replaced(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the spec is a default."""
    loads(monkeypatch, topology_with("alphabet", address="127.0.0.1:1"))
    assert run("--out", B) == 0
    assert run("--in", f"alphabet@{A}", "--out", B) == 0
    assert [options.inputs for options in started.options] == [{}, {"alphabet": A}]


def test_ends_without_addresses_take_none(
    started: Started, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """A file or memory is not bound; an address for it is a mistake."""
    ends = source("lines", Memory([b"a"])).map(str).sink("out", Stdout())
    loads(monkeypatch, Topology("app", ends))
    assert run() == 0
    assert run("--in", f"lines@{A}") == 2
    assert run("--in", A) == 2
    assert capsys.readouterr().err == (
        "zworker: --in: source lines takes no address.\n"
        "zworker: --in gives an address without a name, and no source needs one.\n"
    )


def test_who_reads_no_source_needs_no_address_for_it(
    started: Started, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """A joiner reads nothing; one that the cluster starts with reads parallel sources only."""
    assert run("--out", B, "-j", "127.0.0.1:1", "-n", "w1") == 0
    assert run("--out", B, "-c", "127.0.0.1:1", "-n", "w1") == 0
    loads(monkeypatch, topology_with("alphabet", parallel=True))
    assert run("--out", B, "-j", "127.0.0.1:1", "-n", "w1") == 0
    assert run("--out", B, "-c", "127.0.0.1:1", "-n", "w1") == 2
    assert "source alphabet has no address." in capsys.readouterr().err


def test_a_sink_needs_its_address_everywhere(started: Started, capsys: Captured) -> None:
    """Every worker sends for itself, a joiner too."""
    assert run("-j", "127.0.0.1:1", "-n", "w1") == 2
    says = "sink alphabet_out has no address. Say --out alphabet_out@HOST:PORT."
    assert capsys.readouterr().err == f"zworker: {says}\n"


# ---------------------------------------------------------------- the rest


def test_what_is_kept_where_and_how_long_it_waits(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Store, dead letters, the deadline in seconds, and a Config field from around."""
    monkeypatch.setenv("ZSTREAM_WAVE_BYTES_MAX", "65536")
    for store, url in (
        ("file:///var/z", "file:///var/z"),
        ("logs/z", f"file://{Path.cwd()}/logs/z"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
    ):
        assert run(*ENDS, "--store", store, "--dead-letters", "d", "--join-deadline", "0.5") == 0
        options = started.options[-1]
        assert (options.store, options.dead_letters) == (url, "d")
        assert options.config == Config(join_deadline_ms=500, wave_bytes_max=65536)


def test_what_a_cluster_begins_with(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anew, from a savepoint, without the state of operators that are gone."""
    assert run(*ENDS, "--store", "/z", "--fresh", "--from", "/save", "--leave-state", "a, b,") == 0
    assert run(*ENDS, "--store", "/z", "--leave-state", "a,b", "--leave-state=c", "-t") == 0
    monkeypatch.setenv("ZSTREAM_STORE", "/z")
    monkeypatch.setenv("ZSTREAM_LEAVE_STATE", "d,e")
    assert run(*ENDS, "-t") == 0
    found = [(o.store, o.fresh, o.savepoint, o.leave_state) for o in started.options]
    assert found == [
        ("file:///z", True, "file:///save", ("a", "b")),
        ("file:///z", False, "", ("a", "b", "c")),
        ("file:///z", False, "", ("d", "e")),
    ]


def test_how_often_there_is_a_checkpoint(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """In seconds, or in milliseconds by the name of the limit; the option wins."""
    monkeypatch.setenv("ZSTREAM_CHECKPOINT_INTERVAL_MS", "250")
    assert run(*ENDS) == 0
    assert run(*ENDS, "--checkpoint-interval", "2.5") == 0
    monkeypatch.setenv("ZSTREAM_CHECKPOINT_INTERVAL", "0.1")
    assert run(*ENDS) == 0
    found = [options.config.checkpoint_interval_ms for options in started.options]
    assert found == [250, 2500, 100]


def test_a_store_that_all_workers_are_given_is_the_initializers(started: Started) -> None:
    """They may share one zstream.env: a joiner takes --store, and is told by its cluster."""
    assert run(*ENDS, "-j", "127.0.0.1:12500", "-n", "w3", "--store", "/z") == 0
    assert started.options[0].store == "file:///z"


def test_ignored_options_are_said_to_be_ignored(started: Started, capsys: Captured) -> None:
    """The seed's lines run as they are."""
    assert run(*ENDS, "--metrics", "127.0.0.1:5001", "--ponythreads=1") == 0
    assert run(*ENDS, "--ponythreads", "1") == 0
    assert capsys.readouterr().err == (
        "zworker: --metrics and --ponythreads are ignored.\nzworker: --ponythreads is ignored.\n"
    )


@pytest.mark.parametrize(
    ("error", "code"), [(ZstreamError("It was refused."), 1), (UsageError("It was refused."), 2)]
)
def test_how_the_worker_ended(
    error: ZstreamError, code: int, started: Started, capsys: Captured
) -> None:
    """The runtime's sentence, 1 for a refusal, 2 for what the person can write otherwise."""
    started.raises = error
    assert run(*ENDS) == code
    assert capsys.readouterr().err == "zworker: It was refused.\n"


def test_a_topology_that_cannot_be_loaded(
    started: Started, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """The sentence alone; arguments that nobody takes are wrong usage."""
    for error, code in ((TopologyError("no module alfabet."), 1), (UsageError("No function."), 2)):

        def fail(path: str, args: Sequence[str], error: ZstreamError = error) -> Topology:
            raise error

        monkeypatch.setattr(zworker, "load", fail)
        assert run(*ENDS) == code
        assert capsys.readouterr().err == f"zworker: {error}\n"


def test_the_modules_own_failure_has_its_traceback_from_the_persons_file_on(
    started: Started, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Captured
) -> None:
    """No line of zstream's or of the import machinery's, then the sentence."""
    module = tmp_path / "failing_app.py"
    module.write_text("import struct\n\nimport httpxx\n", encoding="utf-8")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert zworker.main(["-a", "failing_app"]) == 1
    assert capsys.readouterr().err == (
        "Traceback (most recent call last):\n"
        f'  File "{module}", line 3, in <module>\n'
        "    import httpxx\n"
        "ModuleNotFoundError: No module named 'httpxx'\n"
        "zworker: failing_app.py was found, but line 3 of it failed: No module named 'httpxx'.\n"
    )


# ---------------------------------------------------------------- a program of its own


def test_a_module_as_its_own_program(
    started: Started, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """The same options but the module; a function gets what stands behind --."""
    monkeypatch.setattr(sys, "argv", ["apps/alphabet.py"])
    given: list[list[str]] = []

    def make(arguments: list[str]) -> Topology:
        given.append(arguments)
        return topology_with("alphabet")

    with pytest.raises(SystemExit) as ended:
        program_main(make, [*ENDS, "--name", "w7", "--", "--letters", "26"])
    assert (ended.value.code, given) == (0, [["--letters", "26"]])
    assert started.options[0].name == "w7"
    with pytest.raises(SystemExit) as ended:
        program_main(make, ["-a", "alphabet"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "alphabet.py: there is no option -a. See alphabet.py --help.\n"
    )


def test_the_defaults_of_addresses_stand_in_the_usage_text() -> None:
    """An initializer that says none of them listens where --help says."""
    place = place_of(parse(USAGE, ["--cluster-initializer"], program="zworker"))
    for option, default in (
        ("--name", place["name"]),
        ("--control", place["control"]),
        ("--data", place["data"]),
        ("--external", place["external"]),
    ):
        [line] = [line for line in USAGE.splitlines() if f" {option} " in line]
        assert f"(default {default}" in line
