"""Which key groups bring the work: a sample of the records that come by key.

To count each record would cost a third of what it costs to route one. Some records of each batch,
each standing for its part of the batch, tell what balance needs: which few groups are heavy.
"""

from __future__ import annotations

from collections import defaultdict
from operator import itemgetter
from typing import Any

from zstream.model.ids import KeyGroup
from zstream.model.keys import KeyGroups

SAMPLES = 4  # of one batch
STRIDE = 7919  # from sample to sample; a prime, so that periodic input is not always met alike
HEAVIEST = 32  # key groups whose share is told; all others are told together
FORGOTTEN = 0.5  # records; a group that weighs less has none any more


class Loads:
    """Records by key group; what is older counts half as much with each `shares`.

    keyed: how many there ever were; from_peers: those of them that other workers sent.
    """

    def __init__(self, groups: KeyGroups) -> None:
        self._groups = groups
        self._records: defaultdict[int, float] = defaultdict(float)
        self._at = 0
        self.keyed = 0
        self.from_peers = 0

    def note(self, keys: list[Any], from_peer: bool) -> None:
        """A batch with these keys, in this order."""
        count = len(keys)
        self.keyed += count
        if from_peer:
            self.from_peers += count
        samples = min(count, SAMPLES)
        places = [(self._at + STRIDE * turn) % count for turn in range(1, samples + 1)]
        self._at += STRIDE * samples
        for group in self._groups.of([keys[place] for place in places]):
            self._records[group] += count / samples

    def shares(self) -> tuple[tuple[tuple[KeyGroup, float], ...], float]:
        """The heaviest key groups, each with its share of all records, and the share of all others
        together; nothing and 0 where there were no records lately.
        """
        total = sum(self._records.values())
        by_weight = sorted(self._records.items(), key=itemgetter(1), reverse=True)
        heaviest = tuple((KeyGroup(group), n / total) for group, n in by_weight[:HEAVIEST])
        others = sum(n / total for _, n in by_weight[HEAVIEST:])
        for group, records in list(self._records.items()):
            if records < 2 * FORGOTTEN:
                del self._records[group]
            else:
                self._records[group] = records / 2
        return heaviest, others
