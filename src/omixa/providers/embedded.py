"""Models that come with Omixa and run on this machine, in processes of their own: no address, no account, no charge."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from omixa.domain.images import Image, ImageInfo, Usage
from omixa.domain.models import Model
from omixa.engines.cutout import Cutter, Cutting
from omixa.engines.illustrator import Commission, Illustrator
from omixa.engines.upscaler import SCALES, Enlargement, Upscaler
from omixa.engines.workers import Engine, Workers
from omixa.errors import InvalidRequest, UpstreamRejected
from omixa.imaging.inspect import inspect
from omixa.providers.base import PartialImage, ProviderCall, ProviderEvent, ProviderResult

# These models have no tokens. What is reported counts as their fellow models do, for comparison: one for each 32 x 32 pixels.
PIXELS_PER_TOKEN = 1024


@dataclass(frozen=True, slots=True)
class _Order:
    """Which engine is to do what, and how many previews it yields before the picture.

    `reads_prompt` says whether the prompt makes a difference. `keeps_alpha` says that the picture is transparent where the given
    one is.
    """

    engine: Callable[[], Engine[Any, bytes]]
    job: object
    previews: int = 0
    reads_prompt: bool = False
    keeps_alpha: bool = False


class EmbeddedProvider:
    """Has the engines work."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    async def generate(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent, None]:
        """Make one picture, after the previews that a stream asks for. Raises an UpstreamError when that fails."""
        order = _ORDERS[call.offer.model](call)
        timeout_s = call.offer.total_timeout_s
        try:
            async with aclosing(self._workers.run(order.engine, order.job, timeout_s=timeout_s)) as pictures:
                index = 0
                async for png in pictures:
                    picture = Image(png, inspect(png))
                    if index < order.previews:
                        yield PartialImage(picture, index)
                    else:
                        usage = _usage(call, picture.info, order.reads_prompt)
                        yield ProviderResult(picture, usage, None, has_transparency=_is_transparent(picture, order))
                    index += 1
        except InvalidRequest as error:
            # Its code, where it has one of its own, tells the caller more than that of a provider's refusal.
            code = None if error.code == InvalidRequest.default_code else error.code
            param = "mask" if error.param == "mask" else "input_images"
            raise UpstreamRejected(error.message, code=code, param=param) from error


def _paint(call: ProviderCall) -> _Order:
    request, previews = call.request, _previews(call)
    size = call.offer.sizes[request.size]
    commission = Commission(
        prompt=request.prompt,
        # An edit without a size has its reference's.
        size=None if request.size == "auto" and request.input_images else (size.width, size.height),
        variant=call.index,
        references=tuple(bytes(image.data) for image in request.input_images),
        mask=None if request.mask is None else bytes(request.mask.data),
        transparent=request.background == "transparent",
        previews=previews,
    )
    return _Order(Illustrator, commission, previews, reads_prompt=True)


def _enlarge(call: ProviderCall) -> _Order:
    scale, previews = call.request.scale, _previews(call)
    assert scale is not None
    return _Order(Upscaler, Enlargement(_sole_picture(call), scale, previews), previews, keeps_alpha=True)


def _cut_out(call: ProviderCall) -> _Order:
    return _Order(Cutter, Cutting(_sole_picture(call)))


_ORDERS: Mapping[str, Callable[[ProviderCall], _Order]] = {
    "omixa-illustrator-1": _paint,
    "omixa-upscale-1": _enlarge,
    "omixa-cutout-1": _cut_out,
}


# The models that rework one picture, whatever words there are.
_REWORKING = frozenset({"omixa-upscale-1", "omixa-cutout-1"})


def misfit(model: Model) -> str | None:
    """Return why no engine can do what the catalogue says of an embedded model, or None when one can."""
    if model.id not in _ORDERS:
        return f"no engine is called so; there are: {', '.join(sorted(_ORDERS))}"
    pictures, scale = model.parameter("input_images"), model.parameter("scale")
    if model.id in _REWORKING and not (model.needs_pictures and pictures is not None and pictures.maximum == 1):
        return "input_images must be required and have a maximum of 1"
    scales = set() if scale is None else set(scale.accepted)
    if model.id == "omixa-upscale-1" and not (scales and scales <= set(SCALES)):
        return f"scale must accept some of {', '.join(map(str, SCALES))} and nothing else"
    return None


def _previews(call: ProviderCall) -> int:
    return call.request.partial_images if call.request.stream else 0


def _sole_picture(call: ProviderCall) -> bytes:
    (picture,) = call.request.input_images
    return bytes(picture.data)


def _is_transparent(picture: Image, order: _Order) -> bool:
    return order.keeps_alpha and picture.info.has_alpha


def _usage(call: ProviderCall, picture: ImageInfo, reads_prompt: bool) -> Usage:
    return Usage(
        input_text_tokens=call.request.prompt_tokens if reads_prompt else 0,
        input_image_tokens=sum(_tiles(image.info) for image in call.request.input_images),
        output_image_tokens=_tiles(picture),
        images=1,
    )


def _tiles(picture: ImageInfo) -> int:
    """Return the tiles of a picture; a begun one counts, so that none has no tokens."""
    return -(-picture.width * picture.height // PIXELS_PER_TOKEN)
