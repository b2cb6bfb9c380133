"""What bytes that are no accepted picture look like, to say it in the refusal."""

from __future__ import annotations

GUESS_BYTES = 512
"""How much of a file `guess` needs."""

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"GIF87a", "a GIF"),
    (b"GIF89a", "a GIF"),
    (b"BM", "a BMP"),
    (b"II*\x00", "a TIFF"),
    (b"MM\x00*", "a TIFF"),
    (b"%PDF", "a PDF"),
    (b"%!PS", "a PostScript file"),
    (b"\x00\x00\x01\x00", "an icon file"),
    (b"8BPS", "a Photoshop file"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000"),
    (b"RIFF", "a RIFF file of another kind than WebP"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x1a\x45\xdf\xa3", "a video"),
)
_BRANDS = {b"avif": "an AVIF", b"avis": "an AVIF", b"heic": "a HEIC", b"heix": "a HEIC", b"mif1": "a HEIC"}
_MARKUP: tuple[tuple[bytes, str], ...] = (
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<svg", "an SVG"),
    (b"<?xml", "an XML document"),
    (b"{", "JSON"),
    (b"data:", "the text of a data URL"),
    (b"ivborw0kggo", "a PNG as base64 text"),
    (b"/9j/", "a JPEG as base64 text"),
)


def guess(start: bytes) -> str:
    """Return what the first GUESS_BYTES bytes of a file look like, with its article."""
    if not start:
        return "empty"
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:12], "a video or a HEIF of another kind")
    for beginning, name in _BEGINNINGS:
        if start.startswith(beginning):
            return name
    return _guess_text(start.lstrip(b"\xef\xbb\xbf \t\r\n").lower())


def _guess_text(text: bytes) -> str:
    # An SVG often begins with an XML declaration or a comment.
    if text.startswith(b"<") and b"<svg" in text:
        return "an SVG"
    return next((name for beginning, name in _MARKUP if text.startswith(beginning)), "of an unknown format")
