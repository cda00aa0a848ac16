"""What a run of benchmarks was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.case import Case


@dataclass(frozen=True)
class Options:
    """runs: turns of each peer. peers: their names, in the order of turns. small: only see that it
    runs. whole: also what takes many minutes. only: for fields of cases the texts that are wanted.
    """

    runs: int
    peers: tuple[str, ...]
    small: bool
    whole: bool
    only: Mapping[str, Sequence[str]]

    def wants(self, case: Case) -> bool:
        return all(str(getattr(case, name)) in texts for name, texts in self.only.items())
