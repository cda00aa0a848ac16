"""Write votes.bin, orders.bin and quotes.bin, to be sent to the examples, into a directory.

python examples/make_data.py [DIRECTORY]
"""

import random
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

VOTES = 10_000
ORDERS = 5_000
SYMBOLS = [f"{name:<4}".encode() for name in ("AAPL", "AMZN", "GOOG", "IBM", "MSFT", "ORCL")]


def votes(chance: random.Random) -> Iterable[bytes]:
    """A letter and how many votes it gets."""
    for _ in range(VOTES):
        letter = chance.choice(b"abcdefghijklmnopqrstuvwxyz")
        yield struct.pack(">cI", bytes([letter]), chance.randint(1, 9))


def quotes(chance: random.Random) -> Iterable[bytes]:
    """A FIX-like message: kind, symbol, time, bid, offer. One in six spreads is wide."""
    for _ in range(ORDERS):
        bid = chance.uniform(20, 400)
        offer = bid + chance.choice((0.01, 0.02, 0.02, 0.03, 0.04, 0.06))
        symbol = chance.choice(SYMBOLS)
        yield struct.pack(">B4s21sdd", 2, symbol, b"20160101-00:00:00.000", bid, offer)


def orders(chance: random.Random) -> Iterable[bytes]:
    """Kind, side, account, order, symbol, quantity, price, time."""
    for number in range(ORDERS):
        yield struct.pack(
            ">BBI6s4sdd21s",
            1,
            chance.choice((1, 2)),
            chance.randrange(1000),
            b"%06d" % number,
            chance.choice(SYMBOLS),
            chance.randint(1, 500),
            chance.uniform(20, 400),
            b"20160101-00:00:00.000",
        )


def write(path: Path, records: Iterable[bytes]) -> None:
    """Each record behind its length, as LengthPrefix() reads it."""
    path.write_bytes(b"".join(struct.pack(">I", len(record)) + record for record in records))
    print(f"{path}: {path.stat().st_size:,} bytes")


def main(directory: Path) -> None:
    """The same files each time."""
    chance = random.Random(1)
    write(directory / "votes.bin", votes(chance))
    write(directory / "orders.bin", orders(chance))
    write(directory / "quotes.bin", quotes(chance))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
