"""A result on disk: one file per request with everything needed to answer it again, byte for byte.

Layout: eight bytes of magic, four bytes with the manifest's length (big endian), the manifest as JSON, then the pictures one
after the other. The manifest holds the envelope of the answer and each picture's format, size, length and SHA-256.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from omixa.domain.images import Image, ImageFormat, ImageInfo

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


def pack(
    request_id: str, owner_epoch: int, envelope: Mapping[str, Any], images: Sequence[Image]
) -> tuple[list[bytes], str]:
    """Return the pieces of a result file and the digest of its manifest. Hashes every picture: call it in a thread."""
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
