"""Votes for letters, counted while the cluster grows and shrinks."""

import struct
from typing import NamedTuple

from zstream import LengthPrefix, TcpSink, TcpSource, Topology, main, source


class Vote(NamedTuple):
    letter: str
    votes: int


def decode(payload: bytes) -> Vote:
    letter, votes = struct.unpack(">sI", payload)
    return Vote(letter.decode(), votes)


def tally(total: int, vote: Vote) -> tuple[int, str]:
    total += vote.votes
    return total, f"{vote.letter} => {total}\n"


totals = (
    source("alphabet", TcpSource(LengthPrefix(">I"), decode))
    .key_by(lambda vote: vote.letter)
    .stateful_map(tally, int)
    .sink("totals", TcpSink(str.encode))
)
topology = Topology("alphabet", totals)

if __name__ == "__main__":
    main(topology)
