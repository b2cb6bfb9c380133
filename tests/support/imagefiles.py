"""Tiny PNG, JPEG and WebP files: saved by an encoder, or put together piece by piece to be wrong in one place."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image as Pillow

FORMATS = ("png", "jpeg", "webp")


def drawing(mode: str = "RGB", size: tuple[int, int] = (24, 16)) -> Pillow.Image:
    """Return a picture with different colours in every corner; modes with alpha go from clear to opaque."""
    ramp = Pillow.linear_gradient("L").resize(size)
    picture = Pillow.merge("RGB", (ramp, ramp.rotate(180), Pillow.new("L", size, 90)))
    if mode in ("LA", "RGBA"):
        picture = picture.convert(mode.removesuffix("A"))
        picture.putalpha(ramp)
    return picture.convert(mode)


def saved(picture: Pillow.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format.upper(), **options)
    return buffer.getvalue()


def encoded(format: str, mode: str = "RGB", size: tuple[int, int] = (24, 16), **options: Any) -> bytes:
    return saved(drawing(mode, size), format, **options)


def opened(data: bytes) -> Pillow.Image:
    with Pillow.open(io.BytesIO(data)) as picture:
        picture.load()
    return picture


def credentials(size_bytes: int = 200) -> bytes:
    """Return what begins as the JUMBF box of a C2PA manifest store does."""
    description = (
        struct.pack(">I4s", 30, b"jumd") + b"c2pa" + bytes.fromhex("0011001080000000aa00389b71") + b"\x03c2pa\0"
    )
    return struct.pack(">I4s", size_bytes, b"jumb") + description + bytes(size_bytes - 8 - len(description))


def with_credentials(format: str, data: bytes) -> bytes:
    """Return a picture with Content Credentials where its format has them."""
    box = credentials()
    if format == "png":
        return data[:33] + chunk(b"caBX", box) + data[33:]
    if format == "jpeg":
        return data[:2] + segment(0xEB, b"JP\0\1\0\0\0\1" + box) + data[2:]
    info = Pillow.open(io.BytesIO(data))
    return webp(canvas(*info.size), data[12:], riff(b"C2PA", box))


# -------------------------------------------------------------------------------------------------------------------- PNG


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int = 1, height: int = 1, depth: int = 8, colour: int = 2, rest: bytes = bytes(3)) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBB", width, height, depth, colour) + rest)


def png(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


PIXELS = chunk(b"IDAT", zlib.compress(bytes(4)))
END = chunk(b"IEND")


# ------------------------------------------------------------------------------------------------------------------- JPEG


def segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


def frame(width: int = 1, height: int = 1, marker: int = 0xC0, precision: int = 8) -> bytes:
    return segment(marker, struct.pack(">BHHB", precision, height, width, 1) + b"\x01\x11\x00")


SCAN = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"\x12\x34"


def jpeg(*segments: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(segments) + b"\xff\xd9"


# ------------------------------------------------------------------------------------------------------------------- WebP


def riff(kind: bytes, data: bytes) -> bytes:
    return struct.pack("<4sI", kind, len(data)) + data + bytes(len(data) & 1)


def webp(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def canvas(width: int = 1, height: int = 1, flags: int = 0) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return riff(b"VP8X", bytes((flags, 0, 0, 0)) + sides)


def lossless(width: int = 1, height: int = 1, alpha: int = 0) -> bytes:
    return riff(b"VP8L", struct.pack("<BI", 0x2F, width - 1 | (height - 1) << 14 | alpha << 28))
