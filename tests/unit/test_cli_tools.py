"""The tools over a scripted worker: outputs as people know them, and every exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.scripted_worker import (
    W0_STAYS,
    Request,
    ScriptedWorker,
    answered,
    rescale_data,
    status_data,
    worker_data,
)
from zstream.cli import cluster_shrinker, cluster_shutdown, cluster_status
from zstream.cli.status_text import status_text
from zstream.client.status import status_from
from zstream.wire.messages import Answer, ShrinkRequest, StatusRequest

Captured = pytest.CaptureFixture[str]

SAMPLE = """\
alphabet: processing, 3 workers, leader w0 (term 1), generation 4, epoch 812
rescale: none; last shrink-3 done in 0.24 s, slowest key group 12 ms
WORKER  KEY GROUPS   KEYS   STATE    IN/S  OUT/S  BUSY  MAY LEAVE
w0             342  3,341  0.3 MB  20,004  6,702   44%  no: source alphabet is placed on it
w1             341  3,318  0.3 MB       0  6,641   31%  yes
w4             341  3,341  0.3 MB       0  6,661   31%  yes
dead letters 0, late 0, oldest record under way 2 ms
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No zstream.env; requests are repeated quickly."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZSTREAM_REQUEST_REPEAT_MS", "10")


def asked(worker: ScriptedWorker, *argv: str) -> int:
    return cluster_shrinker.main(["--external", worker.address, *argv])


def shrinking(*states: Answer) -> ScriptedWorker:
    """Answers questions with face.md's samples, and a shrink with these states in turn."""

    def script(request: Request, nth: int) -> Answer:
        if isinstance(request, StatusRequest):
            return look(request)
        return states[min(nth, len(states)) - 1]

    return ScriptedWorker(script)


def look(request: StatusRequest) -> Answer:
    data: dict[str, object] = {
        "status": status_data(),
        "eligible": {"node_count": 2, "node_names": ["w1", "w4"], "staying": {"w0": W0_STAYS}},
        "rescales": {"rescales": [rescale_data()]},
        "dead_letters": {
            "dead_letters": [
                {
                    "operator": "tally",
                    "where": "alphabet.py:16",
                    "key": "'q'",
                    "record": "Vote(letter='q', votes=-1)",
                    "error": "ValueError: bad vote",
                    "traceback": "",
                    "at": "alphabet.py:17",
                }
            ]
        },
    }
    return answered("done", data=data[request.what])


# ---------------------------------------------------------------- cluster_shrinker


def test_query(capsys: Captured) -> None:
    """Who may leave in Wallaroo's words, then why the others stay."""
    with shrinking() as worker:
        assert asked(worker, "--query") == 0
    assert capsys.readouterr().out == (
        "Eligible for shrink: Node count: 2, Nodes: |w1,w4|\n"
        "w0 stays: source alphabet is placed on it\n"
    )


def test_query_json(capsys: Captured) -> None:
    """The same as one object."""
    with shrinking() as worker:
        assert asked(worker, "--query", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "node_count": 2,
        "node_names": ["w1", "w4"],
        "staying": {"w0": W0_STAYS},
    }


WAITS = answered("waiting", "grow-6 is under way (2 of 4 waves); shrink-7 waits its turn.")
RUNS = answered("running", "Shrinking by 2 workers!")
DONE = answered("done", rescale_data()["says"], data=rescale_data())


def test_count_waits_its_turn_and_for_the_end(capsys: Captured) -> None:
    """One line for its turn, one for its start, one for its end, on standard output."""
    with shrinking(WAITS, WAITS, RUNS, RUNS, DONE) as worker:
        assert asked(worker, "--count", "2") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out == (
        "grow-6 is under way (2 of 4 waves); shrink-7 waits its turn.\n"
        "Cluster shrink response: Shrinking by 2 workers!\n"
        "shrink-3: w2, w3 left: 512 key groups moved in 0.24 s, slowest waited 12 ms; 2 workers\n"
    )
    causes = {r.cause for r in worker.heard if isinstance(r, ShrinkRequest)}
    assert causes == {"cluster_shrinker --count 2"}


def test_a_shrink_that_is_over_at_once_is_told_the_same_way(capsys: Captured) -> None:
    """The tool may never see it run; scripts that look for the response find it."""
    with shrinking(DONE) as worker:
        assert asked(worker, "--workers", "w2,w3") == 0
    assert capsys.readouterr().out.startswith("Cluster shrink response: Shrinking by 2 workers!\n")
    names = {r.workers for r in worker.heard if isinstance(r, ShrinkRequest)}
    assert names == {("w2", "w3")}


def test_more_asked_than_may_leave(capsys: Captured) -> None:
    """The response says so, whether the cluster told it while it ran or it was over by then."""
    says = "Shrinking by 2 workers!   (9 asked; only w2, w3 may leave)"
    for states in ([answered("running", says), DONE], [DONE]):
        with shrinking(*states) as worker:
            assert asked(worker, "--count", "9") == 0
        assert capsys.readouterr().out.startswith(f"Cluster shrink response: {says}\n")


def test_no_wait_returns_with_the_response(capsys: Captured) -> None:
    """Accepted is enough."""
    with shrinking(RUNS) as worker:
        assert asked(worker, "--count", "2", "--no-wait") == 0
    assert capsys.readouterr().out == "Cluster shrink response: Shrinking by 2 workers!\n"


def test_count_json(capsys: Captured) -> None:
    """One object, with the keys of the sample and no others."""
    with shrinking(WAITS, RUNS, DONE) as worker:
        assert asked(worker, "--count", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "id": "shrink-3",
        "cause": "cluster_shrinker --count 2",
        "outcome": "done",
        "left": ["w2", "w3"],
        "key_groups_moved": 512,
        "seconds": 0.24,
        "slowest_key_group_ms": 11.8,
        "records_held": 204,
    }


def test_no_wait_json(capsys: Captured) -> None:
    """Accepted, as an object."""
    with shrinking(RUNS) as worker:
        assert asked(worker, "--count", "2", "--no-wait", "--json") == 0
    accepted = {"outcome": "running", "says": "Shrinking by 2 workers!"}
    assert json.loads(capsys.readouterr().out) == accepted


INVALID = (
    "Invalid shrink targets! There is no worker w9; the workers are w0, w1, w4. "
    "Nothing was changed."
)


def test_a_refusal_is_the_clusters_sentence_on_standard_error(capsys: Captured) -> None:
    """Exit 1; Wallaroo exited 0 here."""
    with shrinking(answered("refused", INVALID, code="unknown_worker")) as worker:
        assert asked(worker, "--workers", "w1,w9") == 1
    assert capsys.readouterr() == ("", f"{INVALID}\n")


def test_a_refusal_as_json(capsys: Captured) -> None:
    """One object on standard output, the same exit code."""
    refused = answered("refused", INVALID, code="unknown_worker", do="Look at --query.")
    with shrinking(refused) as worker:
        assert asked(worker, "--workers", "w1,w9", "--json") == 1
    out, err = capsys.readouterr()
    error = {"code": "unknown_worker", "says": INVALID, "do": "Look at --query."}
    assert (json.loads(out), err) == ({"error": error}, "")


def test_an_undone_shrink(capsys: Captured) -> None:
    """It was accepted and could not be done: what happened, exit 1."""
    says = (
        "shrink-7 was undone: w1 died in SHIP. The cluster has 2 workers, generation 9; "
        "nothing was lost."
    )
    undone = answered("undone", says, data=rescale_data(outcome="undone", says=says))
    with shrinking(RUNS, undone) as worker:
        assert asked(worker, "--count", "1") == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("Cluster shrink response: Shrinking by 2 workers!\n", f"{says}\n")


def test_a_timeout_is_3_and_says_that_it_goes_on(capsys: Captured) -> None:
    """The tool stops waiting, the rescale does not."""
    with shrinking(RUNS) as worker:
        assert asked(worker, "--count", "2", "--timeout", "0.2") == 3
    assert capsys.readouterr().err == "cluster_shrinker: not ended after 0.2 s; it goes on.\n"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--count", "0"], "--count must be at least 1, it is 0."),
        (["--count", "two"], "--count must be a whole number, it is 'two'."),
        (["--workers", ","], "--workers wants names, w2,w3."),
        (["--query", "--timeout", "0"], "--timeout must be above 0 seconds, it is 0."),
        (["--query", "--timeout", "soon"], "--timeout must be a number of seconds, it is 'soon'."),
    ],
)
def test_values_that_cannot_be(argv: list[str], says: str, capsys: Captured) -> None:
    """Exit 2 before anybody is asked."""
    assert cluster_shrinker.main(["--external", "127.0.0.1:1", *argv]) == 2
    assert capsys.readouterr().err == f"cluster_shrinker: {says}\n"


def test_an_address_that_is_none(capsys: Captured) -> None:
    """host:port, with a port that somebody can listen on."""
    assert cluster_shrinker.main(["--external", "w0", "--query"]) == 2
    assert cluster_shrinker.main(["--external", "127.0.0.1:0", "--query"]) == 2
    assert capsys.readouterr().err == (
        "cluster_shrinker: --external must be host:port, it is 'w0'.\n"
        "cluster_shrinker: --external must name a port above 0, it is '127.0.0.1:0'.\n"
    )


# ---------------------------------------------------------------- cluster_status


def test_status(capsys: Captured) -> None:
    """The sample of the face, with columns as wide as their cells."""
    with shrinking() as worker:
        assert cluster_status.main(["--external", worker.address]) == 0
    assert capsys.readouterr().out == SAMPLE


def test_status_json(capsys: Captured) -> None:
    """All the leader told."""
    with shrinking() as worker:
        assert cluster_status.main(["--external", worker.address, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == status_data()


def text_of(**changes: object) -> list[str]:
    return status_text(status_from(status_data(**changes))).splitlines()


def test_status_while_a_rescale_is_under_way() -> None:
    """How far it is stands in the place of the last one."""
    says = "grow-6 is under way (2 of 4 waves)"
    lines = text_of(rescale={"id": "grow-6", "wave": 2, "waves": 4, "says": says})
    assert lines[1] == f"rescale: {says}"


def test_status_of_what_is_not_known_yet() -> None:
    """A dash for figures, no rescale, one worker, and whom it waits for."""
    waits = "sink totals: nobody listens at 127.0.0.1:7002"
    unknown = worker_data("w0", waits_for=[waits])
    for figure in ("keys", "state_bytes", "records_in_per_second", "records_out_per_second"):
        del unknown[figure]
    lines = text_of(
        worker_count=1,
        workers=[unknown],
        last_rescale=None,
        oldest_ms=None,
        processing_messages=False,
    )
    assert lines == [
        "alphabet: not processing, 1 worker, leader w0 (term 1), generation 4, epoch 812",
        "rescale: none",
        "WORKER  KEY GROUPS  KEYS  STATE  IN/S  OUT/S  BUSY  MAY LEAVE",
        "w0             341     -      -     -      -   31%  yes",
        "dead letters 0, late 0",
        f"w0 waits: {waits}",
    ]


def test_status_of_a_cluster_that_is_not_up() -> None:
    """No generation, no workers: said in a line, with what it waits for where that is known."""
    assert text_of(workers=[], worker_count=0) == ["alphabet: not up yet"]
    waits = "waiting for 1 more worker: zworker ... --control 127.0.0.1:12500 --name NAME"
    assert text_of(workers=[], worker_count=0, waits_for=[waits]) == [
        f"alphabet: not up yet, {waits}"
    ]


def test_rescales_and_dead_letters(capsys: Captured) -> None:
    """The histories in the place of the status, as text and as one object."""
    with shrinking() as worker:
        argv = ["--external", worker.address, "--rescales", "--dead-letters"]
        assert cluster_status.main(argv) == 0
        text = capsys.readouterr().out
        assert cluster_status.main([*argv, "--json"]) == 0
    assert text == (
        "shrink-3 done in 0.24 s: cluster_shrinker --count 2\n"
        "  shrink-3: w2, w3 left: 512 key groups moved in 0.24 s, slowest waited 12 ms; 2 workers\n"
        "  512 key groups moved, slowest waited 11.8 ms, 204 records held\n"
        "      0.000 s  opened\n"
        "      0.020 s  wave 1 of 1\n"
        "tally (alphabet.py:16) raised ValueError: bad vote, key 'q', "
        "record Vote(letter='q', votes=-1), at alphabet.py:17\n"
    )
    shown = json.loads(capsys.readouterr().out)
    assert shown["rescales"] == [rescale_data()]
    assert shown["dead_letters"][0]["operator"] == "tally"


def test_watch_redraws_until_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """The screen is cleared before each status; Ctrl-C ends it with 0."""
    left = [None, None]

    def second(_: float) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()

    monkeypatch.setattr("zstream.cli.cluster_status.time.sleep", second)
    with shrinking() as worker:
        assert cluster_status.main(["--external", worker.address, "--watch"]) == 0
    assert capsys.readouterr().out == 3 * (cluster_status.CLEAR + SAMPLE)


# ---------------------------------------------------------------- cluster_shutdown


def test_shutdown_waits_for_the_end(capsys: Captured) -> None:
    """What the cluster says when it begins, and at its end."""
    end = answered("done", "All is drained; the cluster has stopped.")
    with shrinking(answered("running", "Draining."), end) as worker:
        assert cluster_shutdown.main([worker.address]) == 0
    assert capsys.readouterr().out == (
        "Cluster shutdown response: Draining.\nAll is drained; the cluster has stopped.\n"
    )


def test_shutdown_json_without_waiting(capsys: Captured) -> None:
    """Accepted is enough."""
    with shrinking(answered("running", "Draining.")) as worker:
        assert cluster_shutdown.main([worker.address, "--no-wait", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"outcome": "accepted", "says": "Draining."}


def test_shutdown_that_failed_is_1(capsys: Captured) -> None:
    """What was not drained is said."""
    failed = answered("failed", "Stopped after 30 s without being drained.", code="not_drained")
    with shrinking(failed) as worker:
        assert cluster_shutdown.main([worker.address]) == 1
    assert capsys.readouterr().err == "Stopped after 30 s without being drained.\n"


def test_nobody_there_is_1(capsys: Captured) -> None:
    """As a sentence and as an object."""
    argv = ["127.0.0.1:1", "--timeout", "0.2"]
    assert cluster_shutdown.main(argv) == 1
    assert cluster_shutdown.main([*argv, "--json"]) == 1
    out, err = capsys.readouterr()
    says = (
        "nobody answered at 127.0.0.1:1 for 0.2 s: connection refused. "
        "Give the address that a running worker prints as `external HOST:PORT`."
    )
    assert err == f"cluster_shutdown: {says}\n"
    assert json.loads(out) == {"error": {"code": "unreachable", "says": says, "do": ""}}
