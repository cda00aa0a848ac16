"""What the tools that ask a running cluster share: exit codes, refusals, numbers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from math import isfinite
from typing import Any

from zstream.cli.addresses import reachable
from zstream.cli.settings import config_from, read_settings
from zstream.client.cluster import Cluster
from zstream.errors import ClusterTimeout, ClusterUnreachable, Refused, UsageError

DONE, FAILED, WRONG_USAGE, TIMEOUT, INTERRUPTED = 0, 1, 2, 3, 130


def run_tool(program: str, options: Mapping[str, Any], work: Callable[[], int]) -> int:
    """Do the work; what goes wrong becomes a sentence, or a JSON object, and an exit code."""
    as_json = bool(options["--json"])
    try:
        return work()
    except UsageError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return WRONG_USAGE
    except Refused as error:
        complain(str(error), as_json, code=error.code, says=error.says, do=error.do)
        return FAILED
    except ClusterUnreachable as error:
        complain(f"{program}: {error}", as_json, code="unreachable", says=str(error))
        return FAILED
    except ClusterTimeout as error:
        complain(f"{program}: {error}", as_json, code="timeout", says=str(error))
        return TIMEOUT
    except KeyboardInterrupt:
        return INTERRUPTED


def complain(text: str, as_json: bool, *, code: str, says: str, do: str = "") -> None:
    """The sentence on standard error, or the object on standard output."""
    if as_json:
        show_json({"error": {"code": code, "says": says, "do": do}})
    else:
        print(text, file=sys.stderr)


def show_json(value: object) -> None:
    """One object on one line."""
    print(json.dumps(value, ensure_ascii=False, default=str), flush=True)


def cluster_at(
    option: str, address: str, options: Mapping[str, Any], timeout: str, cause: str
) -> Cluster:
    """The cluster at `address`, which `option` said; `timeout` where --timeout is not said."""
    seconds = seconds_of("--timeout", options["--timeout"] or timeout)
    return Cluster(
        reachable(option, address),
        timedelta(seconds=seconds),
        cause=cause,
        config=config_from(read_settings()),
    )


def at_least_one(option: str, said: str) -> int:
    """A whole number from 1 on."""
    try:
        number = int(said)
    except ValueError:
        raise UsageError(f"{option} must be a whole number, it is {said!r}.") from None
    if number < 1:
        raise UsageError(f"{option} must be at least 1, it is {number}.")
    return number


def seconds_of(option: str, said: str) -> float:
    """A time in seconds above 0."""
    try:
        seconds = float(said)
    except ValueError:
        raise UsageError(f"{option} must be a number of seconds, it is {said!r}.") from None
    if not (isfinite(seconds) and 0 < seconds < 1e9):
        raise UsageError(f"{option} must be above 0 seconds, it is {said}.")
    return seconds
