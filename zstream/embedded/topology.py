"""The public Topology: the pure value, and `run()` in this process, without a socket."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from zstream.errors import UsageError
from zstream.topology.errors_policy import ErrorPolicy, policy_problem
from zstream.topology.results import Results
from zstream.topology.specs import Sink, Source
from zstream.topology.topology import TopologyValue


class Topology(TopologyValue):
    """A checked graph of streams with a name. `topology = Topology("votes", end, ...)`.

    key_groups: into how many parts keys are divided (1 to 65,536), fixed for the topology's life.
    on_error: the policy where an operator has none of its own.
    version: any text; workers with different ones do not run together.

    Raises TopologyError for the first problem there is, with operator and line.
    """

    def run(
        self,
        inputs: Mapping[str, Iterable[Any] | Source[Any]] | None = None,
        *,
        outputs: Mapping[str, Sink[Any]] | None = None,
        on_error: ErrorPolicy = "stop",
    ) -> Results:
        """Run here until all input has ended, and return what came to the sinks.

        inputs: by source name, records as they are after decoding, or a source spec in the place
        of the topology's own. Sources that are not given are opened, if they need no address.
        outputs: by sink name, where to really write; such values are not in the results. A sink
        that commits, such as FileSink, shows what it was given every few megabytes and at the end;
        when this raises, what it had not shown is gone.
        on_error: the policy where an operator has none of its own; "stop" raises.

        Inputs are read in turn, a batch from each, in the order given; then the sources that
        were not given. Raises UsageError for unknown names and a source without an address,
        ConnectorError for one that cannot be opened, UserFunctionError for a function that raises.
        """
        if policy_problem(on_error):
            raise UsageError(f"run: {policy_problem(on_error)}")
        # The engine and the connectors are imported when they run: `import zstream` stays quick.
        from zstream.embedded.running import EmbeddedRun

        run = EmbeddedRun(self.plan, self.registry, inputs or {}, outputs or {}, on_error)
        run.run()
        return Results(run.values, run.dead_letters)
