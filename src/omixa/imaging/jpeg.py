"""The structure of a JPEG, after ITU-T T.81 annex B."""

from __future__ import annotations

import struct

from .refusals import UnacceptableImage, damaged, followed, truncated, unsupported

SIGNATURE = b"\xff\xd8\xff"

MAX_SEGMENTS = 1_000
"""Segments before the pixels. A colour profile has at most 255; a file with more is made to keep a parser busy."""

MAX_PADDING_BYTES = 65_536
"""Zeros after the end, which some cameras write to fill a block."""

_END = b"\xff\xd9"
_FILL, _START_OF_SCAN = 0xFF, 0xDA
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
# Start-of-frame markers are C0 to CF except for tables (C4, CC) and a reserved one (C8). Only three of them are in use:
# baseline, extended and progressive. The others are lossless, hierarchical or with arithmetic coding.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_USUAL_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_FRAME = struct.Struct(">BHHB")


def read_jpeg(view: memoryview) -> tuple[int, int, bool]:
    """Return width, height and False, after walking the segments before the pixels. Raises UnacceptableImage.

    The file must end with the end marker. What lies between the first scan and that is not read: it would cost a look at
    every byte, and phones put a second picture there, which ends in the same way.
    """
    _check_end(view)
    size: tuple[int, int] | None = None
    position = 2
    for _ in range(MAX_SEGMENTS):
        marker, start, end = _segment(view, position)
        if marker in _FRAMES:
            if size is not None:
                raise damaged("JPEG", "it has two frame headers")
            size = _read_frame(view[start:end], marker)
        elif marker == _START_OF_SCAN:
            if size is None:
                raise damaged("JPEG", "its pixels come without a frame header")
            return *size, False
        position = end
    raise damaged("JPEG", f"it has more than {MAX_SEGMENTS:,} segments before its pixels")


def _segment(view: memoryview, position: int) -> tuple[int, int, int]:
    """Return the marker of the segment at `position` and where its data start and end."""
    if view[position] != _FILL:
        raise damaged("JPEG", f"there is no marker at byte {position:,}, where one should be")
    marker = view[position + 1]
    if marker in _WITHOUT_LENGTH or marker == _FILL:
        raise damaged("JPEG", "it ends before its pixels" if marker == _END[1] else f"marker {marker:02X} is misplaced")
    length = int.from_bytes(view[position + 2 : position + 4], "big")
    end = position + 2 + length
    if length < 2:
        raise damaged("JPEG", f"the segment at byte {position:,} has an impossible length")
    if end > len(view):
        raise truncated("JPEG", "its last segment is incomplete")
    return marker, position + 4, end


def _read_frame(segment: memoryview, marker: int) -> tuple[int, int]:
    precision, height, width, components = _FRAME.unpack_from(segment)
    if marker not in _USUAL_FRAMES or precision != 8:
        raise unsupported("JPEG", f"has {precision} bits and coding process {marker:02X}")
    if components not in (1, 3, 4) or len(segment) != _FRAME.size + 3 * components:
        raise damaged("JPEG", "its frame header has values that no JPEG has")
    return width, height


def _check_end(view: memoryview) -> None:
    if not bytes(view[-MAX_PADDING_BYTES:]).rstrip(b"\0").endswith(_END):
        raise _wrong_end(bytes(view))


def _wrong_end(data: bytes) -> UnacceptableImage:
    end = data.rfind(_END)
    if end < 0:
        return truncated("JPEG", "its end marker is missing")
    return followed("JPEG", len(data) - end - len(_END))
