"""What a PostgresSink keeps of an epoch, and what is left of it beside a later worker's output."""

from __future__ import annotations

from zstream.connectors.postgres_runs import Run, key_lines, move, runs_of, without_older
from zstream.connectors.staged import pack
from zstream.ports.connectors import Tick

BOTH, ONE = b'["key", "a", "b"]', b'["key", "a"]'


def test_chunks_without_a_move_are_runs_only() -> None:
    """As they are in checkpoints that were taken before there were moves in them."""
    chunks = [pack([BOTH, b"k\t1\t2\n", ONE, b"k\t3\nl\t4\n"]), pack([ONE, b"k\t5\n"])]
    runs, of_run = runs_of(chunks)
    assert of_run is None
    assert runs == [
        Run(BOTH, b"k\t1\t2\n"),
        Run(ONE, b"k\t3\nl\t4\n"),
        Run(ONE, b"k\t5\n"),
    ]


def test_a_move_says_the_tick_of_what_is_before_it_too() -> None:
    """What came first was written at the tick before the first move."""
    chunks = [
        pack([ONE, b"k\t1\n"]),
        pack([ONE, b"k\t2\n"]),
        move(Tick(7, 3), Tick(7, 5)),
        move(Tick(7, 5), Tick(7, 6)),
        pack([ONE, b"k\t3\n"]),
    ]
    runs, of_run = runs_of(chunks)
    assert of_run == 7
    assert [run.tick for run in runs] == [3, 3, 6]


def test_what_is_noted_is_the_key_and_the_columns() -> None:
    """In the form that COPY reads: what JSON escapes is escaped once more."""
    runs = [Run(b'["key", "day", "\\"x"]', b"k\\t\t1\t2\nl\t3\t4\n", 5), Run(ONE, b"m\t\n", 6)]
    assert b"".join(key_lines(runs, 2)) == (
        b'k\\t\t1\t[5, ["key", "day", "\\\\"x"]]\n'
        b'l\t3\t[5, ["key", "day", "\\\\"x"]]\n'
        b'm\t\t[6, ["key", "a"]]\n'
    )


def test_only_what_a_later_worker_wrote_is_left_out() -> None:
    """Of a row all, or some columns, or nothing where the other one was earlier."""
    first, second = Run(BOTH, b"k\t1\t2\nl\t3\t4\nm\t5\t6\nn\t7\t8\n", 5), Run(ONE, b"k\t9\n", 8)
    others = {
        1: [(6, ["key", "a"]), (7, ["key", "b"])],
        2: [(6, ["key", "b"]), (3, ["key", "a"])],
        4: [(4, ["key", "a", "b"])],
        5: [(6, ["key", "a"]), (7, ["key", "b"])],
    }
    assert list(without_older([first, second], others, ["key"])) == [
        Run(ONE, b"l\t3\n", 5, is_there=True),
        Run(BOTH, b"m\t5\t6\n", 5),
        Run(BOTH, b"n\t7\t8\n", 5),
        second,
    ]
