"""A savepoint in a blob store: the parts of one checkpoint, and last its description.

Parts keep their names, which are never used twice, so to copy one again is harmless: who did not
get to the end, or does not know that it did, begins anew. The description is created if absent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from zstream.errors import ConnectorError, WireError
from zstream.model.records import Manifest
from zstream.model.savepoint import Savepoint
from zstream.ports.blobs import BlobStore
from zstream.ports.log import LOG
from zstream.wire.codec import decode_savepoint, encode_savepoint
from zstream.wire.parts import Part, PartName, open_part

DESCRIPTION = "savepoint"  # the name of the blob


def write_savepoint(
    store: BlobStore,
    target: BlobStore,
    url: str,
    savepoint: Savepoint,
    is_wanted: Callable[[], bool],
) -> bytes:
    """Copy a savepoint to `target`, which is at `url`; returns the description as it stands there.

    One that stands there by the same request is taken as it is: an earlier leader wrote it.
    is_wanted: asked before each part. Every part is checked on its way.
    Raises ConnectorError where there is something else, or when it is not wanted any more;
    WireError for a part that is missing or damaged; OSError.
    """
    standing = target.read(DESCRIPTION)
    if standing is None:
        if target.names(LOG):
            raise ConnectorError(
                f"{url} is the store of a cluster. A savepoint wants a place of its own."
            )
        parts, size = copy_parts(store, target, savepoint.manifest, is_wanted)
        target.create(DESCRIPTION, encode_savepoint(replace(savepoint, parts=parts, bytes=size)))
        standing = target.read(DESCRIPTION)
        if standing is None:
            raise OSError(f"{url} does not show what was just written.")
    there = decode_savepoint(standing)
    if there.request != savepoint.request:
        raise ConnectorError(
            f"{url} holds a savepoint already, of {there.topology} at epoch "
            f"{there.manifest.epoch}. Choose another place."
        )
    return standing


def read_savepoint(store: BlobStore, url: str) -> Savepoint:
    """What stands in the store at `url`. Raises ConnectorError when that is no savepoint."""
    try:
        payload = store.read(DESCRIPTION)
        if payload is not None:
            return decode_savepoint(payload)
        is_cluster = bool(store.names(LOG))
    except (OSError, WireError) as error:
        raise ConnectorError(f"the savepoint {url} cannot be read: {error}") from error
    if is_cluster:
        raise ConnectorError(
            f"{url} is the store of a cluster and no savepoint. To go on with it: --store {url}."
        )
    raise ConnectorError(f"there is no savepoint at {url}.")


def copy_parts(
    store: BlobStore, target: BlobStore, manifest: Manifest, is_wanted: Callable[[], bool]
) -> tuple[int, int]:
    """Copy all parts that a manifest needs: how many, and how many bytes.

    Raises as `write_savepoint`.
    """
    size = 0

    def copy(name: PartName) -> Part:
        nonlocal size
        if not is_wanted():
            raise ConnectorError("it was given up.")
        payload = store.read(name.blob())
        if payload is None:
            raise WireError(f"part {name.blob()} is not there.")
        part = open_part(name, payload)
        target.put(name.blob(), payload)
        size += len(payload)
        return part

    own = {PartName(manifest.run, manifest.epoch, author) for author in manifest.authors}
    needed = set(own)
    for name in sorted(own):
        needed |= copy(name).history.names_of(range(manifest.key_groups))
    for name in sorted(needed - own):
        copy(name)
    return len(needed), size
