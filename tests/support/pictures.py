"""Small pictures for requests, and the data URLs that carry them."""

from __future__ import annotations

import base64
import functools
import io
from typing import Any

from PIL import Image as Pillow
from PIL import ImageChops, ImageStat

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


def mask(width: int, height: int, *boxes: tuple[int, int, int, int]) -> bytes:
    """Return a mask: transparent, so that an edit may change something, in boxes (left, top, right, bottom)."""
    image = Pillow.new("RGBA", (width, height), (0, 0, 0, 255))
    for box in boxes:
        image.paste((0, 0, 0, 0), box)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def outside(one: Pillow.Image, other: Pillow.Image, mask: bytes) -> int:
    """Return in how many pixels two pictures differ where a mask of their size is not fully transparent."""
    kept = Pillow.open(io.BytesIO(mask)).getchannel("A").point([0, *[255] * 255])
    differing = Pillow.new("L", one.size)
    for channel in ImageChops.difference(one, other).split():
        differing = ImageChops.lighter(differing, channel)
    return sum(ImageChops.darker(differing, kept).histogram()[1:])


def distance_within(one: Pillow.Image, other: Pillow.Image, mask: bytes) -> float:
    """Return how far two pictures are apart where a mask of their size is fully transparent, from 0 to 255."""
    inside = Pillow.open(io.BytesIO(mask)).getchannel("A").point([255, *[0] * 255])
    mean = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB")), inside).mean
    return sum(mean) / len(mean)
