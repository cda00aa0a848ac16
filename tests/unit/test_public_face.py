"""The public face against the list of its first stage, its types, and the time it takes."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import zstream

ROOT = Path(zstream.__file__).resolve().parent.parent

STAGE_ONE = """
    source Stream KeyedStream End Topology Problem Results DeadLetter main load record
    Source Sink TcpSource TcpSink FileSource CsvSource FileSink Stdout Memory Generate
    ZmqSource ZmqSink PostgresSink
    Framing Lines ByteLines LengthPrefix FixedSize from_json to_json json_line
    Aggregate total mean smallest largest both PerWorker ErrorPolicy Retry
    milliseconds seconds minutes hours days
"""
OPERATORS = """
    map filter flat_map map_batches key_by merge branch peek pipe rebalance sink
"""
KEYED_OPERATORS = """
    items map_items values stateful_map stateful_flat_map reduce aggregate count
"""

MISTAKES = """\
from zstream import Memory, Retry, Stdout, TcpSink, TcpSource, Topology, source
from zstream import FixedSize, PerWorker, CsvSource, mean
words = source("w", Memory(["a"]))
keyed = words.key_by(len)
def f(total: int, word: bytes) -> tuple[int, str]: return total, ""
words.count()  # not keyed
words.key_by(str.lower).stateful_map(lambda s, w: s, int)  # forgot the output
words.map(len).sink("x", TcpSink(str.encode))  # int into str sink
words.key_by(lambda w: [w])  # unhashable key
words.sink("x", Stdout()).map(len)  # after a sink
keyed.stateful_map(f, int)  # bytes step on str stream
keyed.values().items()  # the key is gone
words.flat_map(len)  # an int is no sequence
words.map(str.upper, on_error="ignore")  # no such policy
words.map(str.upper, needs=[len])  # not a PerWorker
Topology("t", words)  # not an end
source("s", TcpSource(FixedSize(4), str.upper))  # str function on bytes
source("s", Stdout())  # a sink for a source
keyed.map(len).reduce(lambda a, b: str(a))  # not the stream's type
Retry(3, "skip")  # then= must be named
keyed.aggregate(mean(lambda n: n + 1)).sink("x", TcpSink(str.encode))  # float into str sink
"""
FIRST_MISTAKE = 6

RIGHT = """\
from typing import Any, TypeGuard
from zstream import KeyedStream, Memory, PerWorker, Retry, Stdout, Stream, Topology, source
from zstream import FileSource, Lines, TcpSink, both, from_json, largest, mean

def is_short(word: str | int) -> TypeGuard[str]: return isinstance(word, str)
def last(stream: KeyedStream[str, str], n: int, *, name: str) -> KeyedStream[str, list[str]]:
    def step(s: list[str], c: str) -> tuple[list[str], list[str]]:
        s = [*s, c][-n:]
        return s, s
    return stream.stateful_map(step, list[str], name=name)
words = source("w", Memory(["a"]))
numbers = source("n", FileSource("x", Lines(), int))
keyed = words.key_by(str.lower)
lengths: KeyedStream[str, int] = keyed.map(len)
both_kinds: Stream[str | int] = words.merge(numbers)
still: KeyedStream[str, str | int] = keyed.merge(lengths)
shorts, rest = both_kinds.branch(is_short)
only: Stream[str] = shorts
piped: KeyedStream[str, list[str]] = keyed.pipe(last, 3, name="last")
pairs: KeyedStream[str, tuple[str, int]] = lengths.items()
texts: KeyedStream[str, str] = keyed.count().map_items("{} => {}".format)
means: KeyedStream[str, tuple[float, int]] = keyed.aggregate(
    both(mean(lambda w: float(len(w))), largest(lambda w: len(w)))
)
model = PerWorker(dict[str, int])
scored: Stream[int] = words.map(lambda w: model()[w], needs=[model], on_error=Retry(then="skip"))
end = texts.sink("t", TcpSink(str.encode))
topology = Topology("t", end, scored.sink("s", Stdout()))
found: list[str] = topology.run().of(end)
"""


def test_the_public_names_are_those_of_the_page() -> None:
    """`__all__` is the list, nothing more and nothing less, and each name is there."""
    assert sorted(zstream.__all__) == sorted(STAGE_ONE.split())
    assert all(hasattr(zstream, name) for name in zstream.__all__)


def test_streams_have_the_methods_of_the_page() -> None:
    """No method of a later stage is there before it works."""

    def methods(cls: type) -> set[str]:
        return {name for name in vars(cls) if not name.startswith("_")} - {"node"}

    assert methods(zstream.Stream) == set(OPERATORS.split())
    assert methods(zstream.KeyedStream) == set(KEYED_OPERATORS.split())


@pytest.mark.parametrize("name", sorted(set(STAGE_ONE.split()) - {"ErrorPolicy"}))
def test_every_public_thing_says_what_it_is(name: str) -> None:
    """A docstring of its own, on each."""
    thing = getattr(zstream, name)
    assert inspect.getdoc(thing) and thing.__doc__ != object.__doc__


def test_mypy_refuses_each_mistake_and_accepts_what_is_right(tmp_path: Path) -> None:
    """One run of mypy over two files: an error on every line of mistakes, none on the other."""
    bad, good = tmp_path / "mistakes.py", tmp_path / "right.py"
    bad.write_text(MISTAKES)
    good.write_text(RIGHT)
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(bad), str(good)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert [line for line in run.stdout.splitlines() if "right.py" in line] == []
    wrong = {int(line) for line in re.findall(r"mistakes\.py:(\d+): error", run.stdout)}
    lines = MISTAKES.splitlines()
    missed = [lines[at - 1] for at in range(FIRST_MISTAKE, len(lines) + 1) if at not in wrong]
    assert missed == [], run.stdout + run.stderr
    assert min(wrong) >= FIRST_MISTAKE, run.stdout


def test_importing_zstream_brings_in_nothing_heavy() -> None:
    """No socket, no command line and no engine before something runs."""
    code = "import sys, zstream; print(*sorted(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    loaded = set(run.stdout.split())
    heavy = {"zmq", "docopt", "asyncio", "zstream.cli", "zstream.runtime", "zstream.dataflow"}
    assert loaded & (heavy | {"zstream.connectors", "zstream.control"}) == set()
