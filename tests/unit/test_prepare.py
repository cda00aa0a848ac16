"""bin/prepare says what is missing, in a sentence, and leaves nothing half made behind."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = ["sh", "readlink", "dirname", "basename", "cat", "cksum", "mkdir", "rmdir", "sleep", "rm"]
NEW_WITHOUT_VENV = '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\n'
OLD = "#!/bin/sh\nexit 1\n"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone, in a path with a blank, of all that bin/prepare looks at."""
    clone = tmp_path / "a clone"
    (clone / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "bin" / "prepare", clone / "bin" / "prepare")
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, clone / name)
    shutil.copytree(ROOT / "requirements", clone / "requirements")
    return clone


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A PATH with the usual tools and no Python at all."""
    folder = tmp_path / "path"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (folder / tool).symlink_to(found)
    return folder


def prepare(clone: Path, path: Path, **environment: str) -> str:
    """What it says when it refuses."""
    done = subprocess.run(
        [clone / "bin" / "prepare"],
        env={"PATH": str(path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert not (clone / ".venv").exists()
    assert not (clone / ".venv.lock").exists()
    return done.stderr


def put(folder: Path, name: str, script: str) -> Path:
    file = folder / name
    file.write_text(script)
    file.chmod(0o755)
    return file


def test_a_machine_without_python(clone: Path, path: Path) -> None:
    """It says which one is needed."""
    assert "Python 3.10 or newer is needed" in prepare(clone, path)


def test_a_python_that_is_too_old_does_not_count(clone: Path, path: Path) -> None:
    """A python3 that answers no, as a 3.9 would."""
    put(path, "python3", OLD)
    assert "Python 3.10 or newer is needed" in prepare(clone, path)


def test_a_python_without_its_venv_module(clone: Path, path: Path) -> None:
    """As Debian installs it; the package to install is named after that Python."""
    put(path, "python3.11", NEW_WITHOUT_VENV)
    assert "apt-get install python3.11-venv" in prepare(clone, path)


def test_a_python_that_was_named_and_cannot_be_used(clone: Path, path: Path) -> None:
    """No other is taken silently in its place."""
    put(path, "python3", NEW_WITHOUT_VENV)
    old = put(clone, "old-python", OLD)
    assert f"PYTHON={old.name}" in prepare(clone, path, PYTHON=old.name)


def test_a_directory_that_is_being_made_is_not_touched(clone: Path, path: Path) -> None:
    """While another command holds the lock, this one waits; here it is stopped while waiting."""
    (clone / ".venv.lock").mkdir()
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(
            [clone / "bin" / "prepare"], env={"PATH": str(path)}, timeout=1, capture_output=True
        )
    assert (clone / ".venv.lock").exists()
    assert not (clone / ".venv").exists()
