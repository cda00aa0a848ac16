"""Test your own topology: given records, wanted records, and a cluster that changes in between.

    result = run(topology, [given("votes", *some), grow(3), given("votes", *more), end("votes")])
    assert result.by_key("totals") == run(topology, {"votes": [*some, *more]}).by_key("totals")

It is the simulator on the production engine: one seed, virtual time, no sleep, no socket.
"""

from zstream.testing.running import TestRun, run
from zstream.testing.script import Mark, crash, end, given, grow, shrink
from zstream.testing.torturing import torture

__all__ = ["Mark", "TestRun", "crash", "end", "given", "grow", "run", "shrink", "torture"]
