"""The usage text of `zworker`, and of a topology's module that is its own program."""

from __future__ import annotations

import re

MODULE = "--application-module"

USAGE = """\
Run one worker of a topology, or let it join a cluster that is running.

Usage:
  zworker [options] [--leave-state NAME]... [-- <argument>...]
  zworker --version

The topology:
  -a --application-module MODULE   module or file; MODULE:NAME where the topology is not called `topology`
  -i --in ADDRS                    [source@]host:port,... where sources without an address listen
  -o --out ADDRS                   [sink@]host:port,... where sinks without an address send
  <argument>...                    handed to the topology when it is a function; the same on every worker

The cluster:
  -n --name NAME                   this worker's name, unique in the cluster (default w0 for who starts it)
  -t --cluster-initializer         this worker starts the cluster
  -c --control ADDR                with -t where to listen (default 127.0.0.1:0, any free port); else the initializer's control address
  -d --data ADDR                   with -t where data is received (default 127.0.0.1:0)
  -x --my-control ADDR             own control address, when not the initializer (default 127.0.0.1:0)
  -y --my-data ADDR                own data address, when not the initializer (default 127.0.0.1:0)
  -e --external ADDR               where the tools reach this worker (default 127.0.0.1:0)
  -j --join ADDR                   control address of any running worker
  -w --worker-count N              with -t: workers to start with; with -j: size of the joining batch (default 1)
     --join-deadline SECONDS       give up when the batch is not complete by then (default 60)

The rest:
     --store URL                   file:///dir or dir, s3://bucket/prefix, gs://, az://; default: private, removed at the end
     --fresh                       start anew although the store holds a checkpoint
     --from URL                    start from this savepoint
     --leave-state NAME            leave this operator's state behind; may be repeated, with commas too
     --checkpoint-interval SECONDS  what a death repeats, and how long sinks hold back (default 1)
     --dead-letters FILE           (default dead-letters.jsonl)
     --config FILE                 lines NAME=VALUE, named as the environment variables (default zstream.env)
     --log-format FORM             text or json; default: text on a terminal
     --json                        one JSON object a line on standard output
  -m --metrics ADDR                accepted and ignored, as is --ponythreads
     --ponythreads N
     --version
  -h --help

With neither -t, -c nor -j: a cluster of its own, of one worker named w0. The name before the @ may
be left out where just one source (sink) needs an address.
"""  # noqa: E501 -- the usage text as people read it


def usage_of_program(program: str) -> str:
    """The text for a program that is the module: its name, and no option for the module."""
    kept = [line for line in USAGE.splitlines() if MODULE not in line]
    return "\n".join(re.sub(r"^  zworker ", f"  {program} ", line) for line in kept)
