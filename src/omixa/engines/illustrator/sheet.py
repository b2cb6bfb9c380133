"""A builder of one SVG document. The short side is always 1000 units, whatever the size in pixels.

What painting costs per pixel decides how scenes are drawn: an opaque flat colour is nearly free, a translucent one costs
four times as much as a flat one, a gradient ten times, a filter more. So skies are bands of flat colour, one per step of
eight bits (the same pixels a gradient gives), and gradients are kept for small areas.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from random import Random
from typing import Final
from xml.sax.saxutils import escape

from omixa.engines.illustrator.colour import mix, rgb
from omixa.engines.illustrator.library import FONT_FAMILY

SHORT_SIDE: Final = 1000
MAX_BANDS: Final = 160
Stops = Sequence[tuple[float, str]]
"""Positions 0..1 with their colours, in rising order."""
Point = tuple[float, float]


def at(stops: Stops, place: float) -> str:
    """Give the colour of a gradient at one position."""
    for (start, first), (end, second) in itertools.pairwise(stops):
        if place <= end:
            return mix(first, second, round(max(0.0, place - start) / max(end - start, 1e-6), 3))
    return stops[-1][1]


def evenly(*colours: str) -> Stops:
    """Space colours evenly."""
    return [(k / (len(colours) - 1), colour) for k, colour in enumerate(colours)]


def trace(*parts: str | float) -> str:
    """Join path commands and coordinates, one decimal each."""
    return " ".join(part if isinstance(part, str) else f"{part:.1f}" for part in parts)


def polygon(points: Iterable[Point]) -> str:
    """Give the path data of a closed polygon."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z"


def smooth(points: Sequence[Point]) -> str:
    """Give the path data of a smooth open curve through all points (a Catmull-Rom spline as Bezier curves)."""
    padded = [points[0], *points, points[-1]]
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for before, start, end, after in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        parts.append(
            f"C{start[0] + (end[0] - before[0]) / 6:.1f} {start[1] + (end[1] - before[1]) / 6:.1f} "
            f"{end[0] - (after[0] - start[0]) / 6:.1f} {end[1] - (after[1] - start[1]) / 6:.1f} {end[0]:.1f} {end[1]:.1f}"
        )
    return "".join(parts)


def disc(x: float, y: float, radius: float) -> str:
    """Give the path data of a full circle, so that many can share one path."""
    return (
        f"M{x - radius:.1f} {y:.1f}a{radius:.2f} {radius:.2f} 0 1 0 {2 * radius:.2f} 0"
        f"a{radius:.2f} {radius:.2f} 0 1 0 {-2 * radius:.2f} 0Z"
    )


def box(x: float, y: float, width: float, height: float) -> str:
    """Give the path data of a rectangle, so that many can share one path."""
    return f"M{x:.1f} {y:.1f}h{width:.1f}v{height:.1f}h{-width:.1f}Z"


class Sheet:
    """Collects definitions and shapes; `w` and `h` are the size in units, `rng` the picture's own random numbers."""

    def __init__(self, width: int, height: int, rng: Random) -> None:
        self.w = SHORT_SIDE * width / min(width, height)
        self.h = SHORT_SIDE * height / min(width, height)
        self.rng = rng
        self._pixels = (width, height)
        self._defs: list[str] = []
        self._body: list[str] = []
        self._ids = 0

    def fresh_id(self) -> str:
        """Give an id that this document has not used."""
        self._ids += 1
        return f"i{self._ids}-"

    def define(self, tag: str, attributes: str, content: str) -> str:
        """Add a definition and give `url(#id)` for it."""
        name = self.fresh_id()
        self._defs.append(f'<{tag} id="{name}" {attributes}>{content}</{tag}>')
        return f"url(#{name})"

    @property
    def shapes(self) -> Sequence[str]:
        """Give all shapes so far, lowest first."""
        return self._body

    def add(self, *shapes: str) -> None:
        """Add shapes above all former ones."""
        self._body.extend(shapes)

    def fade(self, colour: str, start: float, end: float, *, across: bool = False) -> str:
        """Define a gradient from one opacity to another, downwards or to the right."""
        axis = 'x2="1" y2="0"' if across else 'x2="0" y2="1"'
        stops = "".join(
            f'<stop offset="{place}" stop-color="{colour}" stop-opacity="{opacity:.3f}"/>'
            for place, opacity in ((0, start), (1, end))
        )
        return self.define("linearGradient", axis, stops)

    def linear(self, stops: Stops, *, across: bool = False, slanted: bool = False) -> str:
        """Define an opaque linear gradient over the shape's own box."""
        axis = 'x2="1" y2="1"' if slanted else 'x2="1" y2="0"' if across else 'x2="0" y2="1"'
        content = "".join(f'<stop offset="{place:.3f}" stop-color="{colour}"/>' for place, colour in stops)
        return self.define("linearGradient", axis, content)

    def radial(self, stops: Sequence[tuple[float, str, float]], attributes: str = "") -> str:
        """Define a radial gradient of (position, colour, opacity)."""
        content = "".join(
            f'<stop offset="{place:.3f}" stop-color="{colour}" stop-opacity="{opacity:.3f}"/>'
            for place, colour, opacity in stops
        )
        return self.define("radialGradient", attributes, content)

    def path(self, data: str, fill: str, opacity: float = 1.0, extra: str = "") -> None:
        """Fill path data."""
        see_through = f' fill-opacity="{opacity:.3f}"' if opacity < 1 else ""
        self.add(f'<path d="{data}" fill="{fill}"{see_through} {extra}/>')

    def stroke(self, data: str, colour: str, width: float, opacity: float = 1.0, extra: str = "") -> None:
        """Stroke path data with round caps."""
        self.add(
            f'<path d="{data}" fill="none" stroke="{colour}" stroke-width="{width:.2f}" stroke-opacity="{opacity:.3f}" '
            f'stroke-linecap="round" stroke-linejoin="round" {extra}/>'
        )

    def circle(self, x: float, y: float, radius: float, fill: str, opacity: float = 1.0) -> None:
        """Fill a circle."""
        self.path(disc(x, y, radius), fill, opacity)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: str, opacity: float = 1.0) -> None:
        """Fill an ellipse."""
        self.add(
            f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{rx:.1f}" ry="{ry:.1f}" fill="{fill}" fill-opacity="{opacity:.3f}"/>'
        )

    def rect(
        self, x: float, y: float, width: float, height: float, fill: str, opacity: float = 1.0, radius: float = 0.0,
        *, crisp: bool = False,
    ) -> None:  # fmt: skip
        """Fill a rectangle, with round corners when a radius is given; `crisp` ones meet without a seam."""
        rounded = f' rx="{radius:.1f}"' if radius else ""
        see_through = f' fill-opacity="{opacity:.3f}"' if opacity < 1 else ""
        edges = ' shape-rendering="crispEdges"' if crisp else ""
        self.add(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"{rounded} '
            f'fill="{fill}"{see_through}{edges}/>'
        )

    def bands(self, top: float, bottom: float, stops: Stops) -> None:
        """Fill the whole width with a vertical gradient, drawn as flat bands."""
        steps = sum(
            max(abs(a - b) for a, b in zip(rgb(first), rgb(second), strict=True))
            for (_, first), (_, second) in itertools.pairwise(stops)
        )
        count = max(2, min(MAX_BANDS, steps))
        height = (bottom - top) / count
        for k in range(count):
            y = top + k * height
            self.add(
                f'<rect y="{y:.2f}" width="{self.w:.0f}" height="{bottom - y if k == count - 1 else height + 1:.2f}" '
                f'fill="{at(stops, k / (count - 1))}"/>'
            )

    def glow(self, x: float, y: float, radius: float, colour: str, strength: float = 0.6) -> None:
        """Add a soft round light."""
        fill = self.radial([(0, colour, strength), (0.35, colour, strength * 0.42), (1, colour, 0)])
        self.circle(x, y, radius, fill)

    def shadow(self, x: float, y: float, rx: float, ry: float, strength: float = 0.34) -> None:
        """Add a soft shadow on the ground."""
        fill = self.radial([(0, "#05060f", strength), (0.5, "#05060f", strength * 0.6), (1, "#05060f", 0)])
        self.ellipse(x, y, rx, ry, fill)

    def vignette(self, colour: str, strength: float) -> None:
        """Darken the corners; the gradient covers the corners only, because it is dear."""
        rx, ry = self.w / 2, self.h / 2
        fill = self.define(
            "radialGradient",
            f'gradientUnits="userSpaceOnUse" cx="0" cy="0" r="{math.sqrt(2)}" '
            f'gradientTransform="matrix({rx:.1f} 0 0 {ry:.1f} {rx:.1f} {ry:.1f})"',
            f'<stop offset="0.7" stop-color="{colour}" stop-opacity="0"/>'
            f'<stop offset="1" stop-color="{colour}" stop-opacity="{strength}"/>',
        )
        hole = f"M0 {ry:.1f}a{rx:.1f} {ry:.1f} 0 1 0 {2 * rx:.1f} 0a{rx:.1f} {ry:.1f} 0 1 0 {-2 * rx:.1f} 0Z"
        self.path(box(0, 0, self.w, self.h) + hole, fill, extra='fill-rule="evenodd"')

    def text(
        self, x: float, y: float, words: str, size: float, fill: str, *, bold: bool = False, anchor: str = "start",
        opacity: float = 1.0, spacing: float = 0.0, outline: float = 0.0,
    ) -> None:  # fmt: skip
        """Write one line of text, or only its outline; the words are escaped here and nowhere else."""
        paint = (
            f'fill="none" stroke="{fill}" stroke-width="{outline:.1f}" stroke-linejoin="round" stroke-opacity="{opacity:.3f}"'
            if outline
            else f'fill="{fill}" fill-opacity="{opacity:.3f}"'
        )
        self.add(
            f'<text x="{x:.1f}" y="{y:.1f}" font-family="{FONT_FAMILY}" font-size="{size:.1f}" '
            f'font-weight="{700 if bold else 500}" letter-spacing="{spacing:.2f}" text-anchor="{anchor}" {paint}>'
            f"{escape(words)}</text>"
        )

    def round_off(self, radius: float) -> None:
        """Cut the corners of all shapes so far round."""
        clip = self.define("clipPath", "", f'<rect width="{self.w:.1f}" height="{self.h:.1f}" rx="{radius:.1f}"/>')
        self._body = [f'<g clip-path="{clip}">', *self._body, "</g>"]

    def document(self) -> str:
        """Give the finished SVG text."""
        width, height = self._pixels
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{width}" height="{height}" viewBox="0 0 {self.w:.3f} {self.h:.3f}" preserveAspectRatio="none">'
            f"<defs>{''.join(self._defs)}</defs>{''.join(self._body)}</svg>"
        )
