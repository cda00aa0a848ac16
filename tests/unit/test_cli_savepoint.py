"""cluster_savepoint over a scripted worker, and over a savepoint in a directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.savepoint_kit import a_savepoint_in
from tests.unit.scripted_worker import Request, ScriptedWorker, answered, status_data, worker_data
from zstream.cli import cluster_savepoint
from zstream.wire.messages import Answer, SavepointRequest

Captured = pytest.CaptureFixture[str]

WRITTEN = {"to": "file:///save", "epoch": 812, "parts": 3, "bytes": 4096, "seconds": 0.5}
SAYS = "Savepoint of epoch 812 in file:///save: 3 parts, 4,096 bytes, 0.5 s."
RUNS = answered("running", "Saving the next checkpoint to file:///save.")
DONE = answered("done", SAYS, data=WRITTEN)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No zstream.env; requests are repeated quickly."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZSTREAM_REQUEST_REPEAT_MS", "10")


def saving(*states: Answer) -> ScriptedWorker:
    """Answers a savepoint with these states in turn."""

    def script(request: Request, nth: int) -> Answer:
        if isinstance(request, SavepointRequest):
            return states[min(nth, len(states)) - 1]
        return answered("done", data=status_data())

    return ScriptedWorker(script)


def asked(worker: ScriptedWorker, *argv: str) -> int:
    return cluster_savepoint.main(["--external", worker.address, "--to", "/save", *argv])


def test_it_is_asked_for_again_until_it_is_there(capsys: Captured) -> None:
    """With one id, one time, and the URL of the directory; each sentence is said once."""
    with saving(RUNS, RUNS, DONE) as worker:
        assert asked(worker) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (f"Saving the next checkpoint to file:///save.\n{SAYS}\n", "")
    heard = [request for request in worker.heard if isinstance(request, SavepointRequest)]
    assert len(heard) >= 3 and len(set(heard)) == 1
    assert heard[0].to == "file:///save" and heard[0].asked_at > 1_700_000_000


def test_json_is_one_object(capsys: Captured) -> None:
    with saving(RUNS, DONE) as worker:
        assert asked(worker, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {**WRITTEN, "outcome": "done", "says": SAYS}


def test_no_wait_returns_when_it_is_accepted(capsys: Captured) -> None:
    with saving(RUNS) as worker:
        assert asked(worker, "--no-wait", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"to": "file:///save", "outcome": "running"}


def test_one_that_failed_and_one_that_was_refused(capsys: Captured) -> None:
    """A sentence on standard error, or an object, and 1."""
    failed = answered("failed", "There is no savepoint: no room.", code="failed")
    with saving(RUNS, failed) as worker:
        assert asked(worker) == 1
    assert capsys.readouterr().err == "There is no savepoint: no room.\n"
    refused = answered("refused", "The cluster is shutting down.", code="shutting_down")
    with saving(refused) as worker:
        assert asked(worker, "--json") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "shutting_down"


def test_it_takes_longer_than_the_person_waits(capsys: Captured) -> None:
    with saving(RUNS) as worker:
        assert asked(worker, "--timeout", "0.1") == 3
    assert "not ended after 0.1 s; it goes on" in capsys.readouterr().err


def test_when_the_worker_asked_dies_another_one_is_asked_for_the_same(capsys: Captured) -> None:
    with saving(DONE) as other:
        members = [worker_data("w0", external=other.address)]

        def script(request: Request, nth: int) -> Answer:
            if isinstance(request, SavepointRequest):
                return RUNS
            return answered("done", data=status_data(workers=members))

        with ScriptedWorker(script, ends_after=3) as dies:
            assert asked(dies) == 0
    assert capsys.readouterr().out.endswith(f"{SAYS}\n")
    asked_of = [
        {request.request for request in worker.heard if isinstance(request, SavepointRequest)}
        for worker in (dies, other)
    ]
    assert asked_of[0] == asked_of[1] and len(asked_of[0]) == 1


def test_show(capsys: Captured, tmp_path: Path) -> None:
    """What it is of, for people; with --json also the outline, as one object."""
    a_savepoint_in(tmp_path / "save")
    size = sum(path.stat().st_size for path in (tmp_path / "save" / "parts").rglob("*.part"))
    assert cluster_savepoint.main(["show", "save"]) == 0
    assert capsys.readouterr().out == (
        "savepoint of votes 9f2c01e7, epoch 7, asked for 2023-11-14T22:13:20+00:00\n"
        "state of tally in 4 key groups\n"
        f"3 parts, {size:,} bytes, of 2 workers with zstream 1.0\n"
    )
    before = sorted((tmp_path / "save").rglob("*"))
    assert cluster_savepoint.main(["show", str(tmp_path / "save"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "topology": "votes",
        "fingerprint": "9f2c01e7",
        "version": "1.0",
        "cluster": "votes-1",
        "asked_at": "2023-11-14T22:13:20+00:00",
        "epoch": 7,
        "operators": ["tally"],
        "key_groups": 4,
        "workers": 2,
        "parts": 3,
        "bytes": size,
        "outline": [["operator tally", "a stateful_map", "votes.py:16"]],
    }
    assert sorted((tmp_path / "save").rglob("*")) == before, "nothing is written by who looks"


def test_show_where_there_is_none(capsys: Captured, tmp_path: Path) -> None:
    url = tmp_path.as_uri()
    assert cluster_savepoint.main(["show", url]) == 1
    assert capsys.readouterr().err == f"cluster_savepoint: there is no savepoint at {url}.\n"
