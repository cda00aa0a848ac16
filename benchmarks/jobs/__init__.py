"""The jobs by name."""

from __future__ import annotations

from benchmarks.jobs import (
    alphabet,
    counting,
    dicts,
    hot,
    market_spread,
    stamped,
    stateless,
    wordcount,
)

JOBS = {
    "alphabet": alphabet.JOB,
    "wordcount": wordcount.JOB,
    "stateless": stateless.JOB,
    "dicts": dicts.JOB,
    "market_spread": market_spread.JOB,
    "counting": counting.JOB,
    "stamped": stamped.JOB,
    "hot": hot.JOB,
}
