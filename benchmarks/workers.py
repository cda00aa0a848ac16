"""What a peer's program needs to run several workers beside each other."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from typing import Any


def say(result: dict[str, Any]) -> None:
    """Print it as the one line that the driver reads."""
    print(json.dumps(result), flush=True)


def address() -> str:
    """A loopback address that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


def run_all(commands: list[list[str]], variables: list[dict[str, str]]) -> list[str]:
    """Run the workers of a case beside each other; what each printed last.

    Raises RuntimeError with what it said where one fails.
    """
    workers = [
        subprocess.Popen(
            command,
            env={**os.environ, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command, more in zip(commands, variables, strict=True)
    ]
    try:
        texts = [worker.communicate()[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    for worker, text in zip(workers, texts, strict=True):
        if worker.returncode:
            raise RuntimeError(f"{worker.args} ended with {worker.returncode}:\n{text}")
    return [text.strip().rpartition("\n")[2] for text in texts]


def worker_reports(commands: list[list[str]]) -> list[dict[str, Any]]:
    """What the workers of a case report, each as the last line that it prints."""
    return [json.loads(line) for line in run_all(commands, [{}] * len(commands))]
