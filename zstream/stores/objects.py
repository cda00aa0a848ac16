"""Blobs in a bucket: S3, Google Cloud Storage, Azure, and what speaks their languages.

Through obstore, the extras zstream[s3], zstream[gs] and zstream[az]. Who may use the bucket and
where it is comes from the environment, as the clouds' own tools have it: AWS_ACCESS_KEY_ID,
AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME and so on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import from_url

from zstream.ports.blobs import check_name, is_name
from zstream.stores.causes import cause_of

_CONNECT_S = 5
_REQUEST_S = 60  # one request; a large blob is put in several
_RETRY_S = 15  # then no further try is begun
_RETRIES_MAX = 3
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")  # S3 and Google; Azure


class ObjectStore:
    """A `zstream.ports.blobs.BlobStore` in a bucket, below a prefix: s3://bucket/prefix."""

    def __init__(self, url: str) -> None:
        """Nothing is asked of the bucket yet. Raises OSError for settings that cannot be right."""
        # Only "etag" sends If-None-Match; an environment that says otherwise is not followed.
        settings: dict[str, Any] = {"conditional_put": "etag"} if url.startswith("s3:") else {}
        with _causes_said():
            self._store = from_url(
                url,
                client_options={
                    "allow_http": True,  # an endpoint's own scheme says what is wanted
                    "connect_timeout": timedelta(seconds=_CONNECT_S),
                    "timeout": timedelta(seconds=_REQUEST_S),
                },
                retry_config={
                    "max_retries": _RETRIES_MAX,
                    "retry_timeout": timedelta(seconds=_RETRY_S),
                },
                **settings,
            )

    def create(self, name: str, payload: bytes) -> bool:
        check_name(name)
        with _causes_said():
            try:
                obstore.put(self._store, name, payload, mode="create")
            except AlreadyExistsError:
                return False
        return True

    def put(self, name: str, payload: bytes) -> None:
        check_name(name)
        with _causes_said():
            obstore.put(self._store, name, payload)

    def read(self, name: str) -> bytes | None:
        check_name(name)
        with _causes_said():
            try:
                return bytes(obstore.get(self._store, name).bytes())
            except FileNotFoundError as error:
                if any(code in str(error) for code in _NO_BUCKET):
                    raise  # an error, not an empty store
                return None

    def names(self, folder: str = "") -> list[str]:
        if folder:
            check_name(folder)
        with _causes_said():
            pages = obstore.list(self._store, folder or None)
            found = (blob["path"] for page in pages for blob in page)
            return sorted(name for name in found if is_name(name))

    def delete(self, name: str) -> None:
        check_name(name)
        with _causes_said():
            try:
                obstore.delete(self._store, name)
            except FileNotFoundError:
                return  # some stores say so


@contextmanager
def _causes_said() -> Iterator[None]:
    """Turn what obstore raises into an OSError with one line."""
    try:
        yield
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise PermissionError(f"it refuses this worker: {cause_of(error)}") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no such bucket: {cause_of(error)}") from error
    except BaseError as error:
        raise OSError(cause_of(error)) from error
