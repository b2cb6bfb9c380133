"""Decode, resample and encode pictures. Blocking: call it in a thread; Pillow lets other threads run meanwhile."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from PIL import Image as Pillow
from PIL import ImageCms, ImageOps

from omixa.domain.images import Image, ImageFormat
from omixa.imaging.inspect import UnacceptableImage, inspect

# Quality from 0 to 100 where the caller names none.
DEFAULT_JPEG_QUALITY = 92
DEFAULT_WEBP_QUALITY = 90
# Effort of the encoders: higher levels cost several times as much for a few per cent of size.
PNG_COMPRESS_LEVEL = 1
WEBP_METHOD = 1

_WHITE = (255, 255, 255)
# What a decoder may raise on bytes that only look like a picture.
_DECODER_ERRORS = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, Pillow.DecompressionBombError)


def convert(
    data: bytes, *, format: ImageFormat, quality: int | None = None, size: tuple[int, int] | None = None
) -> Image:
    """Return a picture in another format or size, upright, in sRGB and without metadata.

    `size` is exact, in pixels, and the filter Lanczos. Transparency becomes white in a JPEG. Raises UnacceptableImage when the
    bytes cannot be decoded.
    """
    # Bounds the pixels before anything is decoded, below the size at which Pillow would warn.
    inspect(data)
    try:
        picture = _decode(data)
    except _DECODER_ERRORS as error:
        raise UnacceptableImage("invalid_image", "the picture cannot be decoded") from error
    if size is not None and picture.size != size:
        picture = _resampled(picture, size)
    encoded = _encode(picture, format, quality)
    return Image(encoded, inspect(encoded))


def _decode(data: bytes) -> Pillow.Image:
    with Pillow.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as opened:
        opened.load()
        upright = ImageOps.exif_transpose(opened)
    profile = upright.info.get("icc_profile")
    picture = _in_srgb(upright, profile) if profile else upright
    has_alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    return picture.convert("RGBA" if has_alpha else "RGB")


def _in_srgb(picture: Pillow.Image, profile: bytes) -> Pillow.Image:
    """Return the picture in sRGB; a profile that cannot be read is left out of account."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return picture
        mode = "RGBA" if picture.mode == "RGBA" else "RGB"
        converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
    return picture if converted is None else converted


def _resampled(picture: Pillow.Image, size: tuple[int, int]) -> Pillow.Image:
    if picture.mode != "RGBA":
        return picture.resize(size, Pillow.Resampling.LANCZOS)
    # With colours weighted by their alpha, what is invisible does not bleed into the edges.
    return picture.convert("RGBa").resize(size, Pillow.Resampling.LANCZOS).convert("RGBA")


def _encode(picture: Pillow.Image, format: ImageFormat, quality: int | None) -> bytes:
    options: Mapping[str, Any]
    if format == "png":
        options = {"compress_level": PNG_COMPRESS_LEVEL}
    elif format == "webp":
        options = {"quality": DEFAULT_WEBP_QUALITY if quality is None else quality, "method": WEBP_METHOD}
    else:
        # Full colour resolution: generated pictures hold coloured text and edges, which half resolution smears.
        options = {"quality": DEFAULT_JPEG_QUALITY if quality is None else quality, "subsampling": "4:4:4"}
        if picture.mode == "RGBA":
            flat = Pillow.new("RGB", picture.size, _WHITE)
            flat.paste(picture, mask=picture.getchannel("A"))
            picture = flat
    buffer = io.BytesIO()
    picture.info.clear()
    picture.save(buffer, format.upper(), **options)
    return buffer.getvalue()
