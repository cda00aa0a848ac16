"""How workers and clusters end while records flow: signals, cluster_shutdown, the end of input."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from examples import word_count
from examples.traffic import Traffic
from tests.integration.live import (
    ROOT,
    Live,
    Outlet,
    connect,
    drained,
    goes_on,
    names_of,
    until,
    votes_of,
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_one_that_may_leave(tmp_path: Path, number: signal.Signals) -> None:
    """Votes flow; one of three is signalled: it leaves as if shrunk and ends with 0."""
    with Traffic(names_of(200), 2_000) as traffic, Live(tmp_path, traffic.address) as live:
        live.start(3)
        traffic.start(live.sources["votes"])
        goes_on(traffic, 500)
        leaver = live.workers["w1"]
        leaver.signal(number)
        leaver.says("w1: leaving as if shrunk; again to stop at once.")
        assert leaver.ends() == 0
        until(lambda: live.status().worker_names == ["w0", "w2"], live.status)
        last = live.status().last_rescale
        assert last is not None and last["cause"] == "a signal to w1"
        goes_on(traffic, 500)
        drained(traffic)
        live.shut_down()


def test_a_signal_to_one_that_may_not_leave(tmp_path: Path) -> None:
    """w0 has the source: it says why it stays and goes on, exactly; a second signal stops it."""
    with Traffic(names_of(200), 2_000) as traffic, Live(tmp_path, traffic.address) as live:
        live.start(2)
        traffic.start(live.sources["votes"])
        goes_on(traffic, 500)
        first = live.workers["w0"]
        first.signal(signal.SIGINT)
        first.says(
            "w0: cannot leave, source votes is placed on it; again to stop it, "
            f"cluster_shutdown {live.external} for all."
        )
        goes_on(traffic, 1_000)
        drained(traffic)
        time.sleep(0.3)  # sooner it would be taken for the same wish
        first.signal(signal.SIGINT)
        assert first.ends() == 1
        assert "w0 was stopped at once" in first.last_line


def send_until_hung_up(address: str, names: Sequence[bytes]) -> None:
    """Votes, one for each name in turn, until the source has gone."""
    try:
        with connect(address) as sender:
            while True:
                sender.sendall(votes_of(names))
                time.sleep(0.01)
    except OSError:
        return


def test_a_shutdown_while_votes_flow(tmp_path: Path) -> None:
    """Three senders do not stop. Whatever a source had read comes out: of each sender the first
    so many votes, without a hole, each once. All workers end with 0 and say so."""
    names = names_of(300)
    with Outlet() as outlet, Live(tmp_path, outlet.address) as live:
        live.start(3)
        senders = [
            threading.Thread(
                target=send_until_hung_up, args=(live.sources["votes"], names[i::3]), daemon=True
            )
            for i in range(3)
        ]
        for sender in senders:
            sender.start()
        until(lambda: len(outlet.lines) > 2_000, lambda: len(outlet.lines))
        code, said, _ = live.run("cluster_shutdown", live.external)
        assert code == 0
        assert "All is drained; the cluster has stopped." in said
        assert {name: w.ends() for name, w in live.workers.items()} == {"w0": 0, "w1": 0, "w2": 0}
        for sender in senders:
            sender.join(30)
        outlet.hung_up()
        totals = defaultdict(list)
        for line in outlet.lines:
            name, _, total = line.partition(b" => ")
            totals[name].append(int(total))
        counts = {name: len(totals[name]) for name in names}
        assert all(sorted(totals[name]) == list(range(1, counts[name] + 1)) for name in names)
        for i in range(3):
            in_turn = [counts[name] for name in names[i::3]]
            assert in_turn == sorted(in_turn, reverse=True) and in_turn[0] - in_turn[-1] <= 1


def test_a_shutdown_during_a_rescale(tmp_path: Path) -> None:
    """It waits for the grow that is under way to end, and then ends all five with 0."""
    with (
        Traffic(names_of(200), 1_000) as traffic,
        Live(tmp_path, traffic.address, wave_groups_max=16) as live,
    ):
        live.start(2)
        traffic.start(live.sources["votes"])
        goes_on(traffic, 300)
        drained(traffic)
        live.join(3)
        until(lambda: live.phase() == "WAVE", live.status)
        code, _, says = live.run("cluster_shutdown", live.external)
        assert code == 0, says
        assert [worker.ends() for worker in live.workers.values()] == [0] * 5
        assert "grow-2 by " in live.workers["w0"].log


def test_a_cluster_whose_input_ends(tmp_path: Path) -> None:
    """word_count on two workers reads its file, ends by itself with 0 everywhere, and its lines
    on the two standard outputs are those of one process."""
    with Live(tmp_path, "", ROOT / "examples" / "word_count.py", sources=()) as live:
        first = live.initializer(2)
        second = live.worker("--control", live.control)
        assert (first.ends(), second.ends()) == (0, 0)
        outs = [first.out.splitlines(), second.out.splitlines()]
        assert all(outs)
        assert Counter(outs[0] + outs[1]) == Counter(word_count.topology.run()["counts"])
        assert list(tmp_path.glob("zstream-*")) == []
