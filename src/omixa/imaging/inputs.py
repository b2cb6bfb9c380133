"""Pictures that callers send: stricter than what is only read, upright, in sRGB, and without metadata.

What can be done by cutting bytes out is done here; what needs the pixels is left to a process that may break (`codec.py`).
"""

from __future__ import annotations

from omixa.domain.images import Image, ImageFormat, ImageInfo

from .exif import UPRIGHT, read_orientation, swaps_sides
from .inspect import NAMES, UnacceptableImage, examine
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

_REWORKED: dict[ImageFormat, ImageFormat] = {"png": "png", "jpeg": "jpeg", "webp": "png"}


def load_input(data: bytes) -> Image:
    """Return a picture as it may leave the house, or what it will be when `needs_decoding` says that its pixels must change.

    Without such a need, the picture is what was given without its metadata, and not decoded: the very bytes where there is
    nothing to leave out. Else it is what was given, to be converted to the format that its info names. Raises
    UnacceptableImage.
    """
    info, structure = examine(data)
    _check(NAMES[info.format], info, structure)
    if info.format == "png":
        check_png(data)
    orientation, profile = read_orientation(structure.exif), read_profile(structure)
    if orientation != UPRIGHT or structure.is_cmyk or not (profile is None or is_srgb(profile)):
        return Image(data, _reworked(info, orientation), needs_decoding=True)
    if structure.is_bare:
        return Image(data, info)
    bare = structure.bare(memoryview(data))
    return Image(bare, ImageInfo(info.format, info.width, info.height, len(bare), info.has_alpha))


def _reworked(info: ImageInfo, orientation: int) -> ImageInfo:
    width, height = (info.height, info.width) if swaps_sides(orientation) else (info.width, info.height)
    return ImageInfo(_REWORKED[info.format], width, height, info.size_bytes, info.has_alpha)


def _check(kind: str, info: ImageInfo, structure: Structure) -> None:
    if structure.metadata_bytes > MAX_METADATA_BYTES:
        raise UnacceptableImage(
            "image_too_large",
            f"the {kind} has {structure.metadata_bytes:,} bytes of metadata; at most {MAX_METADATA_BYTES:,} are accepted,"
            " leave them out",
        )
    if max(info.width, info.height) > MAX_SIDE_RATIO * min(info.width, info.height):
        raise UnacceptableImage(
            "image_too_large",
            f"the {kind} is {info.size}; the longer side may be at most {MAX_SIDE_RATIO} times the shorter one",
        )
    picture_bytes = info.size_bytes - structure.metadata_bytes - structure.further_bytes
    if picture_bytes > MAX_BYTES_PER_PIXEL * info.width * info.height + SPARE_BYTES:
        raise UnacceptableImage(
            "invalid_image", f"the {kind} has {picture_bytes:,} bytes, more than its {info.size} pixels can need"
        )
