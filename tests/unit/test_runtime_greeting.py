"""Why nobody answers at an address, in words for the one who typed it."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest

from zstream.client import Cluster
from zstream.config import Config
from zstream.control.events import Stop
from zstream.control.joining import Joining, Start
from zstream.control.requests import Software
from zstream.errors import ClusterUnreachable
from zstream.model.ids import Incarnation, WorkerName
from zstream.model.membership import Member
from zstream.runtime.greeting import why_silent

ME = Member(WorkerName("w1"), Incarnation(7), "h2:1", "h2:2", "h2:3")
SOFTWARE = Software("votes", "f1", (), "")


@pytest.fixture
def no_such_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that knows nobody."""

    def look_up(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("zstream.runtime.greeting.socket.getaddrinfo", look_up)


def test_a_port_that_is_closed() -> None:
    """Nobody listens there."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert why_silent(f"127.0.0.1:{nobody.getsockname()[1]}", "control") == "connection refused"


def test_a_port_of_somebody_else() -> None:
    """The external or data address of a worker: it takes a joiner's connection and is silent."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        says = why_silent(f"127.0.0.1:{other.getsockname()[1]}", "control")
    assert says == "it takes the connection, but does not answer as a worker's control address"


@pytest.mark.usefixtures("no_such_host")
def test_a_host_that_is_not_known() -> None:
    """A slip of the pen in its name."""
    assert why_silent("nohost:5050", "control") == (
        "there is no such host as nohost (name or service not known)"
    )


@pytest.mark.usefixtures("no_such_host")
def test_a_tool_does_not_wait_for_a_host_that_is_not_known() -> None:
    """It is said at once, whatever the timeout, and what to give instead."""
    with pytest.raises(ClusterUnreachable) as caught:
        Cluster("nohost:5050", timedelta(days=1)).status()
    assert str(caught.value) == (
        "nobody can answer at nohost:5050: there is no such host as nohost (name or service not "
        "known). Give the address that a running worker prints as `external HOST:PORT`."
    )


@pytest.mark.parametrize(("why", "said"), [("it is closed", ": it is closed"), ("", "")])
def test_a_joiner_gives_up_with_the_reason(why: str, said: str) -> None:
    """It looks once, when the deadline is over, and not while it waits."""
    looks: list[str] = []

    def look(address: str) -> str:
        looks.append(address)
        return why

    start = Start("joiner", "h1:3", 1, {}, (), key_groups=4, why_silent=look)
    joining = Joining(ME, SOFTWARE, start, Config(join_deadline_ms=8_000), 0.0)
    assert not any(isinstance(effect, Stop) for effect in joining.tick(7.0))
    assert looks == []
    assert joining.tick(9.0) == [
        Stop(
            1,
            f"nobody answered at h1:3 for 8 s{said}. --join wants the control address of a running "
            "worker, not its external or data address.",
        )
    ]
    assert looks == ["h1:3"]
