"""Who owns which key group next: balanced within one group, with the fewest moves, in waves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zstream.model.ids import Incarnation, KeyGroup


@dataclass(frozen=True)
class Move:
    group: KeyGroup
    origin: Incarnation
    target: Incarnation


def balanced(
    owners: Sequence[Incarnation], stayers: Sequence[Incarnation]
) -> tuple[Incarnation, ...]:
    """The owner of each key group when only `stayers` own any.

    Each gets its share within one group. Only groups of those who do not stay, or above an
    owner's share, change hands: with the share's odd groups left to who owns most, no other
    balanced table needs fewer moves.
    """
    counts = dict.fromkeys(stayers, 0)
    for owner in owners:
        if owner in counts:
            counts[owner] += 1
    share, odd = divmod(len(owners), len(stayers))
    by_count = sorted(stayers, key=lambda stayer: -counts[stayer])
    quota = {stayer: share + (place < odd) for place, stayer in enumerate(by_count)}
    result = list(owners)
    kept = dict.fromkeys(stayers, 0)
    homeless: list[int] = []
    for group, owner in enumerate(owners):
        if owner in quota and kept[owner] < quota[owner]:
            kept[owner] += 1
        else:
            homeless.append(group)
    for stayer in stayers:
        for _ in range(quota[stayer] - kept[stayer]):
            result[homeless.pop()] = stayer
    return tuple(result)


def moves(before: Sequence[Incarnation], after: Sequence[Incarnation]) -> list[Move]:
    """The difference of two tables."""
    return [
        Move(KeyGroup(group), origin, target)
        for group, (origin, target) in enumerate(zip(before, after, strict=True))
        if origin != target
    ]


def in_turn(moving: Sequence[Move]) -> list[Move]:
    """The moves in an order of which each stretch uses all pairs of workers evenly."""
    by_pair: dict[tuple[Incarnation, Incarnation], list[Move]] = {}
    for move in moving:
        by_pair.setdefault((move.origin, move.target), []).append(move)
    result: list[Move] = []
    queues = list(by_pair.values())
    while queues:
        result.extend(queue.pop() for queue in queues)
        queues = [queue for queue in queues if queue]
    return result


def next_wave(
    left: Sequence[Move], sizes: Mapping[KeyGroup, int], bytes_max: int, groups_max: int
) -> list[Move]:
    """The first of these moves, of bounded state; a group larger than `bytes_max` goes alone."""
    wave: list[Move] = []
    wave_bytes = 0
    for move in left[:groups_max]:
        wave_bytes += sizes.get(move.group, 0)
        if wave and wave_bytes > bytes_max:
            break
        wave.append(move)
    return wave
