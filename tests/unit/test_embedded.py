"""Running a topology in this process, and loading one from a module."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from operator import add
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from zstream import (
    FileSink,
    FileSource,
    Generate,
    LengthPrefix,
    Memory,
    PerWorker,
    Retry,
    Stdout,
    TcpSink,
    TcpSource,
    Topology,
    json_line,
    load,
    source,
)
from zstream.embedded import made, running
from zstream.errors import ConnectorError, TopologyError, UsageError, UserFunctionError


class Vote(NamedTuple):
    letter: str
    votes: int


def decode(payload: bytes) -> Vote:
    raise AssertionError("records that are given are decoded already")


def tally(total: int, vote: Vote) -> tuple[int, str]:
    if vote.votes < 0:
        raise ValueError("bad vote")
    total += vote.votes
    return total, f"{vote.letter} => {total}\n"


totals = (
    source("alphabet", TcpSource(LengthPrefix(">I"), decode))
    .key_by(lambda vote: vote.letter)
    .stateful_map(tally, int)
    .sink("totals", TcpSink(str.encode))
)
topology = Topology("alphabet", totals)
VOTES = [Vote("a", 1), Vote("b", 2), Vote("a", 4)]


def test_every_vote_gives_its_running_total() -> None:
    """Given records, collected output: before encoding, without an address or a socket."""
    result = topology.run({"alphabet": VOTES})
    assert sorted(result["totals"]) == ["a => 1\n", "a => 5\n", "b => 2\n"]
    assert result.of(totals) == result["totals"]
    assert result.dead_letters == []


def test_a_run_starts_without_state() -> None:
    """Nothing of one run is left in the next."""
    assert (
        topology.run({"alphabet": VOTES})["totals"] == topology.run({"alphabet": VOTES})["totals"]
    )


def test_more_records_than_a_batch_come_in_order() -> None:
    """Batches are cut at a limit; an iterator is read as it goes."""
    stream = source("n", Memory([])).map(str).sink("out", Stdout())
    result = Topology("t", stream).run({"n": iter(range(10_000))})
    assert result["out"] == [str(n) for n in range(10_000)]


def test_stop_raises_what_was_wrong_with_which_record() -> None:
    """Operator, line, error, key, record and the line that raised; the error is the cause."""
    with pytest.raises(UserFunctionError) as raised:
        topology.run({"alphabet": [Vote("q", -1)]})
    (tallying,) = [step.node for step in topology.plan.steps if step.node.name == "tally"]
    line = tally.__code__.co_firstlineno + 2
    assert str(raised.value) == (
        f"tally ({tallying.where}) raised ValueError: bad vote, key 'q', "
        f"record Vote(letter='q', votes=-1), at test_embedded.py:{line}"
    )
    assert isinstance(raised.value.__cause__, ValueError)


def test_dead_letters_are_kept_and_the_rest_goes_on() -> None:
    """on_error="dead_letter" gives the results of the others and the letter."""
    result = topology.run({"alphabet": [*VOTES, Vote("q", -1)]}, on_error="dead_letter")
    assert len(result["totals"]) == 3
    (letter,) = result.dead_letters
    assert (letter.operator, letter.key, letter.record) == ("tally", "q", Vote("q", -1))
    assert letter.error == "ValueError: bad vote"


def test_an_operators_own_policy_is_stronger() -> None:
    """Skip and Retry on the operator, stop on the run."""
    calls: list[int] = []

    def flaky(n: int) -> int:
        calls.append(n)
        if calls.count(n) < 3:
            raise OSError("not yet")
        return n

    def never(n: int) -> int:
        raise OSError("never")

    stream = source("n", Memory([1, 2]))
    flow = Topology(
        "t",
        stream.map(flaky, on_error=Retry(2)).sink("flaky", Stdout()),
        stream.map(never, on_error=Retry(2, then="skip")).sink("never", Stdout()),
    )
    result = flow.run()
    assert result["flaky"] == [1, 2]
    assert result["never"] == []
    assert result.dead_letters == []


def test_every_operator_runs() -> None:
    """One topology with all of them, checked by hand."""
    seen: list[str] = []
    spread = source("lines", Memory(["b a", "a"])).flat_map(str.split).peek(seen.append)
    keyed = spread.rebalance().map_batches(list, max_records=2).key_by(str.upper)
    longest, rest = keyed.count().items().branch(lambda pair: pair[1] > 1)
    flow = Topology(
        "t",
        longest.values().sink("twice", Stdout()),
        rest.map_items(lambda key, pair: (key, pair)).sink("once", Stdout()),
        keyed.map(len).merge(keyed.map(len)).reduce(add).filter(bool).sink("sums", Stdout()),
        keyed.map(str.upper, parallel=False)
        .stateful_flat_map(lambda state, word: (word, [state, word]))
        .sink("pairs", Stdout()),
    )
    result = flow.run()
    assert seen == ["b", "a", "a"]
    assert result["twice"] == [("A", 2)]
    assert sorted(result["once"]) == [("A", ("A", 1)), ("B", ("B", 1))]
    assert sorted(result["sums"]) == [1, 1, 2, 2, 3, 4]
    assert sorted(result["pairs"], key=str) == ["A", "A", "A", "B", None, None]


def test_inputs_are_read_in_turn_in_the_order_given() -> None:
    """A batch of each: what is given first is there before what is given second."""
    none: Memory[int] = Memory([])
    merged = source("orders", none).merge(source("quotes", none))
    flow = Topology("t", merged.sink("out", Stdout()))
    assert flow.run({"quotes": [1, 2], "orders": [3]})["out"] == [1, 2, 3]
    assert flow.run({"orders": [3], "quotes": [1, 2]})["out"] == [3, 1, 2]


def test_sources_that_are_not_given_are_opened(tmp_path: Path) -> None:
    """A file, numbers; decoded; one source given in the place of another."""
    path = tmp_path / "numbers.txt"
    path.write_text("1\n2\n")
    lines = source("lines", FileSource(str(path))).map(int)
    flow = Topology("t", lines.merge(source("n", Generate(abs, count=2))).sink("out", Stdout()))
    assert sorted(flow.run()["out"]) == [0, 1, 1, 2]
    assert sorted(flow.run({"n": Generate(lambda n: n + 10, count=1)})["out"]) == [1, 2, 10]


def written(path: Path) -> list[str]:
    """What stands in each file of a FileSink's directory, in the order of their names."""
    return [file.read_text() for file in sorted(path.iterdir()) if file.is_file()]


def test_output_is_committed_in_pieces_and_what_was_not_is_gone_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a long run needs no memory for all that it writes; another run writes more files."""
    monkeypatch.setattr(running, "COMMIT_BYTES", 10_000)
    given = list(range(20_000))

    def fail_late(n: int) -> int:
        if n == 15_000:
            raise ValueError
        return n

    sink = {"file": FileSink(str(tmp_path / "out"), json_line)}
    whole = Topology("t", source("n", Memory(given)).sink("file", Stdout()))
    failing = Topology("t", source("n", Memory(given)).map(fail_late).sink("file", Stdout()))
    whole.run(outputs=sink)
    files = written(tmp_path / "out")
    assert len(files) == 5
    assert [int(line) for file in files for line in file.splitlines()] == given
    with pytest.raises(UserFunctionError):
        failing.run(outputs=sink)
    again = written(tmp_path / "out")
    assert again[:5] == files
    lines = [int(line) for file in again[5:] for line in file.splitlines()]
    assert lines == given[: 3 * 4096], "whole batches, and none of the one that failed"


def test_outputs_that_are_named_are_written(tmp_path: Path) -> None:
    """Encoded, to the sink that is given; the others are collected."""
    path = tmp_path / "out"
    stream = source("n", Memory([1, 2]))
    flow = Topology("t", stream.sink("file", Stdout()), stream.sink("kept", Stdout()))
    result = flow.run(outputs={"file": FileSink(str(path), json_line)})
    assert written(path) == ["1\n2\n"]
    assert result["kept"] == [1, 2]
    with pytest.raises(KeyError, match="there is no sink file; sinks whose values were kept: kept"):
        result["file"]


def test_a_failing_run_closes_what_it_opened(tmp_path: Path) -> None:
    """needs= is opened before the first record and shut whatever happens."""
    events: list[str] = []
    model = PerWorker(lambda: events.append("open"), close=lambda _: events.append("close"))

    def fail(n: int) -> int:
        events.append("record")
        raise ValueError

    flow = Topology("t", source("n", Memory([1])).map(fail, needs=[model]).sink("o", Stdout()))
    with pytest.raises(UserFunctionError):
        flow.run()
    assert events == ["open", "record", "close"]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: topology.run(),
            'source alphabet has no address. Give it records: run({"alphabet": [...]}).',
        ),
        (lambda: topology.run({"votes": []}), "there is no source votes; there are alphabet."),
        (
            lambda: topology.run({"alphabet": []}, outputs={"out": Stdout()}),
            "there is no sink out; there are totals.",
        ),
        (
            lambda: topology.run({"alphabet": []}, outputs={"totals": TcpSink(str.encode)}),
            "sink totals has no address.",
        ),
        (lambda: topology.run({"alphabet": []}, on_error="no"), "on_error must be"),  # type: ignore
    ],
)
def test_a_wrong_run_is_refused(call: Callable[[], object], says: str) -> None:
    """Before anything is opened, in a sentence."""
    with pytest.raises(UsageError) as refused:
        call()
    assert says in str(refused.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    """The outside's fault, not the person's."""
    flow = Topology("t", source("f", FileSource(str(tmp_path / "no.txt"))).sink("o", Stdout()))
    with pytest.raises(ConnectorError, match=r"no\.txt"):
        flow.run()


def test_a_sink_that_was_not_handed_over_is_a_key_error() -> None:
    """With those that there are."""
    with pytest.raises(KeyError, match=r"there is no sink late; .* totals"):
        topology.run({"alphabet": []})["late"]


# ---------------------------------------------------------------- load

GOOD = """\
from zstream import Memory, Stdout, Topology, source
end = source("n", Memory([1])).sink("out", Stdout())
topology = Topology("good", end)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory; modules and paths that a test adds are gone after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def put(directory: Path, name: str, text: str) -> None:
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(text)


def said(path: str, *args: str) -> str:
    with pytest.raises(TopologyError) as refused:
        load(path, args)
    return refused.value.says


@pytest.mark.parametrize(
    "path", ["good_votes", "good_votes.py", "./good_votes.py", "good_votes:topology"]
)
def test_a_topology_is_loaded_by_module_or_file(here: Path, path: str) -> None:
    """From the current directory, with or without .py, with or without a name."""
    put(here, "good_votes.py", GOOD)
    assert load(path).name == "good"


def test_a_file_elsewhere_finds_what_stands_beside_it(here: Path) -> None:
    """As if it had been started; its dataclasses resolve."""
    put(here, "apps/names_of_app.py", "NAME = 'beside'\n")
    put(here, "apps/app_one.py", "from names_of_app import NAME\n" + GOOD.replace('"good"', "NAME"))
    assert load("apps/app_one.py").name == "beside"


def test_a_function_is_given_the_arguments(here: Path) -> None:
    """Exactly what stands behind --; a value takes none."""
    factory = GOOD.replace("topology = ", "def topology(args):\n    return ").replace(
        '"good"', "'-'.join(args)"
    )
    put(here, "made_votes.py", factory)
    assert load("made_votes", ["x", "y"]).name == "x-y"
    put(here, "good_votes.py", GOOD)
    with pytest.raises(UsageError, match=r"good_votes\.topology is no function, .* given x y"):
        load("good_votes", ["x", "y"])


def test_a_module_that_is_not_there(here: Path) -> None:
    """Where was looked, and what there is of a like name."""
    put(here, "alphabet_app.py", GOOD)
    put(here, "unrelated.py", "")
    assert said("alfabet_app") == (
        "no module alfabet_app: looked in . and on PYTHONPATH. "
        "In this directory there is alphabet_app."
    )
    assert said("lib/alphabet_app.py") == "no file lib/alphabet_app.py."
    assert said("no_such.module").startswith("no module no_such.module: looked in .")
    put(here, "package_app/__init__.py", "import httpx_is_not_here\n")
    assert "__init__.py" not in said("package_app.no_such")
    assert "httpx_is_not_here" in said("package_app.no_such")


def test_a_module_whose_own_import_fails(here: Path) -> None:
    """The line that failed; the error itself is the cause, with its traceback."""
    put(here, "broken_app.py", '"""Doc."""\n\nimport httpx_is_not_here\n')
    with pytest.raises(TopologyError) as refused:
        load("broken_app")
    assert refused.value.says == (
        "broken_app.py was found, but line 3 of it failed: No module named 'httpx_is_not_here'."
    )
    assert isinstance(refused.value.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\ny = 1 / 0\n", "line 2 of it failed: ZeroDivisionError: division by zero."),
        ("x = 1\nif x\n", "line 2 of it failed: SyntaxError: expected ':'."),
    ],
)
@pytest.mark.parametrize("path", ["failing_app", "./failing_app.py"])
def test_a_module_that_fails_in_another_way(here: Path, path: str, text: str, says: str) -> None:
    """The kind of error is named; found by module and by file."""
    put(here, "failing_app.py", text)
    assert said(path) == f"failing_app.py was found, but {says}"


def test_a_function_that_fails(here: Path) -> None:
    """A factory's own error is said with its line, too."""
    put(here, "factory_app.py", "def topology(args):\n    return args[0]\n")
    assert said("factory_app") == (
        "factory_app.py was found, but line 2 of it failed: IndexError: list index out of range."
    )
    assert said("factory_app", "x").startswith("factory_app.topology returned no Topology but str.")


def test_a_module_without_a_topology(here: Path) -> None:
    """What to name, and what there is."""
    put(here, "other_app.py", GOOD.replace("topology =", "totals_topology ="))
    assert said("other_app") == (
        "other_app has no topology. Name it topology, or say --application-module other_app:NAME; "
        "there is a Topology called totals_topology."
    )
    assert load("other_app:totals_topology").name == "good"
    assert said("other_app:votes") == (
        "other_app has no votes; there is a Topology called totals_topology."
    )
    put(here, "empty_app.py", "")
    assert said("empty_app") == (
        "empty_app has no topology. Name it topology, or say --application-module empty_app:NAME."
    )


def test_a_stream_under_the_name_of_the_topology(here: Path) -> None:
    """The likeliest slip."""
    put(here, "slip_app.py", GOOD.replace('Topology("good", end)', "end"))
    assert said("slip_app").startswith("slip_app.topology is no Topology but End.")


def test_what_is_wrong_with_a_topology_is_said_plainly(here: Path) -> None:
    """Its own sentence, not one about the module."""
    put(here, "twins_app.py", GOOD.replace("end)", "end, *[end for _ in ()], key_groups=0)"))
    with pytest.raises(UsageError, match=r"^key_groups must be from 1 to"):
        load("twins_app")


@pytest.mark.parametrize(
    ("line", "label"),
    [
        ('source("n", Memory([1])).sink("lost", Stdout()) and None', ""),
        ('lost = source("m", Memory([1])).sink("lost", Stdout())', "sink"),
        ("base.map(str)", "map"),
        ('base.sink("lost", Stdout())', "sink"),
        ("odd, even = base.branch(bool)", "branch"),
    ],
)
def test_a_forgotten_stream_is_refused(here: Path, line: str, label: str) -> None:
    """Made beside the topology and handed nowhere; only what has no name at all is not seen."""
    put(
        here,
        "forgetful_app.py",
        "from zstream import Memory, Stdout, Topology, source\n"
        'base = source("b", Memory([1]))\n'
        f"{line}\n"
        'topology = Topology("app", base.sink("out", Stdout()))\n',
    )
    if not label:
        assert load("forgetful_app").name == "app"
        return
    assert said("forgetful_app") == (
        f"the stream made at forgetful_app.py:3 ({label}) reaches no sink of topology app. "
        "Add .sink(...) or hand its end to Topology(...)."
    )


def test_main_and_load_share_the_last_checks() -> None:
    """`made` is what main uses for its own topology."""
    assert made(topology) is topology
    assert made(lambda args: topology, ["x"]) is topology
    wrong: Any = 5
    with pytest.raises(TopologyError, match="topology is no Topology but int"):
        made(wrong)
