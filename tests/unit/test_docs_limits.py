"""The table of limits in docs/operations.md says what zstream/config.py says."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from zstream.config import KIB, MIB, Config

ROOT = Path(__file__).resolve().parent.parent.parent
GROUP = re.compile(r"    # (?P<group>.+)")
SETTING = re.compile(r"    (?P<name>\w+): int = [^#]+# (?P<why>.+)")
BEGIN, END = "<!-- limits -->\n", "<!-- end of limits -->\n"


def shown(name: str, value: int) -> str:
    """A default as people read it: 65536 bytes are 64 KiB, 2000 ms are 2 s."""
    if "bytes" in name:
        return f"{value // MIB} MiB" if value % MIB == 0 else f"{value // KIB} KiB"
    if name.endswith("_ms"):
        return f"{value // 1000} s" if value % 1000 == 0 else f"{value} ms"
    return f"{value:,}"


def table() -> str:
    """The table as it should stand, from the defaults and the comments beside them."""
    defaults = {field.name: field.default for field in fields(Config)}
    source = (ROOT / "zstream" / "config.py").read_text(encoding="utf-8")
    body = source[source.index("class Config") : source.index("    def validate")]
    lines = ["| setting | default | why |", "|---|---|---|"]
    for line in body.splitlines():
        if heading := GROUP.fullmatch(line):
            lines.append(f"| **{heading['group'].rstrip('.')}** | | |")
        elif setting := SETTING.fullmatch(line):
            name = setting["name"]
            default = defaults.pop(name)
            assert isinstance(default, int)
            lines.append(f"| `{name}` | {shown(name, default)} | {setting['why']} |")
    assert not defaults, f"in zstream/config.py, give a reason on the same line to {defaults}"
    return "\n".join(lines) + "\n"


def test_the_table_of_limits_is_the_one_in_the_code() -> None:
    """A limit that was added, changed or removed in the code and not in the documentation."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    stands = page[page.index(BEGIN) + len(BEGIN) : page.index(END)]
    assert stands.strip("\n") + "\n" == table(), "put this into docs/operations.md:\n\n" + table()
