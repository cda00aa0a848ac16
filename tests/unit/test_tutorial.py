"""The documentation's Python is true: the tutorial runs, and the README shows what is there."""

from __future__ import annotations

import re
import runpy
import textwrap
from pathlib import Path

from zstream import Memory, Stdout, Topology, source

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[str]:
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def test_the_tutorial_runs_from_top_to_bottom(tmp_path: Path) -> None:
    """All its blocks as one module, as a reader would put them into a file; they assert."""
    program = tmp_path / "voting.py"
    program.write_text("\n\n".join(blocks("docs/tutorial.md")), encoding="utf-8")
    names = runpy.run_path(str(program), run_name="voting")
    assert names["topology"].name == "voting"
    totals = names["topology"].run({"votes": names["votes"]})["totals"]
    assert totals
    assert all(total.endswith("\n") for total in totals), "TcpSink adds no newline"


def test_the_readme_shows_the_example_as_it_is() -> None:
    """Its first block is examples/alphabet.py, to the letter."""
    example = (ROOT / "examples" / "alphabet.py").read_text(encoding="utf-8")
    assert blocks("README.md")[0] == example, "copy examples/alphabet.py into README.md"


def test_the_readme_s_test_passes(tmp_path: Path) -> None:
    """The example and the test below it, put into one file."""
    program = tmp_path / "alphabet.py"
    program.write_text("\n\n".join(blocks("README.md")), encoding="utf-8")
    names = runpy.run_path(str(program), run_name="alphabet")
    names["test_every_vote_gives_its_running_total"]()


def test_the_operator_in_contributing_works(tmp_path: Path) -> None:
    """The first operator that a contributor is shown: it passes on what differs, for each key."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^   ```python\n(.*?)^   ```$", page, re.MULTILINE | re.DOTALL)
    program = tmp_path / "operators.py"
    program.write_text(textwrap.dedent(block), encoding="utf-8")
    changes = runpy.run_path(str(program))["changes"]
    readings = [("a", 1), ("a", 1), ("b", 1), ("a", 2), ("b", 1), ("a", 1)]
    keyed = source("readings", Memory(readings)).key_by(lambda reading: reading[0])
    topology = Topology("readings", keyed.pipe(changes).sink("changed", Stdout()))
    assert topology.run()["changed"] == [("a", 1), ("b", 1), ("a", 2), ("a", 1)]


def test_every_link_between_pages_leads_somewhere() -> None:
    """Relative links of all pages, and the headings they name."""
    broken = []
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("changes/*.md")]:
        for target in re.findall(r"\]\(([^)#\s]*)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if target and "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken, "\n".join(broken)
