"""Fragments in changes/: at a release they are put together by their kind, so each has one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHANGES = Path(__file__).resolve().parent.parent.parent / "changes"
KIND = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)


def wrong_in(folder: Path) -> list[str]:
    """What is wrong with the names of a folder's fragments, a sentence for each."""
    kinds = KIND.findall((folder / "README.md").read_text(encoding="utf-8"))
    name_of_one = re.compile(rf"[\w-]+\.({'|'.join(kinds)})\.md")
    names = sorted(path.name for path in folder.iterdir() if path.name != "README.md")
    return [
        f"changes/{name} is not named ISSUE.KIND.md, where KIND is {', '.join(kinds)}."
        for name in names
        if not name_of_one.fullmatch(name)
    ]


def test_every_fragment_has_a_kind_that_there_is() -> None:
    """As changes/README.md lists them."""
    assert wrong_in(CHANGES) == []


@pytest.mark.parametrize("name", ["mine.added.md", "mine.md", "fix.md", "4.fix.txt", ".fix.md"])
def test_a_fragment_of_no_kind_is_refused(name: str, tmp_path: Path) -> None:
    """It would be left out of the release's notes without a word."""
    (tmp_path / "README.md").write_text((CHANGES / "README.md").read_text(encoding="utf-8"))
    (tmp_path / "4.fix.md").write_text("Something is right now.\n")
    (tmp_path / name).write_text("Something is right now.\n")
    assert wrong_in(tmp_path) == [
        f"changes/{name} is not named ISSUE.KIND.md, "
        "where KIND is breaking, feature, fix, deprecation."
    ]
