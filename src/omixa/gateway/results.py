"""Results: everything that is needed to answer a request again, byte for byte, durable before its charge or together with it.

Layout: eight bytes of magic, four bytes with the manifest's length (big endian), the manifest as JSON, then the pictures one
after the other. The manifest holds the envelope of the answer and each picture's format, size, length and SHA-256.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from omixa.billing.ledger import StoredResult
from omixa.domain.images import Image, ImageFormat, ImageInfo
from omixa.gateway.run import Answer
from omixa.storage import small_results
from omixa.storage.blobs import BlobStore
from omixa.storage.database import Database
from omixa.storage.small_results import IN_DATABASE
from omixa.usage.records import day_of

# Pictures up to this size together are stored in the database.
SMALL_RESULT_BYTES = 64 * 1024

_MAGIC = b"OMIXAR1\n"
_LENGTH = struct.Struct(">I")
_HEAD = len(_MAGIC) + _LENGTH.size


class StoredImage(msgspec.Struct, frozen=True):
    """What the manifest says of one picture."""

    format: ImageFormat
    width: int
    height: int
    size_bytes: int
    has_alpha: bool
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """The head of a stored result. `envelope` is the answer without its pictures."""

    request_id: str
    owner_epoch: int
    envelope: Mapping[str, Any]
    images: tuple[StoredImage, ...]


class BrokenResult(Exception):
    """Stored bytes are not the result that was written."""


class Results:
    """Keeps the answers of charged requests for `retention_ms`: large ones as files, small ones in the database."""

    def __init__(self, database: Database, blobs: BlobStore, *, retention_ms: int) -> None:
        self._database = database
        self._blobs = blobs
        self._retention_ms = retention_ms

    async def keep(
        self, request_id: str, owner_epoch: int, envelope: Mapping[str, Any], images: Sequence[Image]
    ) -> StoredResult:
        """Make an answer durable, or ready to become so together with its charge. Raises StorageUnavailable."""
        if sum(len(image.data) for image in images) <= SMALL_RESULT_BYTES:
            pieces, digest = pack(request_id, owner_epoch, envelope, images)
            return StoredResult(IN_DATABASE, digest, self._retention_ms, b"".join(pieces))
        digest = ""

        def produce() -> list[bytes]:
            nonlocal digest
            pieces, digest = pack(request_id, owner_epoch, envelope, images)
            return pieces

        ref = f"{day_of(envelope['created'] * 1000).replace('-', '')}/{request_id}"
        await self._blobs.put(ref, produce)
        return StoredResult(ref, digest, self._retention_ms)

    async def load(self, request_id: str, ref: str, digest: str) -> Answer:
        """Return an answer as it was given. Raises BrokenResult when it is not what the ledger knows."""
        if ref == IN_DATABASE:
            data = await self._database.read(lambda tx: small_results.find(tx, request_id))
        else:
            data = await self._blobs.get(ref)
        if data is None:
            raise BrokenResult("there is nothing where the result should be")
        # Hashing megabytes takes milliseconds that other requests should not wait for.
        manifest, images = await asyncio.to_thread(unpack, data, digest)
        return Answer(manifest.request_id, manifest.envelope, tuple(images))


def pack(
    request_id: str, owner_epoch: int, envelope: Mapping[str, Any], images: Sequence[Image]
) -> tuple[list[bytes], str]:
    """Return the pieces of a result and the digest of its manifest. Hashes every picture: large ones belong in a thread."""
    manifest = Manifest(request_id, owner_epoch, envelope, tuple(map(_describe, images)))
    head = msgspec.json.encode(manifest)
    pieces = [_MAGIC, _LENGTH.pack(len(head)), head, *(image.data for image in images)]
    return pieces, hashlib.sha256(head).hexdigest()


def unpack(data: bytes, digest: str) -> tuple[Manifest, list[Image]]:
    """Return what `pack` was given. Raises BrokenResult when any byte differs."""
    if data[: len(_MAGIC)] != _MAGIC or len(data) < _HEAD:
        raise BrokenResult("the file is not a result")
    (length,) = _LENGTH.unpack_from(data, len(_MAGIC))
    head = data[_HEAD : _HEAD + length]
    if hashlib.sha256(head).hexdigest() != digest:
        raise BrokenResult("the manifest differs from what the ledger knows")
    manifest = msgspec.json.decode(head, type=Manifest)
    view = memoryview(data)
    images, position = [], _HEAD + length
    for stored in manifest.images:
        piece = bytes(view[position : position + stored.size_bytes])
        if hashlib.sha256(piece).hexdigest() != stored.sha256:
            raise BrokenResult("a picture differs from its digest")
        info = ImageInfo(stored.format, stored.width, stored.height, stored.size_bytes, stored.has_alpha)
        images.append(Image(piece, info))
        position += stored.size_bytes
    if position != len(data):
        raise BrokenResult("the file is longer than its pictures")
    return manifest, images


def _describe(image: Image) -> StoredImage:
    info = image.info
    digest = hashlib.sha256(image.data).hexdigest()
    return StoredImage(info.format, info.width, info.height, len(image.data), info.has_alpha, digest)
