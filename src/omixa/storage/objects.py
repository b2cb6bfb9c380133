"""Results in an object store that speaks S3's protocol. Needs the extra `s3`.

An object is named request first, then day, so that what belongs to a request is found by one listing of its own.
"""

from __future__ import annotations

import asyncio
import mmap
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from omixa.domain.access import Secret
from omixa.errors import StorageUnavailable
from omixa.storage.blobs import Pieces, require_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore.store import S3Config

T = TypeVar("T")

# Results that are on their way to or from the store at a time; others wait. Each that is stored is whole in memory meanwhile.
MAX_TRANSFERS = 16
# Until a result counts as not stored, tries included.
TRANSFER_TIMEOUT_S = 60
# How long nothing new is begun after a result could not be stored.
PAUSE_S = 5.0
# Up to this size, what is read stays in memory. Larger ones wait in a file for clients that may be slow.
SMALL_BYTES = 64 * 1024

_RETRIES = 3
_RETRY_TIMEOUT = timedelta(seconds=20)
_CONNECT_TIMEOUT = timedelta(seconds=5)
_CHUNK_BYTES = 1024 * 1024
# What the library raises; a missing object is a FileNotFoundError, which is an OSError as well.
_ERRORS = (BaseError, OSError)


class ObjectStore:
    """Keep byte strings under names such as 20261123/req_01k… in a bucket.

    `put` returns when the store has confirmed that it has the bytes, whose SHA-256 it has checked. A store that is away stops
    nothing but what has to be stored: it raises StorageUnavailable, and for a moment `check` turns new requests away before
    they cost anything. `directory` is where large objects wait for their reader, in files without names.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        directory: Path,
        endpoint: str = "",
        region: str = "",
        access_key_id: str = "",
        secret_access_key: Secret | None = None,
    ) -> None:
        config: S3Config = {"checksum_algorithm": "SHA256", "disable_bulk_delete": True}
        # What is not given comes from the environment and the machine's role, as all of AWS' tools have it.
        if endpoint:
            config["endpoint"] = endpoint
        if region:
            config["region"] = region
        if secret_access_key is not None:
            config["access_key_id"], config["secret_access_key"] = access_key_id, secret_access_key.reveal()
        self._store = S3Store(
            bucket,
            prefix=prefix or None,
            config=config,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": _CONNECT_TIMEOUT,
                "timeout": timedelta(seconds=TRANSFER_TIMEOUT_S),
            },
            retry_config={"max_retries": _RETRIES, "retry_timeout": _RETRY_TIMEOUT},
        )
        self._directory = directory
        self._transfers = asyncio.Semaphore(MAX_TRANSFERS)
        self._paused_until = 0.0

    def check(self) -> None:
        """Raise StorageUnavailable when a result could not be stored a moment ago."""
        if time.monotonic() < self._paused_until:
            raise StorageUnavailable(
                "Results cannot be stored at the moment, so none are made. Nothing was charged. Try again shortly.",
                retry_after_s=round(PAUSE_S),
            )

    async def put(self, name: str, produce: Callable[[], Pieces]) -> None:
        """Store the pieces that `produce` gives, one after the other. Raises StorageUnavailable."""
        key = _key(name)
        async with self._transfers:
            data = await asyncio.to_thread(lambda: b"".join(produce()))
            try:
                async with asyncio.timeout(TRANSFER_TIMEOUT_S):
                    await obstore.put_async(self._store, key, data, use_multipart=False)
            except (*_ERRORS, TimeoutError) as error:
                self._paused_until = time.monotonic() + PAUSE_S
                raise StorageUnavailable(
                    "The result could not be stored. Nothing was charged. Try again shortly.",
                    retry_after_s=round(PAUSE_S),
                ) from error

    async def get(self, name: str, start: int = 0, length: int | None = None) -> memoryview | None:
        """Return what is stored under a name, or up to `length` bytes of it, or None. Raises StorageUnavailable."""
        key = _key(name)
        async with self._transfers:
            return await _or_unavailable(self._get(key, start, length))

    async def delete(self, name: str) -> None:
        """Delete what is stored under a name; nothing happens when there is nothing. Raises StorageUnavailable."""
        await _or_unavailable(obstore.delete_async(self._store, _key(name)))

    def has(self, name: str) -> bool:
        """Tell whether something is stored under a name. Blocking. Raises StorageUnavailable."""
        with _translated():
            try:
                obstore.head(self._store, _key(name))
            except FileNotFoundError:
                return False
            return True

    def lookup(self) -> Callable[[str], bool]:
        """Return what tells of many names whether something is stored there. Blocking, as what it returns may be."""
        known = frozenset(self.names())
        # What was stored since is asked for by name.
        return lambda name: name in known or self.has(name)

    def find(self, last: str) -> list[str]:
        """Return the names that end with this part, behind any day. Blocking. Raises StorageUnavailable."""
        return self._list(last)

    def names(self) -> list[str]:
        """Return every stored name, unsorted. Blocking. Raises StorageUnavailable."""
        return self._list(None)

    def remove_unfinished(self) -> int:
        """Return 0: what is half stored is never seen."""
        return 0

    async def claim(self, mark: str) -> str:
        """Leave a mark where there is none, and return the one that is there. Raises StorageUnavailable."""

        async def claimed() -> str:
            try:
                await obstore.put_async(self._store, "ledger", mark.encode(), mode="create", use_multipart=False)
            except AlreadyExistsError:
                found = await obstore.get_async(self._store, "ledger")
                return bytes(await found.bytes_async()).decode()
            return mark

        return await _or_unavailable(claimed())

    def close(self) -> None:
        """Have nothing to do."""

    def _list(self, prefix: str | None) -> list[str]:
        with _translated():
            pages = obstore.list(self._store, prefix)
            return [name for page in pages for item in page if (name := _name(item["path"])) is not None]

    async def _get(self, key: str, start: int, length: int | None) -> memoryview | None:
        if length == 0:
            return memoryview(b"")
        try:
            if length is None:
                found = await obstore.get_async(self._store, key, options={"range": {"offset": start}})
            else:
                found = await obstore.get_async(self._store, key, options={"range": (start, start + length)})
        except FileNotFoundError:
            return None
        first, end = found.range
        if end - first <= SMALL_BYTES:
            return memoryview(bytes(await found.bytes_async()))
        with tempfile.TemporaryFile(dir=self._directory) as file:
            async for chunk in found.stream(_CHUNK_BYTES):
                await asyncio.to_thread(file.write, chunk)
            file.flush()
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _key(name: str) -> str:
    day, request_id = require_name(name).split("/")
    return f"{request_id}/{day}"


def _name(key: str) -> str | None:
    """Return the name of an object, or None for one that is no result."""
    request_id, slash, day = key.partition("/")
    return f"{day}/{request_id}" if slash and "/" not in day else None


async def _or_unavailable(work: Awaitable[T]) -> T:
    with _translated():
        return await work


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _ERRORS as error:
        raise StorageUnavailable(
            "The store of results cannot be reached. Try again shortly.", retry_after_s=round(PAUSE_S)
        ) from error
