"""Producers and a source, a sink and a consumer, on connections that break, with all that may die.

The machines are pure, so a schedule is a list of actions, and a failing one is shown as short as
it can be. A record's text is its number, so that a record which is lost, doubled or takes another's
number is seen at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zstream.client.intake import Intake
from zstream.client.offering import Offering
from zstream.connectors import zmq_delivery, zmq_producers
from zstream.connectors.staged import pack
from zstream.connectors.zmq_delivery import Delivery
from zstream.connectors.zmq_producers import ProducerBook
from zstream.wire import outside
from zstream.wire.outside import Output, OutputState, decode, encode

Schedule = list[tuple[str, int]]


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece is two records, a window three pieces or so: limits are met all the time."""
    monkeypatch.setattr(outside, "PIECE_BYTES", 36)
    monkeypatch.setattr(zmq_producers, "WINDOW_BYTES_MAX", 120)
    monkeypatch.setattr(zmq_producers, "WINDOW_BYTES_MIN", 40)
    monkeypatch.setattr(zmq_producers, "WINDOW_BYTES_ALL", 160)
    monkeypatch.setattr(zmq_delivery, "WINDOW_BYTES", 120)


def schedules(*actions: str) -> st.SearchStrategy[Schedule]:
    """What is done, whose it is (odd or even), and how much of it."""
    step = st.tuples(st.sampled_from(actions), st.integers(2, 11))
    return st.lists(step, min_size=30, max_size=150)


class Program:
    """One program with a producer: its input is the numbers from 1 on, and can be read again."""

    def __init__(self, name: str, session: int, connection: bytes) -> None:
        self.name = name
        self.offering = Offering("prices", name, session)
        self.connection = connection
        self.up: deque[bytes] = deque()
        self.down: deque[bytes] = deque()
        self.ask()

    def add(self, count: int) -> None:
        if self.offering.resume_from is None or self.offering.kept_bytes > 1000:
            return
        for _ in range(count):
            self.offering.add(f"{self.name} {self.offering.last + 1}".encode())

    def say(self) -> None:
        while (offer := self.offering.next_offer()) is not None:
            self.up.append(encode(offer))
            self.offering.sent(offer)

    def ask(self) -> None:
        self.up.append(encode(self.offering.sign_of_life()))


class Inlet:
    """Two programs, and a source with checkpoints; `given` is what the engine's state has in it."""

    def __init__(self) -> None:
        self.sessions = 0
        self.connections = 0
        self.epochs: deque[dict[str, int]] = deque()  # cut, and not decided yet
        self.decided: dict[str, int] = {}
        self.given: dict[str, int] = {}
        self.stray: list[tuple[bytes, deque[bytes]]] = []  # came on connections that are broken
        self.book = ProducerBook("prices", 1000)
        self.programs = [self.started("a"), self.started("b")]
        for action in ("up", "down", "add", "say"):
            for n in (10, 11):
                self.do(action, n)

    def started(self, name: str) -> Program:
        self.sessions += 1
        return Program(name, self.sessions, self.connected())

    def connected(self) -> bytes:
        self.connections += 1
        return b"%d" % self.connections

    def do(self, action: str, n: int) -> None:
        program = self.programs[n % 2]
        if action == "add":
            program.add(n)
        elif action == "say":
            program.say()
        elif action == "ask":
            program.ask()
        elif action == "up":
            self.carry_up(program.connection, program.up, n // 2)
        elif action == "down":
            self.carry_down(program, n // 2)
        elif action == "stray" and self.stray:
            self.carry_up(*self.stray[n % len(self.stray)], n)
        elif action == "take":
            self.take(n)
        elif action == "cut":
            self.epochs.append(self.book.position())
        elif action == "decide" and self.epochs:
            self.decided = self.epochs.popleft()
            self.book.acknowledge(self.decided)
        elif action == "break":
            self.break_off(program)
        elif action == "lose" and program.up:
            program.up.popleft()
        elif action == "silence":
            self.book.forget_silent(1e9)
        elif action == "restart":
            self.break_off(program)
            self.programs[n % 2] = self.started(program.name)
        elif action == "seek":
            self.recover()
        elif action == "crash":
            self.book = ProducerBook("prices", 1000 * self.connections)
            for each in self.programs:
                self.break_off(each)
            self.stray.clear()
            self.recover()
        self.post()

    def carry_up(self, connection: bytes, up: deque[bytes], n: int) -> None:
        for _ in range(min(n, len(up))):
            self.book.on_message(connection, up.popleft(), 0.0)
            self.post()

    def carry_down(self, program: Program, n: int) -> None:
        for _ in range(min(n, len(program.down))):
            program.offering.on_message(program.down.popleft(), 0.0)

    def post(self) -> None:
        outbox, self.book.outbox = self.book.outbox, []
        for connection, message in outbox:
            for program in self.programs:
                if program.connection == connection:
                    program.down.append(message)
                    break
            else:
                self.book.on_unreachable(connection)

    def take(self, n: int) -> None:
        for record in self.book.take(n, 1000):
            name, number = record.decode().split()
            assert int(number) == self.given.get(name, 0) + 1
            self.given[name] = int(number)
        assert self.book.position() == self.given

    def break_off(self, program: Program) -> None:
        """What came in but was not read yet may still be read."""
        self.stray.append((program.connection, program.up))
        program.up, program.down = deque(), deque()
        program.connection = self.connected()
        program.ask()

    def recover(self) -> None:
        self.epochs.clear()
        self.given = dict(self.decided)
        self.book.seek(dict(self.decided))


@settings(max_examples=300)
@given(
    schedules(
        *("add", "say", "up", "down", "take", "cut", "decide") * 3,
        *("ask", "stray", "lose", "break", "silence", "restart", "seek", "crash"),
    )
)
def test_no_record_is_lost_or_doubled_or_overtaken(schedule: Schedule) -> None:
    """Whatever breaks and dies; and once all is well again, everything arrives and is safe."""
    inlet = Inlet()
    for action, n in schedule:
        inlet.do(action, n)
    for program in inlet.programs:
        assert program.offering.fault is None
    for rounds, add in ((20, "add"), (60, "decide")):
        for _ in range(rounds):
            for action in ("ask", add, "say", "up", "up", "take", "down", "cut", "decide", "down"):
                for n in (8, 9):
                    inlet.do(action, n)
    for program in inlet.programs:
        assert program.offering.fault is None
        assert program.offering.last > 20
        assert program.offering.acknowledged == program.offering.last
        assert program.offering.kept_bytes == 0


def test_a_program_that_was_held_back_stays_so_when_it_connects_again() -> None:
    """What its predecessor sent is in no checkpoint; a new connection does not change that."""
    inlet = Inlet()
    for action in ("up", "take", "restart", "up", "break", "up", "down"):
        inlet.do(action, 10)
    held_back = inlet.programs[0].offering
    assert inlet.given["a"] > 0
    assert held_back.is_held_back
    assert held_back.resume_from is None
    for action in ("cut", "decide", "down"):
        inlet.do(action, 10)
    assert held_back.resume_from == inlet.given["a"] + 1


class Outlet:
    """One epoch after the other from two authors, each committed by somebody, to one consumer."""

    def __init__(self) -> None:
        self.attempts = 0
        self.epoch = 1
        self.sizes = {1: 15, 2: 3}
        self.expected: list[tuple[int, int, int]] = []  # of epochs that ended
        self.stray: list[tuple[int, deque[bytes]]] = []  # came on connections that are broken
        self.stored: Any = None  # a position, together with what was done
        self.done: list[tuple[int, int, int]] = []  # and that: (epoch, author, number)
        self.intake = Intake("totals", None, True)
        self.ups: dict[int, deque[bytes]] = {}
        self.downs: dict[int, deque[bytes]] = {}
        self.deliveries: dict[int, Delivery] = {}
        for author in self.sizes:
            self.commit(author)

    def commit(self, author: int) -> None:
        """Begun, or begun again by another worker."""
        records = [f"{self.epoch} {author} {n}".encode() for n in range(1, self.sizes[author] + 1)]
        self.attempts += 100
        chunks = [pack(records[:3]), pack(records[3:])]
        self.deliveries[author] = Delivery("totals", self.epoch, author, chunks, self.attempts)
        self.cut_off(author)

    def cut_off(self, author: int) -> None:
        """What came in but was not read yet may still be read; its sink connects and asks."""
        self.stray.append((author, self.ups.get(author, deque())))
        self.ups[author], self.downs[author] = deque(), deque()
        self.ups[author].append(encode(self.deliveries[author].question()))

    def carry_up(self, author: int, up: deque[bytes], n: int) -> None:
        for _ in range(min(n, len(up))):
            self.intake.on_message(b"%d" % author, up.popleft())
            self.post()

    def do(self, action: str, n: int) -> None:
        author = 1 + n % 2  # an odd n is the second one's
        delivery = self.deliveries[author]
        if action == "ask":
            self.ups[author].append(encode(delivery.question()))
        elif action == "say":
            while (output := delivery.next_output()) is not None:
                self.ups[author].append(encode(output))
                delivery.sent()
        elif action == "up":
            self.carry_up(author, self.ups[author], n // 2)
        elif action == "stray" and self.stray:
            self.carry_up(*self.stray[-1 - n % min(len(self.stray), 3)], n)
        elif action == "lose" and self.ups[author]:
            self.ups[author].popleft()
        elif action == "down":
            for _ in range(min(n // 2, len(self.downs[author]))):
                state = decode(self.downs[author].popleft())
                assert isinstance(state, OutputState)
                delivery.on_state(state)
        elif action == "next":
            self.next_records(n // 2)
        elif action == "break":
            self.cut_off(author)
        elif action == "again":
            self.commit(author)
        elif action == "crash":
            for each in self.sizes:
                self.cut_off(each)
            self.stray.clear()
            self.intake = Intake("totals", self.stored, True)
        if all(each.is_finished for each in self.deliveries.values()):
            for each, size in self.sizes.items():
                self.expected += [(self.epoch, each, number + 1) for number in range(size)]
            self.epoch += 1
            self.sizes = {1: 1 + n, 2: 25 - 2 * n}
            for each in self.sizes:
                self.commit(each)

    def next_records(self, n: int) -> None:
        for _ in range(n):
            record = self.intake.next_record()
            if record is None:
                break
            self.done.append(tuple(int(word) for word in record.split()))  # type: ignore[arg-type]
            self.stored = self.intake.position
        self.post()

    def post(self) -> None:
        outbox, self.intake.outbox = self.intake.outbox, []
        for connection, message in outbox:
            self.downs[int(connection)].append(message)


@settings(max_examples=300)
@given(
    schedules(
        *("say", "up", "down", "next", "next") * 3,
        *("ask", "lose", "break", "again", "stray", "stray", "crash", "crash", "crash"),
    )
)
def test_a_consumer_with_its_position_does_each_record_once(schedule: Schedule) -> None:
    """Order within an author, epochs one after the other; all of it when nothing dies any more."""
    outlet = Outlet()
    for action, n in schedule:
        outlet.do(action, n)
    before = outlet.epoch
    for _ in range(40):
        for action in ("ask", "up", "down", "say", "up", "next", "next", "down"):
            for n in (8, 9):
                outlet.do(action, n)
    assert outlet.epoch > before + 2
    assert [epoch for epoch, _, _ in outlet.done] == sorted(epoch for epoch, _, _ in outlet.done)
    for author in outlet.sizes:
        mine = [each for each in outlet.done if each[1] == author]
        expected = [each for each in outlet.expected if each[1] == author]
        assert mine[: len(expected)] == expected
        assert len(set(mine)) == len(mine)


def test_a_delivery_goes_back_once_for_one_gap() -> None:
    """All that was under way behind a gap is complained of; only the first complaint counts."""
    records = [b"%02d" % n for n in range(1, 7)]
    delivery = Delivery("totals", 1, 5, [pack(records)], 1)
    state: Callable[..., OutputState] = OutputState(1, 5, 0, 0, 0, 0, False)._replace
    delivery.on_state(state())
    sent = []
    while (output := delivery.next_output()) is not None:
        sent.append(output)
        delivery.sent()
    assert [output.first for output in sent] == [1, 3, 5]
    complaint = state(attempt=delivery.attempt, taken=2, is_gap=True)
    delivery.on_state(complaint)
    again = delivery.next_output()
    assert again == Output("totals", 1, 5, delivery.attempt, 3, [b"03", b"04"])
    delivery.sent()
    delivery.on_state(complaint)
    following = delivery.next_output()
    assert following is not None
    assert following.first == 5
