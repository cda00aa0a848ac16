"""Send records from files to a source.

Usage:
  sender --host ADDR --file FILE... [--lines | --framed | --binary | --size BYTES] [--rate N] [--batch N] [--repeat N] [--count N] [--quiet] [--json]

     --host ADDR     where the source listens
  -f --file FILE     - is standard input
     --lines         each line, with a 4-byte big-endian length in front (the default)
     --framed        each line as it is, with its newline
     --binary        the file's bytes as they are: it holds frames already
     --size BYTES    pieces of this size
  -r --rate N        records a second; default: as fast as the source reads
  -s --batch N       records a write (default 500)
     --repeat N      how often to send the files; 0 is for ever (default 1)
  -m --count N       stop after N records
  -q --quiet         no progress bar
     --json
"""  # noqa: E501 - docopt wants each way on one line

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from zstream.cli.addresses import reachable
from zstream.cli.progress import Progress
from zstream.cli.tool import (
    DONE,
    FAILED,
    INTERRUPTED,
    WRONG_USAGE,
    at_least_one,
    complain,
    show_json,
)
from zstream.cli.usage import parse
from zstream.client.sending import FORMS, Done, Job, form_of, send
from zstream.errors import ClusterUnreachable, UsageError, ZstreamError


def say(text: str) -> None:
    print(f"sender: {text}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; its exit code."""
    options = parse(__doc__ or "", argv, program="sender")
    as_json = bool(options["--json"])
    done = Done()
    try:
        job = job_of(options)
        progress = Progress(bool(options["--quiet"]))
        try:
            send(job, done, progress.show, say)
        finally:
            progress.end()
    except UsageError as error:
        say(str(error))
        return WRONG_USAGE
    except ZstreamError as error:
        code = "unreachable" if isinstance(error, ClusterUnreachable) else "failed"
        complain(f"sender: {error}", as_json, code=code, says=str(error))
        return FAILED
    except OSError as error:
        says = f"cannot read {error.filename}: {error.strerror}."
        complain(f"sender: {says}", as_json, code="failed", says=says)
        return FAILED
    except KeyboardInterrupt:
        summary(done, progress.seconds(), as_json)
        return INTERRUPTED
    summary(done, progress.seconds(), as_json)
    return DONE


def job_of(options: Mapping[str, Any]) -> Job:
    """The job that the options describe, or UsageError."""
    size = at_least_one("--size", options["--size"]) if options["--size"] else 0
    form = "size" if size else next((f for f in FORMS if options[f"--{f}"]), "lines")
    make_cutter, wrap = form_of(form, size)
    said = options["--repeat"] or "1"
    repeat = 0 if said == "0" else at_least_one("--repeat", said)
    if "-" in options["--file"] and repeat != 1:
        raise UsageError("--repeat cannot be used with --file -: standard input comes only once.")
    return Job(
        address=reachable("--host", options["--host"]),
        files=options["--file"],
        make_cutter=make_cutter,
        wrap=wrap,
        rate=per_second(options["--rate"]) if options["--rate"] else 0.0,
        batch=at_least_one("--batch", options["--batch"] or "500"),
        repeat=repeat,
        count=at_least_one("--count", options["--count"]) if options["--count"] else 0,
    )


def per_second(said: str) -> float:
    """A rate above 0."""
    try:
        rate = float(said)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise UsageError(f"--rate must be records a second, above 0, it is {said!r}.")
    return rate


def summary(done: Done, seconds: float, as_json: bool) -> None:
    """The last line: what was sent."""
    if as_json:
        show_json({"records": done.records, "bytes": done.sent_bytes, "seconds": round(seconds, 3)})
    else:
        print(
            f"sent {done.records:,} records, {done.sent_bytes:,} bytes in {seconds:.2f} s "
            f"({done.records / seconds:,.0f} records a second)"
        )


if __name__ == "__main__":
    sys.exit(main())
