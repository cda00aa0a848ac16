"""What a peer's program needs to run several workers beside each other."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import Any

LOOK = 0.05  # seconds between two looks whether workers have ended


def say(result: dict[str, Any]) -> None:
    """Print it as the one line that the driver reads."""
    print(json.dumps(result), flush=True)


def address() -> str:
    """A loopback address that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


def run_all(commands: list[list[str]], variables: list[dict[str, str]]) -> list[str]:
    """Run the workers of a case beside each other; what each printed last.

    Raises RuntimeError with what it said where one fails; the others are not awaited then.
    """
    with ExitStack() as closing:
        said = [closing.enter_context(TemporaryFile("w+")) for _ in commands]
        workers = [
            subprocess.Popen(command, env={**os.environ, **more}, stdout=file, stderr=file)
            for command, more, file in zip(commands, variables, said, strict=True)
        ]
        failed: set[int] = set()
        try:
            while any(worker.poll() is None for worker in workers) and not failed:
                time.sleep(LOOK)
                failed = {index for index, worker in enumerate(workers) if worker.poll()}
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        for file in said:
            file.seek(0)
        texts = [file.read().strip() for file in said]
    for index in failed:
        command, code = " ".join(commands[index]), workers[index].returncode
        raise RuntimeError(f"{command} ended with {code}:\n{texts[index]}")
    return [text.rpartition("\n")[2] for text in texts]


def worker_reports(commands: list[list[str]]) -> list[dict[str, Any]]:
    """What the workers of a case report, each as the last line that it prints."""
    return [json.loads(line) for line in run_all(commands, [{}] * len(commands))]
