"""What the benchmarks' pictures are made of: elements of SVG, and a PNG of them."""

from __future__ import annotations

from html import escape
from pathlib import Path

import resvg_py

import omixa

INK, FAINT, RULE = "#1c2430", "#6b7685", "#e3e7ec"
_FONTS = Path(omixa.__file__).parent / "engines" / "illustrator" / "data"


def picture(width: int, height: int, body: str) -> bytes:
    """Return a PNG of elements on white; sizes in pixels."""
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="Inter" fill="{INK}">'
        f'<rect width="100%" height="100%" fill="white"/>{body}</svg>'
    )
    fonts = [str(path) for path in sorted(_FONTS.glob("inter-latin-?00.ttf"))]
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, font_files=fonts, font_family="Inter"))


def text(
    x: float, y: float, words: str, *, size: int, weight: int = 500, colour: str = INK, anchor: str = "start"
) -> str:
    """Return a text whose `anchor` (start, middle or end) is at a point."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{colour}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )


def line(
    x1: float, y1: float, x2: float, y2: float, colour: str, width: float, *, opacity: float = 1, dashes: str = "none"
) -> str:
    """Return a straight line."""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}" '
        f'stroke-opacity="{opacity}" stroke-dasharray="{dashes}" stroke-linecap="butt"/>'
    )


def dot(x: float, y: float, colour: str, *, filled: bool, radius: float = 6) -> str:
    """Return a disc or a circle."""
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour if filled else "white"}" stroke="{colour}" '
        'stroke-width="2"/>'
    )
