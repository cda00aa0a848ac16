"""Cluster asks a worker's external address: repeats, final states, and who is not a worker."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

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
from zstream.client import Cluster, Status
from zstream.config import Config
from zstream.errors import ClusterTimeout, ClusterUnreachable, Refused, UsageError
from zstream.model.ids import RequestId
from zstream.wire.messages import Answer, ShrinkRequest, ShutdownRequest, StatusRequest

FAST = Config(request_repeat_ms=10)
# For workers that end: what lies unread at their end would take their last answer with it.
ONCE = Config(request_repeat_ms=60_000)


def cluster(address: str, seconds: float = 10.0, config: Config = FAST) -> Cluster:
    return Cluster(address, timedelta(seconds=seconds), cause="a test", config=config)


def give_status(request: Request, nth: int) -> Answer | None:
    return answered("done", data=status_data())


def test_status_has_what_the_leader_said() -> None:
    """Every key of the leader's mapping arrives under its own name, and goes back to JSON."""
    with ScriptedWorker(give_status) as worker:
        status = cluster(worker.address).status()
    assert status.json() == status_data()
    assert status.workers[0].stays_because == W0_STAYS


def test_a_cluster_that_is_not_up_yet_leaves_out_what_it_does_not_know() -> None:
    """Absent figures are None, absent names empty; a key of a newer cluster is passed over."""
    said = {"processing_messages": False, "workers": [{"name": "w0"}], "of_the_future": 1}
    with ScriptedWorker(lambda request, nth: answered("done", data=said)) as worker:
        status = cluster(worker.address).status()
    assert not status.processing_messages
    assert status.worker_names == []
    assert status.workers[0].records_in_per_second is None
    assert set(status.json()) == set(Status._fields)


def test_the_same_request_is_repeated_until_its_state_is_final() -> None:
    """A worker that loses the first two gets the third, under the same id."""
    lossy = ScriptedWorker(lambda request, nth: give_status(request, nth) if nth == 3 else None)
    with lossy as worker:
        cluster(worker.address).status()
    assert len({request.request for request in worker.heard}) == 1
    assert len(worker.heard) >= 3


def test_answers_to_other_requests_are_passed_over() -> None:
    """A late answer to an older request has another id and ends nothing."""

    def late_first(request: Request, nth: int) -> Answer:
        if nth == 1:
            stale = status_data(topology="stale")
            return Answer(RequestId("older"), "done", "", "", "", answered("", data=stale).data)
        return answered("done", data=status_data())

    with ScriptedWorker(late_first) as worker:
        assert cluster(worker.address).status().topology == "alphabet"


def shrinking(*states: Answer) -> ScriptedWorker:
    """Answers status requests, and a shrink with these states in turn, the last one for ever."""

    def script(request: Request, nth: int) -> Answer:
        if isinstance(request, StatusRequest):
            return answered("done", data=status_data())
        return states[min(nth, len(states)) - 1]

    return ScriptedWorker(script)


def test_shrink_waits_for_the_end_and_tells_each_state_once() -> None:
    """Its turn, its start and its end; repeated answers of one state are told once."""
    told: list[tuple[str, str]] = []
    with shrinking(
        answered("waiting", "grow-6 is under way; shrink-7 waits its turn."),
        answered("waiting", "grow-6 is under way (2 of 4 waves); shrink-7 waits its turn."),
        answered("running", "Shrinking by 2 workers!"),
        answered("running", "Shrinking by 2 workers!"),
        answered("done", data=rescale_data()),
    ) as worker:
        rescale = cluster(worker.address).shrink(count=2, told=lambda *args: told.append(args))
    assert told == [
        ("waiting", "grow-6 is under way; shrink-7 waits its turn."),
        ("running", "Shrinking by 2 workers!"),
    ]
    assert (rescale.id, rescale.outcome, rescale.left) == ("shrink-3", "done", ["w2", "w3"])
    asked = [request for request in worker.heard if isinstance(request, ShrinkRequest)]
    assert {(request.count, request.workers, request.cause) for request in asked} == {
        (2, (), "a test")
    }


def test_shrink_without_waiting_returns_when_it_is_accepted() -> None:
    """wait=False: the first answer is enough, unless it is a refusal."""
    with shrinking(answered("running", "Shrinking by 1 workers!")) as worker:
        rescale = cluster(worker.address).shrink(workers=["w4"], wait=False)
    assert (rescale.outcome, rescale.says) == ("running", "Shrinking by 1 workers!")


def test_a_refusal_raises_with_code_and_what_to_do() -> None:
    """Refused carries the stable code, the sentence, and the advice."""
    refusal = answered("refused", "Not up yet.", code="not_up", do="Ask again.")
    with shrinking(refusal) as worker, pytest.raises(Refused) as caught:
        cluster(worker.address).shrink(count=1, wait=False)
    assert (caught.value.code, caught.value.says, caught.value.do) == (
        "not_up",
        "Not up yet.",
        "Ask again.",
    )


def test_an_undone_shrink_is_an_outcome_not_an_error() -> None:
    """The rescale was accepted, so its end comes back as a value that says how."""
    says = "shrink-7 was undone: w1 died in SHIP."
    undone = answered("undone", says, data=rescale_data(outcome="undone", says=says))
    with shrinking(undone) as worker:
        rescale = cluster(worker.address).shrink(count=1)
    assert (rescale.outcome, rescale.says) == ("undone", says)


def test_when_the_worker_asked_is_the_one_that_leaves_another_tells_the_end() -> None:
    """Its going away ends the wait there; the same request goes to a worker that stays."""
    with ScriptedWorker(lambda r, n: answered("done", data=rescale_data())) as stays:
        members = [
            worker_data("w1", external="127.0.0.1:1"),
            worker_data("w0", external=stays.address, eligible=False),
        ]

        def leaving(request: Request, nth: int) -> Answer:
            if isinstance(request, StatusRequest):
                return answered("done", data=status_data(workers=members))
            return answered("running", "Shrinking by 1 workers!")

        with ScriptedWorker(leaving, ends_after=2) as leaves:
            rescale = cluster(leaves.address, config=ONCE).shrink(workers=["w1"])
    assert rescale.outcome == "done"
    assert {request.request for request in stays.heard} == {leaves.heard[-1].request}


def test_a_cluster_that_ends_while_it_shuts_down_has_shut_down() -> None:
    """The worker exits right after its work is done, perhaps before it told so."""
    script = ScriptedWorker(lambda r, n: answered("running", "Draining."), ends_after=1)
    with script as worker:
        cluster(worker.address, config=ONCE).shutdown()
    assert isinstance(worker.heard[0], ShutdownRequest)


def test_a_worker_that_ends_without_an_answer_is_said_to_have_gone() -> None:
    """It took the request and died: not the same as nobody there, and no reason to wait."""
    worker = ScriptedWorker(lambda request, nth: None, ends_after=1)
    with worker, pytest.raises(ClusterUnreachable, match="has gone before it told the end"):
        cluster(worker.address, config=ONCE).shutdown()


def test_a_request_that_does_not_end_in_time_is_a_timeout() -> None:
    """What was asked for goes on; the sentence says so."""
    running = ScriptedWorker(lambda request, nth: answered("running", "Draining."))
    with running as worker, pytest.raises(ClusterTimeout, match="it goes on"):
        cluster(worker.address, 0.2).shutdown()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_nobody_there() -> None:
    """A closed port: the sentence has the address, how long was waited, and what to do."""
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(ClusterUnreachable) as caught:
        cluster(address, 0.2).status()
    assert str(caught.value) == (
        f"nobody answered at {address} for 0.2 s: connection refused. "
        "Give the address that a running worker prints as `external HOST:PORT`."
    )


@contextmanager
def server_that(hangs_up: bool) -> Iterator[str]:
    """A TCP server that is no worker: it closes what connects, or reads and says nothing."""
    taken: list[socket.socket] = []
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            if hangs_up:
                connection.close()
            else:
                taken.append(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)
        for connection in taken:
            connection.close()


@pytest.mark.parametrize("hangs_up", [True, False])
def test_what_answers_is_no_zworker(hangs_up: bool) -> None:
    """A source's port, or any other server: it never shakes hands as ZeroMQ does."""
    with server_that(hangs_up) as address, pytest.raises(ClusterUnreachable) as caught:
        cluster(address, 10.0 if hangs_up else 0.3).status()
    assert str(caught.value) == (
        f"what answers at {address} is not a zworker's external address. "
        "Give the address that a running worker prints as `external HOST:PORT`."
    )


def test_a_worker_that_never_answers() -> None:
    """A control address speaks ZeroMQ too, and never answers a tool."""
    silent = ScriptedWorker(lambda request, nth: None)
    with silent as worker, pytest.raises(ClusterTimeout, match="not its control or data address"):
        cluster(worker.address, 0.3).status()


def test_wrong_calls_are_refused_before_anything_is_sent() -> None:
    """Address, timeout, and what to shrink."""
    with pytest.raises(UsageError, match="external must be host:port, it is 'w0'"):
        Cluster("w0")
    with pytest.raises(UsageError, match="timeout must be above 0"):
        Cluster("127.0.0.1:1", timedelta(0))
    for wrong in ({}, {"count": 1, "workers": ["w1"]}, {"count": 0}):
        with pytest.raises(UsageError):
            Cluster("127.0.0.1:1").shrink(**wrong)
