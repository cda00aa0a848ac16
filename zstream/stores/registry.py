"""From a store's URL to the open store, tried out: file:///dir, s3:// gs:// az://bucket/prefix."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from zstream.errors import ConnectorError, UsageError
from zstream.ports.blobs import BlobStore
from zstream.stores.files import FileStore, make_directory

_BUCKETS = ("s3", "gs", "az")
_NEEDS_DIRECTORY = "It needs a directory where this worker may write and make hard links."
_NEEDS_BUCKET = "It needs a bucket in which this worker may create, read, list and delete."
_NEEDS_LINKS = "It needs a file system with exclusive hard links."
_NEEDS_CONDITION = "It needs a store that creates a name only if it is absent (If-None-Match)."


def store_url(said: str) -> str:
    """The URL of a store that a person named; a plain directory becomes file:///...

    Raises UsageError for what no store can be at.
    """
    kind, separator, rest = said.partition("://")
    if not separator and said:
        return f"file://{os.path.abspath(said)}"
    if kind == "file" and rest.startswith("/"):
        return f"file://{os.path.abspath(rest)}"
    if kind in _BUCKETS and rest.partition("/")[0]:
        return said.rstrip("/")
    raise UsageError(
        "a store is file:///DIR or a directory, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or "
        f"az://CONTAINER/PREFIX; it cannot be {said!r}."
    )


def directory_of(url: str) -> Path | None:
    """The directory that a store is in, None when it is in none."""
    kind, _, path = url.partition("://")
    return Path(path) if kind == "file" else None


def open_store(url: str, *, make: bool = False) -> BlobStore:
    """Open a store and try it out.

    make: a directory that is not there is made; for who starts a cluster. Others would rather know
    that they do not see what the others see.
    Raises UsageError for no URL of a store, ConnectorError for a store that cannot be used.
    """
    url = store_url(url)
    directory = directory_of(url)
    if directory is None:
        store = _open_bucket(url)
        probe(store, url, _NEEDS_BUCKET, _NEEDS_CONDITION)
        return store
    files = FileStore(directory)
    try:
        if make and not directory.exists():
            make_directory(directory)
        if not directory.is_dir():
            raise ConnectorError(f"the store {url} is not a directory.")
        files.clear_leftovers()
    except OSError as error:
        raise _unusable(url, error, _NEEDS_DIRECTORY) from error
    probe(files, url, _NEEDS_DIRECTORY, _NEEDS_LINKS)
    return files


def open_to_read(url: str) -> BlobStore:
    """Open a store that is only read from: nothing is written to try it out. Raises like
    `open_store`."""
    url = store_url(url)
    directory = directory_of(url)
    if directory is None:
        return _open_bucket(url)
    if not directory.is_dir():
        raise ConnectorError(f"the store {url} is not a directory.")
    return FileStore(directory)


def probe(store: BlobStore, url: str, needs: str, needs_to_refuse: str) -> None:
    """Create one name twice and expect the refusal; read, list and delete it.

    needs, needs_to_refuse: what to say that a store must have, when it cannot be used, and when it
    does not refuse. Raises ConnectorError.
    """
    name = f"probe/{secrets.token_hex(8)}"
    try:
        try:
            store.create(name, b"first")
            taken_twice = store.create(name, b"second")
            stands, listed = store.read(name), store.names("probe")
        finally:
            with suppress(OSError):
                store.delete(name)
        left = store.read(name)
    except OSError as error:
        raise _unusable(url, error, needs) from error
    if taken_twice or stands == b"second":
        raise ConnectorError(
            f"the store {url} lets a name be created twice, so two leaders could both win. "
            f"{needs_to_refuse}"
        )
    if stands != b"first" or name not in listed or left is not None:
        raise ConnectorError(
            f"the store {url} does not show what was just written or deleted. {needs}"
        )


def _open_bucket(url: str) -> BlobStore:
    kind = url.partition("://")[0]
    try:
        from zstream.stores.objects import ObjectStore
    except ImportError as error:
        raise ConnectorError(f"{kind}:// needs obstore: pip install 'zstream[{kind}]'") from error
    try:
        return ObjectStore(url)
    except OSError as error:
        raise _unusable(url, error, _NEEDS_BUCKET) from error


def _unusable(url: str, error: OSError, needs: str) -> ConnectorError:
    return ConnectorError(f"the store {url} cannot be used: {error.strerror or error}. {needs}")
