"""A mask for models that have none: the original is laid over the edited picture again wherever it may not change."""

from __future__ import annotations

import math

from PIL import Image as Pillow

from omixa.domain.images import Image, ImageFormat

from .codec import decode, encode, on_white
from .masks import laid_within, read_region, require_shape, resized

MAX_PIXELS = 4_194_304
"""The most pixels of a composite for which no size is asked. Larger originals are scaled down to it."""


def compose(
    original: bytes,
    edited: bytes,
    mask: bytes,
    *,
    format: ImageFormat,
    quality: int | None = None,
    size: tuple[int, int] | None = None,
) -> Image:
    """Return the original with the edited picture laid into it where its mask is fully transparent, fading out at the edge.

    The result has the size that is asked for or else the original's own, up to MAX_PIXELS. Both pictures are brought to it by
    the filter of `convert`, and what is compared are pixels of that size: outside the mask they are those of the original so
    resampled, on white where it is transparent; where nothing needs resampling, its very own. A pixel is outside unless all of
    the mask's pixels that it covers are transparent. PNG keeps this exactly, `jpeg` and `webp` as well as they can. Raises
    UnacceptableImage when one of the three cannot be decoded.
    """
    base, region = on_white(decode(original)), read_region(mask)
    require_shape(region, base.size)
    target = size or natural_size(base.size)
    laid = laid_within(_at(base, target), _at(on_white(decode(edited)), target), resized(region, target))
    return encode(laid, format, quality)


def natural_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size of a composite for which none is asked."""
    share = math.sqrt(MAX_PIXELS / (size[0] * size[1]))
    return size if share >= 1 else (max(1, int(size[0] * share)), max(1, int(size[1] * share)))


def _at(picture: Pillow.Image, size: tuple[int, int]) -> Pillow.Image:
    return picture if picture.size == size else picture.resize(size, Pillow.Resampling.LANCZOS)
