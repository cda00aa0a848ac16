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
