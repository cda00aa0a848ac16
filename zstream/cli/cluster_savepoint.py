"""Take a savepoint of a running cluster, or show one.

Usage:
  cluster_savepoint --external ADDR --to URL [--wait | --no-wait] [--timeout SECONDS] [--json]
  cluster_savepoint show <url> [--json]

  -e --external ADDR    external address of any worker
     --to URL           where the savepoint goes: a directory or bucket that holds no other
     --wait             wait until it is there (the default)
     --no-wait          return when the request is accepted
     --timeout SECONDS  how long to wait; the savepoint goes on after that (default 600)
     --json

The cluster goes on meanwhile. Its leader writes the savepoint, so a directory is one of the
leader's machine. Start a cluster from it with `zworker --from URL`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from zstream.cli.tool import DONE, FAILED, cluster_at, complain, run_tool, show_json
from zstream.cli.usage import parse
from zstream.errors import ConnectorError
from zstream.model.savepoint import Savepoint
from zstream.ports.savepoints import read_savepoint
from zstream.stores.registry import open_to_read, store_url

PROGRAM = "cluster_savepoint"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parse(__doc__ or "", argv, program=PROGRAM)
    work = show if options["show"] else take
    return run_tool(PROGRAM, options, lambda: work(options))


def take(options: Mapping[str, Any]) -> int:
    """Ask for a savepoint, and print how that went."""
    as_json, wait = options["--json"], not options["--no-wait"]

    def told(state: str, says: str) -> None:
        if says and not as_json:
            print(says, flush=True)

    cluster = cluster_at("--external", options["--external"], options, "600", PROGRAM)
    saved = cluster.savepoint(options["--to"], wait=wait, told=told)
    if saved.outcome == "failed":
        complain(saved.says, as_json, code="failed", says=saved.says)
        return FAILED
    if as_json:
        show_json(saved._asdict() if wait else {"to": saved.to, "outcome": saved.outcome})
    elif wait:
        print(saved.says)
    return DONE


def show(options: Mapping[str, Any]) -> int:
    """Print what a savepoint is of."""
    url = store_url(options["<url>"])
    try:
        savepoint = read_savepoint(open_to_read(url), url)
    except ConnectorError as error:
        complain(f"{PROGRAM}: {error}", options["--json"], code="no_savepoint", says=str(error))
        return FAILED
    described = description(savepoint)
    if options["--json"]:
        show_json(described)
        return DONE
    print(text_of(described))
    return DONE


def description(savepoint: Savepoint) -> dict[str, Any]:
    """As --json shows it."""
    manifest = savepoint.manifest
    asked_at = datetime.fromtimestamp(savepoint.asked_at, timezone.utc)
    return {
        "topology": savepoint.topology,
        "fingerprint": savepoint.fingerprint,
        "version": savepoint.version,
        "cluster": savepoint.cluster,
        "asked_at": asked_at.isoformat(),
        "epoch": manifest.epoch,
        "operators": list(manifest.operators),
        "key_groups": manifest.key_groups,
        "workers": len(manifest.authors),
        "parts": savepoint.parts,
        "bytes": savepoint.bytes,
        "outline": [list(row) for row in savepoint.outline],
    }


def text_of(described: Mapping[str, Any]) -> str:
    """The same for people."""
    operators = ", ".join(described["operators"]) or "no operator"
    version = described["version"] or "(not installed)"
    workers = "1 worker" if described["workers"] == 1 else f"{described['workers']} workers"
    parts = "1 part" if described["parts"] == 1 else f"{described['parts']:,} parts"
    return (
        f"savepoint of {described['topology']} {described['fingerprint']}, "
        f"epoch {described['epoch']}, asked for {described['asked_at']}\n"
        f"state of {operators} in {described['key_groups']:,} key groups\n"
        f"{parts}, {described['bytes']:,} bytes, of {workers} with zstream {version}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
