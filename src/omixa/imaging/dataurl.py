"""Pictures inside requests: data URLs with base64. Addresses are refused here and never fetched anywhere."""

from __future__ import annotations

import binascii
import re
from typing import cast

import pybase64

from omixa.domain.images import Image, ImageFormat
from omixa.imaging.inspect import UnacceptableImage, inspect

# Characters before the comma that are looked at.
_MAX_HEAD = 256

_HEAD = re.compile(rb"data:([^,;]*)((?:;[^,;]*)*),", re.IGNORECASE)
_FORMATS = {b"image/png": "png", b"image/jpeg": "jpeg", b"image/jpg": "jpeg", b"image/webp": "webp"}


def decode_image_data_url(url: memoryview | bytes | str) -> tuple[ImageFormat, bytes]:
    """Return the format that a data URL declares and its bytes. Raises UnacceptableImage.

    base64 is taken strictly: standard alphabet, padding, no blanks. The text is not copied, only decoded.
    """
    view = memoryview(url.encode("utf-8", "surrogatepass") if isinstance(url, str) else url)
    head = bytes(view[:_MAX_HEAD])
    if head.lower().startswith((b"http:", b"https:")):
        raise UnacceptableImage(
            "image_url_not_inline",
            "only inline pictures are accepted, as data:image/png;base64,…; Omixa never fetches addresses",
        )
    match = _HEAD.match(head)
    if match is None:
        raise UnacceptableImage("invalid_data_url", "a picture is written as data:image/png;base64,…")
    declared = _FORMATS.get(match[1].strip().lower())
    if declared is None:
        shown = match[1].decode("ascii", "replace")[:80] or "no media type"
        raise UnacceptableImage(
            "unsupported_image_format",
            f"the data URL declares {shown}; accepted are image/png, image/jpeg and image/webp",
        )
    if match[2].lower() != b";base64":
        raise UnacceptableImage(
            "invalid_data_url", "the data URL must say ;base64 and nothing else after its media type"
        )
    try:
        return cast("ImageFormat", declared), pybase64.b64decode(view[match.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise UnacceptableImage(
            "invalid_base64",
            "the picture is not valid base64: use the standard alphabet with padding and no line breaks",
        ) from None


def load_input_image(url: memoryview | bytes | str) -> Image:
    """Return the picture of a data URL, checked by its structure. Raises UnacceptableImage."""
    declared, data = decode_image_data_url(url)
    info = inspect(data)
    if info.format != declared:
        raise UnacceptableImage(
            "image_type_mismatch",
            f"the data URL declares {declared} and the bytes are {info.format}; declare what they are",
        )
    return Image(data, info)
