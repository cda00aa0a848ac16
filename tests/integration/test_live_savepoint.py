"""Savepoints of a cluster under load, and clusters that begin from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.integration.live import Live
from tests.integration.live_files import Counted


def saved_to(live: Live, place: Path) -> dict[str, Any]:
    """What cluster_savepoint says of the savepoint that it took."""
    words = ("--external", live.external, "--to", str(place), "--json")
    code, out, err = live.run("cluster_savepoint", *words)
    assert code == 0, out + err
    return dict(json.loads(out))


def epoch_of(file: Path) -> int:
    return int(file.name.partition("-")[0])


def test_a_cluster_goes_on_and_another_one_begins(tmp_path: Path) -> None:
    """A savepoint of three workers while records flow; they go on and are killed. Two begin from
    it, with another directory for their output. What the first three had committed up to the
    savepoint's epoch, and what the two write after it, is every count once."""
    save, others = tmp_path / "save", tmp_path / "others"
    with Counted(tmp_path) as counted:
        with Live(tmp_path, "", **counted.how) as live:
            live.start(3)
            counted.goes_on(1_000)
            saved = saved_to(live, save)
            counted.goes_on(1_000)
            live.kill("w0", "w1", "w2")
        before = [file for file in counted.out.glob("[0-9]*") if epoch_of(file) <= saved["epoch"]]
        how = {**counted.how, "arguments": [str(counted.lines), str(others)]}
        with Live(tmp_path, "", **how) as live:
            live.start(2, "--from", str(save))
            live.workers["w0"].says(f"begins from a savepoint of epoch {saved['epoch']}; state of")
            counted.look_in(others)
            counted.goes_on(1_000)
            live.kill("w1")
            counted.goes_on(1_000)
            counted.stop()
            live.shut_down()
        assert before and all(epoch_of(file) > saved["epoch"] for file in others.glob("[0-9]*"))
        for file in before:
            shutil.copy(file, others)
        counted.look_in(others)
        counted.check()


BEFORE = """
from dataclasses import dataclass
from zstream import FileSink, FileSource, Topology, record, source

@record
@dataclass
class Tally:
    total: int = 0

def tally(state, line):
    key, number = line
    state.total += 1
    return state, f"{key} {number} {state.total}\\n"

def decode(line):
    key, number = line.split()
    return key, int(number)

def topology(arguments):
    path, out = arguments
    lines = source("lines", FileSource(path, decode=decode, follow=True))
    keyed = lines.key_by(lambda line: line[0])
    counts = keyed.stateful_map(tally, Tally, name="tally").sink("counts", FileSink(out, str))
    gone = keyed.count(name="gone").map(lambda n: f"{n}\\n").sink("gone", FileSink(out + "-g", str))
    return Topology("counted", counts, gone)
"""

AFTER = """
from dataclasses import dataclass, field
from zstream import FileSink, FileSource, Topology, record, source

@record
@dataclass
class Tally:
    total: int = 0
    seen: list[int] = field(default_factory=list)

def tally(state, line):
    key, number = line
    state.total += 1
    state.seen = [*state.seen[-2:], number]
    return state, (key, number, state.total)

def text(counted):
    (key, number, total), times = counted
    return f"{key} {number} {total}\\n"

def decode(line):
    key, number = line.split()
    return key, int(number)

def first(total, line):
    return total + 1, (line, total + 1)

def topology(arguments):
    path, out = arguments
    lines = source("lines", FileSource(path, decode=decode, follow=True))
    spread = lines.key_by(lambda line: line[0][-1]).stateful_map(lambda n, line: (n + 1, line), int,
                                                                 name="tens")
    keyed = spread.values().key_by(lambda line: line[0])
    counted = keyed.stateful_map(tally, Tally, name="votes", was="tally").values()
    again = counted.key_by(lambda counted: counted[0]).stateful_map(first, int, name="fresh")
    return Topology("counted", again.values().sink("counts", FileSink(out, text)))
"""


def test_another_version_of_the_topology_goes_on(tmp_path: Path) -> None:
    """tally is called votes, and its state has a field more; gone is left behind; two operators
    are new, one of them before it, so records reach it by another exchange. Every count once."""
    save, others = tmp_path / "save", tmp_path / "others"
    before, after = tmp_path / "before.py", tmp_path / "after.py"
    before.write_text(BEFORE)
    after.write_text(AFTER)
    with Counted(tmp_path, per_second=5_000) as counted:
        with Live(tmp_path, "", **{**counted.how, "application": before}) as live:
            live.start(3)
            counted.goes_on(2_000)
            saved = saved_to(live, save)
            again = ("--external", live.external, "--to", str(save))
            code, _, err = live.run("cluster_savepoint", *again)
            assert (code, err) == (
                1,
                f"There is no savepoint: file://{save} holds a savepoint already, of counted at "
                f"epoch {saved['epoch']}. Choose another place.\n",
            )
            live.kill("w0", "w1", "w2")
        shown = [file for file in counted.out.glob("[0-9]*") if epoch_of(file) <= saved["epoch"]]
        how = {**counted.how, "application": after, "arguments": [str(counted.lines), str(others)]}
        with Live(tmp_path, "", **how) as live:
            refused = live.initializer(1, "--from", str(save))
            assert refused.ends() == 1
            assert refused.last_line == (
                "zworker: the savepoint has state of gone and no operator of that name; "
                f"tens ({after.name}:31), fresh ({after.name}:35) are new. If it was renamed: "
                'was="gone". To leave it: --leave-state gone.'
            )
            live.start(2, "--from", str(save), "--leave-state", "gone")
            first = next(w for w in live.workers.values() if not w.is_over)
            first.says(
                "state of votes found; tens (after.py:31), fresh (after.py:35) begins empty; "
                "state of gone left behind"
            )
            counted.look_in(others)
            counted.goes_on(2_000)
            counted.stop()
            live.shut_down()
        for file in shown:
            shutil.copy(file, others)
        counted.look_in(others)
        counted.check()


def test_a_savepoint_survives_its_leader(tmp_path: Path) -> None:
    """The leader dies while it is asked for savepoints; whoever leads then has taken it, and a
    cluster of one begins from it."""
    save = tmp_path / "save"
    with Counted(tmp_path) as counted:
        with Live(tmp_path, "", **counted.how, checkpoint_interval_ms=60_000) as live:
            live.start(3)
            counted.goes_on(0)
            member = live.workers["w1"]
            address = next(w.external for w in live.status().workers if w.name == "w1")
            live.kill("w0")
            tool = live.tool("cluster_savepoint", "--external", address, "--to", str(save))
            assert tool.ends() == 0, tool.log
            assert "Savepoint of epoch " in tool.out
            member.kill()
            live.kill("w2")
        assert json.loads(live.run("cluster_savepoint", "show", str(save), "--json")[1])["parts"]
