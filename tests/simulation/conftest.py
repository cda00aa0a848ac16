"""Options of the simulation: how many seeds, or just the one that failed."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("simulation")
    group.addoption("--seeds", type=int, default=2000, help="how many schedules (default 2000)")
    group.addoption("--first-seed", type=int, default=0, help="where to begin (default 0)")
    group.addoption("--seed", type=int, default=None, help="only this one, with its whole story")
