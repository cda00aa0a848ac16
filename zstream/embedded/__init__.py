"""A topology in one process: the public Topology with `run()`, and loading one from a module."""

from zstream.embedded.loading import load, made
from zstream.embedded.topology import Topology
from zstream.topology.results import Results

__all__ = ["Results", "Topology", "load", "made"]
