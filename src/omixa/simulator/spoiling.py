"""Pictures that are none: what the moods of a scenario make of a PNG."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

BOMB_SIDE = 60_000


def _jpeg(png: bytes) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _bomb(_: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", BOMB_SIDE, BOMB_SIDE, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(64 * 1024), 9)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _damaged(png: bytes) -> bytes:
    picture = bytearray(png)
    picture[len(picture) // 2] ^= 1
    return bytes(picture)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


SPOILT: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {
        "notpng": lambda _: b"This is a text and not a picture.",
        "jpeg": _jpeg,
        "bomb": _bomb,
        "damaged": _damaged,
        "truncated": lambda png: png[: len(png) // 2],
    }
)
