"""Read what the structure of a picture says, without a decoder: format, size, and whether the file is whole.

Only headers and the lengths of chunks are looked at, so the work grows with neither pixels nor bytes. Only a JPEG does not say
where its pixels end, so that this is searched for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Literal

from omixa.domain.images import ImageFormat, ImageInfo

from . import jpeg, png
from .avif import is_avif, read_avif
from .foreign import GUESS_BYTES, guess
from .jpeg import read_jpeg
from .png import read_png
from .refusals import UnacceptableImage, truncated
from .structure import Structure
from .webp import is_webp, read_webp

__all__ = [
    "MAX_INPUT_PIXELS",
    "MAX_SIDE_PIXELS",
    "NAMES",
    "InputFormat",
    "UnacceptableImage",
    "examine",
    "format_of",
    "inspect",
    "look",
]

MAX_INPUT_PIXELS = 50_000_000
"""The most pixels of a picture, width times height: decoded they take at most 200 MB."""

MAX_SIDE_PIXELS = 32_767
"""The longest side. No camera or model comes near it, and many decoders stop there."""

InputFormat = ImageFormat | Literal["avif"]
"""What callers may send. An AVIF comes out as a PNG."""

NAMES: Mapping[InputFormat, str] = {"png": "PNG", "jpeg": "JPEG", "webp": "WebP", "avif": "AVIF"}


def inspect(data: bytes | memoryview, *, max_pixels: int = MAX_INPUT_PIXELS) -> ImageInfo:
    """Return what a PNG, JPEG or WebP says of itself: size as stored, before any EXIF orientation. Costs microseconds.

    Raises UnacceptableImage for other formats, for a size of zero, over `max_pixels` or with a side over
    MAX_SIDE_PIXELS, for animations, and for files that are cut short or go on after their end. The pixels themselves are
    not decoded and may still be damaged.
    """
    return examine(data, max_pixels=max_pixels)[0]


def examine(data: bytes | memoryview, *, max_pixels: int = MAX_INPUT_PIXELS) -> tuple[ImageInfo, Structure]:
    """Return what `inspect` returns, and what else the structure says. Raises UnacceptableImage as `inspect` does."""
    found, structure = look(data, max_pixels=max_pixels)
    if found == "avif":
        raise UnacceptableImage("unsupported_image_format", "the bytes are an AVIF; accepted are PNG, JPEG and WebP")
    size, flags = (structure.width, structure.height), (structure.has_alpha, structure.has_credentials)
    return ImageInfo(found, *size, len(data), *flags), structure


def look(data: bytes | memoryview, *, max_pixels: int = MAX_INPUT_PIXELS) -> tuple[InputFormat, Structure]:
    """Return the format and the structure of a file that a caller may send. Raises UnacceptableImage as `inspect` does."""
    view = memoryview(data).cast("B")
    found, read = _reader(bytes(view[:GUESS_BYTES]))
    try:
        structure = read(view)
    except (struct.error, IndexError):
        raise truncated(NAMES[found], "it ends in the middle of its structure") from None
    _check_size(NAMES[found], structure.width, structure.height, max_pixels)
    return found, structure


def format_of(data: bytes | memoryview) -> InputFormat:
    """Return the format that a file begins as. Raises UnacceptableImage when it is none of those accepted."""
    return _reader(bytes(data[:GUESS_BYTES]))[0]


def _reader(start: bytes) -> tuple[InputFormat, Callable[[memoryview], Structure]]:
    if start.startswith(png.SIGNATURE):
        return "png", read_png
    if start.startswith(jpeg.SIGNATURE):
        return "jpeg", read_jpeg
    if is_webp(start):
        return "webp", read_webp
    if is_avif(start):
        return "avif", read_avif
    raise UnacceptableImage(
        "unsupported_image_format", f"the bytes are {guess(start)}; accepted are PNG, JPEG, WebP and AVIF"
    )


def _check_size(kind: str, width: int, height: int, max_pixels: int) -> None:
    if not width or not height:
        raise UnacceptableImage("invalid_image", f"the {kind} is {width}x{height}: it has no pixels")
    if max(width, height) > MAX_SIDE_PIXELS:
        raise UnacceptableImage(
            "image_too_large", f"the {kind} is {width}x{height}; a side may have at most {MAX_SIDE_PIXELS:,} pixels"
        )
    if width * height > max_pixels:
        raise UnacceptableImage(
            "image_too_large", f"the {kind} is {width}x{height}; a picture may have at most {max_pixels:,} pixels"
        )
