"""The structure of a JPEG, after ITU-T T.81 annex B."""

from __future__ import annotations

import re
import struct

from .refusals import UnacceptableImage, damaged, followed, truncated, unsupported
from .structure import Structure, begins_credentials

SIGNATURE = b"\xff\xd8\xff"

MAX_SEGMENTS = 1_000
"""Segments of a picture. A colour profile has at most 255; a file with more is made to keep a parser busy."""

MAX_PADDING_BYTES = 65_536
"""Zeros after the end, which some cameras write to fill a block."""

MAX_SCANS = 100
"""Passes over the pixels. Encoders make a dozen; each costs a decoder as much as the whole picture, however small it is."""

MAX_SCANNED_PIXELS = 1_000_000_000
"""Of all scans together: twenty of the largest picture, each of which takes a decoder some tenths of a second."""

MAX_FURTHER_PICTURES = 16
"""Pictures after the first one, where cameras put previews and brightness maps. They are walked over, and left out."""

_FILL, _END, _START_OF_SCAN = 0xFF, 0xD9, 0xDA
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
# Start-of-frame markers are C0 to CF except for tables (C4, CC) and a reserved one (C8). Only three of them are in use:
# baseline, extended and progressive. The others are lossless, hierarchical or with arithmetic coding.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_USUAL_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_FRAME = struct.Struct(">BHHB")
# Application segments and comments.
_METADATA = frozenset({*range(0xE0, 0xF0), 0xFE})
_APP0, _APP1, _APP2, _APP11, _APP14 = 0xE0, 0xE1, 0xE2, 0xEB, 0xEE
_JFIF, _EXIF, _ICC, _JUMBF, _ADOBE = b"JFIF\0", b"Exif\0\0", b"ICC_PROFILE\0", b"JP", b"Adobe"
# By the first of these a decoder knows that it has YCbCr, by the second which colours it has.
_JFIF_BYTES, _ADOBE_BYTES = 14, 12
# Among compressed pixels, FF stands before a zero, before the number of a restart, or begins a marker.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Other threads wait while a search runs.
_SEARCHED_BYTES = 1 << 20


def read_jpeg(view: memoryview) -> Structure:
    """Return what all segments say, after walking over them and the pixels between. Raises UnacceptableImage.

    After the end there may be what cameras write there: zeros, whole JPEGs, and last a film or a trailer.
    """
    found, end = _read_picture(view, 0)
    first_end = end
    for _ in range(MAX_FURTHER_PICTURES + 1):
        end = _skip_padding(view, end)
        if _is_of_a_camera(view[end:]):
            end = len(view)
        if end == len(view):
            if end > first_end:
                found.drop_further(first_end, end)
            return found
        if view[end : end + len(SIGNATURE)] != SIGNATURE:
            raise followed("JPEG", len(view) - end)
        _, end = _read_picture(view, end)
    raise damaged("JPEG", f"more than {MAX_FURTHER_PICTURES} further pictures follow it")


def _is_of_a_camera(tail: memoryview) -> bool:
    """Tell whether this is the film of a moving photograph (Motion Photo format 1.0), or the trailer of Samsung's cameras.

    The zeros with which a film begins may have been taken for padding.
    """
    return b"ftyp" in bytes(tail[:8]) or bytes(tail[-4:]) == b"SEFT"


def _skip_padding(view: memoryview, position: int) -> int:
    if position == len(view):
        return position
    padded = bytes(view[position : position + MAX_PADDING_BYTES])
    return position + len(padded) - len(padded.lstrip(b"\0"))


def _read_picture(view: memoryview, position: int) -> tuple[Structure, int]:
    """Return what the picture that begins at `position` says of itself, and where it ends."""
    found: Structure | None = None
    metadata = Structure(0, 0)
    position += 2
    scans = 0
    for _ in range(MAX_SEGMENTS):
        if scans and view[position] == _FILL and view[position + 1] == _END:
            return _described(found, metadata, scans), position + 2
        marker, start, end = _segment(view, position)
        if marker in _FRAMES:
            if found is not None:
                raise damaged("JPEG", "it has two frame headers")
            found = _read_frame(view[start:end], marker)
        elif marker == _START_OF_SCAN:
            if found is None:
                raise damaged("JPEG", "its pixels come without a frame header")
            scans += 1
            if scans > MAX_SCANS:
                raise damaged("JPEG", f"it has more than {MAX_SCANS} scans")
            end = _end_of_scan(view, end)
        elif marker in _METADATA:
            _read_metadata(metadata, marker, view[start:end], position, end)
        position = end
    raise damaged("JPEG", f"it has more than {MAX_SEGMENTS:,} segments")


def _described(frame: Structure | None, metadata: Structure, scans: int) -> Structure:
    assert frame is not None
    if scans > 1 and scans * frame.width * frame.height > MAX_SCANNED_PIXELS:
        raise UnacceptableImage(
            "image_too_large",
            f"the JPEG has {scans} scans of {frame.width}x{frame.height} pixels; save it without so many",
        )
    metadata.width, metadata.height, metadata.is_cmyk = frame.width, frame.height, frame.is_cmyk
    # A profile in several segments numbers them; the number is the first byte that was kept of each.
    metadata.profile = [part[2:] for part in sorted(metadata.profile, key=lambda part: bytes(part[:1]))]
    return metadata


def _end_of_scan(view: memoryview, position: int) -> int:
    """Return where the marker after a scan's pixels is."""
    while position < len(view):
        match = _MARKER.search(view, position, position + _SEARCHED_BYTES)
        if match is not None:
            return match.start()
        position += _SEARCHED_BYTES - 1
    raise truncated("JPEG", "its end marker is missing")


def _read_metadata(found: Structure, marker: int, data: memoryview, start: int, end: int) -> None:
    """Note what a segment holds. Only the two that say which colours the pixels have stay, without what else they hold."""
    if marker == _APP0 and data[: len(_JFIF)] == _JFIF and len(data) >= _JFIF_BYTES:
        if len(data) > _JFIF_BYTES:
            # A thumbnail follows, whose width and height are the last two bytes.
            found.drop(start, end, _shortened(marker, bytes(data[: _JFIF_BYTES - 2]) + bytes(2)))
        return
    if marker == _APP14 and data[: len(_ADOBE)] == _ADOBE and len(data) >= _ADOBE_BYTES:
        if len(data) > _ADOBE_BYTES:
            found.drop(start, end, _shortened(marker, bytes(data[:_ADOBE_BYTES])))
        return
    if marker == _APP1 and data[: len(_EXIF)] == _EXIF and found.exif is None:
        found.exif = data[len(_EXIF) :]
    elif marker == _APP2 and data[: len(_ICC)] == _ICC:
        found.profile.append(data[len(_ICC) :])
    elif marker == _APP11 and data[: len(_JUMBF)] == _JUMBF:
        # Before the box: the instance's number in two bytes and the packet's in four.
        found.has_credentials |= begins_credentials(data[8:])
    found.drop(start, end)


def _shortened(marker: int, data: bytes) -> bytes:
    return bytes((_FILL, marker)) + (len(data) + 2).to_bytes(2, "big") + data


def _segment(view: memoryview, position: int) -> tuple[int, int, int]:
    """Return the marker of the segment at `position` and where its data start and end."""
    if view[position] != _FILL:
        raise damaged("JPEG", f"there is no marker at byte {position:,}, where one should be")
    marker = view[position + 1]
    if marker in _WITHOUT_LENGTH or marker == _FILL:
        raise damaged("JPEG", "it ends before its pixels" if marker == _END else f"marker {marker:02X} is misplaced")
    length = int.from_bytes(view[position + 2 : position + 4], "big")
    end = position + 2 + length
    if length < 2:
        raise damaged("JPEG", f"the segment at byte {position:,} has an impossible length")
    if end > len(view):
        raise truncated("JPEG", "its last segment is incomplete")
    return marker, position + 4, end


def _read_frame(segment: memoryview, marker: int) -> Structure:
    precision, height, width, components = _FRAME.unpack_from(segment)
    if marker not in _USUAL_FRAMES or precision != 8:
        raise unsupported("JPEG", f"has {precision} bits and coding process {marker:02X}")
    if components not in (1, 3, 4) or len(segment) != _FRAME.size + 3 * components:
        raise damaged("JPEG", "its frame header has values that no JPEG has")
    return Structure(width, height, is_cmyk=components == 4)
