"""What the initializer begins with: its store, and in it a savepoint's state if one was named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from zstream.control.beginning import fit
from zstream.control.joining import Start
from zstream.errors import ConnectorError, WireError
from zstream.ports.blobs import BlobStore
from zstream.ports.log import LOG
from zstream.ports.savepoints import DESCRIPTION, copy_parts, read_savepoint
from zstream.runtime.options import WorkerOptions
from zstream.stores.private import PrivateHold, private_directory
from zstream.stores.registry import open_store, open_to_read, store_url

Say = Callable[[str, str, str, Mapping[str, Any]], None]


def store_of(topology: str, options: WorkerOptions, closing: ExitStack) -> tuple[str, BlobStore]:
    """The initializer's store and its URL: the named one, or a private directory.

    Raises ConnectorError for a store that cannot be used, or that is a savepoint.
    """
    if not options.store:
        private = private_directory(topology)
        closing.callback(PrivateHold(private).release)
        url = store_url(str(private))
        return url, open_store(url)
    url = store_url(options.store)
    store = open_store(url, make=True)
    try:
        is_savepoint = store.read(DESCRIPTION) is not None
    except OSError as error:
        raise ConnectorError(f"the store {url} cannot be read: {error}.") from error
    if is_savepoint:
        raise ConnectorError(
            f"{url} is a savepoint, which is never written to. Begin from it with --from {url}, "
            "and say another --store."
        )
    return url, store


def with_savepoint(start: Start, url: str, store: BlobStore, say: Say) -> Start:
    """The start with the savepoint at `url`, whose parts are in the cluster's own store then.

    Raises ConnectorError: no savepoint there, its state does not fit, a part is damaged.
    """
    source = open_to_read(url)
    savepoint = read_savepoint(source, url)
    start = replace(start, savepoint=savepoint.manifest)
    refused, _ = fit(savepoint.manifest, start)
    if refused:
        raise ConnectorError(refused)
    try:
        if store.names(LOG) and not start.fresh:
            return start  # it will be refused, so nothing is copied
        text = (
            f"copying the savepoint {url} of {savepoint.topology}, epoch "
            f"{savepoint.manifest.epoch}: {savepoint.bytes:,} bytes"
        )
        say("info", "savepoint_read", text, {"url": url, "bytes": savepoint.bytes})
        copy_parts(source, store, savepoint.manifest, lambda: True)
    except (OSError, WireError) as error:
        raise ConnectorError(f"the savepoint {url} cannot be copied: {error}") from error
    return start
