"""The wheel alone: built, installed beside nothing but its dependencies, its commands called."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = (
    "zworker",
    "cluster_shrinker",
    "cluster_savepoint",
    "cluster_status",
    "cluster_shutdown",
    "sender",
    "data_receiver",
)


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What a command prints; fails with all of its output when it does not exit with 0."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, f"{command} exits {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the clone."""
    if find_spec("build") is None:
        pytest.skip("needs the package build; bin/test installs it")
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands in an environment that has the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("fresh environment")  # a path with a blank in it
    venv.create(folder, with_pip=True)
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", wheel)
    return folder / "bin"


def test_the_wheel_holds_the_engine_and_nothing_else(wheel: Path) -> None:
    """Types are announced; tests and examples stay at home."""
    names = zipfile.ZipFile(wheel).namelist()
    assert "zstream/py.typed" in names
    assert "zstream/__init__.py" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"zstream"}


def test_it_needs_three_packages(commands: Path) -> None:
    """pyzmq, msgpack and docopt-ng; what comes with a new environment does not count."""
    frozen = run(commands / "python", "-m", "pip", "freeze").splitlines()
    names = {line.replace(" @", "==").split("==")[0].lower() for line in frozen}
    assert names - {"setuptools", "wheel"} == {"zstream", "pyzmq", "msgpack", "docopt-ng"}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_on_the_path_and_helps(command: str, commands: Path) -> None:
    """--help prints the usage, --version the version of the package; both exit with 0."""
    program = "import importlib.metadata; print(importlib.metadata.version('zstream'))"
    version = run(commands / "python", "-c", program).strip()
    assert "Usage:" in run(commands / command, "--help", cwd=commands)
    assert version in run(commands / command, "--version", cwd=commands)


def test_the_public_face_imports_without_extras(commands: Path) -> None:
    """Each name of __all__ is there with only the three dependencies."""
    program = "import zstream; print([name for name in zstream.__all__ if getattr(zstream, name)])"
    assert "'Topology'" in run(commands / "python", "-c", program, cwd=commands)
