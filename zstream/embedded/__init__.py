"""A topology in one process: the public Topology with `run()`, and loading one from a module."""

from zstream.embedded.loading import load, made
from zstream.embedded.topology import Results, Topology

__all__ = ["Results", "Topology", "load", "made"]
