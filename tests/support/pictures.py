"""Small pictures for requests, and the data URLs that carry them."""

from __future__ import annotations

import base64
import functools
import io
from typing import Any

from PIL import Image as Pillow

from omixa.domain.images import MEDIA_TYPES, ImageFormat


@functools.cache
def picture(format: ImageFormat = "png", width: int = 1024, height: int = 1024) -> bytes:
    """Return a gradient: every place differs, and it compresses well."""
    ramp = Pillow.linear_gradient("L").resize((width, height))
    image = Pillow.merge("RGB", (ramp, ramp.transpose(Pillow.Transpose.ROTATE_180), ramp))
    buffer = io.BytesIO()
    image.save(buffer, format.upper())
    return buffer.getvalue()


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def reference(format: ImageFormat = "png", width: int = 1024, height: int = 1024) -> dict[str, Any]:
    """Return an entry of `input_images`."""
    url = data_url(picture(format, width, height), MEDIA_TYPES[format])
    return {"type": "image_url", "image_url": {"url": url}}


def decoded(answer: dict[str, Any], index: int = 0) -> Pillow.Image:
    """Return a picture of an answer."""
    return Pillow.open(io.BytesIO(base64.b64decode(answer["data"][index]["b64_json"], validate=True)))
