"""Pictures drawn for this project, for things the vendored set does not show."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_HOT_AIR_BALLOON: Final = (
    '<path d="M46 98L56 112H72L82 98" fill="none" stroke="#6b4a2f" stroke-width="1.6"/>'
    '<path d="M64 4C34 4 18 25 18 48C18 70 38 84 48 99H80C90 84 110 70 110 48C110 25 94 4 64 4Z" fill="#e5483f"/>'
    '<path d="M64 4C46 4 36 25 36 48C36 70 48 84 54 99H74C80 84 92 70 92 48C92 25 82 4 64 4Z" fill="#ffd25a"/>'
    '<path d="M64 4C56 4 51 25 51 48C51 70 57 84 60 99H68C71 84 77 70 77 48C77 25 72 4 64 4Z" fill="#e5483f"/>'
    '<path d="M20 40C26 47 44 52 64 52S102 47 108 40C109.4 43 110 46 110 48L109 56C102 62 84 67 64 67S26 62 19 56L18 48'
    'C18 46 18.6 43 20 40Z" fill="#fff6e0" fill-opacity="0.92"/>'
    '<path d="M92 12C103 20 110 33 110 48C110 70 90 84 80 99H74C84 84 98 70 98 46C98 32 96 20 92 12Z" fill="#7a1020" '
    'fill-opacity="0.22"/>'
    '<path d="M34 22C27 30 25 38 26 48" fill="none" stroke="#ffffff" stroke-opacity="0.6" stroke-width="4" '
    'stroke-linecap="round"/>'
    '<path d="M52 108H76L73.5 124H54.5Z" fill="#a8703d"/><path d="M51 106H77V111H51Z" fill="#7d4f28"/>'
    '<path d="M53 115H75M54 120H74" stroke="#7d4f28" stroke-width="1.2"/>'
)

PICTURES: Final[Mapping[str, tuple[str, int, int, int, int, int, str]]] = MappingProxyType(
    {"hot-air-balloon": (_HOT_AIR_BALLOON, 18, 4, 110, 124, 4, "#e5483f")}
)
"""Rows of the same shape as those of the vendored set."""
