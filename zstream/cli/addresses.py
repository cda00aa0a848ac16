"""Addresses of a command line: checked, and matched to a topology's sources and sinks by name.

`--in` and `--out` hold `[name@]host:port`, separated by commas. The name may be left out only
where exactly one source (sink) still needs an address: order would swap two streams in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zstream.errors import UsageError


def listening(option: str, address: str) -> str:
    """The address, where this worker may listen: port 0 takes any free one."""
    host, _, port = address.rpartition(":")
    if not host or "@" in host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"{option} must be host:port, it is {address!r}.")
    return address


def reachable(option: str, address: str) -> str:
    """The address, where somebody else listens: a port above 0."""
    if int(listening(option, address).rpartition(":")[2]) == 0:
        raise UsageError(f"{option} must name a port above 0, it is {address!r}.")
    return address


def bind(option: str, what: str, said: str | None, plans: Mapping[str, Any]) -> dict[str, str]:
    """Name -> address as `said`, for the sources or sinks (`what`: "source", "sink") of a plan."""
    bound: dict[str, str] = {}
    nameless: list[str] = []
    for part in (said or "").split(","):
        name, at, address = part.strip().rpartition("@")
        if not part.strip():
            continue
        check = listening if what == "source" else reachable
        check(f"each address of {option}", address)
        if not at:
            nameless.append(address)
        elif name not in plans:
            there = ", ".join(sorted(plans)) or f"no {what}"
            raise UsageError(f"{option}: there is no {what} {name}; there is {there}.")
        elif not (plans[name].spec.needs_address or getattr(plans[name].spec, "takes_address", 0)):
            raise UsageError(f"{option}: {what} {name} takes no address.")
        elif name in bound:
            raise UsageError(f"{option} gives {what} {name} two addresses.")
        else:
            bound[name] = address
    wanting = unbound(plans, bound)
    if nameless and (len(nameless) > 1 or len(wanting) != 1):
        gives = "an address" if len(nameless) == 1 else f"{len(nameless)} addresses"
        which = " and ".join(wanting) or f"no {what}"
        does = "need one" if len(wanting) > 1 else "needs one"
        form = ",".join(f"{name}@HOST:PORT" for name in wanting)
        say = f" Say {option} {form}." if form else ""
        raise UsageError(f"{option} gives {gives} without a name, and {which} {does}.{say}")
    return {**bound, **dict(zip(wanting, nameless))}  # noqa: B905 -- nameless may be empty


def unbound(plans: Mapping[str, Any], bound: Mapping[str, str]) -> list[str]:
    """Names that need an address and have none, neither here nor in the topology."""
    return [
        name
        for name, plan in plans.items()
        if plan.spec.needs_address and not plan.spec.address and name not in bound
    ]


def demand(option: str, what: str, names: list[str]) -> None:
    """Raise for the first of these names: it must have an address and has none."""
    if names:
        raise UsageError(f"{what} {names[0]} has no address. Say {option} {names[0]}@HOST:PORT.")
