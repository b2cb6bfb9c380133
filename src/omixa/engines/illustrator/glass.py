"""Panes of glass: the spheres behind them, their frost, rims and shadows."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from omixa.engines.illustrator.colour import mix
from omixa.engines.illustrator.sheet import Sheet, evenly
from omixa.engines.illustrator.ui_theme import Theme

MARGIN: Final = 46.0


RADIUS: Final = 26.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in units."""

    x: float
    y: float
    w: float
    h: float

    def inset(self, by: float) -> Box:
        """Give the box without a margin."""
        return Box(self.x + by, self.y + by, self.w - 2 * by, self.h - 2 * by)


def ground(sheet: Sheet, theme: Theme, rng: Random, *, whole: bool) -> list[tuple[float, float, float, str]]:
    """Paint the ground and glossy spheres; give (x, y, radius, colour) of each for the glass to blur.

    Unless `whole`, only the margin around the pane is painted: the pane covers the rest.
    """
    sheet.bands(0, sheet.h, evenly(theme.ground[0], theme.ground[1], theme.ground[0]))
    spots = ((0.92, 0.09, 0.20), (0.05, 0.60, 0.17), (0.60, 0.97, 0.21), (0.27, 0.03, 0.11))
    orbs = []
    everything = Box(0, 0, sheet.w, sheet.h)
    strips = [everything] if whole else _around(everything, MARGIN + 12)
    for k, (x, y, r) in enumerate(spots):
        tone, radius = theme.orbs[k % 3], r * 1000 * rng.uniform(0.9, 1.08)
        px, py = sheet.w * (x + rng.uniform(-0.02, 0.02)), sheet.h * (y + rng.uniform(-0.015, 0.015))
        shades = ((0.0, mix(tone, "#ffffff", 0.55)), (0.45, tone), (0.99, mix(tone, theme.ground[0], 0.74)))
        stops = [*((place, shade, 1.0) for place, shade in shades), (1.0, shades[-1][1], 0.0)]
        focus = f'fx="{px - radius * 0.34:.1f}" fy="{py - radius * 0.4:.1f}"'
        fill = sheet.radial(
            stops, f'gradientUnits="userSpaceOnUse" cx="{px:.1f}" cy="{py:.1f}" r="{radius:.1f}" {focus}'
        )
        for strip in strips:
            _fill_within(sheet, strip, px, py, radius, fill)
        orbs.append((px, py, radius, tone))
    return orbs


def _around(box: Box, margin: float) -> list[Box]:
    """Give the four strips along the edges of a box."""
    return [
        Box(box.x, box.y, box.w, margin),
        Box(box.x, box.y + box.h - margin, box.w, margin),
        Box(box.x, box.y + margin - 2, margin, box.h - 2 * margin + 4),
        Box(box.x + box.w - margin, box.y + margin - 2, margin, box.h - 2 * margin + 4),
    ]


def _fill_within(sheet: Sheet, box: Box, x: float, y: float, reach: float, fill: str, radius: float = 0.0) -> None:
    """Paint the part of a box that a round light reaches; this spares the clipping, which is dear."""
    left, top = max(box.x, x - reach), max(box.y, y - reach)
    wide, tall = min(box.x + box.w, x + reach) - left, min(box.y + box.h, y + reach) - top
    if wide > 0 and tall > 0:
        sheet.rect(left, top, wide, tall, fill, 1, radius)


def _soft_edge(sheet: Sheet, box: Box, radius: float, *, reach: float, strength: float) -> None:
    """Throw a shadow around a box from four strips and four corners; nothing is painted below the box itself."""
    x, y, w, h, size = box.x, box.y, box.w, box.h, radius + reach
    edge = radius / size
    for dx, dy in ((1, 1), (0, 1), (1, 0), (0, 0)):
        corner = sheet.radial(
            [(edge - 0.01, "#000000", 0.0), (edge, "#000000", strength), (edge * 0.5 + 0.5, "#000000", strength * 0.3),
             (1, "#000000", 0.0)], f'cx="{dx}" cy="{dy}" r="1"')  # fmt: skip
        sheet.rect(
            x - reach if dx else x + w - radius, y - reach if dy else y + h - radius, size, size, corner, crisp=True
        )
    up, down = (
        _falloff(sheet, strength, 'x1="0" x2="0" y1="1" y2="0"'),
        _falloff(sheet, strength, 'x1="0" x2="0" y1="0" y2="1"'),
    )
    sheet.rect(x + radius, y - reach, w - 2 * radius, reach, up, crisp=True)
    sheet.rect(x + radius, y + h, w - 2 * radius, reach, down, crisp=True)
    before, after = (
        _falloff(sheet, strength, 'x1="1" x2="0" y1="0" y2="0"'),
        _falloff(sheet, strength, 'x1="0" x2="1" y1="0" y2="0"'),
    )
    sheet.rect(x - reach, y + radius, reach, h - 2 * radius, before, crisp=True)
    sheet.rect(x + w, y + radius, reach, h - 2 * radius, after, crisp=True)


def _falloff(sheet: Sheet, strength: float, axis: str) -> str:
    stops = ((0, strength), (0.5, strength * 0.3), (1, 0.0))
    content = "".join(
        f'<stop offset="{place}" stop-color="#000000" stop-opacity="{opacity:.3f}"/>' for place, opacity in stops
    )
    return sheet.define("linearGradient", axis, content)


def frosted(sheet: Sheet, box: Box, theme: Theme, orbs: list[tuple[float, float, float, str]], radius: float) -> None:
    """Lay the large pane: what lies under it shows as soft light, as through frosted glass."""
    _soft_edge(sheet, box, radius, reach=46, strength=0.6 if theme.dark else 0.2)
    sheet.rect(box.x, box.y, box.w, box.h, mix(theme.ground[1], theme.ground[0], 0.4), 1, radius)
    strength = 0.5 if theme.dark else 0.6
    for x, y, own, tone in orbs:
        reach = own * 1.45
        fill = sheet.radial(
            [(0, tone, strength), (0.4, tone, strength * 0.72), (0.75, tone, strength * 0.22), (1, tone, 0)],
            f'gradientUnits="userSpaceOnUse" cx="{x:.1f}" cy="{y:.1f}" r="{reach:.1f}"',
        )
        _fill_within(sheet, box, x, y, reach, fill, radius)
    rim = sheet.fade("#ffffff", 0.7 if theme.dark else 1.0, 0.12 if theme.dark else 0.6)
    sheet.add(
        f'<rect x="{box.x + 1:.1f}" y="{box.y + 1:.1f}" width="{box.w - 2:.1f}" height="{box.h - 2:.1f}" rx="{radius}" '
        f'fill="none" stroke="{rim}" stroke-width="2"/>'
    )


def glass(
    sheet: Sheet, box: Box, theme: Theme, *, strength: float = 1.0, radius: float = RADIUS, solid: str | None = None
) -> None:
    """Lay a pane of glass: a shadow, a veil, a bright rim above and a dim one below."""
    _soft_edge(sheet, box, radius, reach=16, strength=0.34 if theme.dark else 0.12)
    if solid:
        sheet.rect(box.x, box.y, box.w, box.h, solid, 1, radius)
    elif theme.dark:
        sheet.rect(box.x, box.y, box.w, box.h, theme.ground[0], 0.4, radius)
        sheet.rect(box.x, box.y, box.w, box.h, "#ffffff", 0.09, radius)
    else:
        sheet.rect(box.x, box.y, box.w, box.h, "#ffffff", 0.66, radius)
    rim = sheet.fade("#ffffff", 0.75 if theme.dark else 1.0, 0.10 if theme.dark else 0.5)
    sheet.add(
        f'<rect x="{box.x + 0.8:.1f}" y="{box.y + 0.8:.1f}" width="{box.w - 1.6:.1f}" height="{box.h - 1.6:.1f}" rx="{radius}" '
        f'fill="none" stroke="{rim}" stroke-width="1.6"/>'
    )
