"""The commands as the README and a newcomer type them, and every example on a cluster."""

from __future__ import annotations

import json
import re
import shlex
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from examples import flight_delays, market_spread
from examples.market_spread import Order, Quote
from examples.traffic import Traffic
from tests.integration.live import (
    ROOT,
    Live,
    Outlet,
    Process,
    connect,
    drained,
    environment,
    framed,
    free_address,
    goes_on,
    until,
)
from zstream import FileSink, json_line

EXAMPLES = ROOT / "examples"
LETTERS = [bytes([letter]) for letter in b"abcdefghijklmnopqrstuvwxyz"]


class Typed:
    """What a person types in terminals, with free ports instead of those of the text."""

    def __init__(self, folder: Path, instead: Mapping[str, str] = MappingProxyType({})) -> None:
        self._folder = folder
        self._ports = dict(instead)
        self._processes: list[Process] = []

    def here(self, text: str) -> str:
        """The text with each loopback address replaced, by the same one each time."""
        return re.sub(r"127\.0\.0\.1:\d+", lambda at: self.address(at[0]), text)

    def address(self, written: str) -> str:
        return self._ports.setdefault(written, free_address())

    def type(self, text: str) -> Process:
        """Start a shell with it."""
        text = self.here(text)
        text = re.sub(r"bin/(\w+)", rf"{shlex.quote(sys.executable)} -m zstream.cli.\1", text)
        text = re.sub(r"\bpython3?(?= -c| [a-z])", shlex.quote(sys.executable), text)
        text = text.replace("examples/", f"{EXAMPLES}/")
        line = ["bash", "-e", "-c", f"{text}\nwait"]
        shell = Process("terminal", line, self._folder, environment(self._folder, {}))
        self._processes.append(shell)
        return shell

    def done(self, text: str) -> str:
        """Type it, wait for its end, which must be good, and return its standard output."""
        shell = self.type(text)
        assert shell.ends() == 0, shell.log
        return shell.out

    def __enter__(self) -> Typed:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()


def typed_in_readme() -> list[str]:
    """The indented blocks of the README's second section."""
    section = (ROOT / "README.md").read_text().split("\n## ")[1]
    blocks = re.findall(r"(?:^    .*\n?)+", section, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks]


def test_the_commands_of_the_readme(tmp_path: Path) -> None:
    """Block by block, in shells: 10,000 votes give 10,000 lines with the right totals, the three
    joiners come, those who are named leave, then one of those left, and all end with 0."""
    receive, start, grow, send, look = typed_in_readme()
    with Typed(tmp_path) as typed:
        receiver = typed.type(receive)
        receiver.says("listening on")
        first = typed.type(start)
        first.says("is up: 1 worker")
        joiners = typed.type(grow)
        first.says("grow-2 by ")
        typed.done(send)
        totals = Counter[bytes]()
        expected = []
        for vote in range(10_000):
            letter = LETTERS[vote % 26]
            totals[letter] += 1
            expected.append(b"%s => %d" % (letter, totals[letter]))
        until(lambda: receiver.out.count("\n") >= 10_000, lambda: receiver.out.count("\n"))
        assert sorted(receiver.out.encode().splitlines()) == sorted(expected)
        said = typed.done(look)
        assert "alphabet: processing, 4 workers, leader w0 (term 1)" in said
        assert re.search(r"Eligible for shrink: Node count: 3, Nodes: \|w\d,w\d,w\d\|", said)
        assert "w0 stays: source alphabet is placed on it" in said
        assert "Cluster shrink response: Shrinking by 2 workers!" in said
        assert re.search(r"shrink-3: w[23], w[23] left: \d+ key groups moved", said)
        assert "shrink-4: w1 left: 512 key groups moved" in said
        assert (first.ends(), joiners.ends()) == (0, 0)


def test_a_topology_as_its_own_program(tmp_path: Path) -> None:
    """`python examples/alphabet.py` with zworker's options, an outside sender and receiver: three
    joiners share one --in; votes flow through all of it, and every total comes once."""
    ends = "--in alphabet@127.0.0.1:7010 --out 127.0.0.1:7002"
    with (
        Traffic(LETTERS, 2_000, senders=2) as traffic,
        Typed(tmp_path, {"127.0.0.1:7002": traffic.address}) as typed,
    ):
        first = typed.type(
            f"python examples/alphabet.py {ends} --name w0 --cluster-initializer --control"
            " 127.0.0.1:12500 --data 127.0.0.1:12501 --external 127.0.0.1:5050 --ponythreads 1"
        )
        first.says("is up: 1 worker")
        assert "--ponythreads is ignored." in first.log
        traffic.start(typed.address("127.0.0.1:7010"))
        goes_on(traffic, 500)
        joiners = [
            typed.type(
                f"python examples/alphabet.py {ends} --join 127.0.0.1:12500"
                f" --name w{number} --worker-count 3"
            )
            for number in (1, 2, 3)
        ]
        first.says("grow-2 by ")
        goes_on(traffic, 500)
        tool = "bin/cluster_shrinker --external 127.0.0.1:5050"
        asked = json.loads(typed.done(f"{tool} --query --json"))
        assert (asked["node_count"], set(asked["node_names"])) == (3, {"w1", "w2", "w3"})
        said = typed.done(f"{tool} --workers w2")
        assert "Shrinking by 1 workers!" in said and "shrink-3: w2 left: " in said
        goes_on(traffic, 500)
        said = typed.done(f"{tool} --count 9")
        assert re.search(
            r"Shrinking by 2 workers!   \(9 asked; only w[13], w[13] may leave\)", said
        )
        assert [joiner.ends() for joiner in joiners] == [0, 0, 0]
        goes_on(traffic, 500)
        drained(traffic)
        typed.done("bin/cluster_shutdown 127.0.0.1:5050")
        assert first.ends() == 0


def test_market_spread_on_a_cluster(tmp_path: Path) -> None:
    """300 symbols with one quote each; while orders flow, two workers become three and two again.
    What is rejected is what one process rejects."""
    quotes = [Quote(b"%04d" % n, 100.0, 100.02 + n % 3 * 0.02) for n in range(300)]
    orders = [
        Order(1, n % 7, b"%06d" % n, b"%04d" % (n * 7 % 330), 10.0, 99.0) for n in range(9000)
    ]

    def send(address: str) -> None:
        with connect(address) as sender:
            for start in range(0, len(orders), 30):
                payloads = [struct.pack(">BBI6s4sdd21x", 1, *o) for o in orders[start : start + 30]]
                sender.sendall(framed(payloads))
                time.sleep(0.01)

    sources = ("orders", "market_data")
    application = EXAMPLES / "market_spread.py"
    with Outlet(size=59) as outlet, Live(tmp_path, outlet.address, application, sources) as live:
        live.start(2)
        with connect(live.sources["market_data"]) as sender:
            sender.sendall(framed(struct.pack(">B4s21xdd", 2, *quote) for quote in quotes))
        until(lambda: sum(w.keys or 0 for w in live.status().workers) == 300, live.status)
        sending = threading.Thread(target=send, args=(live.sources["orders"],), daemon=True)
        sending.start()
        live.grow(1)
        live.shrink(1)
        assert sending.is_alive(), "all was sent before the cluster had grown and shrunk"
        sending.join()
        plain = market_spread.topology.run({"orders": [*quotes, *orders], "market_data": []})
        expected = [market_spread.encode(rejected)[:-8] for rejected in plain["rejected"]]
        assert 3_000 < len(expected) < 5_000
        assert sorted(frame[:-8] for frame in outlet.take(len(expected))) == sorted(expected)
        live.shut_down()


def committed(directory: Path) -> bytes:
    """What a FileSink wrote, in the order of its files' names."""
    return b"".join(file.read_bytes() for file in sorted(directory.glob("[0-9]*")))


def test_flight_delays_on_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A year of real flights on two workers, which become three in the midst. They end when the
    file does, and have written the lines that one process writes."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = str(flight_delays.flights_in_order())
    out, plain = tmp_path / "delays", tmp_path / "plain"
    application = EXAMPLES / "flight_delays.py"
    with Live(tmp_path, "", application, sources=(), arguments=[path]) as live:
        live.initializer(2)
        live.worker("--control", live.control)
        until(lambda: committed(out), lambda: live.workers["w0"].log)
        live.join(1)
        live.workers["w0"].says("grow-2 by w2: ")
        assert {name: w.ends() for name, w in live.workers.items()} == {"w0": 0, "w1": 0, "w2": 0}
    flight_delays.topology([path]).run(outputs={"delays": FileSink(str(plain), json_line)})
    assert Counter(committed(out).splitlines()) == Counter(committed(plain).splitlines())
