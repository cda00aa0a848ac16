"""The driver tells of what it cannot read: without that a worker with other code just stands."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from zstream.config import Config
from zstream.control.agent import Agent
from zstream.driver.worker import WorkerDriver, software_of, start_of
from zstream.errors import WireError
from zstream.model.ids import Incarnation, WorkerName
from zstream.model.membership import Member
from zstream.ports.shell import Shell
from zstream.topology.plan import Plan
from zstream.wire.values import Registry

PLAN = Plan("t", 8, (), (), {}, {}, (), "", ())
ME = Member(WorkerName("w0"), Incarnation(1), "h:1", "h:2", "h:3")


def driver(said: list[tuple[str, str, str]]) -> WorkerDriver:
    """Of a worker that has not begun."""

    def say(level: str, event: str, text: str, fields: Mapping[str, Any]) -> None:
        said.append((level, event, text))

    letters = SimpleNamespace(add=None, prepare=None)
    shell = cast(Shell, SimpleNamespace(say=say, can_read=None, dead_letters=letters))
    config, start = Config(), start_of(PLAN, "initializer", "", 1)
    agent = Agent(config, ME, software_of(PLAN, ""), start, lambda: 1, 0.0)
    return WorkerDriver(config, ME, PLAN, Registry(), agent, shell)


def test_records_that_cannot_be_decoded_are_told_of(monkeypatch: Any) -> None:
    """They are sent again and again, and nothing else shows why the worker stands."""
    said: list[tuple[str, str, str]] = []
    worker = driver(said)

    def unknown(frame: bytes, now: float) -> None:
        raise WireError("class Vote is not known on this worker.")

    monkeypatch.setattr(worker.dataflow, "receive", unknown)
    worker.on_data(b"frame", 0.0)
    text = "records of a worker cannot be read here: class Vote is not known on this worker."
    assert said == [("warning", "cannot_read", text)]


def test_rubbish_is_told_of_and_changes_nothing() -> None:
    """On each of the three sockets."""
    said: list[tuple[str, str, str]] = []
    worker = driver(said)
    worker.on_control(b"rubbish", 0.0)
    worker.on_client(b"tool", b"rubbish", 0.0)
    worker.on_data(b"rubbish", 0.0)
    assert [event for _, event, _ in said] == ["cannot_read"] * 3
    assert worker.exit is None
