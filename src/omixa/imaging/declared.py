"""Pictures that come with the name of their type: the name must be one that is accepted, and be true."""

from __future__ import annotations

from collections.abc import Mapping

from omixa.domain.images import Image

from .inputs import load_input
from .inspect import InputFormat, format_of
from .refusals import UnacceptableImage

_FORMATS: Mapping[str, InputFormat] = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/webp": "webp",
    "image/avif": "avif",
}
# What clients write of a file about which they know nothing.
_NOTHING_SAID = frozenset({None, "", "application/octet-stream", "binary/octet-stream"})
_SHOWN_CHARS = 60


def declared_format(media_type: str, where: str) -> InputFormat:
    """Return the format of a media type in lower case. Raises UnacceptableImage; `where` says who declares it."""
    declared = _FORMATS.get(media_type)
    if declared is None:
        raise UnacceptableImage(
            "unsupported_image_format",
            f"{where} declares {media_type[:_SHOWN_CHARS] or 'no media type'};"
            " accepted are image/png, image/jpeg, image/webp and image/avif",
        )
    return declared


def checked_image(data: bytes, declared: InputFormat, where: str) -> Image:
    """Return a picture that is whole by its structure and of the declared format, by `load_input`. Raises UnacceptableImage."""
    found = format_of(data)
    if found != declared:
        raise UnacceptableImage(
            "image_type_mismatch", f"{where} declares image/{declared}, but its bytes are image/{found}"
        )
    return load_input(data)


def load_file(data: bytes, media_type: str | None) -> Image:
    """Return the picture of a form's file. One without a type, or with that of any bytes, is what its bytes say."""
    if media_type in _NOTHING_SAID:
        return load_input(data)
    assert media_type is not None
    return checked_image(data, declared_format(media_type, "the part"), "the part")
