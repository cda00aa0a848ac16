"""The alphabet application with names of eight bytes instead of letters: as many keys as wanted."""

import struct
from typing import NamedTuple

from zstream import LengthPrefix, TcpSink, TcpSource, Topology, main, source


class Vote(NamedTuple):
    name: bytes
    votes: int


def decode(payload: bytes) -> Vote:
    return Vote(*struct.unpack(">8sI", payload))


def tally(total: int, vote: Vote) -> tuple[int, bytes]:
    total += vote.votes
    return total, b"%s => %d\n" % (vote.name, total)


def name_of(vote: Vote) -> bytes:
    return vote.name


totals = (
    source("votes", TcpSource(LengthPrefix(), decode))
    .key_by(name_of)
    .stateful_map(tally, int)
    .sink("totals", TcpSink(bytes))
)
topology = Topology("votes", totals)

if __name__ == "__main__":
    main(topology)
