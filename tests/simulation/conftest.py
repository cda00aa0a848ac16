"""Options of the simulation: how many seeds or minutes, or just the one that failed; its totals.

What failed is kept in corpus.txt, from where it is replayed always.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pytest

from tests.simulation.seeds import FIGURES, SEEDS, keep

DEADLINE = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("simulation")
    group.addoption("--seeds", type=int, help=f"how many schedules (default {SEEDS})")
    group.addoption("--minutes", type=float, help="begin no schedule after so long")
    group.addoption("--first-seed", type=int, default=0, help="where to begin (default 0)")
    group.addoption("--seed", type=int, help="only this one, with its whole story")


def pytest_configure(config: pytest.Config) -> None:
    minutes = config.getoption("--minutes", None)
    config.stash[DEADLINE] = float("inf") if minutes is None else time.time() + 60 * minutes


@pytest.fixture
def deadline(request: pytest.FixtureRequest) -> float:
    """When the last schedule may begin, as time.time() has it."""
    return request.config.stash[DEADLINE]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """What all processes have run together. Only the one that has started the others says it."""
    totals: Counter[str] = Counter()
    failed: list[tuple[int, str, str]] = []
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, [])]
    for report in reports:
        for name, value in report.user_properties:
            if name == "totals":
                totals.update(json.loads(value))
            elif name == "wrong":
                failed.append(tuple(json.loads(value)))
    if totals:
        said = ", ".join(f"{totals[figure]:,} {figure}" for figure in FIGURES)
        terminalreporter.write_line(f"simulated: {said}; {len(failed)} went wrong")
    keep(failed)
