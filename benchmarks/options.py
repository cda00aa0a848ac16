"""What a run of benchmarks was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.case import Case


@dataclass(frozen=True)
class Options:
    """runs: turns of each peer. peers: their names, in the order of turns. small: only see that it
    runs. whole: also what takes many minutes. only: fields of cases that are wanted, as text.
    """

    runs: int
    peers: tuple[str, ...]
    small: bool
    whole: bool
    only: Mapping[str, str]

    def wants(self, case: Case) -> bool:
        return all(str(getattr(case, name)) == text for name, text in self.only.items())
