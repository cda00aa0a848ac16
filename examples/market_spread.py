"""Orders checked against the newest quote of their symbol; a wide spread rejects them."""

import struct
import time
from typing import NamedTuple

from zstream import LengthPrefix, TcpSink, TcpSource, Topology, main, source


class Order(NamedTuple):
    side: int
    account: int
    order_id: bytes
    symbol: bytes
    quantity: float
    price: float


class Quote(NamedTuple):
    symbol: bytes
    bid: float = 0.0
    offer: float = 0.0


def decode_order(payload: bytes) -> Order:
    return Order(*struct.unpack(">xBI6s4sdd21x", payload))


def decode_quote(payload: bytes) -> Quote:
    return Quote(*struct.unpack(">x4s21xdd", payload))


def is_wide(quote: Quote) -> bool:
    spread = quote.offer - quote.bid
    return spread >= 0.05 or spread / ((quote.offer + quote.bid) / 2) >= 0.05


def check(
    last: Quote | None, event: Order | Quote
) -> tuple[Quote | None, list[tuple[Order, Quote]]]:
    if isinstance(event, Quote):
        return event, []
    if last is None or is_wide(last):
        return last, [(event, last or Quote(event.symbol))]
    return last, []


def encode(rejected: tuple[Order, Quote]) -> bytes:
    order, quote = rejected
    return struct.pack(
        ">IBI6s4sddddQ", 55, *order, quote.bid, quote.offer, time.time_ns() // 10_000
    )


orders = source("orders", TcpSource(LengthPrefix(), decode_order))
quotes = source("market_data", TcpSource(LengthPrefix(), decode_quote))
rejected = (
    orders.merge(quotes)
    .key_by(lambda event: event.symbol)
    .stateful_flat_map(check)
    .sink("rejected", TcpSink(encode))
)
topology = Topology("market_spread", rejected)

if __name__ == "__main__":
    main(topology)
