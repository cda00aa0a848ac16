"""A file that grows while a cluster counts what is in it, and what the cluster has written of that.

    with Counted(tmp_path) as counted, Live(tmp_path, "", **counted.how) as live:
        live.start(3)
        counted.goes_on(1_000)
        live.kill("w1")
        counted.goes_on(1_000)
        counted.check()

Each line is a key and how often it has come; each output has that, and the count that the cluster
has of the key. So every line is worth one output, the two numbers in it are equal, and of one key
they rise from epoch to epoch.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.integration.live import PATIENCE, until

TICK = 0.005  # seconds between two writes

APPLICATION = """
from zstream import FileSink, FileSource, Topology, source

def decode(line):
    key, number = line.split()
    return key, int(number)

def tally(total, record):
    key, number = record
    MORE
    return total + 1, f"{key} {number} {total + 1}\\n"

def topology(arguments):
    path, out = arguments
    lines = source("lines", FileSource(path, decode=decode, follow=True))
    counted = lines.key_by(lambda record: record[0]).stateful_map(tally, int)
    return Topology("counted", counted.sink("counts", FileSink(out, str)))
"""


class Counted:
    """Writes `per_second` lines, over so many keys in turn, from the first `goes_on` on.

    more: what the tally does besides, lines of Python with `key` and `number`. Where it raises,
    there is no output: `left_out` says for which (key, number) that is so.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keys: int = 200,
        per_second: int = 2_000,
        more: Sequence[str] = (),
    ) -> None:
        application = folder / "counted.py"
        application.write_text(APPLICATION.replace("MORE", "\n    ".join(more or ["pass"])))
        self.lines = folder / "lines.txt"
        self.out = folder / "counts"
        self.how: dict[str, Any] = {
            "application": application,
            "sources": (),
            "arguments": [str(self.lines), str(self.out)],
        }
        self.expected: list[tuple[str, int]] = []
        self._keys = [f"key{number:03d}" for number in range(keys)]
        self._per_second = per_second
        self._writing = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._read: dict[str, list[tuple[str, int, int]]] = {}  # by file of the sink
        self.lines.touch()

    def __enter__(self) -> Counted:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.stop()

    def goes_on(self, outputs: int) -> None:
        """Wait until so many more outputs are committed."""
        if not self._thread.is_alive():
            self._writing.set()
            self._thread.start()
        wanted = self.committed() + outputs
        until(lambda: self.committed() >= wanted, lambda: f"{self.committed()} of {wanted} outputs")

    def look_in(self, out: Path) -> None:
        """What counts is in another directory from here on."""
        self.out, self._read = out, {}

    def stop(self) -> None:
        """No more lines."""
        self._writing.clear()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)

    def committed(self) -> int:
        """How many outputs there are."""
        return sum(map(len, self.outputs().values()))

    def outputs(self) -> dict[str, list[tuple[str, int, int]]]:
        """(key, number, count) by file, in the order of the files' names; a file never changes."""
        for file in sorted(self.out.glob("[0-9]*")):
            if file.name not in self._read:
                lines = [line.split() for line in file.read_text().splitlines()]
                self._read[file.name] = [(key, int(n), int(count)) for key, n, count in lines]
        return dict(sorted(self._read.items()))

    def check(self, left_out: Sequence[tuple[str, int]] = ()) -> None:
        """Write no more, wait for the last output, and compare all of them."""
        self.stop()
        missing = Counter(left_out)
        expected = Counter(line for line in self.expected if not missing[line])
        until(
            lambda: self.committed() >= expected.total(),
            lambda: f"{self.committed()} of {expected.total()} outputs",
        )
        self.check_what_is_there()
        came = Counter((key, n) for file in self.outputs().values() for key, n, _ in file)
        assert came == expected

    def check_what_is_there(self) -> None:
        """No output twice, none out of turn; counts that follow each other without a hole."""
        newest: dict[str, tuple[str, int]] = {}  # by key: epoch, count
        counts: dict[str, set[int]] = {}
        for name, outputs in self.outputs().items():
            epoch = name.partition("-")[0]
            for key, number, count in outputs:
                assert number >= count, (name, key, number, count)
                before = newest.get(key, ("", 0))
                assert epoch == before[0] or count > before[1], (name, key, count, before)
                newest[key] = (epoch, max(count, before[1]))
                seen = counts.setdefault(key, set())
                assert count not in seen, f"{name}: {key} has {count} twice"
                seen.add(count)
        assert all(seen == set(range(1, len(seen) + 1)) for seen in counts.values())

    def _write(self) -> None:
        began, count = time.monotonic(), 0
        with self.lines.open("a") as file:
            while self._writing.is_set():
                due = int((time.monotonic() - began) * self._per_second) - count
                lines = [self._line(count + i) for i in range(due)]
                count += due
                file.write("".join(f"{key} {number}\n" for key, number in lines))
                file.flush()
                self.expected += lines
                time.sleep(TICK)

    def _line(self, place: int) -> tuple[str, int]:
        return self._keys[place % len(self._keys)], place // len(self._keys) + 1
