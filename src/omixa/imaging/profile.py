"""Whether a colour profile is sRGB, by what it computes and not by its name (ICC.1:2022, sections 7, 9 and 10).

Read from its bytes alone. What is not surely sRGB is left to a colour engine, in a process that may break.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from .refusals import UnacceptableImage
from .structure import Structure

MAX_PROFILE_BYTES = 4 * 1024 * 1024
"""A profile, inflated. Those of printing presses have a megabyte or two."""

_HEADER_BYTES = 128
_COLOURS, _SIGNATURE = slice(16, 20), slice(36, 40)
_MAX_TAGS = 100
_TAG = struct.Struct(">4sII")
_FIXED = 65_536
# sRGB's primaries as seen under D50, to which profiles adapt them (IEC 61966-2-1, annex F, by the Bradford matrix).
_PRIMARIES: Mapping[bytes, tuple[float, float, float]] = {
    b"rXYZ": (0.4361, 0.2225, 0.0139),
    b"gXYZ": (0.3851, 0.7169, 0.0971),
    b"bXYZ": (0.1431, 0.0606, 0.7141),
}
_PRIMARY_TOLERANCE = 0.002
# Profiles that say sRGB round their curves differently; a plain power of 2.2, which is another space, differs by more.
_CURVE_TOLERANCE = 0.002
_PROBES = (0.1, 0.25, 0.5, 0.75)
# A profile with tables is computed by these and not by its primaries.
_TABLES = frozenset({b"A2B0", b"A2B1", b"A2B2", b"D2B0", b"D2B1"})


def read_profile(structure: Structure) -> bytes | None:
    """Return the colour profile of a picture, None when there is none or it cannot be read.

    Raises UnacceptableImage for one over MAX_PROFILE_BYTES, without inflating more than that.
    """
    if not structure.profile:
        return None
    data = b"".join(structure.profile)
    if structure.profile_is_deflated:
        try:
            data = zlib.decompressobj().decompress(data, MAX_PROFILE_BYTES + 1)
        except zlib.error:
            return None
    if len(data) > MAX_PROFILE_BYTES:
        raise UnacceptableImage(
            "image_too_large", f"its colour profile is over {MAX_PROFILE_BYTES:,} bytes; save it in sRGB"
        )
    return data


def is_srgb(profile: bytes) -> bool:
    """Tell whether a profile gives the colours, or the greys, of sRGB. False when it cannot be read."""
    try:
        tags = _tags(profile)
        if profile[_COLOURS] == b"GRAY":
            return b"kTRC" in tags and _is_srgb_curve(tags[b"kTRC"])
        return (
            profile[_COLOURS] == b"RGB "
            and not _TABLES & tags.keys()
            and all(_is_near(tags[name], wanted) for name, wanted in _PRIMARIES.items())
            and all(_is_srgb_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC"))
        )
    except (struct.error, KeyError, IndexError, TypeError, ArithmeticError):
        return False


def _tags(profile: bytes) -> Mapping[bytes, bytes]:
    if profile[_SIGNATURE] != b"acsp":
        return {}
    (number,) = struct.unpack_from(">I", profile, _HEADER_BYTES)
    entries = (
        _TAG.unpack_from(profile, _HEADER_BYTES + 4 + index * _TAG.size) for index in range(min(number, _MAX_TAGS))
    )
    return {name: profile[offset : offset + size] for name, offset, size in entries}


def _is_near(tag: bytes, wanted: tuple[float, float, float]) -> bool:
    found = struct.unpack_from(">iii", tag, 8)
    return all(
        abs(value / _FIXED - expected) <= _PRIMARY_TOLERANCE for value, expected in zip(found, wanted, strict=True)
    )


def _is_srgb_curve(tag: bytes) -> bool:
    return all(abs(_evaluate(tag, probe) - _srgb(probe)) <= _CURVE_TOLERANCE for probe in _PROBES)


def _srgb(value: float) -> float:
    return float(((value + 0.055) / 1.055) ** 2.4)


def _evaluate(tag: bytes, value: float) -> float:
    """Return what a curve, given as a table or as parameters, makes of a value above its linear part."""
    if tag[:4] == b"para":
        (kind,) = struct.unpack_from(">H", tag, 8)
        exponent, *rest = (number / _FIXED for number in struct.unpack_from(f">{(1, 3, 4, 5, 7)[kind]}i", tag, 12))
        scale, shift = rest[:2] if kind else (1.0, 0.0)
        offset = rest[2] if kind == 2 else rest[4] if kind == 4 else 0.0
        return float((scale * value + shift) ** exponent) + offset
    (length,) = struct.unpack_from(">I", tag, 8)
    if length < 2:
        exponent = struct.unpack_from(">H", tag, 12)[0] / 256 if length else 1.0
        return float(value**exponent)
    place = value * (length - 1)
    low, high = struct.unpack_from(">HH", tag, 12 + 2 * int(place))
    return float((low + (high - low) * (place - int(place))) / 65_535)
