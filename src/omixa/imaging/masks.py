"""Masks of edits. OpenAI's rule decides what they mean: a picture may change where its mask is fully transparent.

Blocking, and Pillow is loaded only by what runs: engines that are named in a process which serves import this.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from .refusals import UnacceptableImage

if TYPE_CHECKING:
    from PIL import Image

# An edge fades over this share of how thick the region is, so that a thin one does not fade away, and over this many pixels.
FADE_SHARE: Final = 0.12
FADE_MAX: Final = 16
# The thickness of a region is measured at this size.
MEASURED_SIDE: Final = 512


def read_region(mask: bytes) -> Image.Image:
    """Return where a mask lets a picture change, as a picture in mode L: 255 there, 0 elsewhere.

    Raises UnacceptableImage when the mask cannot be decoded, or lets nothing change.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(mask), formats=("PNG",)) as opened:
            alpha = opened.convert("RGBA").getchannel("A")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise UnacceptableImage("invalid_image", "the mask cannot be decoded: its pixels are damaged") from error
    region = alpha.point([255, *[0] * 255])
    if region.getbbox() is None:
        raise UnacceptableImage(
            "mask_without_alpha", "the mask has no fully transparent pixel, so the edit could change nothing"
        )
    return region


def white_mask(mask: bytes) -> bytes:
    """Return a mask as many engines want it, a grey PNG: white where the picture may change, black where it may not.

    Raises UnacceptableImage as `read_region` does.
    """
    buffer = io.BytesIO()
    read_region(mask).save(buffer, "PNG")
    return buffer.getvalue()


def resized(region: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return a region at another size. A pixel may change only if all may that it is made from, so the region never grows."""
    from PIL import Image

    return whole(region.resize(size, Image.Resampling.BOX))


def whole(region: Image.Image) -> Image.Image:
    """Return a region without the pixels that only partly belong to it."""
    return region.point([*[0] * 255, 255])


def require_shape(region: Image.Image, shown: tuple[int, int]) -> None:
    """Raise UnacceptableImage unless a mask has the shape of the picture that it belongs to, give or take a rounded pixel.

    Sizes are compared before anything is decoded; this finds what only a decoder knows of a picture that was turned.
    """
    if abs(region.width * shown[1] - region.height * shown[0]) > 2 * max(region.size):
        raise UnacceptableImage(
            "mask_size_mismatch",
            f"the mask is {region.width}x{region.height}, and the first picture has another shape when it is upright",
        )


def laid_within(original: Image.Image, edited: Image.Image, region: Image.Image) -> Image.Image:
    """Return the original with the edited picture laid into a region, which fades out towards its edge.

    The three have one size, the pictures one mode. Outside the region every pixel is the original's.
    """
    laid = original.copy()
    laid.paste(edited, mask=faded(region))
    return laid


def faded(region: Image.Image) -> Image.Image:
    """Return a region that rises from nothing at its edge to 255 further inside; nothing outside becomes part of it."""
    from PIL import ImageChops, ImageFilter

    reach = min(round(_thickness(region) * FADE_SHARE), FADE_MAX)
    if reach < 1:
        return region
    # At a straight edge half of what is around a pixel lies inside, so the upper half of the range is what rises.
    around = region.filter(ImageFilter.BoxBlur(reach)).point([max(0, 2 * share - 255) for share in range(256)])
    return ImageChops.darker(around, region)


def _thickness(region: Image.Image) -> float:
    """Return about how thick a region is, in pixels: twice its area by the length of its edge."""
    from PIL import ImageChops, ImageFilter

    factor = max(1, max(region.size) // MEASURED_SIDE)
    small = region.reduce(factor)
    edge = ImageChops.subtract(small, small.filter(ImageFilter.MinFilter(3)))
    area, length = (sum(value * count for value, count in enumerate(part.histogram())) for part in (small, edge))
    return float(max(small.size)) if not length else factor * 2 * area / length
