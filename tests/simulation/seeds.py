"""Which seeds are run, what is counted of them, and where those are kept that went wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CORPUS = Path(__file__).with_name("corpus.txt")
SEEDS = 5000  # unless told otherwise
SEEDS_PER_SECOND_MAX = 20  # of one process: so many are prepared for a run by minutes
KEPT_MAX = 20  # of one run: where more go wrong, it is one thing
FIGURES = ("schedules", "crashes", "restarts", "recoveries", "epochs", "generations", "records")


def seeds_of(config: pytest.Config) -> range:
    """The seeds to be run: as many as were asked for, or more than fit into the minutes."""
    first = config.getoption("--first-seed", 0)
    if config.getoption("--seed", None) is not None:
        return range(0)
    count, minutes = config.getoption("--seeds", None), config.getoption("--minutes", None)
    if count is None and minutes is not None:
        count = int(60 * minutes * SEEDS_PER_SECOND_MAX * (os.cpu_count() or 1))
    return range(first, first + (SEEDS if count is None else count))


def keep(failed: list[tuple[int, str, str]]) -> None:
    """Add what went wrong to the corpus, unless it stands there."""
    known = {tuple(line.split("#")[0].split()) for line in CORPUS.read_text().splitlines()}
    with CORPUS.open("a") as corpus:
        for seed, kind, wrong in sorted(failed)[:KEPT_MAX]:
            if (str(seed), kind) not in known:
                corpus.write(f"{f'{seed} {kind}':15} # {wrong.splitlines()[0][:80]}\n")
