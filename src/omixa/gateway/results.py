"""Results: everything that is needed to answer a request again, byte for byte, durable before its charge or together with it.

Layout: eight bytes of magic, four bytes with the manifest's length (big endian), the manifest as JSON, then the pictures one
after the other. The manifest holds the envelope of the answer and each picture's format, size, length and BLAKE3 digest, and what
settling needs, so that a result can be charged for whose request could not be settled.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from blake3 import blake3

from omixa.billing.ledger import StoredResult
from omixa.domain.images import Image, ImageFormat, ImageInfo, Provenance, Usage
from omixa.errors import StorageUnavailable
from omixa.gateway.idempotency import JOIN_WINDOW_MS, PARKED_RETENTION_MS
from omixa.gateway.run import Answer
from omixa.storage import small_results
from omixa.storage.blobs import Blobs, forget_memory
from omixa.storage.database import Database
from omixa.storage.small_results import IN_DATABASE
from omixa.usage.records import EndedAttempt, day_of

log = logging.getLogger(__name__)

# Pictures up to this size together are stored in the database.
SMALL_RESULT_BYTES = 64 * 1024
# How long a result that is kept until it is delivered waits for that: as long as retries may come.
UNDELIVERED_MS = JOIN_WINDOW_MS

_MAGIC = b"OMIXAR1\n"
_LENGTH = struct.Struct(">I")
_HEAD = len(_MAGIC) + _LENGTH.size
# Nearly every manifest, which has some kilobytes for each picture, is shorter.
_LIKELY_HEAD_BYTES = 32 * 1024


class StoredImage(msgspec.Struct, frozen=True):
    """What the manifest says of one picture."""

    format: ImageFormat
    width: int
    height: int
    size_bytes: int
    has_alpha: bool
    blake3: str


class Settling(msgspec.Struct, frozen=True):
    """What a charge needs besides the answer: what each picture used, and how the calls to providers ended."""

    usages: tuple[Usage, ...] = ()
    attempts: tuple[EndedAttempt, ...] = ()


class Manifest(msgspec.Struct, frozen=True):
    """The head of a stored result. `envelope` is the answer without its pictures."""

    request_id: str
    owner_epoch: int
    envelope: Mapping[str, Any]
    images: tuple[StoredImage, ...]
    settling: Settling


@dataclass(frozen=True, slots=True)
class Content:
    """A stored result, unpacked."""

    manifest: Manifest
    images: tuple[Image, ...]


class BrokenResult(Exception):
    """Stored bytes are not the result that was written."""


class Results:
    """Keeps the answers of charged requests: large ones as files, small ones in the database.

    `retention_ms` is how long, where the workspace has no retention of its own.
    """

    def __init__(self, database: Database, blobs: Blobs, *, retention_ms: int) -> None:
        self._database = database
        self._blobs = blobs
        self._retention_ms = retention_ms

    async def keep(
        self,
        request_id: str,
        owner_epoch: int,
        envelope: Mapping[str, Any],
        images: Sequence[Image],
        settling: Settling,
        own_retention_ms: int | None = None,
    ) -> StoredResult:
        """Make an answer durable, or ready to become so together with its charge. Raises StorageUnavailable.

        `own_retention_ms` is the workspace's; with 0, the answer waits only until it is delivered, or for a retry.
        """
        retention_ms = self._retention_ms if own_retention_ms is None else own_retention_ms or UNDELIVERED_MS
        if sum(len(image.data) for image in images) <= SMALL_RESULT_BYTES:
            pieces, digest = pack(request_id, owner_epoch, envelope, images, settling)
            return StoredResult(IN_DATABASE, digest, retention_ms, b"".join(pieces))
        digest = ""

        def produce() -> list[bytes | memoryview]:
            nonlocal digest
            pieces, digest = pack(request_id, owner_epoch, envelope, images, settling)
            return pieces

        ref = _file_name(request_id, envelope["created"])
        await self._blobs.put(ref, produce)
        return StoredResult(ref, digest, retention_ms)

    async def secure(self, request_id: str, result: StoredResult) -> StoredResult:
        """Make a result durable that was to become so together with its charge. Raises StorageUnavailable."""
        data = result.data
        if data is None:
            return result
        ref = _file_name(request_id, int(time.time()))
        await self._blobs.put(ref, lambda: [data])
        return StoredResult(ref, result.digest, result.retention_ms)

    async def discard(self, ref: str) -> None:
        """Delete a file that nothing refers to any more. Where that fails, it is found later as one of those."""
        try:
            await self._blobs.delete(ref)
        except (OSError, StorageUnavailable) as error:
            log.warning("result.not_discarded", extra={"ref": ref, "reason": str(error)})

    async def load(self, request_id: str, ref: str, digest: str, kept_until_ms: int = 0) -> Answer:
        """Return an answer as it was given. Raises BrokenResult when it is not what the ledger knows."""
        content = await self.content(request_id, ref, digest)
        return Answer(content.manifest.request_id, content.manifest.envelope, content.images, kept_until_ms)

    async def content(self, request_id: str, ref: str, digest: str) -> Content:
        """Return a stored result. Its pictures are views of its file. Raises BrokenResult as `load` does."""
        data = await self._read(request_id, ref)
        # Hashing megabytes takes milliseconds that other requests should not wait for.
        manifest, images = await asyncio.to_thread(unpack, data, digest)
        # A slow client must not hold megabytes that it does not read yet.
        forget_memory(data)
        return Content(manifest, tuple(images))

    async def describe(self, request_id: str, ref: str, digest: str) -> tuple[StoredImage, ...]:
        """Return what is stored of each picture, without reading them. Raises BrokenResult."""
        return (await self._head(request_id, ref, digest))[0].images

    async def describe_with_provenance(
        self, request_id: str, ref: str, digest: str
    ) -> Sequence[tuple[StoredImage, Provenance]]:
        """Return the same with what became of each picture's Content Credentials. Raises BrokenResult."""
        manifest, _ = await self._head(request_id, ref, digest)
        told: Sequence[Provenance] = manifest.envelope["omixa"]["provenance"]
        return list(zip(manifest.images, told, strict=True))

    async def picture(self, request_id: str, ref: str, digest: str, index: int) -> Image:
        """Return one picture, as a view of its file, reading nothing of the others. Raises BrokenResult."""
        manifest, position = await self._head(request_id, ref, digest)
        stored = manifest.images[index]
        position += sum(before.size_bytes for before in manifest.images[:index])
        data = await self._read(request_id, ref, position, stored.size_bytes)
        image = await asyncio.to_thread(_checked, stored, data)
        forget_memory(data)
        return image

    async def _head(self, request_id: str, ref: str, digest: str) -> tuple[Manifest, int]:
        """Return the manifest of a result and where its pictures begin."""
        head = await self._read(request_id, ref, 0, _LIKELY_HEAD_BYTES)
        length = _head_length(head)
        if length > len(head):
            head = await self._read(request_id, ref, 0, length)
        return _known_manifest(head[:length], digest), length

    async def _read(self, request_id: str, ref: str, start: int = 0, length: int | None = None) -> memoryview:
        """Return a part of what is stored; it is shorter where that ends before."""
        if ref == IN_DATABASE:
            small = await self._database.read(lambda tx: small_results.find(tx, request_id))
            data = None if small is None else memoryview(small)[start : None if length is None else start + length]
        else:
            data = await self._blobs.get(ref, start, length)
        if data is None:
            raise BrokenResult("there is nothing where the result should be")
        return data


async def find_unsettled(
    blobs: Blobs, request_id: str, owner_epoch: int
) -> tuple[StoredResult, Sequence[EndedAttempt]] | None:
    """Return the whole result of a request that was not settled, to be parked, and how its calls ended; None without one."""
    for ref in await asyncio.to_thread(blobs.find, request_id):
        data = await blobs.get(ref)
        try:
            digest = digest_of(data or b"")
            manifest, _ = await asyncio.to_thread(unpack, data or b"", digest)
        except (BrokenResult, msgspec.MsgspecError):
            continue
        if (manifest.request_id, manifest.owner_epoch) == (request_id, owner_epoch):
            return StoredResult(ref, digest, PARKED_RETENTION_MS), manifest.settling.attempts
    return None


def _file_name(request_id: str, created_s: int) -> str:
    return f"{day_of(created_s * 1000).replace('-', '')}/{request_id}"


def pack(
    request_id: str,
    owner_epoch: int,
    envelope: Mapping[str, Any],
    images: Sequence[Image],
    settling: Settling,
) -> tuple[list[bytes | memoryview], str]:
    """Return the pieces of a result and the digest of its manifest. Hashes every picture: large ones belong in a thread."""
    manifest = Manifest(request_id, owner_epoch, envelope, tuple(map(_describe, images)), settling)
    head = msgspec.json.encode(manifest)
    pieces = [_MAGIC, _LENGTH.pack(len(head)), head, *(image.data for image in images)]
    return pieces, hashlib.sha256(head).hexdigest()


def digest_of(data: bytes | memoryview) -> str:
    """Return the digest of a result's manifest. Raises BrokenResult when there is none."""
    return hashlib.sha256(_manifest(memoryview(data))).hexdigest()


def _manifest(view: memoryview) -> memoryview:
    return view[_HEAD : _head_length(view)]


def _head_length(view: memoryview) -> int:
    """Return where the pictures of a result begin."""
    if view[: len(_MAGIC)] != _MAGIC or len(view) < _HEAD:
        raise BrokenResult("the file is not a result")
    (length,) = _LENGTH.unpack_from(view, len(_MAGIC))
    return _HEAD + int(length)


def _known_manifest(view: memoryview, digest: str) -> Manifest:
    head = _manifest(view)
    if hashlib.sha256(head).hexdigest() != digest:
        raise BrokenResult("the manifest differs from what the ledger knows")
    return msgspec.json.decode(head, type=Manifest)


def unpack(data: bytes | memoryview, digest: str) -> tuple[Manifest, list[Image]]:
    """Return what `pack` was given, the pictures as views of the data. Raises BrokenResult when any byte differs."""
    view = memoryview(data)
    manifest = _known_manifest(view, digest)
    images, position = [], _head_length(view)
    for stored in manifest.images:
        images.append(_checked(stored, view[position : position + stored.size_bytes]))
        position += stored.size_bytes
    if position != len(data):
        raise BrokenResult("the file is longer than its pictures")
    return manifest, images


def _checked(stored: StoredImage, data: memoryview) -> Image:
    if blake3(data).hexdigest() != stored.blake3:
        raise BrokenResult("a picture differs from its digest")
    info = ImageInfo(stored.format, stored.width, stored.height, stored.size_bytes, stored.has_alpha)
    return Image(data, info)


def _describe(image: Image) -> StoredImage:
    info = image.info
    digest = blake3(image.data).hexdigest()
    return StoredImage(info.format, info.width, info.height, len(image.data), info.has_alpha, digest)
