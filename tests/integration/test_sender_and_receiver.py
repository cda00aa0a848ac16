"""sender and data_receiver as processes, against each other and against plain sockets."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60


def command(tool: str, *words: object) -> list[str]:
    return [sys.executable, "-m", f"zstream.cli.{tool}", *map(str, words)]


def environment() -> dict[str, str]:
    plain = {name: text for name, text in os.environ.items() if not name.startswith("ZSTREAM_")}
    return {**plain, "PYTHONPATH": str(ROOT)}


@contextmanager
def receiver(directory: Path, *words: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A data_receiver on any free port, and the address that it says it listens on."""
    with subprocess.Popen(
        command("data_receiver", "--listen", "127.0.0.1:0", *words),
        cwd=directory,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line.startswith("data_receiver: listening on 127.0.0.1:"), line
            yield process, line.split()[-1]
        finally:
            process.kill()


def send(directory: Path, address: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("sender", "--host", address, *words),
        cwd=directory,
        env=environment(),
        text=True,
        capture_output=True,
        timeout=SECONDS,
    )


def test_what_is_sent_arrives(tmp_path: Path) -> None:
    """Frames off and on again: the receiver writes the lines that the sender read."""
    lines = [f"line {n}" for n in range(20_000)]
    (tmp_path / "lines").write_text("\n".join(lines))
    with receiver(tmp_path, "--framed", "--output", "out", "--count", 20_000, "--json") as (
        process,
        address,
    ):
        result = send(tmp_path, address, "--file", "lines", "--json")
        out, _ = process.communicate(timeout=SECONDS)
    assert (result.returncode, process.returncode, result.stderr) == (0, 0, "")
    size = sum(map(len, lines))
    summary = json.loads(result.stdout)
    assert (summary["records"], summary["bytes"]) == (20_000, size + 4 * 20_000)
    counted = json.loads(out)
    assert (counted["records"], counted["bytes"], counted["connections"]) == (20_000, size, 1)
    assert (tmp_path / "out").read_text().splitlines() == lines


def test_two_senders_share_the_output_line_by_line(tmp_path: Path) -> None:
    """Verbatim: no line of one stands inside a line of the other; Ctrl-C ends with the count."""
    for name in "ab":
        (tmp_path / name).write_text(f"{name * 50}\n" * 20_000)
    with receiver(tmp_path, "--output", "out") as (process, address):
        threads = [
            threading.Thread(target=send, args=(tmp_path, address, "--file", name, "--framed"))
            for name in "ab"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
        # The senders saw the receiver close, so it has read everything.
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert err.startswith("received 40,000 records, 2,040,000 bytes over 2 connections in ")
    lines = (tmp_path / "out").read_text().splitlines()
    assert sorted(lines) == ["a" * 50] * 20_000 + ["b" * 50] * 20_000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_line_that_is_not_finished_is_not_lost_at_the_end(
    tmp_path: Path, number: signal.Signals
) -> None:
    """The connection is still open when the receiver is told to end."""
    with receiver(tmp_path) as (process, address):
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"whole\nhalf")
            assert process.stdout is not None
            assert process.stdout.readline() == "whole\n"
            process.send_signal(number)
            out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (0, "half")
    assert err.startswith("received 2 records, 10 bytes over 1 connections")


def test_a_receiver_ends_when_nothing_comes(tmp_path: Path) -> None:
    """--idle, counted from the last record; nothing is written with --no-write."""
    with receiver(tmp_path, "--idle", 2, "--no-write") as (process, address):
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"one\ntwo\n")
            out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (0, "")
    assert err.startswith("received 2 records, 8 bytes")


def test_what_is_no_frame_is_refused_on_both_ends(tmp_path: Path) -> None:
    """Text sent to a receiver of frames: both say so and exit 1."""
    (tmp_path / "text").write_text("GET / HTTP/1.1\n")
    with receiver(tmp_path, "--framed") as (process, address):
        result = send(tmp_path, address, "--file", "text", "--framed")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
    assert (result.returncode, process.returncode) == (1, 1)
    assert "closed the connection" in result.stderr
    assert "data_receiver: a frame says that it has 1,195,725,856 bytes" in err


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    """One sentence, exit 1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        result = subprocess.run(
            command("data_receiver", "--listen", address),
            env=environment(),
            text=True,
            capture_output=True,
            timeout=SECONDS,
        )
    assert result.returncode == 1
    assert result.stderr == (
        f"data_receiver cannot listen on {address}: the port is in use by another process. "
        "Choose another with --listen HOST:PORT.\n"
    )


def test_standard_input_is_sent_as_it_comes(tmp_path: Path) -> None:
    """A line written to the sender arrives while the sender still waits for the next."""
    with (
        receiver(tmp_path) as (process, address),
        subprocess.Popen(
            command("sender", "--host", address, "--file", "-", "--framed"),
            env=environment(),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as sender,
    ):
        assert sender.stdin is not None
        assert process.stdout is not None
        for line in ("one\n", "two\n"):
            sender.stdin.write(line)
            sender.stdin.flush()
            assert process.stdout.readline() == line
        out, _ = sender.communicate(timeout=SECONDS)
        assert (sender.returncode, out[:22]) == (0, "sent 2 records, 8 byte")


def test_ctrl_c_on_a_sender_says_how_much_went(tmp_path: Path) -> None:
    """A paced, endless sender; exit 130 as any interrupted program."""
    (tmp_path / "lines").write_text("x\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with subprocess.Popen(
            command("sender", "--host", address, "--file", "lines", "--repeat", 0, "--rate", 200),
            cwd=tmp_path,
            env=environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as sender:
            accepted, _ = server.accept()
            with accepted:
                assert accepted.recv(5, socket.MSG_WAITALL) == struct.pack(">I", 1) + b"x"
                sender.send_signal(signal.SIGINT)
                out, err = sender.communicate(timeout=SECONDS)
    assert (sender.returncode, err) == (130, "")
    assert out.startswith("sent ")
