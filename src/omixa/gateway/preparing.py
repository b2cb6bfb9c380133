"""From the pictures that a caller sent to those that may leave the house."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from omixa.domain.images import Image, ImageFormat, ImageRequest
from omixa.engines.conversions import Conversions
from omixa.errors import InvalidRequest
from omixa.imaging.refusals import UnacceptableImage

# Photographs are encoded a second time; at this quality nobody sees it.
_QUALITY = 95


async def prepare(request: ImageRequest, fields: Sequence[str], conversions: Conversions) -> ImageRequest:
    """Return the request with every picture upright, in sRGB and without metadata; most are already.

    `fields` are the places of its pictures in the body. Raises InvalidRequest that names the one that cannot be decoded or a
    mask that lets nothing change, and what `Conversions.convert` raises.
    """
    if any(image.needs_decoding for image in request.input_images):
        pictures = [
            await _prepared(image, field, conversions, exactly=request.mask is not None)
            for image, field in zip(request.input_images, fields, strict=True)
        ]
        request = dataclasses.replace(request, input_images=tuple(pictures))
    if request.mask is not None:
        mask = await _prepared(request.mask, "mask", conversions, exactly=True)
        # Before a provider is called for what could not be finished.
        with _naming(fields[0]):
            await conversions.check_mask(request.input_images[0].data, mask.data)
        request = dataclasses.replace(request, mask=mask)
    return request


async def _prepared(image: Image, field: str, conversions: Conversions, *, exactly: bool) -> Image:
    """Return a picture decoded and encoded anew where it needs it; `exactly` where each pixel is to be kept outside a mask."""
    if not image.needs_decoding:
        return image
    lossless: ImageFormat = "png"
    with _naming(field):
        return await conversions.convert(
            image.data, format=lossless if exactly else image.info.format, quality=_QUALITY
        )


@contextmanager
def _naming(field: str) -> Iterator[None]:
    try:
        yield
    except UnacceptableImage as error:
        raise InvalidRequest(f"{field}: {error.message}.", code=error.reason_code, param=field) from None
