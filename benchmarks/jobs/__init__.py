"""The jobs by name."""

from __future__ import annotations

from benchmarks.jobs import alphabet

JOBS = {"alphabet": alphabet.JOB}
