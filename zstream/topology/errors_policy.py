"""What happens to a record on which a person's function raises."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal, TypeAlias

from zstream.errors import UsageError

LastResort = Literal["dead_letter", "stop", "skip"]
LAST_RESORTS: tuple[LastResort, ...] = ("dead_letter", "stop", "skip")


@dataclass(frozen=True)
class Retry:
    """Call the function again with the same record, at once, up to `times`; after that `then`.

    The calls follow each other without a wait, because the loop that would wait serves every other
    record too. It helps against what fails by chance, and not against an outside system that
    is down. State that the function changed in place before it raised stays changed: return new
    state instead where that matters.
    """

    times: int = 3
    _: KW_ONLY
    then: LastResort = "dead_letter"

    def __post_init__(self) -> None:
        if self.times < 1:
            raise UsageError(f"Retry: times must be at least 1, it is {self.times}.")
        if self.then not in LAST_RESORTS:
            raise UsageError(f"Retry: then must be one of {_quoted()}, it is {self.then!r}.")


ErrorPolicy: TypeAlias = LastResort | Retry


def policy_problem(policy: object) -> str:
    """Why this is no error policy, as a sentence, or "" when it is one."""
    if isinstance(policy, Retry) or policy in LAST_RESORTS:
        return ""
    return f"on_error must be {_quoted()} or Retry(...), it is {policy!r}."


def _quoted() -> str:
    return ", ".join(f'"{word}"' for word in LAST_RESORTS)
