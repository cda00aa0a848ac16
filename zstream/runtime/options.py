"""What a worker is started with, after command line, environment and file were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from zstream.config import Config


@dataclass(frozen=True)
class WorkerOptions:
    """One worker's start, as `zworker` understood it.

    role: "initializer" (starts the cluster), "starter" (one of the workers it starts with,
    reaches it at `join`), "joiner" (joins a running cluster at `join`).
    inputs, outputs: source or sink name -> "host:port", already matched to the topology's names.
    Addresses are where this worker listens; port 0 takes any free port.
    store: URL of the cluster's store ("" for a private one, made by the initializer).
    fresh: begin anew although the store holds a checkpoint. savepoint: URL of the one that a new
    cluster begins from, "" for none. leave_state: operators whose state is left behind. All three
    are the initializer's.
    """

    role: str
    name: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    control: str = "127.0.0.1:0"
    data: str = "127.0.0.1:0"
    external: str = "127.0.0.1:0"
    join: str = ""
    worker_count: int = 1
    dead_letters: str = "dead-letters.jsonl"
    store: str = ""
    fresh: bool = False
    savepoint: str = ""
    leave_state: tuple[str, ...] = ()
    log_format: str = "text"  # or "json"
    json: bool = False  # one JSON object a line on standard output
    config: Config = field(default_factory=Config)
