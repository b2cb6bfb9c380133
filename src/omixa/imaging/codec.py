"""Decode, resample and encode pictures with Pillow. Blocking: call it in a thread; other threads run meanwhile."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from PIL import Image as Pillow
from PIL import ImageCms

from omixa.domain.images import Image, ImageFormat

from .exif import orientation_of
from .inspect import UnacceptableImage, inspect, look
from .profile import is_srgb, read_profile

DEFAULT_JPEG_QUALITY = 92
DEFAULT_WEBP_QUALITY = 90
"""Qualities, from 0 to 100, where the caller names none."""

# Measured on pictures of 1 megapixel: level 3 is 6 % smaller than level 1 in the same 50 ms, level 6 needs twice as long
# for another 7 %. WebP method 2 takes 50 ms, methods 3 and 4 twice as long for 3 %.
_PNG_COMPRESS_LEVEL = 3
_WEBP_METHOD = 2
# Generated pictures hold lettering and hard coloured edges, which colour at half the resolution (4:2:0) smears. That
# would save a quarter of the bytes.
_JPEG_SUBSAMPLING = "4:4:4"

# What turns a picture of each EXIF orientation upright.
_TURNS: Mapping[int, Pillow.Transpose] = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}

_MAX_WEBP_SIDE_PIXELS = 16_383
_WHITE = (255, 255, 255)
# What Pillow is known to raise for bytes that only look like a picture.
_DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
    Pillow.DecompressionBombError,
)


def convert(
    data: bytes | memoryview, *, format: ImageFormat, quality: int | None = None, size: tuple[int, int] | None = None
) -> Image:
    """Return a picture encoded anew: upright by its EXIF orientation, in sRGB, without any metadata.

    `size` is the exact width and height in pixels, reached with a Lanczos filter. `quality` goes from 0 to 100 and means
    nothing to a PNG. A JPEG has white where the picture is transparent. Raises UnacceptableImage when the bytes are no
    whole picture, or no WebP can be as large as is asked for.
    """
    picture = decode(data)
    if size is not None and picture.size != size:
        # Pillow weighs colours by their alpha here, so what is invisible does not bleed into the edges.
        picture = picture.resize(size, Pillow.Resampling.LANCZOS)
    if format == "webp" and max(picture.size) > _MAX_WEBP_SIDE_PIXELS:
        raise UnacceptableImage("image_too_large", f"a WebP has at most {_MAX_WEBP_SIDE_PIXELS:,} pixels a side")
    return encode(picture, format, quality)


def decode(data: bytes | memoryview) -> Pillow.Image:
    """Return a picture in mode RGB or RGBA, upright and in sRGB. Raises UnacceptableImage as `convert` does.

    Pillow is given the pixels alone and not the metadata, except of an AVIF, in which they cannot be told apart.
    """
    # This bounds the pixels before anything is decoded, to less than the 89 million at which Pillow begins to warn. So no
    # limit of Pillow need be set, all of which are global.
    found, structure = look(data)
    profile = read_profile(structure)
    view = memoryview(data)
    try:
        with Pillow.open(io.BytesIO(structure.bare(view)), formats=(found.upper(),)) as opened:
            opened.load()
        turn = _TURNS.get(orientation_of(structure))
        picture = _in_eight_bits(opened if turn is None else opened.transpose(turn))
        return _in_rgb(picture) if profile is None or is_srgb(profile) else _in_srgb(picture, profile)
    except _DECODER_ERRORS as error:
        raise UnacceptableImage("invalid_image", "the picture cannot be decoded: its pixels are damaged") from error


def _in_eight_bits(picture: Pillow.Image) -> Pillow.Image:
    # Grey with 16 bits is the one mode that Pillow would clip rather than scale.
    if picture.mode.startswith("I"):
        return picture.point(lambda value: value * (1 / 257)).convert("L")
    return picture


def _in_rgb(picture: Pillow.Image) -> Pillow.Image:
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)


def _in_srgb(picture: Pillow.Image, profile: bytes) -> Pillow.Image:
    """Return the picture converted from its colour profile; one that cannot be read or does not fit is left out."""
    # Profiles of grey and of printing colours fit only pictures of that kind, before these become RGB.
    source = picture if picture.mode in ("L", "CMYK") else _in_rgb(picture)
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = "RGBA" if source.mode == "RGBA" else "RGB"
        converted = ImageCms.profileToProfile(source, embedded, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, *_DECODER_ERRORS):
        return _in_rgb(picture)
    assert converted is not None
    return converted


def encode(picture: Pillow.Image, format: ImageFormat, quality: int | None) -> Image:
    """Return a picture as a file without any metadata. `quality` is that of `convert`."""
    options: Mapping[str, Any]
    if format == "png":
        options = {"compress_level": _PNG_COMPRESS_LEVEL}
    elif format == "webp":
        options = {"quality": DEFAULT_WEBP_QUALITY if quality is None else quality, "method": _WEBP_METHOD}
    else:
        picture = on_white(picture)
        options = {"quality": DEFAULT_JPEG_QUALITY if quality is None else quality, "subsampling": _JPEG_SUBSAMPLING}
    # Encoders write what they find here: profiles, EXIF, comments.
    picture.info.clear()
    buffer = io.BytesIO()
    picture.save(buffer, format.upper(), **options)
    encoded = buffer.getvalue()
    return Image(encoded, inspect(encoded))


def on_white(picture: Pillow.Image) -> Pillow.Image:
    """Return a picture in mode RGB, with white where it is transparent."""
    if picture.mode != "RGBA":
        return picture
    alpha = picture.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return picture.convert("RGB")
    flat = Pillow.new("RGB", picture.size, _WHITE)
    flat.paste(picture, mask=alpha)
    return flat
