"""Opens the cluster's store beside the loop: a bucket that does not answer must not stall it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread
from typing import NamedTuple

from zstream.errors import ConnectorError, ZstreamError
from zstream.ports.blobs import BlobStore
from zstream.stores.private import PrivateHold
from zstream.stores.registry import directory_of, open_store


class OpenedStore(NamedTuple):
    """An open store, tried out, and this worker's share of it where it is a private one."""

    url: str
    store: BlobStore
    hold: PrivateHold


class StoreOpening:
    """At most one opening at a time. wake: called from the thread when there is one to `take`."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = Lock()
        self._came: OpenedStore | ConnectorError | None = None
        self._under_way = False
        self._closed = False

    def begin(self, url: str) -> None:
        """Open it, unless an opening is under way."""
        with self._lock:
            if self._under_way:
                return
            self._under_way = True
        Thread(target=self._open, args=(url,), name="zstream-store", daemon=True).start()

    def take(self) -> OpenedStore | ConnectorError | None:
        """What came of it, once; None while nothing did."""
        with self._lock:
            came, self._came = self._came, None
            if came is not None:
                self._under_way = False
        return came

    def close(self) -> None:
        """Let go of what was not taken, and of what an opening under way comes to, without it."""
        with self._lock:
            self._closed = True
            if isinstance(self._came, OpenedStore):
                self._came.hold.release()
            self._came = None

    def _open(self, url: str) -> None:
        came = _opened(url)
        with self._lock:
            if not self._closed:
                self._came = came
                self._wake()
            elif isinstance(came, OpenedStore):
                came.hold.release()


def _opened(url: str) -> OpenedStore | ConnectorError:
    """Never raises: a thread that dies would leave its worker waiting for ever."""
    try:
        store = open_store(url)
    except ZstreamError as error:
        return _out_of_reach(url, str(error))
    except Exception as error:
        return _out_of_reach(url, f"{error!r}.")
    try:
        return OpenedStore(url, store, PrivateHold(directory_of(url)))
    except ConnectorError as error:
        return error
    except OSError as error:
        return _out_of_reach(url, f"{error}.")


def _out_of_reach(url: str, why: str) -> ConnectorError:
    return ConnectorError(
        f"the cluster's store is {url}, which is not reachable from here: {why} "
        "Workers on several hosts need a store that all of them reach: start the cluster "
        "with --store on a directory that they share, or in a bucket."
    )
