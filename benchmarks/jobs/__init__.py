"""The jobs by name."""

from __future__ import annotations

from benchmarks.jobs import alphabet, dicts, market_spread, stateless, wordcount

JOBS = {
    "alphabet": alphabet.JOB,
    "wordcount": wordcount.JOB,
    "stateless": stateless.JOB,
    "dicts": dicts.JOB,
    "market_spread": market_spread.JOB,
}
