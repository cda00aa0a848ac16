"""From what stands behind `--application-module` to a topology: find it, import it, make it.

MODULE is a module's name or a file's path; MODULE:NAME says what in it, where that is not called
`topology`. What it names is a Topology, or a function that is given the arguments and returns one.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from zstream.embedded.topology import Topology
from zstream.errors import TopologyError, UsageError, ZstreamError
from zstream.topology.node import Node
from zstream.topology.stream import End, Stream
from zstream.topology.topology import TopologyValue

USUAL_NAME = "topology"
SUGGESTIONS_MAX = 5


def load(path: str, args: Sequence[str] = ()) -> Topology:
    """The topology of a module. The current directory is looked in first.

    Raises TopologyError with a sentence for a module that is not there, fails, or holds no
    topology; what its code raised is the `__cause__`.
    """
    name, _, attribute = _split(path)
    module = _module(name)
    shown = attribute or USUAL_NAME
    found = getattr(module, shown, None)
    if found is None:
        raise TopologyError(_nothing_there(name, module, attribute))
    streams = [] if callable(found) else _streams_in(module)
    with _said_in_a_sentence(module.__file__ or name):
        return made(found, list(args), streams, f"{Path(name).stem}.{shown}")


def made(
    found: object,
    args: Sequence[str] = (),
    streams: Sequence[Node] = (),
    called: str = USUAL_NAME,
) -> Topology:
    """A Topology, or what a function makes of the arguments, with nothing forgotten.

    streams: what else was made beside it. Raises TopologyError for a stream that reaches no sink,
    UsageError for arguments that nobody takes.
    """
    topology = found
    if callable(found):
        topology = found(list(args))
    elif args:
        raise UsageError(
            f"{called} is no function, so it takes no arguments; it was given {' '.join(args)}."
        )
    if not isinstance(topology, Topology):
        returned = "returned" if callable(found) else "is"
        raise TopologyError(
            f"{called} {returned} no Topology but {type(topology).__name__}. "
            "Hand its ends to Topology(name, ...)."
        )
    for problem in topology.forgotten(streams):
        raise TopologyError(problem.says, operator=problem.operator, where=problem.where)
    return topology


# ---------------------------------------------------------------- finding the module


def _split(path: str) -> tuple[str, str, str]:
    """MODULE:NAME; a drive letter in front is no module."""
    name, colon, attribute = path.rpartition(":")
    return (name, colon, attribute) if attribute.isidentifier() and name else (path, "", "")


def _module(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:  # an installed command does not look where it is started
        sys.path.insert(0, here)
    is_file = name.endswith(".py") or "/" in name or "\\" in name
    if is_file:
        return _from_file(Path(name))
    file = _file_of(name)
    with _said_in_a_sentence(file):
        return importlib.import_module(name)


def _from_file(path: Path) -> ModuleType:
    path = path if path.suffix else path.with_suffix(".py")
    if not path.is_file():
        raise TopologyError(f"no file {path}. {_there_is(path.parent, path.stem)}".rstrip())
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path.resolve()):
        return known
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise TopologyError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    directory = str(path.resolve().parent)
    if directory not in sys.path:  # what stands beside it can be imported, as if it were started
        sys.path.insert(0, directory)
    sys.modules[path.stem] = module  # dataclasses look their module up
    try:
        with _said_in_a_sentence(str(path)):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


@contextmanager
def _said_in_a_sentence(file: str) -> Iterator[None]:
    """What the module's own code raises becomes a sentence with its line."""
    try:
        yield
    except ZstreamError:
        raise
    except Exception as error:
        raise _failed(file, error) from error


def _file_of(name: str) -> str:
    """The file of a module; runs the packages around it, which may fail."""
    spec = None
    with _said_in_a_sentence(f"{name.partition('.')[0]}.py"), suppress(ValueError):
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError as error:
            if not name.startswith(f"{error.name}."):  # it is not a package around it that lacks
                raise
    if spec is None:
        raise TopologyError(_not_found(name))
    return spec.origin or name


def _failed(file: str, error: Exception) -> TopologyError:
    """ "alphabet.py was found, but line 3 of it failed: No module named 'httpx'." """
    line = 0
    if isinstance(error, SyntaxError) and error.filename == str(Path(file).resolve()):
        line = error.lineno or 0
    step = error.__traceback__
    while step is not None:
        if Path(step.tb_frame.f_code.co_filename).name == Path(file).name:
            line = step.tb_lineno
        step = step.tb_next
    says = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        says = f"{type(error).__name__}: {error.msg}"
    part = f"line {line} of it failed" if line else "it failed"
    return TopologyError(
        f"{Path(file).name} was found, but {part}: {says}.", where=f"{Path(file).name}:{line}"
    )


# ---------------------------------------------------------------- what is not there


def _not_found(name: str) -> str:
    says = f"no module {name}: looked in . and on PYTHONPATH."
    return f"{says} {_there_is(Path.cwd(), name)}".rstrip()


def _there_is(directory: Path, wanted: str) -> str:
    """ "In this directory there is alphabet.": modules of a like name, or all that use zstream."""
    try:
        files = sorted(directory.glob("*.py"))
        names = [file.stem for file in files if "zstream" in file.read_text(errors="replace")]
    except OSError:
        return ""
    like = difflib.get_close_matches(wanted, names) or names[:SUGGESTIONS_MAX]
    if not like:
        return ""
    place = "In this directory" if directory in (Path.cwd(), Path()) else f"In {directory}"
    return f"{place} there {_is_or_are(like)}."


def _nothing_there(name: str, module: ModuleType, attribute: str) -> str:
    stem = name if "/" not in name else Path(name).stem
    others = [name for name, value in vars(module).items() if isinstance(value, TopologyValue)]
    ready = f"; there {'is a Topology' if len(others) == 1 else 'are Topologies'} called "
    hint = ready + _and(others) if others else ""
    if attribute:
        return f"{stem} has no {attribute}{hint}."
    return (
        f"{stem} has no topology. Name it {USUAL_NAME}, or say "
        f"--application-module {name}:NAME{hint}."
    )


def _streams_in(module: ModuleType) -> list[Node]:
    """What the module holds of streams and ends."""
    ends = [value.node for value in vars(module).values() if isinstance(value, End)]
    streams = [value.node for value in vars(module).values() if isinstance(value, Stream)]
    return [*ends, *streams]


def _is_or_are(names: list[str]) -> str:
    return f"{'is' if len(names) == 1 else 'are'} {_and(names)}"


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
