"""What a worker says, as text, as JSON lines, and on standard output for --json."""

from __future__ import annotations

import io
import json
import logging

from zstream.runtime.telemetry import RepeatLimit, Telemetry


def test_text_is_the_name_and_the_sentence() -> None:
    """A connector's own log line and a said one look alike; nothing goes to standard output."""
    log, out = io.StringIO(), io.StringIO()
    telemetry = Telemetry("w0", "text", False, log=log, out=out)
    telemetry.say("info", "cluster_up", "cluster `alphabet` is up", {"workers": 1})
    telemetry.say("debug", "detail", "nobody wants to read this", {})
    logging.getLogger("zstream.connectors.tcp").info("sink %s: connected.", "totals")
    telemetry.close()
    assert log.getvalue() == "w0: cluster `alphabet` is up\nw0: sink totals: connected.\n"
    assert out.getvalue() == ""


def test_json_lines_carry_time_level_event_worker_text_and_fields() -> None:
    """Every line is an object; what JSON has no form for does not lose the line."""
    log = io.StringIO()
    telemetry = Telemetry("w1", "json", False, log=log)
    telemetry.say("warning", "odd", "100% odd", {"value": b"x", "count": 3})
    logging.getLogger("zstream.connectors.tcp").info("plain")
    telemetry.close()
    first, second = (json.loads(line) for line in log.getvalue().splitlines())
    moment = first.pop("ts")
    assert moment.endswith("+00:00")
    assert first == {
        "level": "warning",
        "event": "odd",
        "worker": "w1",
        "text": "100% odd",
        "value": "b'x'",
        "count": 3,
    }
    assert (second["event"], second["text"], second["worker"]) == ("log", "plain", "w1")


def test_with_json_each_said_event_is_an_object_on_standard_output() -> None:
    """The log goes on beside it, in its own form."""
    log, out = io.StringIO(), io.StringIO()
    telemetry = Telemetry("w0", "text", True, log=log, out=out)
    telemetry.say("info", "cluster_up", "up", {"workers": 1})
    telemetry.close()
    assert json.loads(out.getvalue()) == {
        "event": "cluster_up",
        "worker": "w0",
        "text": "up",
        "workers": 1,
    }
    assert log.getvalue() == "w0: up\n"


def test_the_same_warning_again_is_counted_and_said_with_its_number_later() -> None:
    """Ten times within five seconds: one line; the next one says how many were held back."""
    log, now = io.StringIO(), [100.0]
    telemetry = Telemetry("w0", "text", False, log=log, clock=lambda: now[0])
    for _ in range(10):
        telemetry.say("warning", "peer_lost", "w1 does not answer", {})
    telemetry.say("warning", "peer_lost", "w2 does not answer", {})
    now[0] += 5
    telemetry.say("warning", "peer_lost", "w1 does not answer", {})
    telemetry.close()
    assert log.getvalue().splitlines() == [
        "w0: w1 does not answer",
        "w0: w2 does not answer",
        "w0: w1 does not answer (9 times more since it was last said)",
    ]


def test_information_is_never_held_back() -> None:
    """The limit is for warnings and errors only."""
    log = io.StringIO()
    telemetry = Telemetry("w0", "text", False, log=log, clock=lambda: 0.0)
    telemetry.say("info", "x", "again", {})
    telemetry.say("info", "x", "again", {})
    telemetry.close()
    assert log.getvalue() == "w0: again\nw0: again\n"


def test_the_memory_of_repeated_warnings_is_bounded() -> None:
    """A warning with a number in it, said for ever, does not fill the memory."""
    limit = RepeatLimit(lambda: 0.0)
    for number in range(5000):
        assert limit.admit("x", str(number)) == 0
    assert len(limit._said) <= 1000


def test_a_closed_telemetry_says_nothing_more() -> None:
    """The next worker in this process has the log to itself."""
    first, second = io.StringIO(), io.StringIO()
    Telemetry("w0", "text", False, log=first).close()
    telemetry = Telemetry("w1", "text", False, log=second)
    telemetry.say("info", "x", "hello", {})
    telemetry.close()
    assert (first.getvalue(), second.getvalue()) == ("", "w1: hello\n")


def test_a_reader_of_standard_output_that_has_gone_stops_nothing() -> None:
    """`zworker --json | head -1`: the log goes on."""

    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    log = io.StringIO()
    telemetry = Telemetry("w0", "text", True, log=log, out=Broken())
    telemetry.say("info", "x", "one", {})
    telemetry.say("info", "x", "two", {})
    telemetry.close()
    assert log.getvalue() == "w0: one\nw0: two\n"
