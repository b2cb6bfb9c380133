"""From the pictures that a caller sent to those that may leave the house."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from omixa.domain.images import Image, ImageRequest
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
    if request.mask is not None:
        mask = await _prepared(request.mask, "mask", conversions)
        await conversions.check_mask(mask.data)
        request = dataclasses.replace(request, mask=mask)
    if not any(image.needs_decoding for image in request.input_images):
        return request
    pictures = [
        await _prepared(image, field, conversions) for image, field in zip(request.input_images, fields, strict=True)
    ]
    return dataclasses.replace(request, input_images=tuple(pictures))


async def _prepared(image: Image, field: str, conversions: Conversions) -> Image:
    if not image.needs_decoding:
        return image
    try:
        return await conversions.convert(image.data, format=image.info.format, quality=_QUALITY)
    except UnacceptableImage as error:
        raise InvalidRequest(f"{field}: {error.message}.", code=error.reason_code, param=field) from None
