"""Scripted sources and outlets alone: what can be read again, what is shown once, and in order."""

from __future__ import annotations

import pytest

from zstream.errors import ConnectorError, InvariantBroken
from zstream.ports.connectors import EndOfInput
from zstream.sim.outside import HoldingWriter, Outlet, Script, SendingWriter


def outlet(holds: bool = True) -> Outlet:
    return Outlet("out", holds, lambda: 0.0)


def writer(to: Outlet, author: int) -> HoldingWriter:
    opened = to.open(f"w{author}", author, lambda: None)
    assert isinstance(opened, HoldingWriter)
    return opened


def records(of: Outlet) -> list[str]:
    return [emitted.record for emitted in of.emitted]


def test_a_script_is_read_again_from_any_position() -> None:
    """One reader reads on, a second goes back to where the first was; both see the same records."""
    script = Script("left")
    script.push("abcd")
    first = script.open("w0", lambda: None)
    assert first.read(2) == ["a", "b"]
    position = first.position()
    assert first.read(9) == ["c", "d"]
    second = script.open("w1", lambda: None)
    assert second.seek(position) == 0
    assert second.read(9) == ["c", "d"]
    assert script.is_read("w0") and script.is_read("w1")


def test_a_script_that_ends_says_so_at_its_end_only() -> None:
    """The end comes behind the last record, and again after a seek."""
    script = Script("left")
    script.push("a")
    script.end()
    reader = script.open("w0", lambda: None)
    for _ in range(2):
        assert reader.read(5) == ["a"]
        with pytest.raises(EndOfInput):
            reader.read(5)
        reader.seek(None)


def test_what_was_acknowledged_may_be_gone() -> None:
    """A script that forgets cannot go back behind the acknowledgement; it says what is lost."""
    script = Script("left")
    script.forgets = True
    script.push("abcd")
    reader = script.open("w0", lambda: None)
    reader.read(3)
    reader.acknowledge(reader.position())
    again = script.open("w1", lambda: None)
    assert again.seek(["left", 1]) == 2
    assert again.read(9) == ["d"]


def test_the_position_of_one_partition_is_none_of_another() -> None:
    """A position that was given to the wrong partition is found at once."""
    script = Script("right@w1")
    script.push("ab")
    with pytest.raises(InvariantBroken, match="right@w1 was told"):
        script.open("w1", lambda: None).seek(["right@w2", 1])


def test_a_script_may_not_open_at_first() -> None:
    """Two tries fail, the third does not."""
    script = Script("left")
    script.fails = 2
    for _ in range(2):
        with pytest.raises(ConnectorError):
            script.open("w0", lambda: None)
    script.open("w0", lambda: None)


def test_output_is_held_back_until_it_is_committed_by_whomever() -> None:
    """Written by one worker and committed by another; what came after the cut is not shown."""
    out = outlet()
    one, two = writer(out, 1), writer(out, 2)
    one.write(["a", "b"])
    token = one.prepare(4)
    one.write(["c"])
    assert one.uncommitted_bytes() > 0 and records(out) == []
    two.commit(4, 1, [token])
    assert records(out) == ["a", "b"]
    assert one.prepare(5) is not None
    assert two.prepare(5) is None


def test_a_commit_counts_once_and_what_was_aborted_never_was() -> None:
    """The same name twice is harmless, with other content it is not."""
    out = outlet()
    one = writer(out, 1)
    one.write(["a"])
    token = one.prepare(1)
    one.write(["gone"])
    one.abort()
    one.commit(1, 1, [token])
    one.commit(1, 1, [token])
    assert records(out) == ["a"]
    with pytest.raises(InvariantBroken, match="was another before"):
        one.commit(1, 1, [])


def test_epochs_are_committed_in_order() -> None:
    """An epoch that comes for the first time after a later one is a broken protocol."""
    out = outlet()
    one, two = writer(out, 1), writer(out, 2)
    one.write(["late"])
    two.write(["early"])
    late, early = one.prepare(1), two.prepare(2)
    two.commit(2, 2, [early])
    with pytest.raises(InvariantBroken, match="committed after 2"):
        one.commit(1, 1, [late])


def test_an_outlet_asks_whether_a_commit_is_decided() -> None:
    """What the oracle refuses is not shown; what is shut takes nothing and may be asked again."""
    out = outlet()
    one = writer(out, 1)
    one.write(["a"])
    token = one.prepare(1)
    out.shut()
    with pytest.raises(ConnectorError):
        one.commit(1, 1, [token])
    out.reopen()

    def refuse(*_: object) -> None:
        raise InvariantBroken("nobody decided this")

    out.committing = refuse
    with pytest.raises(InvariantBroken, match="nobody decided"):
        one.commit(1, 1, [token])
    assert records(out) == []


def test_who_sends_at_once_keeps_what_waits_from_before_the_cut() -> None:
    """After a recovery what was before the cut does not come again, so it is not forgotten."""
    out = outlet(holds=False)
    sender = out.open("w1", 1, lambda: None)
    assert isinstance(sender, SendingWriter)
    out.shut()
    sender.write(["before"])
    sender.flush(0.0)
    assert sender.prepare(1) is not None and sender.pending_bytes() > 0
    sender.write(["after"])
    sender.abort()
    out.reopen()
    sender.flush(0.0)
    assert records(out) == ["before"] and sender.pending_bytes() == 0
