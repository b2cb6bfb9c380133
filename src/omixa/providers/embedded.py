"""Models that come with Omixa and run on this machine, in processes of their own: no address, no account, no charge."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from omixa.domain.images import Image, ImageInfo, Usage
from omixa.engines.illustrator import Commission, Illustrator
from omixa.engines.workers import Workers
from omixa.errors import InvalidRequest, UpstreamRejected
from omixa.imaging.inspect import inspect
from omixa.providers.base import PartialImage, ProviderCall, ProviderEvent, ProviderResult

# The illustrator has no tokens. What it reports counts as its fellow models do, for comparison: one for each 32 x 32 pixels.
PIXELS_PER_TOKEN = 1024


class EmbeddedProvider:
    """Paints with the illustrator."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    async def generate(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent, None]:
        """Make one picture, after the previews that a stream asks for. Raises an UpstreamError when that fails."""
        commission = _commission(call)
        try:
            async with aclosing(
                self._workers.run(Illustrator, commission, timeout_s=call.offer.total_timeout_s)
            ) as pictures:
                index = 0
                async for png in pictures:
                    picture = Image(png, inspect(png))
                    if index < commission.previews:
                        yield PartialImage(picture, index)
                    else:
                        yield ProviderResult(picture, _usage(call, picture.info), None)
                    index += 1
        except InvalidRequest as error:
            raise UpstreamRejected(error.message, param="mask" if error.param == "mask" else "input_images") from error


def _commission(call: ProviderCall) -> Commission:
    request = call.request
    size = call.offer.sizes[request.size]
    return Commission(
        prompt=request.prompt,
        # An edit without a size has its reference's.
        size=None if request.size == "auto" and request.input_images else (size.width, size.height),
        variant=call.index,
        references=tuple(bytes(image.data) for image in request.input_images),
        mask=None if request.mask is None else bytes(request.mask.data),
        transparent=request.background == "transparent",
        previews=request.partial_images if request.stream else 0,
    )


def _usage(call: ProviderCall, picture: ImageInfo) -> Usage:
    return Usage(
        input_text_tokens=call.request.prompt_tokens,
        input_image_tokens=sum(_tiles(image.info) for image in call.request.input_images),
        output_image_tokens=_tiles(picture),
        images=1,
    )


def _tiles(picture: ImageInfo) -> int:
    """Return the tiles of a picture; a begun one counts, so that none has no tokens."""
    return -(-picture.width * picture.height // PIXELS_PER_TOKEN)
