"""What a person gets to test a topology with: marks, results by key, torture."""

from __future__ import annotations

import struct
from typing import NamedTuple

import pytest

from zstream.errors import Refused, UsageError
from zstream.testing import crash, end, given, grow, run, shrink, torture
from zstream.topology.specs import LengthPrefix, Memory, Stdout, TcpSink, TcpSource
from zstream.topology.stream import source
from zstream.topology.topology import TopologyValue


class Vote(NamedTuple):
    letter: str
    votes: int


def decode(payload: bytes) -> Vote:
    letter, votes = struct.unpack(">sI", payload)
    return Vote(letter.decode(), votes)


def tally(total: int, vote: Vote) -> tuple[int, str]:
    total += vote.votes
    return total, f"{vote.letter} => {total}\n"


def letter(vote: Vote) -> str:
    return vote.letter


def alphabet() -> TopologyValue:
    totals = (
        source("alphabet", TcpSource(LengthPrefix(">I"), decode))
        .key_by(letter)
        .stateful_map(tally, int)
        .sink("totals", TcpSink(str.encode))
    )
    return TopologyValue("alphabet", totals)


VOTES = [Vote("abc"[i % 3], i) for i in range(60)]


def test_every_vote_gives_its_running_total() -> None:
    """One worker, three votes: values before they are encoded, by key and by state."""
    result = run(alphabet(), {"alphabet": [Vote("a", 1), Vote("b", 2), Vote("a", 4)]})
    assert sorted(result["totals"]) == ["a => 1\n", "a => 5\n", "b => 2\n"]
    assert result.by_key("totals") == {"a": ["a => 1\n", "a => 5\n"], "b": ["b => 2\n"]}
    assert result.state("tally") == {"a": 5, "b": 2}
    assert result.dead_letters == []


def test_rescale_changes_nothing() -> None:
    """Two workers, three more, two leave, votes all the time: each key sees what it would alone."""
    plain = run(alphabet(), {"alphabet": VOTES})
    stormy = run(
        alphabet(),
        [
            given("alphabet", *VOTES[:20]),
            grow(3),
            given("alphabet", *VOTES[20:40]),
            shrink(2),
            given("alphabet", *VOTES[40:]),
            end("alphabet"),
        ],
        workers=2,
    )
    assert stormy.by_key("totals") == plain.by_key("totals"), stormy.story
    assert stormy.state("tally") == plain.state("tally")
    assert "shrink-3" in stormy.story


def test_one_seed_is_one_run() -> None:
    """The same script and seed give the same story; another seed another."""
    script = [given("alphabet", *VOTES), grow(1), end("alphabet")]
    stories = [run(alphabet(), script, seed=seed).story for seed in (3, 3, 4)]
    assert stories[0] == stories[1] != stories[2]


def test_a_script_need_not_end_its_sources() -> None:
    """Without an end mark all that was given comes out all the same, and time has passed."""
    result = run(alphabet(), [given("alphabet", *VOTES)], workers=3)
    assert len(result["totals"]) == 60
    assert result.now.year == 2026


def test_wrong_scripts_are_refused_with_a_sentence() -> None:
    """A source that there is not, a shrink where nobody may leave, a sink without key."""
    with pytest.raises(UsageError, match="there is no source votes; there are alphabet"):
        run(alphabet(), {"votes": VOTES})
    with pytest.raises(Refused, match="w0 stays: source alphabet is placed on it"):
        run(alphabet(), [shrink(1)])
    with pytest.raises(UsageError, match="at least 1"):
        grow(0)
    values = source("numbers", Memory([])).map(abs).sink("out", Stdout(str))
    result = run(TopologyValue("values", values), {"numbers": [-1, 2]})
    assert result["out"] == [1, 2]
    with pytest.raises(UsageError, match="no key_by before it"):
        result.by_key("out")


def test_what_a_function_refuses_is_a_dead_letter() -> None:
    """A vote of text raises in tally; the others are counted."""
    wrong = Vote("a", "many")  # type: ignore[arg-type]
    result = run(alphabet(), {"alphabet": [Vote("a", 1), wrong, Vote("a", 2)]})
    assert result["totals"] == ["a => 1\n", "a => 3\n"]
    assert [dead.operator for dead in result.dead_letters] == ["tally"]


def test_alphabet_survives_the_torture_kit() -> None:
    """Batches of one, restored after every turn, under rescales: nothing changes."""
    torture(alphabet(), {"alphabet": [Vote("a", 1), Vote("b", 2), Vote("a", 4)]}, seeds=5)


KEPT: dict[int, list[int]] = {}


def careless(seen: list[int], vote: Vote) -> tuple[list[int], str]:
    """Keeps part of its state where no snapshot finds it."""
    KEPT.setdefault(id(seen), []).append(vote.votes)
    seen.append(vote.votes)
    return seen, f"{vote.letter} {KEPT[id(seen)]}"


def test_the_torture_kit_finds_state_that_does_not_travel() -> None:
    """A step that remembers something outside its state is caught, with the seed and the story."""
    out = (
        source("votes", Memory([]))
        .key_by(letter)
        .stateful_map(careless, list)
        .sink("out", Stdout(str))
    )
    topology = TopologyValue("careless", out)
    with pytest.raises(AssertionError, match="seed 0: sink out got"):
        torture(topology, {"votes": [Vote("a", n) for n in range(5)]}, seeds=3)


def test_crashes_change_nothing() -> None:
    """A worker dies, then all, between votes: totals go on from the checkpoint, none is missing
    and none comes twice."""
    plain = run(alphabet(), {"alphabet": VOTES})
    marks = [given("alphabet", *VOTES[:20]), crash("w1"), given("alphabet", *VOTES[20:40])]
    marks += [crash("w0", "w1"), given("alphabet", *VOTES[40:]), end("alphabet")]
    stormy = run(alphabet(), marks, workers=2)
    assert stormy.by_key("totals") == plain.by_key("totals")
    assert stormy.state("tally") == plain.state("tally")
    assert "crash" in stormy.story


def test_only_who_is_there_can_crash() -> None:
    """crash("w9") names who could have been meant."""
    with pytest.raises(UsageError, match="there is no worker w9 to crash; there are w0"):
        run(alphabet(), [crash("w9")])
    with pytest.raises(UsageError, match="wants the names"):
        crash()
