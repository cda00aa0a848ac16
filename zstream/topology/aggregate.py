"""Aggregates: how many values become one, a value at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
R = TypeVar("R")
U = TypeVar("U")


@dataclass(frozen=True)
class Aggregate(Generic[T, A, R]):
    """initial() -> a new accumulator; add(accumulator, value) -> the next one; result(accumulator).

    The accumulator is state: it travels with its key, so it must be of types that can.
    """

    initial: Callable[[], A]
    add: Callable[[A, T], A]
    result: Callable[[A], R]


def total(of: Callable[[T], float]) -> Aggregate[T, float, float]:
    """The sum of `of(value)`; whole numbers stay whole."""
    return Aggregate(int, lambda so_far, value: so_far + of(value), _itself)


def mean(of: Callable[[T], float]) -> Aggregate[T, tuple[float, int], float]:
    """The arithmetic mean of `of(value)`."""

    def add(so_far: tuple[float, int], value: T) -> tuple[float, int]:
        return so_far[0] + of(value), so_far[1] + 1

    return Aggregate(_no_values, add, lambda so_far: so_far[0] / so_far[1])


def smallest(of: Callable[[T], U]) -> Aggregate[T, Any, U]:
    """The least `of(value)`; of equal ones the first."""
    return _chosen(of, lambda new, old: new < old)


def largest(of: Callable[[T], U]) -> Aggregate[T, Any, U]:
    """The greatest `of(value)`; of equal ones the first."""
    return _chosen(of, lambda new, old: new > old)


def both(a: Aggregate[T, Any, A], b: Aggregate[T, Any, B]) -> Aggregate[T, Any, tuple[A, B]]:
    """Two aggregates of the same values, side by side."""
    return Aggregate(
        lambda: (a.initial(), b.initial()),
        lambda so_far, value: (a.add(so_far[0], value), b.add(so_far[1], value)),
        lambda so_far: (a.result(so_far[0]), b.result(so_far[1])),
    )


def _chosen(of: Callable[[T], U], better: Callable[[Any, Any], bool]) -> Aggregate[T, Any, U]:
    """The accumulator is () before the first value and (the best one,) after it."""

    def add(so_far: tuple[U, ...], value: T) -> tuple[U, ...]:
        new = of(value)
        return (new,) if not so_far or better(new, so_far[0]) else so_far

    return Aggregate(tuple, add, lambda so_far: so_far[0])


def _no_values() -> tuple[float, int]:
    return 0, 0


def _itself(value: float) -> float:
    return value
