"""Which way is up: the one entry of EXIF that matters for pixels (TIFF 6.0, section 2; Exif 2.32, section 4.6.4)."""

from __future__ import annotations

import struct

from .structure import Structure

UPRIGHT = 1

_ORIENTATION, _SHORT = 0x0112, 3
_ORIENTATIONS = range(1, 9)
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
# Directories of cameras have some dozens of entries; the orientation is among the first.
_MAX_ENTRIES = 512
_ENTRY_BYTES = 12


def read_orientation(exif: memoryview | None) -> int:
    """Return the orientation from 1 to 8 that EXIF data give, 1 where there is none or it cannot be read."""
    if exif is None or (order := _BYTE_ORDERS.get(bytes(exif[:4]))) is None:
        return UPRIGHT
    entry = struct.Struct(f"{order}HHIH2x")
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, 4)
        (number,) = struct.unpack_from(f"{order}H", exif, directory)
        for index in range(min(number, _MAX_ENTRIES)):
            tag, kind, count, value = entry.unpack_from(exif, directory + 2 + index * _ENTRY_BYTES)
            if tag == _ORIENTATION:
                return value if (kind, count) == (_SHORT, 1) and value in _ORIENTATIONS else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT


def orientation_of(structure: Structure) -> int:
    """Return the EXIF orientation by which a picture is shown, from 1 to 8."""
    return read_orientation(structure.exif) if structure.orientation is None else structure.orientation


def swaps_sides(orientation: int) -> bool:
    """Tell whether a picture of this orientation is upright only with width and height exchanged."""
    return orientation >= 5
