"""Read what a picture's structure says, without a decoder: format, size, and whether the file is whole.

Only headers and the lengths of chunks are looked at, so the work does not grow with the pixels. The formats' structure is
that of the PNG specification (third edition), ITU-T T.81 for JPEG, and the WebP container specification.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from omixa.domain.images import ImageFormat, ImageInfo

MAX_INPUT_PIXELS = 50_000_000
# No encoder writes this many pieces; a file that has more is made to keep a parser busy.
MAX_CHUNKS = 20_000

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_CHUNK = struct.Struct(">I4s")
_RIFF_CHUNK = struct.Struct("<4sI")

# How pictures that are not accepted begin, to name them in the refusal.
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"II*\x00", "a TIFF"),
    (b"MM\x00*", "a TIFF"),
    (b"%PDF", "a PDF"),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"8BPS", "a Photoshop file"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
    (b"PK\x03\x04", "a ZIP archive"),
)
_TEXT_START_BYTES = 512


class UnacceptableImage(ValueError):
    """Bytes that cannot be taken as a picture. `reason_code` is a stable word, `message` a sentence for the caller."""

    def __init__(self, reason_code: str, message: str) -> None:
        super().__init__(message)
        self.reason_code = reason_code
        self.message = message


def inspect(data: bytes | memoryview, *, max_pixels: int = MAX_INPUT_PIXELS) -> ImageInfo:
    """Return what a PNG, JPEG or WebP says of itself. Raises UnacceptableImage.

    Refused are other formats, sizes of zero or over `max_pixels`, files that are cut short or go on after their end, and
    animations.
    """
    view = memoryview(data)
    kind, read = _reader(view)
    try:
        width, height, has_alpha = read(view)
    except (struct.error, IndexError):
        raise _truncated(kind, "it ends in the middle of its structure") from None
    if not width or not height:
        raise UnacceptableImage("invalid_image", f"the {kind} is {width}x{height}: it has no pixels")
    if width * height > max_pixels:
        raise UnacceptableImage(
            "image_too_large", f"the {kind} is {width}x{height}, over the limit of {max_pixels} pixels"
        )
    return ImageInfo(kind, width, height, len(view), has_alpha)


def _reader(view: memoryview) -> tuple[ImageFormat, Callable[[memoryview], tuple[int, int, bool]]]:
    start = bytes(view[:_TEXT_START_BYTES])
    if start.startswith(_PNG):
        return "png", _read_png
    if start.startswith(_JPEG):
        return "jpeg", _read_jpeg
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "webp", _read_webp
    raise UnacceptableImage(
        "unsupported_image_format", f"the bytes are {_guess(start)}; accepted are PNG, JPEG and WebP"
    )


def _guess(start: bytes) -> str:
    if not start:
        return "empty"
    for magic, name in _FOREIGN:
        if start.startswith(magic):
            return name
    if start[4:8] == b"ftyp":
        return {b"avif": "an AVIF", b"heic": "a HEIC", b"mif1": "a HEIC"}.get(start[8:12], "a video or HEIF file")
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        return "an SVG"
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if text.startswith(b"<"):
        return "an XML document"
    return "no picture that is known"


def _truncated(kind: str, detail: str) -> UnacceptableImage:
    return UnacceptableImage("truncated_image", f"the {kind} is truncated: {detail}")


def _damaged(kind: str, detail: str) -> UnacceptableImage:
    return UnacceptableImage("invalid_image", f"the {kind} is damaged: {detail}")


# -------------------------------------------------------------------------------------------------------------------- PNG


def _read_png(view: memoryview) -> tuple[int, int, bool]:
    length, name = _CHUNK.unpack_from(view, 8)
    if name != b"IHDR" or length != 13:
        raise _damaged("png", "it does not begin with its header")
    width, height, depth, colour, compression, filtering, interlace = struct.unpack_from(">IIBBBBB", view, 16)
    if colour not in (0, 2, 3, 4, 6) or depth not in (1, 2, 4, 8, 16) or compression or filtering or interlace > 1:
        raise _damaged("png", "its header has values that no PNG has")
    has_alpha, has_data = colour in (4, 6), False
    position, end = 33, len(view)
    for _ in range(MAX_CHUNKS):
        length, name = _CHUNK.unpack_from(view, position)
        position += 12 + length
        if position > end:
            raise _truncated("png", "its last chunk is incomplete")
        if name == b"IEND":
            break
        if name == b"acTL":
            raise UnacceptableImage("animated_image", "the png is animated; send a single picture")
        has_data = has_data or name == b"IDAT"
        has_alpha = has_alpha or name == b"tRNS"
    else:
        raise _damaged("png", f"it has more than {MAX_CHUNKS} chunks")
    if not has_data:
        raise _damaged("png", "it holds no pixels")
    if position != end:
        raise _damaged("png", "something follows its end")
    return width, height, has_alpha


# ------------------------------------------------------------------------------------------------------------------- JPEG

# Start-of-frame markers: all of C0..CF but DHT (C4), JPG (C8) and DAC (CC).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SOS, _EOI, _FILL = 0xDA, 0xD9, 0xFF
_STANDALONE = frozenset(range(0xD0, 0xD8)) | {0x01}


def _read_jpeg(view: memoryview) -> tuple[int, int, bool]:
    size: tuple[int, int] | None = None
    position, end = 2, _jpeg_end(view)
    for _ in range(MAX_CHUNKS):
        if view[position] != _FILL:
            raise _damaged("jpeg", "a marker is missing")
        marker = view[position + 1]
        if marker == _FILL:
            position += 1
        elif marker in _STANDALONE:
            position += 2
        elif marker == _EOI:
            raise _damaged("jpeg", "it ends before its pixels")
        else:
            (length,) = struct.unpack_from(">H", view, position + 2)
            if length < 2 or position + 2 + length > end:
                raise _truncated("jpeg", "a segment is incomplete")
            if marker in _FRAMES:
                height, width = struct.unpack_from(">HH", view, position + 5)
                size = width, height
            if marker == _SOS:
                break
            position += 2 + length
    else:
        raise _damaged("jpeg", f"it has more than {MAX_CHUNKS} segments")
    if size is None:
        raise _damaged("jpeg", "it has no frame header")
    return *size, False


def _jpeg_end(view: memoryview) -> int:
    """Return where the picture ends. Cameras pad with zeros; anything else after the end marker is refused."""
    tail = bytes(view[-4096:]).rstrip(b"\x00")
    if not tail.endswith(b"\xff\xd9"):
        if b"\xff\xd9" in tail:
            raise _damaged("jpeg", "something follows its end")
        raise _truncated("jpeg", "its end marker is missing")
    return len(view) - (min(len(view), 4096) - len(tail))


# ------------------------------------------------------------------------------------------------------------------- WebP


def _read_webp(view: memoryview) -> tuple[int, int, bool]:
    (size,) = struct.unpack_from("<I", view, 4)
    end = size + 8
    if end > len(view):
        raise _truncated("webp", f"its header says {end} bytes and there are {len(view)}")
    if len(view) > end:
        raise _damaged("webp", "something follows its end")
    canvas: tuple[int, int, bool] | None = None
    pixels: tuple[int, int, bool] | None = None
    position = 12
    for _ in range(MAX_CHUNKS):
        if position >= end:
            break
        name, length = _RIFF_CHUNK.unpack_from(view, position)
        start = position + _RIFF_CHUNK.size
        if start + length > end:
            raise _truncated("webp", "its last chunk is incomplete")
        if name in (b"ANIM", b"ANMF"):
            raise UnacceptableImage("animated_image", "the webp is animated; send a single picture")
        if name == b"VP8X":
            canvas = _vp8x(view, start)
        elif name == b"VP8 ":
            pixels = _vp8(view, start)
        elif name == b"VP8L":
            pixels = _vp8l(view, start)
        position = start + length + (length & 1)
    else:
        raise _damaged("webp", f"it has more than {MAX_CHUNKS} chunks")
    if pixels is None:
        raise _damaged("webp", "it holds no pixels")
    return canvas or pixels


def _vp8x(view: memoryview, start: int) -> tuple[int, int, bool]:
    flags = view[start]
    if flags & 0x02:
        raise UnacceptableImage("animated_image", "the webp is animated; send a single picture")
    width = int.from_bytes(view[start + 4 : start + 7], "little") + 1
    height = int.from_bytes(view[start + 7 : start + 10], "little") + 1
    return width, height, bool(flags & 0x10)


def _vp8(view: memoryview, start: int) -> tuple[int, int, bool]:
    if bytes(view[start + 3 : start + 6]) != b"\x9d\x01\x2a":
        raise _damaged("webp", "its pixels have no key frame")
    width, height = struct.unpack_from("<HH", view, start + 6)
    return width & 0x3FFF, height & 0x3FFF, False


def _vp8l(view: memoryview, start: int) -> tuple[int, int, bool]:
    if view[start] != 0x2F:
        raise _damaged("webp", "its pixels have no lossless header")
    (bits,) = struct.unpack_from("<I", view, start + 1)
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
