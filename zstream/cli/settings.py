"""Settings below the command line: environment, then the file `zstream.env`, then `Config`.

One name, three spellings: `--join-deadline 5`, `ZSTREAM_JOIN_DEADLINE=5` in the environment, the
same line in the file. Every field of `Config` is a setting too: `ZSTREAM_WAVE_BYTES_MAX=65536`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from zstream.config import Config
from zstream.errors import UsageError

PREFIX = "ZSTREAM_"
CONFIG_FILE = "zstream.env"

# The long options of all programs: a line of the file that names none of them, nor a field of
# Config, is a slip of the pen and refused. A test holds this list against the usage texts.
OPTION_NAMES = """
    application-module in out name cluster-initializer control data my-control my-data external
    join worker-count join-deadline store fresh from leave-state checkpoint-interval dead-letters
    config log-format json metrics ponythreads
    query count workers wait no-wait timeout watch rescales to
    host file lines framed binary size rate batch repeat quiet listen output no-write idle
"""


class Setting(NamedTuple):
    """A value and where it comes from: "in the environment" or "in zstream.env, line 3"."""

    value: str
    origin: str


def variable(name: str) -> str:
    """The setting's name for an option or a Config field: "--join-deadline" gives its variable."""
    return PREFIX + name.lstrip("-").replace("-", "_").upper()


def read_settings(config_file: str | None = None) -> dict[str, Setting]:
    """All settings by variable name; the environment wins over the file. Empty ones count as unset.

    config_file: what --config says, else ZSTREAM_CONFIG, else zstream.env, which need not exist.
    """
    around = {
        name: Setting(value, "in the environment")
        for name, value in os.environ.items()
        if name.startswith(PREFIX) and value
    }
    asked = config_file or around.get(variable("config"), Setting("", "")).value
    return {**read_file(Path(asked or CONFIG_FILE), must_exist=bool(asked)), **around}


def read_file(path: Path, *, must_exist: bool) -> dict[str, Setting]:
    """The lines NAME=VALUE of a file; blank lines and those that start with # are passed over."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if must_exist:
            raise UsageError(f"--config: there is no file {path}.") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from None
    known = {variable(name) for name in OPTION_NAMES.split()} | {
        variable(f.name) for f in fields(Config)
    }
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, equals, value = (part.strip() for part in line.partition("="))
        if not name or name.startswith("#"):
            continue
        origin = f"in {path}, line {number}"
        if not equals:
            raise UsageError(f"{origin}: a line is NAME=VALUE, this one is {line.strip()!r}.")
        if name not in known:
            close = difflib.get_close_matches(name, sorted(known), 1)
            hint = f"; did you mean {close[0]}?" if close else "."
            raise UsageError(f"{origin}: there is no setting {name}{hint}")
        if value:
            found[name] = Setting(value, origin)
    return found


def config_from(settings: Mapping[str, Setting], **said: Any) -> Config:
    """Config with what the settings say, and above them what the command line said."""
    values: dict[str, Any] = {}
    for field in fields(Config):
        setting = settings.get(variable(field.name))
        if setting is not None:
            values[field.name] = whole_number(variable(field.name), setting)
    return Config(**{**values, **said}).validate()


def whole_number(name: str, setting: Setting) -> int:
    """The setting as int; underscores may group its digits."""
    try:
        return int(setting.value)
    except ValueError:
        raise UsageError(
            f"{name} must be a whole number, it is {setting.value!r} ({setting.origin})."
        ) from None
