"""What the walk over a file's pieces finds, and the file without its metadata, cut out without decoding anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# Superboxes of JUMBF (ISO 19566-5) begin with a length and the type `jumb`; the description box in them has a length, the
# type `jumd` and the content's identifier, which for Content Credentials begins with these letters (C2PA 2.2, section 11.1).
_CREDENTIALS = re.compile(rb"(?s:....)jumb(?s:....)jumdc2pa")


@dataclass(slots=True)
class Structure:
    """What a file's structure says. `width` and `height` are as stored, before any EXIF orientation.

    `exif` begins with the TIFF header; `orientation` is given where something else than EXIF says it. `profile` is the colour
    profile in its parts, deflated where `profile_is_deflated`. `is_cmyk` says that the colours are those of print.
    `has_credentials` says that there is a C2PA manifest; whether it is valid is not looked at. `metadata_bytes` counts all that
    is neither pixels nor needed to decode them.
    """

    width: int
    height: int
    has_alpha: bool = False
    is_cmyk: bool = False
    exif: memoryview | None = None
    orientation: int | None = None
    profile: list[memoryview] = field(default_factory=list)
    profile_is_deflated: bool = False
    has_credentials: bool = False
    metadata_bytes: int = 0
    further_bytes: int = 0
    _edits: list[tuple[int, int, bytes]] = field(default_factory=list)

    def drop(self, start: int, end: int, replacement: bytes = b"") -> None:
        """Leave these bytes of metadata out of the bare picture; positions never go back."""
        self.metadata_bytes += end - start
        self._edits.append((start, end, replacement))

    def drop_further(self, start: int, end: int) -> None:
        """Leave out what follows the picture and is no metadata of it: further pictures and padding."""
        self.further_bytes += end - start
        self._edits.append((start, end, b""))

    def replace(self, start: int, end: int, replacement: bytes) -> None:
        """Write other bytes of the same length in the bare picture, wherever they are."""
        self._edits.append((start, end, replacement))

    @property
    def is_bare(self) -> bool:
        """Tell whether there is nothing to leave out."""
        return not self._edits

    def bare(self, view: memoryview) -> bytes:
        """Return the file without metadata: its pixels are the same bytes, and so is what decoders make of them."""
        return b"".join(self._kept(view))

    def _kept(self, view: memoryview) -> Iterator[memoryview | bytes]:
        position = 0
        for start, end, replacement in sorted(self._edits):
            yield view[position:start]
            yield replacement
            position = end
        yield view[position:]


def begins_credentials(box: memoryview) -> bool:
    """Tell whether these bytes begin as the JUMBF box of a C2PA manifest store."""
    return _CREDENTIALS.match(box) is not None
