"""The structure of a WebP: the RIFF container (Google, WebP Container Specification) and the two frame headers.

The header of a lossy frame is that of RFC 6386, section 9.1; that of a lossless one of RFC 9649, section 3.4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .refusals import animated, damaged, followed, truncated
from .structure import Structure, begins_credentials

MAX_CHUNKS = 100
"""A still picture has at most a dozen; a file with more is made to keep a parser busy."""

_CHUNK = struct.Struct("<4sI")
_FIRST_CHUNK = 12
_ANIMATED_FLAG, _ALPHA_FLAG = 0x02, 0x10
# What decoders need to give the pixels.
_PIXELS = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH"})
_EXIF_PREFIX = b"Exif\0\0"
_RIFF_SIZE = slice(4, 8)
_LOSSY_START_CODE = b"\x9d\x01\x2a"
_LOSSLESS_SIGNATURE = 0x2F
# Sides are numbers of 14 bits, in both kinds of frame.
_SIDE = 0x3FFF

_Header = tuple[int, int, bool]


def is_webp(start: bytes) -> bool:
    """Return whether the first 12 bytes are those of a WebP."""
    return start[:4] == b"RIFF" and start[8:12] == b"WEBP"


def read_webp(view: memoryview) -> Structure:
    """Return what all chunks say, after walking over them. Raises UnacceptableImage."""
    _check_length(view)
    found = Structure(0, 0)
    canvas: _Header | None = None
    frame: _Header | None = None
    flags_at = 0
    for kind, start, end in _chunks(view):
        chunk = view[start:end]
        if kind in (b"ANIM", b"ANMF"):
            raise animated("WebP")
        if kind == b"VP8X":
            if canvas is not None:
                raise damaged("WebP", "it has two canvases")
            canvas, flags_at = _read_canvas(chunk), start
        elif kind in (b"VP8 ", b"VP8L"):
            if frame is not None:
                raise damaged("WebP", "it holds two pictures")
            frame = _read_lossy(chunk) if kind == b"VP8 " else _read_lossless(chunk)
        elif kind not in _PIXELS:
            _read_metadata(found, kind, chunk)
            found.drop(start - _CHUNK.size, end + (end - start & 1))
    if frame is None:
        raise damaged("WebP", "it holds no pixels")
    if canvas is not None and canvas[:2] != frame[:2]:
        raise damaged("WebP", "its canvas and its picture differ in size")
    found.width, found.height = frame[:2]
    found.has_alpha = frame[2] or (canvas is not None and canvas[2])
    _correct_heads(found, view, flags_at)
    return found


def _read_metadata(found: Structure, kind: bytes, chunk: memoryview) -> None:
    if kind == b"EXIF" and found.exif is None:
        # Some writers keep the beginning that EXIF has in a JPEG.
        found.exif = chunk[len(_EXIF_PREFIX) :] if chunk[: len(_EXIF_PREFIX)] == _EXIF_PREFIX else chunk
    elif kind == b"ICCP" and not found.profile:
        found.profile.append(chunk)
    elif kind == b"C2PA":
        found.has_credentials |= begins_credentials(chunk)


def _correct_heads(found: Structure, view: memoryview, flags_at: int) -> None:
    """Say in the bare picture how long it is, and of what it may have only whether it has alpha."""
    if found.metadata_bytes:
        size = len(view) - 8 - found.metadata_bytes
        found.replace(_RIFF_SIZE.start, _RIFF_SIZE.stop, size.to_bytes(4, "little"))
    if flags_at and view[flags_at] & ~_ALPHA_FLAG:
        found.replace(flags_at, flags_at + 1, bytes((view[flags_at] & _ALPHA_FLAG,)))


def _check_length(view: memoryview) -> None:
    (riff_bytes,) = struct.unpack_from("<I", view, 4)
    end = 8 + riff_bytes
    if end > len(view):
        raise truncated("WebP", f"its header says {end:,} bytes and there are {len(view):,}")
    if end < len(view):
        raise followed("WebP", len(view) - end)


def _chunks(view: memoryview) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type of each chunk and where its data begins and ends."""
    position = _FIRST_CHUNK
    for _ in range(MAX_CHUNKS):
        if position == len(view):
            return
        kind, length = _CHUNK.unpack_from(view, position)
        start = position + _CHUNK.size
        position = start + length + (length & 1)
        if position > len(view):
            raise truncated("WebP", "its last chunk is incomplete")
        yield kind, start, start + length
    raise damaged("WebP", f"it has more than {MAX_CHUNKS} chunks")


def _read_canvas(chunk: memoryview) -> _Header:
    flags, width, height = struct.unpack_from("<B3x3s3s", chunk)
    if flags & _ANIMATED_FLAG:
        raise animated("WebP")
    return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1, bool(flags & _ALPHA_FLAG)


def _read_lossy(chunk: memoryview) -> _Header:
    tag, start_code, width, height = struct.unpack_from("<3s3sHH", chunk)
    # Bit 0 is clear in a key frame; the last 19 bits are the length of the first partition.
    if tag[0] & 1 or start_code != _LOSSY_START_CODE:
        raise damaged("WebP", "its pixels do not begin with a key frame")
    if int.from_bytes(tag, "little") >> 5 > len(chunk):
        raise truncated("WebP", "its pixels are incomplete")
    return width & _SIDE, height & _SIDE, False


def _read_lossless(chunk: memoryview) -> _Header:
    signature, bits = struct.unpack_from("<BI", chunk)
    if signature != _LOSSLESS_SIGNATURE or bits >> 29:
        raise damaged("WebP", "its pixels do not begin with a lossless header")
    return (bits & _SIDE) + 1, (bits >> 14 & _SIDE) + 1, bool(bits >> 28 & 1)
