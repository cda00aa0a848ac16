"""The simulator's kernel, network and disk, alone: does chaos obey the seed?"""

from __future__ import annotations

from zstream.model.ids import LogNumber
from zstream.ports.log import LogAnswer, LogAppend, LogRead
from zstream.sim.disk import Desk, Disk, DiskTrouble
from zstream.sim.kernel import Kernel
from zstream.sim.network import Listener, Network, Weather


class Host:
    """A process that keeps what comes in."""

    def __init__(self, network: Network, name: str) -> None:
        self.control: list[bytes] = []
        self.data: list[bytes] = []
        self.reads = True
        network.listen(f"{name}:1", Listener(name, self.control.append, self._data))

    def _data(self, frame: bytes, read: object) -> None:
        self.data.append(frame)
        if self.reads:
            assert callable(read)
            read()


def storm(seed: int) -> tuple[Kernel, Host, Network]:
    kernel = Kernel(seed)
    network = Network(kernel, Weather(loss=0.2, double=0.2, late=0.2))
    host = Host(network, "b")
    for number in range(200):
        kernel.at(number * 0.001, lambda n=number: network.send_control("a", "b:1", b"%d" % n))
    kernel.run(10.0)
    for payload in host.control:
        kernel.note("b", payload.decode())
    return kernel, host, network


def test_events_of_one_instant_run_in_the_order_they_were_set() -> None:
    """Ten events at one time, set while another runs, keep their order."""
    kernel = Kernel(1)
    seen: list[int] = []
    for number in range(10):
        kernel.at(1.0, lambda n=number: seen.append(n))
    kernel.at(0.5, lambda: None)
    kernel.run(2.0)
    assert seen == list(range(10))
    assert kernel.now == 2.0


def test_a_cancelled_event_does_not_happen_and_done_ends_a_run_early() -> None:
    """One timer is cancelled; the run ends when the other has happened, not at its end."""
    kernel = Kernel(1)
    seen: list[str] = []
    kernel.at(1.0, lambda: seen.append("cancelled")).cancel()
    kernel.at(2.0, lambda: seen.append("done"))
    kernel.at(3.0, lambda: seen.append("later"))
    assert kernel.run(9.0, lambda: "done" in seen)
    assert seen == ["done"]
    assert kernel.now == 2.0


def test_one_seed_is_one_storm() -> None:
    """The same seed gives the same trace; another gives another."""
    assert storm(7)[0].digest() == storm(7)[0].digest()
    assert storm(7)[0].digest() != storm(8)[0].digest()


def test_the_control_lane_loses_doubles_and_reorders() -> None:
    """Of 200 messages in a storm some are lost, some come twice, and some too early."""
    _, host, _ = storm(3)
    numbers = [int(payload) for payload in host.control]
    assert len(set(numbers)) < 200
    assert len(numbers) > len(set(numbers))
    assert numbers != sorted(numbers)


def test_the_data_lane_keeps_order_and_a_reset_loses_the_middle() -> None:
    """Frames arrive in order; those in the pipe at a reset never come, later ones do."""
    kernel = Kernel(5)
    network = Network(kernel, Weather(delay=(0.01, 0.05)))
    host = Host(network, "b")
    pipe = network.pipe("a", "b:1", lambda: None)
    for number in range(3):
        assert pipe.send(b"%d" % number)
    kernel.run(1.0)
    assert pipe.send(b"lost")
    network.reset_some()
    assert pipe.send(b"after")
    kernel.run(2.0)
    assert host.data == [b"0", b"1", b"2", b"after"]


def test_a_full_pipe_says_not_now_and_calls_when_there_is_room() -> None:
    """The receiver reads nothing: the pipe fills up; a reset makes room and the sender is told."""
    kernel = Kernel(5)
    network = Network(kernel, Weather(pipe_frames=4))
    host = Host(network, "b")
    host.reads = False
    told: list[bool] = []
    pipe = network.pipe("a", "b:1", lambda: told.append(True))
    assert [pipe.send(b"x") for _ in range(5)] == [True] * 4 + [False]
    kernel.run(1.0)
    assert not pipe.send(b"x")
    assert not told
    pipe.reset()
    assert told == [True]


def test_a_cut_is_one_way_and_data_follows_when_it_heals() -> None:
    """A cannot reach B, B can reach A; a frame waits in the pipe, a control message is lost."""
    kernel = Kernel(5)
    network = Network(kernel, Weather())
    a, b = Host(network, "a"), Host(network, "b")
    network.cut(["a"], ["b"])
    network.send_control("a", "b:1", b"lost")
    network.send_control("b", "a:1", b"heard")
    network.pipe("a", "b:1", lambda: None).send(b"late")
    kernel.run(1.0)
    assert (a.control, b.control, b.data) == ([b"heard"], [], [])
    network.heal()
    kernel.run(2.0)
    assert (b.control, b.data) == ([], [b"late"])


def desk(trouble: DiskTrouble) -> tuple[Kernel, Disk, Desk, list[LogAnswer]]:
    kernel, disk = Kernel(2), Disk()
    answers: list[LogAnswer] = []
    return kernel, disk, Desk(kernel, disk, trouble, "a", answers.append), answers


def test_an_append_creates_once_and_reads_afterwards() -> None:
    """Two appends of one number: the second is refused and sees what the first wrote."""
    kernel, _, one, answers = desk(DiskTrouble())
    one.submit(LogAppend(1, LogNumber(1), b"mine"))
    one.submit(LogAppend(2, LogNumber(1), b"other"))
    one.submit(LogRead(3, LogNumber(1)))
    kernel.run(1.0)
    assert [answer.outcome for answer in answers] == ["created", "taken", "read"]
    assert all(answer.records == ((1, b"mine"),) for answer in answers)


def test_an_answer_may_be_lost_although_the_record_stands() -> None:
    """The create is answered with an error; the read behind it tells the truth."""
    kernel, disk, one, answers = desk(DiskTrouble(lost_answer=1.0))
    one.submit(LogAppend(1, LogNumber(1), b"mine"))
    kernel.run(1.0)
    assert answers[0].outcome == "unknown"
    assert disk.records == {1: b"mine"}


def test_a_stalled_append_is_done_after_its_writer_has_died() -> None:
    """The writer is gone before its create is done; the record appears all the same."""
    kernel, disk, one, answers = desk(DiskTrouble(stall=1.0))
    one.submit(LogAppend(1, LogNumber(1), b"mine"))
    kernel.run(0.1)
    one.abandon()
    assert disk.records == {}
    kernel.run(9.0)
    assert disk.records == {1: b"mine"}
    assert answers == []


def test_an_unreachable_store_neither_writes_nor_reads() -> None:
    """A host that is cut off from the store gets failures and leaves no trace there."""
    kernel, disk, one, answers = desk(DiskTrouble(unreachable={"a"}))
    one.submit(LogAppend(1, LogNumber(1), b"mine"))
    one.submit(LogRead(2, LogNumber(1)))
    kernel.run(1.0)
    assert [answer.outcome for answer in answers] == ["failed", "failed"]
    assert disk.records == {}


def test_a_paused_process_reads_its_answer_only_when_it_goes_on() -> None:
    """The create is done during the pause, the read after it: it sees what came in between."""
    kernel, disk, one, answers = desk(DiskTrouble())
    one.submit(LogAppend(1, LogNumber(1), b"mine"))
    one.pause()
    kernel.run(1.0)
    assert answers == []
    disk.create(LogNumber(2), b"another's")
    one.resume()
    assert answers[0].records == ((1, b"mine"), (2, b"another's"))
