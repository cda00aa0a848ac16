"""Each example in one process, against plain Python that computes the same another way."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import struct
import tempfile
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path

import pytest

from examples import (
    alphabet,
    flight_delays,
    make_data,
    market_spread,
    numbered_alphabet,
    word_count,
)
from examples.alphabet import Vote
from examples.market_spread import Order, Quote
from zstream import FileSink, FileSource, LengthPrefix, json_line


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """votes.bin, orders.bin and quotes.bin."""
    directory = tmp_path_factory.mktemp("data")
    make_data.main(directory)
    return directory


def frames(path: Path) -> list[bytes]:
    """The payloads of a file of frames, read one by one."""
    payloads = []
    with path.open("rb") as file:
        while header := file.read(4):
            payloads.append(file.read(int.from_bytes(header, "big")))
    return payloads


def test_every_vote_gives_its_running_total() -> None:
    """The three votes of the README."""
    result = alphabet.topology.run({"alphabet": [Vote("a", 1), Vote("b", 2), Vote("a", 4)]})
    assert sorted(result["totals"]) == ["a => 1\n", "a => 5\n", "b => 2\n"]


def test_alphabet_counts_the_votes_of_a_file(data: Path) -> None:
    """The decoder runs too: the source is replaced by a file of the same frames."""
    path = data / "votes.bin"
    source = FileSource(str(path), LengthPrefix(), alphabet.decode)
    result = alphabet.topology.run({"alphabet": source})
    totals: Counter[str] = Counter()
    expected = []
    for payload in frames(path):
        letter, count = chr(payload[0]), int.from_bytes(payload[1:], "big")
        totals[letter] += count
        expected.append(f"{letter} => {totals[letter]}\n")
    assert len(expected) == make_data.VOTES
    assert result["totals"] == expected


def test_numbered_alphabet_counts_the_same(data: Path) -> None:
    """The votes of the file, through the other application."""
    path = str(data / "votes.bin")
    numbered = FileSource(path, LengthPrefix(), numbered_alphabet.decode)
    plain = FileSource(path, LengthPrefix(), alphabet.decode)
    totals = numbered_alphabet.topology.run({"alphabet": numbered})["totals"]
    assert len(totals) == make_data.VOTES
    assert [f"{total}\n" for total in totals] == alphabet.topology.run({"alphabet": plain})[
        "totals"
    ]


def test_word_count_counts_the_bill_of_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From any working directory; every count of a word from 1 up, in the order of the text."""
    monkeypatch.chdir(tmp_path)
    counts = word_count.topology.run()["counts"]
    text = Path(word_count.__file__).with_name("bill_of_rights.txt").read_text()
    words = re.findall(r"\S+", text.lower())
    assert len(words) > 450
    assert counts == [f"{word} => {words[: i + 1].count(word)}" for i, word in enumerate(words)]


def test_market_spread_rejects_orders_of_wide_or_unknown_symbols() -> None:
    """No quote yet, 4 cents, 6 cents, 6 percent of a cheap share, and then narrow again."""
    cases = [(None, True), ((100.0, 100.04), False), ((100.0, 100.06), True)]
    cases += [((0.50, 0.53), True), ((100.0, 100.01), False)]
    events: list[Order | Quote] = []
    for number, (quote, _) in enumerate(cases):
        events += [Quote(b"IBM ", *quote)] if quote else []
        events += [Order(1, 7, b"%06d" % number, b"IBM ", 10.0, 99.0)]
    result = market_spread.topology.run({"orders": events, "market_data": []})
    rejected = [int(order.order_id) for order, _ in result["rejected"]]
    assert rejected == [number for number, (_, wide) in enumerate(cases) if wide]
    assert result["rejected"][0][1] == Quote(b"IBM ")


def test_market_spread_on_files_of_frames(data: Path, tmp_path: Path) -> None:
    """Quotes and orders in turn, decoded from frames; what is rejected is unpacked by hand."""
    events: list[Order | Quote] = []
    newest: dict[bytes, tuple[float, float]] = {}
    expected = []
    for quote, order in zip(frames(data / "quotes.bin"), frames(data / "orders.bin"), strict=True):
        events += [market_spread.decode_quote(quote), market_spread.decode_order(order)]
        newest[quote[1:5]] = struct.unpack(">dd", quote[26:])
        bid, offer = newest.get(order[12:16], (0.0, 1.0))
        if offer - bid >= 0.05 or (offer - bid) / (offer + bid) >= 0.025:
            expected.append(order[6:12])
    out = tmp_path / "rejected"
    market_spread.topology.run(
        {"orders": events, "market_data": []},
        outputs={"rejected": FileSink(str(out), market_spread.encode)},
    )
    whole = tmp_path / "rejected.bin"
    whole.write_bytes(committed(out))
    rejected = frames(whole)
    assert 500 < len(expected) < 1500
    assert [payload[5:11] for payload in rejected] == expected
    assert {len(payload) for payload in rejected} == {55}


def committed(directory: Path) -> bytes:
    """What a FileSink wrote, in the order of its files' names."""
    return b"".join(file.read_bytes() for file in sorted(directory.glob("[0-9]*")))


def departures(path: Path) -> list[tuple[str, str, float]]:
    """Carrier, origin and delay of each flight that left, by position of the columns."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    carrier, origin, delay = (rows[0].index(name) for name in ("carrier", "origin", "dep_delay"))
    return [(r[carrier], r[origin], float(r[delay])) for r in rows[1:] if r[delay] != "NA"]


def test_flight_delays_of_a_whole_year(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """336,776 real flights in order of departure; a running mean and worst for each that left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    path = flight_delays.flights_in_order()
    assert flight_delays.flights_in_order() == path, "made once"
    out = tmp_path / "delays"
    flight_delays.topology([]).run(outputs={"delays": FileSink(str(out), json_line)})
    flown = departures(path)
    assert path.read_bytes().count(b"\n") == 336_776 + 1
    assert len(flown) == 328_521
    so_far: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0.0, float("-inf")])
    lines = committed(out).splitlines()
    for (carrier, origin, delay), line in zip(flown, lines, strict=True):
        running = so_far[carrier, origin]
        running[0] += 1
        running[1] += delay
        running[2] = max(running[2], delay)
        assert json.loads(line) == {
            "carrier": carrier,
            "origin": origin,
            "mean": running[1] / running[0],
            "worst": running[2],
        }
    assert len(so_far) == 35
    assert max(worst for _, _, worst in so_far.values()) == 1301.0


def test_flights_are_in_order_of_departure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package has the months in the order of their digits; the file has them in time."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with flight_delays.flights_in_order().open(newline="") as file:
        days = [datetime(2013, int(r["month"]), int(r["day"])) for r in csv.DictReader(file)]
    assert days[0] == datetime(2013, 1, 1)
    assert days[-1] >= datetime(2013, 12, 31)
    assert all((b - a).days >= -2 for a, b in itertools.pairwise(days))
    assert os.listdir(tmp_path) == [flight_delays.flights_in_order().name], "nothing is left over"
