"""What engines do with pictures on their way in and out."""

from __future__ import annotations

import io

from PIL import Image

from omixa.errors import InvalidRequest
from omixa.imaging.codec import decode
from omixa.imaging.inspect import UnacceptableImage

# As much smaller as can be had without taking longer than the engines themselves.
_PNG_COMPRESS_LEVEL = 3


def read_picture(data: bytes) -> Image.Image:
    """Return a picture upright, in sRGB, as RGBA where it is transparent somewhere and as RGB otherwise.

    Raises InvalidRequest when the bytes are no whole PNG, JPEG or WebP.
    """
    try:
        picture = decode(data)
    except UnacceptableImage as error:
        raise InvalidRequest(f"{error.message}.", code=error.reason_code, param="input_images") from error
    if picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (255, 255):
        return picture.convert("RGB")
    return picture


def write_png(picture: Image.Image) -> bytes:
    """Return a picture as PNG bytes, without any metadata."""
    picture.info.clear()
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=_PNG_COMPRESS_LEVEL)
    return stream.getvalue()
