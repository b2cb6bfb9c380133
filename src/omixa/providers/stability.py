"""Stability AI: one form for each service, answered at once with the bytes of one picture.

Source: the API reference, version v2beta. Every request is a form, also one without files. A refusal is a 403, or a 200 whose
header says that the picture was blurred. Shapes are ratios, so sizes are the gateway's work.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Final

from omixa.domain.images import Image, ImageFormat
from omixa.engines.conversions import Conversions
from omixa.errors import UpstreamRejected
from omixa.imaging.inspect import UnacceptableImage
from omixa.providers.base import ProviderCall, ProviderEvent, ProviderResult
from omixa.providers.client import Client
from omixa.providers.forms import form
from omixa.providers.pictures import acceptable, check_picture, native_format, tiles_used
from omixa.providers.wire import Transport

_BASE: Final = "/v2beta/stable-image/"
_REFUSALS: Final = frozenset({403})
_FILTERED: Final = "CONTENT_FILTERED"
# How far a picture may go from the one that it is made from: 0 is no step, 1 as if there were none.
_STRENGTH: Final = "0.6"


@dataclass(frozen=True, slots=True)
class _Service:
    """A path, what its form says besides, and what it does: reads words, makes pictures of a given shape, changes its input."""

    path: str
    fields: Mapping[str, str] = field(default_factory=dict)
    reads_words: bool = True
    shapes: bool = False
    varies: Mapping[str, str] = field(default_factory=dict)
    formats: tuple[ImageFormat, ...] = ("png", "jpeg", "webp")
    makes_transparent: bool = False


_SERVICES: Mapping[str, _Service] = {
    "stable-image-core": _Service("generate/core", shapes=True),
    "stable-image-ultra": _Service("generate/ultra", shapes=True, varies={"strength": _STRENGTH}),
    "sd3.5-large": _Service(
        "generate/sd3",
        {"model": "sd3.5-large"},
        shapes=True,
        varies={"mode": "image-to-image", "strength": _STRENGTH},
    ),
    "stable-image-inpaint": _Service("edit/inpaint"),
    "stable-image-remove-background": _Service(
        "edit/remove-background", reads_words=False, formats=("png", "webp"), makes_transparent=True
    ),
    "stable-image-upscale-fast": _Service("upscale/fast", reads_words=False),
}


class StabilityProvider:
    """Makes, edits and enlarges pictures over HTTP."""

    def __init__(self, transport: Transport, conversions: Conversions) -> None:
        self._transport = transport
        self._conversions = conversions

    async def generate(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent, None]:
        """Make one picture. Raises an UpstreamError when the attempt fails."""
        service = _SERVICES[call.offer.model]
        client = Client(self._transport, call, header="authorization", scheme="Bearer ", refusals=_REFUSALS)
        wanted = native_format(call, service.formats)
        content_type, parts = form(_texts(call, service, wanted), await self._pictures(call))
        response = await client.submit(_BASE + service.path, content_type, parts, {"accept": "image/*"})
        if response.headers.get("finish-reason", "").upper() == _FILTERED:
            raise client.refused(response, _FILTERED)
        try:
            image = check_picture(response.body, call, wanted, exact=False)
            _check_scale(image, call)
        except ValueError as error:
            raise client.unusable(response, error) from error
        usage = tiles_used(call, image.info)
        transparent = service.makes_transparent or (not service.reads_words and image.info.has_alpha)
        yield ProviderResult(image, usage, response.provider_request_id, has_transparency=transparent)

    async def _pictures(self, call: ProviderCall) -> list[tuple[str, Image]]:
        references = [
            ("image", await acceptable(image, call, self._conversions)) for image in call.request.input_images
        ]
        if call.request.mask is None:
            return references
        try:
            # White is to change there, transparent here.
            mask = await self._conversions.white_mask(call.request.mask.data)
        except UnacceptableImage as error:
            raise UpstreamRejected("The mask cannot be decoded.", param="mask") from error
        return [*references, ("mask", mask)]


def _texts(call: ProviderCall, service: _Service, wanted: ImageFormat) -> dict[str, str]:
    texts = {"prompt": call.request.prompt} if service.reads_words else {}
    texts |= service.fields
    if call.request.input_images:
        # The shape is that of the picture.
        texts |= service.varies
    elif service.shapes:
        texts["aspect_ratio"] = call.offer.sizes[call.request.size].aspect_ratio
    return texts | {"output_format": wanted}


def _check_scale(image: Image, call: ProviderCall) -> None:
    """Raise ValueError unless an enlarged picture is as large as it was to become."""
    scale = call.request.scale
    if scale is None:
        return
    given = call.request.input_images[0].info
    if (image.info.width, image.info.height) != (scale * given.width, scale * given.height):
        raise ValueError(f"the picture is {image.info.size}, not {scale} times {given.size}")
