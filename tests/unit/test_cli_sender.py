"""sender and data_receiver: what their command lines mean, and what they refuse."""

from __future__ import annotations

import io
import json
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from zstream.cli import data_receiver, sender
from zstream.cli.sender import job_of
from zstream.cli.usage import parse
from zstream.client import sending
from zstream.client.sending import Done, Job, records_of
from zstream.client.verbatim import HELD_BYTES_MAX, VerbatimCutter
from zstream.errors import ConnectorError, LimitExceeded

ADDRESS = "127.0.0.1:7010"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No environment and no zstream.env of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOST", "FILE", "RATE", "BATCH", "COUNT", "REPEAT", "SIZE", "JSON", "QUIET"):
        monkeypatch.delenv(f"ZSTREAM_{name}", raising=False)


def job(*words: str, address: str = ADDRESS) -> Job:
    return job_of(parse(sender.__doc__ or "", ["--host", address, *words], program="sender"))


def sent(*words: str) -> list[bytes]:
    return [record for records in records_of(job(*words), Done()) for record in records]


def framed(*payloads: bytes) -> list[bytes]:
    return [struct.pack(">I", len(payload)) + payload for payload in payloads]


def test_each_form_of_file_becomes_its_records(tmp_path: Path) -> None:
    """The default frames lines; --framed keeps them; --binary holds frames; --size cuts."""
    (tmp_path / "text").write_bytes(b"one\ntwo\r\nlast")
    (tmp_path / "frames").write_bytes(b"".join(framed(b"a", b"", b"bc")))
    assert sent("--file", "text") == framed(b"one", b"two", b"last")
    assert sent("--file", "text", "--lines") == framed(b"one", b"two", b"last")
    assert sent("--file", "text", "--framed") == [b"one\n", b"two\r\n", b"last"]
    assert sent("--file", "frames", "--binary") == framed(b"a", b"", b"bc")
    assert sent("--file", "frames", "--size", "5") == [b"\0\0\0\1a", b"\0\0\0\0\0", b"\0\0\2bc"]


def test_files_repeat_and_count(tmp_path: Path) -> None:
    """Files in order, all of them again, and a count that ends anywhere."""
    (tmp_path / "a").write_bytes(b"1\n2\n")
    (tmp_path / "b").write_bytes(b"3\n")
    twice = sent("--file", "a", "--file", "b", "--framed", "--repeat", "2")
    assert b"".join(twice) == b"1\n2\n3\n1\n2\n3\n"
    endless = sent("--file", "a", "--file", "b", "--framed", "--repeat", "0", "--count", "7")
    assert b"".join(endless) == b"1\n2\n3\n1\n2\n3\n1\n"


def test_a_file_that_does_not_hold_what_is_said_is_refused(tmp_path: Path) -> None:
    """A torn frame, text that is taken for frames, and a rest that is no whole piece."""
    (tmp_path / "torn").write_bytes(b"\0\0\0\5ab")
    (tmp_path / "text").write_bytes(b"some text\n")
    with pytest.raises(ConnectorError, match="torn ends in the middle of a record: its last 6 b"):
        sent("--file", "torn", "--binary")
    with pytest.raises(LimitExceeded, match="text: a frame says that it has 1,936,682,341 bytes"):
        sent("--file", "text", "--binary")
    with pytest.raises(ConnectorError, match="its last 1 bytes were not sent"):
        sent("--file", "text", "--size", "3")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--host", ADDRESS], "--file FILE is missing"),
        (["--file", "a"], "--host ADDR is missing"),
        (["--host", "nowhere", "--file", "a"], "--host must be host:port, it is 'nowhere'."),
        (["--host", ADDRESS, "--file", "a", "--rate", "0"], "--rate must be records a second"),
        (["--host", ADDRESS, "--file", "a", "--batch", "0"], "--batch must be at least 1, it is 0"),
        (
            ["--host", ADDRESS, "--file", "a", "--repeat", "-1"],
            "--repeat must be at least 1",
        ),
        (["--host", ADDRESS, "--file", "-", "--repeat", "2"], "standard input comes only once"),
        (["--host", ADDRESS, "--file", "a", "--lines", "--binary"], "exclude each other"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_2(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error, nothing on standard output; no connection is tried."""
    try:
        code: object = sender.main(words)
    except SystemExit as exit_:
        code = exit_.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.startswith("sender: ")
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "--listen ADDR is missing"),
        (["--listen", "7002"], "--listen must be host:port, it is '7002'."),
        (["--listen", ADDRESS, "--count", "none"], "--count must be a whole number"),
        (["--listen", ADDRESS, "--idle", "0"], "--idle must be above 0 seconds"),
        (["--listen", ADDRESS, "--no-write", "--output", "x"], "exclude each other"),
    ],
)
def test_wrong_usage_of_the_receiver(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the sender's."""
    try:
        code: object = data_receiver.main(words)
    except SystemExit as exit_:
        code = exit_.code
    err = capsys.readouterr().err
    assert code == 2
    assert says in err
    assert err.count("\n") == 1


def test_nobody_listening_is_said_at_once_and_given_up_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the waiting made short: two lines, exit 1, and an object with --json."""
    monkeypatch.setattr(sending, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "a").write_bytes(b"1\n")
    assert sender.main(["--host", address, "--file", "a", "--json"]) == 1
    out, err = capsys.readouterr()
    assert err == f"sender: nobody listens at {address} yet; trying for 0 s.\n"
    assert json.loads(out)["error"]["code"] == "unreachable"
    assert f"nobody listened at {address} for 0 s: connection refused." in out


def test_a_missing_file_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Before any connection is tried."""
    assert sender.main(["--host", ADDRESS, "--file", "nothing.txt"]) == 1
    assert (
        capsys.readouterr().err == "sender: cannot read nothing.txt: No such file or directory.\n"
    )


def serve_once(server: socket.socket, take: int) -> Iterator[bytes]:
    """Accept one sender, read at least `take` bytes, and close without reading the rest."""
    accepted, _ = server.accept()
    with accepted:
        got = b""
        while len(got) < take and (chunk := accepted.recv(65_536)):
            got += chunk
        yield got


def test_a_source_that_closes_is_said_with_what_was_handed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only records whose every byte was taken are counted."""
    (tmp_path / "many").write_bytes(b"0123456\n" * 4_000_000)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: list(serve_once(server, 100_000)))
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        code = sender.main(["--host", address, "--file", "many", "--framed", "--quiet"])
        thread.join(10)
    err = capsys.readouterr().err
    assert code == 1
    handed_over = int(err.partition(" after ")[2].partition(" records")[0].replace(",", ""))
    assert 12_500 <= handed_over < 4_000_000


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("rate", "batch"), [(500, 500), (20_000, 30), (7, 3)])
def test_a_rate_is_kept(
    rate: int, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At no moment more records than the rate allows, none later than the clock's grain."""
    clock = Clock()
    written: list[tuple[float, int]] = []
    monkeypatch.setattr(sending, "time", clock)
    monkeypatch.setattr(sending, "connect", lambda *_: socket.socket())
    monkeypatch.setattr(sending, "finish", lambda _: None)
    monkeypatch.setattr(
        sending, "write", lambda _, records, *__: written.append((clock.now - 100, len(records)))
    )
    (tmp_path / "many").write_bytes(b"x\n" * 1000)
    words = ("--file", "many", "--rate", str(rate), "--batch", str(batch))
    sending.send(job(*words), Done(), lambda *_: None, print)
    total = 0
    for at, records in written:
        total += records
        assert records <= batch
        assert total <= at * rate + 1
    assert total == 1000
    assert written[-1][0] == pytest.approx(999 / rate, abs=2 * sending.PACE_SECONDS)


def test_verbatim_lines_are_changed_in_no_byte() -> None:
    """Whole lines where there are some; what is no line for long is passed on as it is."""
    cutter = VerbatimCutter()
    assert cutter.feed(b"a\r\nb") == [b"a\r\n"]
    assert cutter.feed(b"c\n\nd") == [b"bc\n", b"\n"]
    assert cutter.finish() == [b"d"]
    assert cutter.finish() == []
    long = b"x" * (HELD_BYTES_MAX + 1)
    assert cutter.feed(long) == [long]


def test_progress_is_drawn_only_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar with records and rate there, nothing with --quiet, nothing in a file."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("zstream.cli.progress.REDRAW_SECONDS", 0.0)
    drawn = {}
    (tmp_path / "few").write_bytes(b"x\n" * 20)
    for words in ([], ["--quiet"]):
        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=lambda: list(serve_once(server, 10_000)))
            thread.start()
            terminal = Terminal()
            monkeypatch.setattr(sys, "stderr", terminal)
            address = f"127.0.0.1:{server.getsockname()[1]}"
            assert sender.main(["--host", address, "--file", "few", "--batch", "5", *words]) == 0
            thread.join(10)
        drawn[bool(words)] = terminal.getvalue()
    assert drawn[True] == ""
    assert "25%  5 records" in drawn[False]
    assert "100%  20 records" in drawn[False]
    assert drawn[False].endswith("\r\x1b[K")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--repeat", "3"], {3: 3 / 12, 4: 4 / 12, 7: 7 / 12, 8: 8 / 12, 11: 11 / 12, 12: 1.0}),
        (["--repeat", "0", "--count", "6"], {3: 0.5, 4: 4 / 6, 6: 1.0}),
        (["--count", "2"], {2: 1.0}),
        (["--count", "9"], {3: 0.75, 4: 1.0}),
        (["--repeat", "0"], {3: None, 4: None, 7: None}),
    ],
)
def test_progress_is_of_what_was_sent_and_not_of_what_was_read(
    words: list[str],
    parts: dict[int, float | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A small file is read whole before its first record is sent, and may be sent several times.
    Here it has 4 records, and 3 go in a write."""

    def write(_: socket.socket, batch: list[bytes], done: Done, *__: object) -> None:
        done.records += len(batch)

    shown: dict[int, float | None] = {}

    def show(records: int, part: float | None) -> None:
        shown[records] = part
        if records == max(parts):
            raise KeyboardInterrupt

    monkeypatch.setattr(sending, "connect", lambda *_: socket.socket())
    monkeypatch.setattr(sending, "write", write)
    (tmp_path / "few").write_bytes(b"x\n" * 4)
    with pytest.raises(KeyboardInterrupt):
        sending.send(job("--file", "few", "--batch", "3", *words), Done(), show, print)
    assert shown == {records: part and pytest.approx(part) for records, part in parts.items()}
