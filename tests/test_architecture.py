"""The house plan as a test: who may import whom, what the cores may not touch, how long things get.

Read from syntax trees, so an import inside a function or under TYPE_CHECKING counts like any other.
Each rule is a function from a module to its problems; each is also tried on a planted offence.
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A row may import only rows below it; neighbours on one row are strangers.
ROWS: tuple[tuple[str, ...], ...] = (
    ("cli",),
    ("embedded", "testing", "client"),
    ("runtime", "sim"),
    ("connectors", "stores", "driver"),
    ("control", "dataflow"),
    ("topology",),
    ("ports",),
    ("wire",),
    ("model",),
    ("config",),  # the plan draws config and errors on one row; config raises UsageError
    ("errors",),
)
HEIGHT = {room: len(ROWS) - index for index, row in enumerate(ROWS) for room in row}

IMPURE_ROOMS = {"cli", "embedded", "client", "runtime", "sim", "connectors", "stores"}
IMPURE_MODULES = {
    "asyncio",
    "multiprocessing",
    "os",
    "random",
    "secrets",
    "select",
    "selectors",
    "signal",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "uuid",
    "zmq",
}
HARMLESS_NAMES = {("uuid", "UUID")}  # a type of value that travels; it draws nothing
CLOCK_READINGS = {"now", "utcnow", "today"}  # of date and datetime
ONLY_IN = {"msgpack": {"wire"}, "msgspec": {"wire"}, "docopt": {"cli"}}
RUNS_FOREIGN_CODE = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle"}
RUNS_FOREIGN_CALLS = {"eval", "exec", "recv_pyobj", "send_pyobj"}

MODULE_LINES_BELOW = 600
FUNCTION_LINES_BELOW = 70
CLI_LINES_MAX = 120
EMPTY_WORDS = ("Manager", "Handler", "Impl", "Helper", "Utils")
EMPTY_MODULES = {"utils", "util", "helpers", "helper", "common", "misc"}


@dataclass(frozen=True)
class Problem:
    """What is wrong, where, and what to do."""

    path: str
    line: int
    says: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.says}"


@dataclass(frozen=True)
class Imported:
    """One imported name: `from a.b import c` has module a.b and name c; `import a` has name ""."""

    module: str
    name: str
    line: int


class Module:
    """One source file and its tree."""

    def __init__(self, path: str, source: str) -> None:
        self.path = path
        self.source = source

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, self.path)

    @property
    def parts(self) -> tuple[str, ...]:
        """The dotted name, in parts: zstream/control/log.py is ("zstream", "control", "log")."""
        parts = Path(self.path).with_suffix("").parts
        return parts[:-1] if parts[-1] == "__init__" else parts

    @property
    def room(self) -> str:
        """The part below zstream, "" for the public face and for what is outside."""
        return self.parts[1] if self.parts[0] == "zstream" and len(self.parts) > 1 else ""

    @cached_property
    def imports(self) -> list[Imported]:
        return list(self._find_imports())

    def _find_imports(self) -> Iterator[Imported]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Imported(alias.name, "", node.lineno)
            elif isinstance(node, ast.ImportFrom):
                module = self._absolute(node)
                for alias in node.names:
                    yield Imported(module, alias.name, node.lineno)
            elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
                match node.args:
                    case [ast.Constant(value=str(module)), *_]:
                        yield Imported(module, "", node.lineno)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.parts if self.path.endswith("__init__.py") else self.parts[:-1]
        above = package[: len(package) - node.level + 1]
        return ".".join((*above, *([node.module] if node.module else [])))


def called(node: ast.Call) -> str:
    """The last name of what is called: `a.b.c()` gives c."""
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def room_of(imported: Imported) -> str | None:
    """The room an import reaches into, "" for the public face, None for what is not zstream's."""
    parts = imported.module.split(".")
    if parts[0] != "zstream":
        return None
    if len(parts) > 1:
        return parts[1]
    return imported.name if imported.name in HEIGHT else ""


# ------------------------------------------------------------------------------------ the rules


def check_layers(module: Module) -> Iterator[Problem]:
    if not module.room:
        return
    if module.room not in HEIGHT:
        yield Problem(
            module.path, 1, f"{module.room} stands on no row; give it one in ROWS of this test."
        )
        return
    for imported in module.imports:
        target = room_of(imported)
        if target is None or target == module.room:
            continue
        if target == "":
            says = "imports the public face; import the module that defines the name instead."
        elif target not in HEIGHT:
            says = f"imports zstream.{target}, which stands on no row; give it one in ROWS."
        elif HEIGHT[target] > HEIGHT[module.room]:
            says = f"{module.room} imports {target}, a row above it; hand it in as an argument."
        elif HEIGHT[target] == HEIGHT[module.room]:
            says = (
                f"{module.room} imports {target}, its neighbour; join the two a row above, or "
                "move what both need a row below."
            )
        else:
            continue
        yield Problem(module.path, imported.line, says)


def check_purity(module: Module) -> Iterator[Problem]:
    if not module.room or module.room in IMPURE_ROOMS:
        return
    for imported in module.imports:
        top = imported.module.split(".")[0]
        if top in IMPURE_MODULES and (top, imported.name) not in HARMLESS_NAMES:
            yield Problem(
                module.path,
                imported.line,
                f"{module.room} imports {top}; let time, chance and the outside come in as "
                "arguments or through a port.",
            )
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="datetime" | "date"), attr=attr)
            ) if attr in CLOCK_READINGS:
                yield Problem(
                    module.path, node.lineno, f"{module.room} reads the clock; take `now` instead."
                )
            case ast.Call(func=ast.Name(id="open" | "input" | "print" as name)):
                yield Problem(
                    module.path,
                    node.lineno,
                    f"{module.room} calls {name}(); go through a port of zstream.ports.",
                )


def check_reserved_imports(module: Module) -> Iterator[Problem]:
    if module.parts[0] != "zstream":
        return
    for imported in module.imports:
        top = imported.module.split(".")[0]
        if top in ONLY_IN and module.room not in ONLY_IN[top]:
            rooms = ", ".join(sorted(ONLY_IN[top]))
            yield Problem(
                module.path, imported.line, f"imports {top}; only {rooms} may, call it from there."
            )


def check_no_foreign_code(module: Module) -> Iterator[Problem]:
    for imported in module.imports:
        top = imported.module.split(".")[0]
        if top in RUNS_FOREIGN_CODE:
            yield Problem(
                module.path,
                imported.line,
                f"imports {top}, which runs what it reads; encode with zstream.wire.values.",
            )
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call) or called(node) not in RUNS_FOREIGN_CALLS:
            continue
        if isinstance(node.func, ast.Attribute) and called(node) in ("eval", "exec"):
            continue  # somebody's method of that name
        yield Problem(
            module.path,
            node.lineno,
            f"calls {called(node)}; no text and no bytes are ever run here, write it as code.",
        )


def check_sizes(module: Module) -> Iterator[Problem]:
    lines = len(module.source.splitlines())
    if module.room == "cli" and lines > CLI_LINES_MAX:
        yield Problem(
            module.path,
            lines,
            f"has {lines} lines, a command has at most {CLI_LINES_MAX}; move the work below cli.",
        )
    elif lines >= MODULE_LINES_BELOW:
        yield Problem(
            module.path,
            lines,
            f"has {lines} lines, a module stays below {MODULE_LINES_BELOW}; split it by subject.",
        )
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length >= FUNCTION_LINES_BELOW:
                yield Problem(
                    module.path,
                    node.lineno,
                    f"{node.name} has {length} lines, a function stays below "
                    f"{FUNCTION_LINES_BELOW}; give its parts names.",
                )


def check_docstring(module: Module) -> Iterator[Problem]:
    if not ast.get_docstring(module.tree):
        yield Problem(
            module.path, 1, "has no docstring; say in a sentence what this module is for."
        )


def check_names(module: Module) -> Iterator[Problem]:
    if module.parts[-1] in EMPTY_MODULES:
        yield Problem(module.path, 1, f"{module.parts[-1]} names no subject; name what is in it.")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith(EMPTY_WORDS):
            yield Problem(
                module.path, node.lineno, f"class {node.name}: use a word of docs/glossary.md."
            )


ENGINE = ("zstream",)
PROGRAMS = ("zstream", "examples", "benchmarks")
EVERYWHERE = ("zstream", "examples", "benchmarks", "tests")

RULES: dict[str, tuple[Callable[[Module], Iterator[Problem]], tuple[str, ...]]] = {
    "layers": (check_layers, ENGINE),
    "purity": (check_purity, ENGINE),
    "reserved imports": (check_reserved_imports, ENGINE),
    "no foreign code": (check_no_foreign_code, PROGRAMS),
    "sizes": (check_sizes, PROGRAMS),
    "docstrings": (check_docstring, EVERYWHERE),
    "names": (check_names, EVERYWHERE),
}


def modules(folders: tuple[str, ...]) -> list[Module]:
    return [
        Module(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


@pytest.mark.parametrize("rule", RULES)
def test_the_house_keeps_its_plan(rule: str) -> None:
    """Every module of the folders that a rule is about keeps it."""
    check, folders = RULES[rule]
    problems = [str(problem) for module in modules(folders) for problem in check(module)]
    assert not problems, f"{len(problems)} offences against {rule}:\n" + "\n".join(problems)


PLANTED = [
    ("layers", "zstream/control/x.py", "from zstream.driver.worker import W"),
    ("layers", "zstream/control/x.py", "def f():\n    import zstream.dataflow.engine"),
    ("layers", "zstream/model/x.py", "if TYPE_CHECKING:\n    from zstream.wire import codec"),
    ("layers", "zstream/model/x.py", "from ..wire import codec"),
    ("layers", "zstream/model/__init__.py", "from ..wire import codec"),
    ("layers", "zstream/client/x.py", "from zstream import embedded"),
    ("layers", "zstream/cli/x.py", "from zstream import Topology"),
    ("layers", "zstream/sim/x.py", "importlib.import_module('zstream.runtime.worker')"),
    ("layers", "zstream/attic/x.py", "pass"),
    ("purity", "zstream/dataflow/x.py", "import time"),
    ("purity", "zstream/driver/x.py", "def f():\n    from os import path"),
    ("purity", "zstream/wire/x.py", "from uuid import uuid4"),
    ("purity", "zstream/control/x.py", "moment = datetime.now()"),
    ("purity", "zstream/driver/x.py", "open('file')"),
    ("reserved imports", "zstream/runtime/x.py", "import msgpack"),
    ("reserved imports", "zstream/client/x.py", "from docopt import docopt"),
    ("no foreign code", "zstream/wire/x.py", "import pickle"),
    ("no foreign code", "examples/x.py", "eval('1')"),
    ("no foreign code", "zstream/runtime/x.py", "socket.recv_pyobj()"),
    ("sizes", "zstream/wire/x.py", "pass\n" * 600),
    ("sizes", "zstream/cli/x.py", "pass\n" * 121),
    ("sizes", "zstream/wire/x.py", "def f():\n" + "    pass\n" * 69),
    ("docstrings", "tests/unit/test_x.py", "pass"),
    ("names", "zstream/wire/utils.py", "pass"),
    ("names", "zstream/wire/x.py", "class LinkManager: ..."),
]


@pytest.mark.parametrize(("rule", "path", "source"), PLANTED)
def test_a_planted_offence_is_found(rule: str, path: str, source: str) -> None:
    """Each rule finds what it is there for, at the line where it stands."""
    problems = list(RULES[rule][0](Module(path, source)))
    assert [problem.path for problem in problems] == [path]
    assert problems[0].line >= 1


ALLOWED = [
    ("layers", "zstream/driver/x.py", "from zstream.control.agent import A\nimport zstream.errors"),
    ("layers", "zstream/driver/x.py", "from zstream.driver.y import B\nfrom . import z"),
    ("layers", "zstream/__init__.py", "from zstream.cli.program import main"),
    ("purity", "zstream/wire/x.py", "from uuid import UUID\nfrom datetime import datetime"),
    ("purity", "zstream/sim/x.py", "import random"),
    ("reserved imports", "zstream/wire/x.py", "import msgpack"),
    ("no foreign code", "zstream/wire/x.py", "import ast"),
    ("sizes", "zstream/wire/x.py", "def f():\n" + "    pass\n" * 68),
]


@pytest.mark.parametrize(("rule", "path", "source"), ALLOWED)
def test_what_is_allowed_is_not_an_offence(rule: str, path: str, source: str) -> None:
    """The rules do not cry wolf."""
    assert [str(problem) for problem in RULES[rule][0](Module(path, source))] == []


# ------------------------------------------------------------------------------------ all files

# Put together here, so that this file does not hold them either.
PRIVATE = ["/tmp/" + "venv", "/wo" + "rk/", "py" + "pi.org", "python" + "hosted.org"]


def committed_files() -> list[Path]:
    """What git knows; skips outside of a clone, where nobody can commit anything."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_no_committed_file_names_one_machine() -> None:
    """A path of one workplace, or the host of a package registry, helps nobody else."""
    problems = [
        f"{path.relative_to(ROOT)}:{number}: names {word}; say it without."
        for path in committed_files()
        for number, line in enumerate(path.read_bytes().decode(errors="replace").splitlines(), 1)
        for word in PRIVATE
        if word in line
    ]
    assert not problems, "\n".join(problems)
