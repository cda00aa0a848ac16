"""Lengths of time with a unit in their name: `seconds(5)`, never a bare 5000."""

from __future__ import annotations

from datetime import timedelta


def milliseconds(n: float, /) -> timedelta:
    """n thousandths of a second."""
    return timedelta(milliseconds=n)


def seconds(n: float, /) -> timedelta:
    """n seconds."""
    return timedelta(seconds=n)


def minutes(n: float, /) -> timedelta:
    """n minutes."""
    return timedelta(minutes=n)


def hours(n: float, /) -> timedelta:
    """n hours."""
    return timedelta(hours=n)


def days(n: float, /) -> timedelta:
    """n times 24 hours."""
    return timedelta(days=n)
