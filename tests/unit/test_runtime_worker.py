"""What a worker refuses before it opens anything."""

from __future__ import annotations

import pytest

from zstream import Memory, Stdout, Topology, source
from zstream.errors import UsageError
from zstream.runtime.options import WorkerOptions
from zstream.runtime.worker import run_worker


def test_a_savepoint_is_refused_rather_than_passed_over() -> None:
    """A cluster that silently began empty would be the worst way to take --from."""
    topology = Topology("t", source("numbers", Memory([])).sink("out", Stdout(str)))
    options = WorkerOptions("initializer", "w0", {}, {}, savepoint="file:///save")
    with pytest.raises(UsageError, match=r"--from file:///save: this release does not read"):
        run_worker(topology, options)
