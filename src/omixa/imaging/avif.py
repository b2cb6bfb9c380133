"""The structure of an AVIF: boxes of ISO/IEC 14496-12, items and their properties of ISO/IEC 23008-12, after AVIF 1.1.

Accepted from callers only. An AVIF is always decoded, so nothing is cut out of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .refusals import animated, damaged, truncated, unsupported
from .structure import Structure

MAX_BOXES = 1_000
"""Boxes of one level. A picture of many tiles has some hundreds; a file with more is made to keep a parser busy."""

MAX_TILE_PIXELS = 1 << 20
"""Of a tile, in a picture that is made of several."""

_BRAND, _FILM = b"avif", b"avis"
_BOX = struct.Struct(">I4s")
_LONG_BOX = struct.Struct(">Q")
_IN_64_BITS, _TO_THE_END = 1, 0
# What stands at the top of a file, besides what is skipped.
_TOP = frozenset({b"ftyp", b"meta", b"mdat", b"free", b"skip", b"uuid"})
_FULL_BOX_BYTES = 4
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
# The EXIF orientation that says the same as a rotation, in quarters against the clock, and a mirroring after it: none, of top
# and bottom (0), or of left and right (1).
_ORIENTATIONS: Mapping[tuple[int, int | None], int] = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip

_Boxes = Sequence[tuple[bytes, memoryview]]


@dataclass(frozen=True, slots=True)
class _Size:
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


def is_avif(start: bytes) -> bool:
    """Return whether the first bytes are those of an AVIF, of one picture or of several."""
    if start[4:8] != b"ftyp":
        return False
    brands = start[8 : min(len(start), int.from_bytes(start[:4], "big"))]
    return any(brands[place : place + 4] in (_BRAND, _FILM) for place in range(0, len(brands) - 3, 4))


def read_avif(view: memoryview) -> Structure:
    """Return what the boxes say of the primary picture. Raises UnacceptableImage.

    Limits are held against the picture that is shown, so none that is not shown may be much larger.
    """
    top = list(_boxes(view))
    kinds = [kind for kind, _ in top]
    if b"moov" in kinds or bytes(view[8:12]) == _FILM:
        raise animated("AVIF")
    if strange := [kind for kind in kinds if kind not in _TOP]:
        raise unsupported("AVIF", f"has a box {strange[0].decode('ascii', 'replace')}")
    if kinds.count(b"meta") != 1:
        raise damaged("AVIF", "it does not say what is in it, or says it twice")
    meta = dict(_boxes(top[kinds.index(b"meta")][1][_FULL_BOX_BYTES:]))
    if not {b"pitm", b"iprp", b"iloc", b"iinf"} <= meta.keys():
        raise damaged("AVIF", "it does not say which picture is in it")
    if _end_of_items(meta[b"iloc"]) > len(view):
        raise truncated("AVIF", "its pixels are incomplete")
    parts = dict(_boxes(meta[b"iprp"]))
    properties = list(_boxes(parts.get(b"ipco", memoryview(b""))))
    primary = _primary_item(meta[b"pitm"])
    own = _properties_of(primary, parts.get(b"ipma", memoryview(b"")), properties)
    return _described(own, properties)


def _described(own: _Boxes, properties: _Boxes) -> Structure:
    sizes = [_Size(*struct.unpack_from(">4xII", box)) for kind, box in own if kind == b"ispe"]
    if len(sizes) != 1:
        raise damaged("AVIF", "its picture has no size, or several")
    every = [_Size(*struct.unpack_from(">4xII", box)) for kind, box in properties if kind == b"ispe"]
    # A tile may reach over the edge of the picture that it is a part of.
    if any(one.pixels > sizes[0].pixels + MAX_TILE_PIXELS for one in every):
        raise unsupported("AVIF", "holds a picture larger than the one it shows")
    named = dict(own)
    turned = named[b"irot"][0] & 3 if b"irot" in named else 0
    mirrored = named[b"imir"][0] & 1 if b"imir" in named else None
    alpha = any(kind == b"auxC" and bytes(box[_FULL_BOX_BYTES:]).startswith(_ALPHA) for kind, box in properties)
    found = Structure(sizes[0].width, sizes[0].height, has_alpha=alpha, orientation=_ORIENTATIONS[turned, mirrored])
    found.profile = [box[4:] for kind, box in own if kind == b"colr" and bytes(box[:4]) in (b"prof", b"rICC")][:1]
    return found


def _boxes(view: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the type and the content of each box, which must fill the view."""
    position = 0
    for _ in range(MAX_BOXES):
        if position == len(view):
            return
        size, kind = _BOX.unpack_from(view, position)
        begin = position + _BOX.size
        if size == _IN_64_BITS:
            (size,) = _LONG_BOX.unpack_from(view, begin)
            begin += _LONG_BOX.size
        elif size == _TO_THE_END:
            size = len(view) - position
        if position + size < begin:
            raise damaged("AVIF", "a box is shorter than its own head")
        position += size
        if position > len(view):
            raise truncated("AVIF", "its last box is incomplete")
        yield kind, view[begin:position]
    raise damaged("AVIF", f"it has more than {MAX_BOXES:,} boxes")


def _end_of_items(box: memoryview) -> int:
    """Return the last place in the file where pixels are said to be."""
    version, sizes = box[0], struct.unpack_from(">H", box, _FULL_BOX_BYTES)[0]
    offset_bytes, length_bytes, base_bytes = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    # How many items there are, what each is called and where it lies; the first version says less.
    number_form, item_form = (">H", ">H2x") if version == 0 else (">H", ">HH2x") if version == 1 else (">I", ">IH2x")
    index_bytes = sizes & 15 if version else 0
    (number,) = struct.unpack_from(number_form, box, 6)
    position, last = 6 + struct.calcsize(number_form), 0
    for _ in range(min(number, MAX_BOXES)):
        in_the_file = version == 0 or struct.unpack_from(item_form, box, position)[1] & 15 == 0
        position += struct.calcsize(item_form)
        base, position = _number(box, position, base_bytes)
        (extents,) = struct.unpack_from(">H", box, position)
        position += 2
        for _ in range(min(extents, MAX_BOXES)):
            offset, position = _number(box, position + index_bytes, offset_bytes)
            length, position = _number(box, position, length_bytes)
            last = max(last, base + offset + length) if in_the_file else last
    return last


def _number(box: memoryview, position: int, size: int) -> tuple[int, int]:
    """Return a number of so many bytes, and where the next one begins."""
    end = position + size
    if end > len(box):
        raise damaged("AVIF", "it does not say where its pixels are")
    return int.from_bytes(box[position:end], "big"), end


def _primary_item(box: memoryview) -> int:
    form = ">4xH" if box[0] == 0 else ">4xI"
    (item,) = struct.unpack_from(form, box)
    return int(item)


def _properties_of(item: int, box: memoryview, properties: _Boxes) -> list[tuple[bytes, memoryview]]:
    """Return the properties that an item is associated with, in their order."""
    version, flags, number = struct.unpack_from(">B3sI", box)
    identity = ">HB" if version == 0 else ">IB"
    wide = flags[2] & 1
    position = struct.calcsize(">B3sI")
    for _ in range(min(number, MAX_BOXES)):
        found, count = struct.unpack_from(identity, box, position)
        position += struct.calcsize(identity)
        places = struct.unpack_from(f">{count}{'H' if wide else 'B'}", box, position)
        position += count * (2 if wide else 1)
        if found == item:
            mask = 0x7FFF if wide else 0x7F
            return [properties[(place & mask) - 1] for place in places if place & mask]
    raise damaged("AVIF", "its picture has no properties")
