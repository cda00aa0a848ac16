"""Ask a running cluster which workers may leave, or let some leave.

Usage:
  cluster_shrinker --external ADDR (--query | --count N | --workers NAMES) [--wait | --no-wait] [--timeout SECONDS] [--json]

  -e --external ADDR    external address of any worker
  -q --query            who may leave, and why the others stay
  -c --count N          let N leave; when fewer may, let all of those leave
  -w --workers NAMES    let these leave, w2,w3; one name that may not leave and none leaves
     --wait             wait for the end (the default)
     --no-wait          return when the request is accepted
     --timeout SECONDS  how long to wait; the rescale goes on after that (default 300)
     --json
"""  # noqa: E501 -- the usage text as people read it

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zstream.cli.tool import DONE, FAILED, at_least_one, cluster_at, complain, run_tool, show_json
from zstream.cli.usage import parse
from zstream.client.cluster import Cluster
from zstream.errors import UsageError

PROGRAM = "cluster_shrinker"
OUTCOME_KEYS = (
    "id",
    "cause",
    "outcome",
    "left",
    "key_groups_moved",
    "seconds",
    "slowest_key_group_ms",
    "records_held",
)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parse(__doc__ or "", argv, program=PROGRAM)
    work = query if options["--query"] else shrink
    return run_tool(PROGRAM, options, lambda: work(options))


def reached(options: Mapping[str, Any], cause: str) -> Cluster:
    return cluster_at("--external", options["--external"], options, "300", cause)


def query(options: Mapping[str, Any]) -> int:
    """Print who may leave and why the others stay."""
    found = reached(options, PROGRAM).eligibility()
    if options["--json"]:
        show_json(found._asdict())
        return DONE
    names = ",".join(found.node_names)
    print(f"Eligible for shrink: Node count: {found.node_count}, Nodes: |{names}|")
    for name, because in found.staying.items():
        print(f"{name} stays: {because}")
    return DONE


def shrink(options: Mapping[str, Any]) -> int:
    """Let workers leave, and print how that went."""
    as_json, wait = options["--json"], not options["--no-wait"]
    count, workers = targets(options)
    asked = f"--count {count}" if count else f"--workers {','.join(workers)}"
    accepted: list[str] = []

    def told(state: str, says: str) -> None:
        if state == "running":
            accepted.append(says)
        if says and not as_json:
            respond(says) if state == "running" else print(says, flush=True)

    rescale = reached(options, f"{PROGRAM} {asked}").shrink(
        count=count, workers=workers, wait=wait, told=told
    )
    if rescale.outcome in ("undone", "failed"):
        complain(rescale.says, as_json, code=rescale.outcome, says=rescale.says)
        return FAILED
    if not wait and rescale.outcome != "done":
        if as_json:
            show_json({"outcome": rescale.outcome, "says": rescale.says})
    elif as_json:
        show_json({name: getattr(rescale, name) for name in OUTCOME_KEYS})
    else:
        if not accepted:  # it was over before we asked a second time
            respond(response_to(rescale.left, count))
        print(rescale.says)
    return DONE


def response_to(left: list[str], asked: int | None) -> str:
    """What the cluster said when it began."""
    says = f"Shrinking by {len(left)} workers!"
    if asked is not None and asked > len(left):
        says += f"   ({asked} asked; only {', '.join(left)} may leave)"
    return says


def respond(says: str) -> None:
    """In Wallaroo's words, which scripts look for."""
    print(f"Cluster shrink response: {says}", flush=True)


def targets(options: Mapping[str, Any]) -> tuple[int | None, list[str]]:
    """--count, or the names of --workers."""
    if options["--count"] is not None:
        return at_least_one("--count", options["--count"]), []
    names = [name.strip() for name in options["--workers"].split(",") if name.strip()]
    if not names:
        raise UsageError("--workers wants names, w2,w3.")
    return None, names


if __name__ == "__main__":
    raise SystemExit(main())
