"""What every adapter does with pictures: references in a format that the provider takes, and a look at what comes back."""

from __future__ import annotations

from omixa.domain.images import Image, ImageFormat
from omixa.engines.conversions import Conversions
from omixa.errors import UpstreamRejected
from omixa.imaging.inspect import UnacceptableImage, inspect
from omixa.imaging.png import check_png
from omixa.providers.base import ProviderCall


async def acceptable(image: Image, call: ProviderCall, conversions: Conversions) -> Image:
    """Return a reference as the provider takes it; other formats become PNG. Raises UpstreamRejected."""
    if image.info.format in call.offer.input_formats:
        return image
    try:
        return await conversions.convert(image.data, format="png")
    except UnacceptableImage as error:
        raise UpstreamRejected("A reference picture cannot be decoded.", param="input_images") from error


def check_picture(data: bytes, call: ProviderCall, *formats: ImageFormat, exact: bool = True) -> Image:
    """Return a picture that came back. Raises ValueError unless it is in one of these formats, whole, within the offer's limits
    and, where the provider keeps to that exactly, of the size that was asked for.

    An edit without a size may have any shape.
    """
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
