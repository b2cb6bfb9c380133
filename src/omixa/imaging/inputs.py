"""Pictures that callers send: stricter than what is only read, upright, in sRGB, and without metadata.

What can be done by cutting bytes out is done here; what needs the pixels is left to a process that may break (`codec.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from omixa.domain.images import Image, ImageFormat, ImageInfo

from .exif import UPRIGHT, orientation_of, swaps_sides
from .inspect import NAMES, InputFormat, UnacceptableImage, look
from .png import check_png
from .profile import is_srgb, read_profile
from .structure import Structure

MAX_METADATA_BYTES = 4 * 1024 * 1024
"""EXIF, XMP, comments, profiles and manifests of a picture together. A camera writes some tens of kilobytes."""

MAX_SIDE_RATIO = 100
"""Longer side to shorter side. No model sees anything in a thread, and rows of one pixel are what decoders fail at."""

MAX_BYTES_PER_PIXEL = 16
SPARE_BYTES = 64 * 1024
"""The most that the pixels of a file take: twice what the largest of them are undone, and tables. More hides something."""

_REWORKED: Mapping[InputFormat, ImageFormat] = {"png": "png", "jpeg": "jpeg", "webp": "png", "avif": "png"}


def load_input(data: bytes) -> Image:
    """Return a picture as it may leave the house, or what it will be when `needs_decoding` says that its pixels must change.

    Without such a need, the picture is what was given without its metadata, and not decoded: the very bytes where there is
    nothing to leave out. Else it is what was given, to be converted to the format that its info names. Raises
    UnacceptableImage.
    """
    found, structure = look(data)
    _check(NAMES[found], len(data), structure)
    if found == "png":
        check_png(data)
    orientation, profile = orientation_of(structure), read_profile(structure)
    in_srgb = not structure.is_cmyk and (profile is None or is_srgb(profile))
    if found == "avif" or orientation != UPRIGHT or not in_srgb:
        return Image(data, _reworked(found, orientation, len(data), structure), needs_decoding=True)
    bare = data if structure.is_bare else structure.bare(memoryview(data))
    return Image(bare, ImageInfo(found, structure.width, structure.height, len(bare), structure.has_alpha))


def _reworked(found: InputFormat, orientation: int, size_bytes: int, structure: Structure) -> ImageInfo:
    sides = (structure.height, structure.width) if swaps_sides(orientation) else (structure.width, structure.height)
    return ImageInfo(_REWORKED[found], *sides, size_bytes, structure.has_alpha)


def _check(kind: str, size_bytes: int, structure: Structure) -> None:
    width, height = structure.width, structure.height
    if structure.metadata_bytes > MAX_METADATA_BYTES:
        raise UnacceptableImage(
            "image_too_large",
            f"the {kind} has {structure.metadata_bytes:,} bytes of metadata; at most {MAX_METADATA_BYTES:,} are accepted,"
            " leave them out",
        )
    if max(width, height) > MAX_SIDE_RATIO * min(width, height):
        raise UnacceptableImage(
            "image_too_large",
            f"the {kind} is {width}x{height}; the longer side may be at most {MAX_SIDE_RATIO} times the shorter one",
        )
    picture_bytes = size_bytes - structure.metadata_bytes - structure.further_bytes
    if picture_bytes > MAX_BYTES_PER_PIXEL * width * height + SPARE_BYTES:
        raise UnacceptableImage(
            "invalid_image", f"the {kind} has {picture_bytes:,} bytes, more than its {width}x{height} pixels can need"
        )
