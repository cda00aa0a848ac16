"""Votes for letters, between a source and a sink that need nothing to be lost or doubled.

Producers (zstream.client.Producer) number their votes and keep them until they are in a
checkpoint; a consumer (zstream.client.Consumer) is given each total once, whoever dies.
"""

import struct
from typing import NamedTuple

from zstream import Topology, ZmqSink, ZmqSource, main, source


class Vote(NamedTuple):
    letter: str
    votes: int


def decode(payload: bytes) -> Vote:
    letter, votes = struct.unpack(">sI", payload)
    return Vote(letter.decode(), votes)


def tally(total: int, vote: Vote) -> tuple[int, str]:
    total += vote.votes
    return total, f"{vote.letter} => {total}"


totals = (
    source("alphabet", ZmqSource(decode))
    .key_by(lambda vote: vote.letter)
    .stateful_map(tally, int)
    .sink("totals", ZmqSink(str.encode))
)
topology = Topology("alphabet", totals)

if __name__ == "__main__":
    main(topology)
