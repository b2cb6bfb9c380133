"""What every adapter does with pictures: references in a format that the provider takes, and a look at what comes back."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import pybase64

from omixa.domain.images import MEDIA_TYPES, PIXELS_PER_TOKEN, Image, ImageFormat, ImageInfo, Usage
from omixa.engines.conversions import Conversions
from omixa.errors import UpstreamRejected
from omixa.imaging.inspect import UnacceptableImage, inspect
from omixa.imaging.png import check_png
from omixa.providers.base import ProviderCall

# How far the shape of a picture may be from what was asked for: providers that are told ratios round the sides.
SHAPE_TOLERANCE_PERCENT: Final = 5
EVERY_FORMAT: Final[tuple[ImageFormat, ...]] = ("png", "jpeg", "webp")


async def acceptable(image: Image, call: ProviderCall, conversions: Conversions) -> Image:
    """Return a reference as the provider takes it; other formats become PNG. Raises UpstreamRejected."""
    if image.info.format in call.offer.input_formats:
        return image
    try:
        return await conversions.convert(image.data, format="png")
    except UnacceptableImage as error:
        raise UpstreamRejected("A reference picture cannot be decoded.", param="input_images") from error


def data_url(image: Image) -> str:
    """Return a picture as an address that holds it."""
    return f"data:{MEDIA_TYPES[image.info.format]};base64,{pybase64.b64encode_as_string(image.data)}"


def native_format(call: ProviderCall, formats: Collection[ImageFormat]) -> ImageFormat:
    """Return the format to ask for: the wanted one if the provider makes it, else PNG, from which the gateway encodes.

    A wanted quality is the gateway's encoder's, so it needs the pixels unharmed.
    """
    wanted = call.request.output_format
    return wanted if wanted in formats and call.request.output_compression is None else "png"


def check_picture(data: bytes, call: ProviderCall, *formats: ImageFormat, exact: bool = True) -> Image:
    """Return a picture that came back. Raises ValueError unless it is in one of these formats, whole, within the offer's limits
    and, where the provider keeps to that exactly, of the size that was asked for.

    An edit without a size may have any shape. A picture that came too late was not kept: another one stands for it.
    """
    if call.is_late:
        return _unseen(call, formats[0])
    editing = call.request.operation == "edit"
    info = inspect(data, max_pixels=call.offer.max_edited_pixels if editing else call.offer.max_output_pixels)
    if info.format not in formats:
        raise ValueError(f"the picture is {info.format}, not {' or '.join(formats)}")
    asked = call.offer.sizes[call.request.size]
    free = editing and call.request.size == "auto"
    if exact and not free and (info.width, info.height) != (asked.width, asked.height):
        raise ValueError(f"the picture is {info.size}, not {asked.width}x{asked.height}")
    if info.format == "png":
        check_png(data)
    return Image(data, info)


def _unseen(call: ProviderCall, picture_format: ImageFormat) -> Image:
    """Return what stands for a picture that nobody kept: it has the shape that was asked for, and no bytes."""
    request, size = call.request, call.offer.sizes[call.request.size]
    width, height = size.width, size.height
    if request.operation == "edit" and request.input_images and (request.size == "auto" or request.scale is not None):
        given, scale = request.input_images[0].info, request.scale or 1
        width, height = scale * given.width, scale * given.height
    return Image(b"", ImageInfo(picture_format, width, height, 0, has_alpha=False))


def read_encoded(text: str, media_type: str | None, call: ProviderCall) -> Image:
    """Return a picture in base64 that came back from a provider that is told shapes.

    Raises ValueError unless it is what is said of it, where something is said, and about in the shape that was asked for.
    """
    picture = check_picture(pybase64.b64decode(text, validate=True), call, *EVERY_FORMAT, exact=False)
    if not call.is_late and media_type not in (None, MEDIA_TYPES[picture.info.format]):
        raise ValueError(f"the picture is {picture.info.format}, not {media_type}")
    check_shape(picture.info, call)
    return picture


def check_shape(picture: ImageInfo, call: ProviderCall) -> None:
    """Raise ValueError for a picture that is not about in the shape that was asked for, since resampling would distort it.

    An edit without a size may have any shape.
    """
    if call.request.operation == "edit" and call.request.size == "auto":
        return
    asked = call.offer.sizes[call.request.size]
    made, wanted = picture.width * asked.height, picture.height * asked.width
    if 100 * max(made, wanted) > (100 + SHAPE_TOLERANCE_PERCENT) * min(made, wanted):
        raise ValueError(f"the picture is {picture.size}, not in the shape of {asked.width}x{asked.height}")


def tiles_used(call: ProviderCall, picture: ImageInfo) -> Usage:
    """Return the usage of a picture from a provider that sells pictures and counts no tokens: a tile for each 32 x 32 pixels.

    A reference counts no more than the largest picture that the model edits, to which it is scaled down.
    """
    most = call.offer.max_edited_pixels
    is_guess = call.is_late and call.request.operation == "edit" and call.request.size == "auto"
    return Usage(
        input_text_tokens=call.request.prompt_tokens,
        input_image_tokens=sum(_tiles(min(image.info.pixels, most)) for image in call.request.input_images),
        output_image_tokens=_tiles(picture.pixels),
        images=1,
        estimated=is_guess,
    )


def _tiles(pixels: int) -> int:
    """Return the tiles of a picture; a begun one counts, so that none has no tokens."""
    return -(-pixels // PIXELS_PER_TOKEN)
