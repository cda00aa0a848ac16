"""Key groups that a test can foresee."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zstream.model.keys import KeyGroups


class ByRemainder(KeyGroups):
    """Keys are numbers; a number's key group is what is left of it."""

    def of(self, keys: Sequence[Any]) -> list[int]:
        return [key % len(self._numbers) for key in keys]
