"""What happens to records on which a person's function fails: policies, sentences, dead letters."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import pytest

from tests.dataflow_one import One
from zstream.errors import UserFunctionError
from zstream.topology.errors_policy import Retry


class Vote(NamedTuple):
    letter: str
    votes: int


class Ballot:
    """A class that nobody marked as one that travels."""


def tally(total: int, vote: Vote) -> tuple[int, str]:
    if vote.votes < 0:
        raise ValueError("bad vote")
    total += vote.votes
    return total, f"{vote.letter} => {total}"


VOTES = [Vote("q", 1), Vote("q", -1), Vote("q", 2)]


def test_a_dead_letter_tells_operator_key_record_and_both_lines() -> None:
    """The record that failed is set aside; state and output go on without it."""
    one = One(lambda s: s.key_by(lambda vote: vote.letter).stateful_map(tally, int), [Vote])
    one.feed(VOTES)
    assert one.out == ["q => 1", "q => 3"]
    letter = one.letters[0]
    assert (letter.operator, letter.key, letter.record) == ("tally", "q", Vote("q", -1))
    assert letter.error == "ValueError: bad vote"
    assert letter.where.startswith("test_dataflow_errors.py:")
    raising = tally.__code__.co_firstlineno + 2
    assert letter.at == f"test_dataflow_errors.py:{raising}"
    assert 'raise ValueError("bad vote")' in letter.traceback
    assert one.dataflow.dead_letters == 1


def test_stop_says_all_of_it_in_one_sentence() -> None:
    one = One(
        lambda s: s.key_by(lambda vote: vote.letter).stateful_map(tally, int, on_error="stop"),
        [Vote],
    )
    with pytest.raises(UserFunctionError) as raised:
        one.feed(VOTES)
    where = "test_dataflow_errors.py"
    assert str(raised.value).startswith(f"tally ({where}:")
    assert (
        "raised ValueError: bad vote, key 'q', record Vote(letter='q', votes=-1), "
        f"at {where}:{tally.__code__.co_firstlineno + 2}"
    ) in str(raised.value)
    assert one.letters == []


def test_skip_only_counts_nothing_and_goes_on() -> None:
    one = One(lambda s: s.map(lambda value: 1 // value, on_error="skip"))
    one.feed([1, 0, 1])
    assert one.out == [1, 1]
    assert one.letters == []
    assert one.dataflow.dead_letters == 0


def test_retry_calls_again_at_once_and_then_gives_up() -> None:
    """The first record works at its third call; the second never does."""
    calls: list[str] = []

    def flaky(value: str) -> str:
        calls.append(value)
        if value == "bad" or calls.count(value) < 3:
            raise OSError("not now")
        return value.upper()

    one = One(lambda s: s.map(flaky, on_error=Retry(2)))
    one.feed(["good", "bad"])
    assert one.out == ["GOOD"]
    assert calls == ["good"] * 3 + ["bad"] * 3
    assert [letter.record for letter in one.letters] == ["bad"]


def test_retry_of_a_stateful_step_applies_the_record_once() -> None:
    calls: list[int] = []

    def step(total: int, value: int) -> tuple[int, int]:
        calls.append(value)
        if len(calls) == 2:
            raise OSError("not now")
        return total + value, total + value

    one = One(lambda s: s.key_by(lambda v: "k").stateful_map(step, int, on_error=Retry(1)))
    one.feed([1, 2, 3])
    assert one.out == [1, 3, 6]
    assert one.letters == []


def test_no_function_is_called_twice_for_a_record() -> None:
    """A failure in the midst of a batch does not start the batch again."""
    calls: list[int] = []

    def function(value: int) -> int:
        calls.append(value)
        return 1 // (value % 3)

    one = One(lambda s: s.map(function))
    one.feed(list(range(10)))
    assert calls == list(range(10))


def test_a_stop_iteration_does_not_cut_a_batch_short() -> None:
    one = One(lambda s: s.map(lambda value: next(iter(value))))
    one.feed([[1], [], [2], []])
    assert one.out == [1, 2]
    assert len(one.letters) == 2
    assert "StopIteration" in one.letters[0].error


def test_an_interrupt_is_not_swallowed() -> None:
    def interrupt(value: int) -> int:
        raise KeyboardInterrupt

    one = One(lambda s: s.map(interrupt))
    with pytest.raises(KeyboardInterrupt):
        one.feed([1])
    assert one.letters == []


def test_a_step_that_returns_no_pair_is_told_what_to_return() -> None:
    def tally_wrong(total: int, value: int) -> Any:
        return total + value

    one = One(lambda s: s.key_by(lambda v: "k").stateful_map(tally_wrong, int))
    one.feed([5])
    letter = one.letters[0]
    expected = f"stateful_map tally_wrong ({letter.where}) must return (state, output)"
    assert letter.error == f"{expected}; it returned int 5."


def test_a_wrong_number_of_results_says_both_and_all_records_are_dead_letters() -> None:
    one = One(lambda s: s.map_batches(lambda values: values[1:], name="score"))
    one.feed([1, 2, 3])
    assert one.out == []
    assert [letter.record for letter in one.letters] == [1, 2, 3]
    assert "it got 3 and returned 2." in one.letters[0].error
    assert "map_batches score (" in one.letters[0].error


def test_state_that_cannot_travel_is_refused_at_its_first_record() -> None:
    """Not at the first rescale; by operator, and without being kept."""

    def step(state: Any, value: int) -> tuple[Any, int]:
        return (threading.Lock() if value else 7), value

    one = One(lambda s: s.key_by(lambda v: v).stateful_map(step))
    one.feed([0, 1, 1, 0])
    assert one.out == [0, 0]
    assert [letter.record for letter in one.letters] == [1, 1]
    assert one.letters[0].error.startswith("state of step (test_dataflow_errors.py:")
    assert "lock" in one.letters[0].error
    assert one.dataflow.keys == 1


def test_an_empty_container_does_not_speak_for_a_full_one() -> None:
    """The list travels while it is empty, and not with the first thing put into it."""

    def step(seen: list[Any], value: Any) -> tuple[list[Any], int]:
        return [*seen, *([Ballot()] if value else [])], len(seen)

    one = One(lambda s: s.key_by(lambda v: "k").stateful_map(step, list))
    one.feed([0, 1])
    assert one.out == [0]
    assert "Ballot" in one.letters[0].error


def test_what_cannot_be_a_key_is_a_dead_letter_though_it_equals_one() -> None:
    """1.0 == 1, and is refused all the same, whatever came before."""
    one = One(lambda s: s.key_by(lambda value: value).items())
    one.feed([1, 1.0, [2], "x"])
    assert one.out == [(1, 1), ("x", "x")]
    assert [letter.record for letter in one.letters] == [1.0, [2]]
    assert "float cannot be a key" in one.letters[0].error


def test_a_sink_takes_bytes_or_str() -> None:
    one = One(lambda s: s, encode=lambda value: value)
    one.feed(["a", b"b", 3])
    assert one.out == ["a", b"b"]
    assert one.letters[0].operator == "out"
    assert "must return bytes or str; it returned int" in one.letters[0].error


def test_decode_fails_under_the_name_of_the_source() -> None:
    one = One(lambda s: s.map(lambda n: n + 1), decode=int)
    one.feed(["1", "x"])
    assert one.out == [2]
    assert (one.letters[0].operator, one.letters[0].record) == ("in", "x")


def test_the_busy_operator_is_known_while_it_runs_and_not_after() -> None:
    seen: list[str] = []
    one = One(lambda s: s.map(lambda value: seen.append(one.dataflow.running), name="slow"))
    one.feed([1])
    assert seen == ["slow"]
    assert one.dataflow.running == ""
