"""Thousands of schedules of a simulated cluster, each drawn from one seed, each judged.

tox -e sim -- --seeds 20000 --first-seed 2000     more of them
tox -e sim -- --minutes 30                        as many as it takes
tox -e sim -- -s --seed 1234                      one of them, with its whole story
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.simulation.seeds import CORPUS, FIGURES, seeds_of
from zstream.sim.schedules import KINDS, Ended, Schedule

CHUNK = 50  # seeds in one test, so that two processes share them evenly
STORY_LINES = 150
REPLAY = (
    "from zstream.sim.schedules import Schedule, KINDS\n"
    "for seed in (*range(len(KINDS)), 171):\n"  # 171: two sinks are shut at the same time
    "    schedule = Schedule(seed)\n"
    "    schedule.run()\n"
    "    print(schedule.kernel.digest())\n"
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "first_of_chunk" in metafunc.fixturenames:
        seeds = seeds_of(metafunc.config)
        chunks = [(at, min(at + CHUNK, seeds.stop)) for at in seeds[::CHUNK]]
        metafunc.parametrize(
            ("first_of_chunk", "end_of_chunk"), chunks, ids=[f"from_{start}" for start, _ in chunks]
        )
    if "corpus_line" in metafunc.fixturenames:
        lines = [line.split("#")[0].split() for line in CORPUS.read_text().splitlines()]
        metafunc.parametrize("corpus_line", ["-".join(line) for line in lines if line])


def told(ended: Ended) -> str:
    """What a person needs to know of a seed that failed."""
    story = "\n".join(ended.story.splitlines()[-STORY_LINES:])
    return (
        f"seed {ended.seed} ({ended.kind}): {ended.wrong}\n{story}\n"
        f"seed {ended.seed} ({ended.kind}): {ended.wrong}\n"
        f"Replay it: tox -e sim -- -s --seed {ended.seed}. It is in corpus.txt now."
    )


def test_schedules(
    first_of_chunk: int,
    end_of_chunk: int,
    deadline: float,
    record_property: Callable[[str, object], None],
) -> None:
    """Whatever is drawn: nothing lost, doubled or out of order, and everything comes to an end."""
    totals: Counter[str] = Counter()
    wrong: list[Ended] = []
    for seed in range(first_of_chunk, end_of_chunk):
        if time.time() >= deadline:
            break
        ended = Schedule(seed).run()
        totals["schedules"] += 1
        totals.update({figure: getattr(ended, figure) for figure in FIGURES[1:]})
        if ended.wrong:
            wrong.append(ended)
            record_property("wrong", json.dumps((seed, ended.kind, ended.wrong)))
    record_property("totals", json.dumps(totals))
    if wrong:
        pytest.fail(told(wrong[0]), pytrace=False)


def test_corpus(corpus_line: str) -> None:
    """Schedules that once found something find nothing any more."""
    seed, _, kind = corpus_line.partition("-")
    ended = Schedule(int(seed), kind).run()
    if ended.wrong:
        pytest.fail(told(ended), pytrace=False)


def test_one_seed(request: pytest.FixtureRequest) -> None:
    """--seed N: the story of one schedule, whole."""
    seed = request.config.getoption("--seed", None)
    if seed is None:
        pytest.skip("only with --seed")
    schedule = Schedule(seed)
    ended = schedule.run()
    print(schedule.story())
    assert not ended.wrong, ended.wrong


def test_one_seed_twice_is_one_story() -> None:
    """A schedule of each kind, in two processes that hash strings differently: equal traces."""
    digests = []
    for hash_seed in ("1", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.getcwd()}
        run = subprocess.run(
            [sys.executable, "-c", REPLAY],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        digests.append(run.stdout.split())
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == len(KINDS) + 1


def test_schedules_are_worth_running() -> None:
    """One schedule of each kind moves records through several generations."""
    endings = [Schedule(seed).run() for seed in range(len(KINDS))]
    assert {ended.kind for ended in endings} == set(KINDS)
    assert sum(ended.generations for ended in endings) > 2 * len(KINDS)
    assert all(ended.records > 50 for ended in endings)
