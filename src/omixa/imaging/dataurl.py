"""Pictures inside requests: data URLs with base64, after RFC 2397 and RFC 4648. Addresses are refused, never fetched."""

from __future__ import annotations

import binascii
import re

import pybase64

from omixa.domain.images import Image

from .declared import checked_image, declared_format
from .inspect import InputFormat
from .refusals import UnacceptableImage

_HEAD = re.compile(rb"data:([^,;]*)((?:;[^,;]*)*),", re.IGNORECASE)
_MAX_HEAD_BYTES = 256
_SHOWN_CHARS = 60
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


def load_input_image(url: memoryview | bytes | str) -> Image:
    """Return the picture of a data URL, whole by its structure and of the declared type. Raises UnacceptableImage."""
    declared, data = decode_image_data_url(url)
    return checked_image(data, declared, "the data URL")


def decode_image_data_url(url: memoryview | bytes | str) -> tuple[InputFormat, bytes]:
    """Return the format that a data URL declares, and its bytes. Raises UnacceptableImage.

    The base64 is taken strictly: standard alphabet, padding, no blanks. Only a `str` is copied before it is decoded.
    """
    view = memoryview(url.encode("utf-8", "replace") if isinstance(url, str) else url).cast("B")
    declared, start = _read_head(bytes(view[:_MAX_HEAD_BYTES]))
    try:
        return declared, pybase64.b64decode(view[start:], validate=True)
    except (binascii.Error, ValueError):
        raise UnacceptableImage("invalid_base64", f"the picture's base64 {_fault(bytes(view[start:]))}") from None


def _read_head(head: bytes) -> tuple[InputFormat, int]:
    """Return the declared format and where the base64 starts."""
    if head[:6].lower().startswith((b"http:", b"https:")):
        raise UnacceptableImage(
            "image_url_not_inline",
            "only inline data URLs are accepted, such as data:image/png;base64,…; Omixa never fetches addresses",
        )
    match = _HEAD.match(head)
    if match is None:
        raise UnacceptableImage("invalid_data_url", "a picture is given as a data URL: data:image/png;base64,…")
    declared = declared_format(match[1].lower().decode("ascii", "replace"), "the data URL")
    if match[2].lower() != b";base64":
        parameters = match[2][:_SHOWN_CHARS].decode("ascii", "replace") or "nothing"
        raise UnacceptableImage(
            "invalid_data_url", f"the data URL has {parameters} after its media type, where only ;base64 may stand"
        )
    return declared, match.end()


def _fault(text: bytes) -> str:
    strays = text.translate(None, _ALPHABET)
    if any(blank in strays for blank in b" \t\r\n"):
        return "contains blanks or line breaks; leave them out"
    if strays and not strays.strip(b"-_"):
        return "uses the URL-safe alphabet; use the standard one with + and /"
    if b"%" in strays:
        return "is percent-encoded; send it as it is"
    if strays:
        return "contains characters that are not in its alphabet"
    return "is incomplete or wrongly padded: its length must be a multiple of four, filled with ="
