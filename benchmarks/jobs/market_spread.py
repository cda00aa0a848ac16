"""Orders against the newest quote of their symbol: few are rejected, and only they come out.

It is the job of examples/market_spread.py, with both streams in one input.
"""

from __future__ import annotations

import random
import zlib
from typing import Any, NamedTuple

from benchmarks.jobs.job import Job

RECORDS = 200_000
WIDE = 0.05


class Order(NamedTuple):
    symbol: str
    number: int
    side: int
    account: int
    quantity: float
    price: float


class Quote(NamedTuple):
    symbol: str
    bid: float
    offer: float


Event = Order | Quote


def key_of(event: Event) -> str:
    return event.symbol


def is_wide(quote: Quote) -> bool:
    spread = quote.offer - quote.bid
    return spread >= WIDE or spread / ((quote.offer + quote.bid) / 2) >= WIDE


def check(last: Quote | None, event: Event) -> tuple[Quote | None, list[tuple[str, int]]]:
    if isinstance(event, Quote):
        return event, []
    if last is None or is_wide(last):
        return last, [(event.symbol, event.number)]
    return last, []


def plain(events: list[Event], quotes: dict[str, Any]) -> list[tuple[str, int]]:
    """The job without an engine."""
    outputs = []
    for event in events:
        key = key_of(event)
        quotes[key], rejected = check(quotes.get(key), event)
        outputs += rejected
    return outputs


def make(keys: int) -> list[Event]:
    """As many quotes as orders; one quote in 1,000 is wide. In the end each symbol has a wide quote
    and an order, so that the last output comes when all is done.
    """
    chance = random.Random(42)
    symbols = [f"S{number:05d}" for number in range(keys)]
    events: list[Event] = []
    for number in range(RECORDS // 2 - keys):
        events.append(_quote(chance, chance.choice(symbols), chance.random() < 0.001))
        events.append(_order(chance, chance.choice(symbols), number))
    for symbol in symbols:
        events += [_quote(chance, symbol, True), _order(chance, symbol, RECORDS)]
    return events


def _quote(chance: random.Random, symbol: str, wide: bool) -> Quote:
    bid = chance.uniform(10.0, 100.0)
    return Quote(symbol, bid, bid + (0.5 if wide else 0.01))


def _order(chance: random.Random, symbol: str, number: int) -> Order:
    return Order(symbol, number, number % 2, number % 500, 100.0, chance.uniform(10.0, 100.0))


def share(events: list[Event], index: int, workers: int) -> list[Event]:
    """Each symbol's events come from one source, or their order would be left to chance."""
    return [event for event in events if zlib.crc32(event.symbol.encode()) % workers == index]


JOB = Job(
    says="orders against the newest quote of their symbol; only rejected ones come out",
    make=make,
    steps=(("key_by", key_of), ("stateful_flat_map", check)),
    plain=plain,
    rounds=15,
    keys=(350,),
    share=share,
    is_plain=False,
)
