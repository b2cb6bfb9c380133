"""Outer space."""

from __future__ import annotations

from omixa.engines.illustrator.colour import from_hls, mix
from omixa.engines.illustrator.look import Look
from omixa.engines.illustrator.plan import Plan
from omixa.engines.illustrator.sheet import Sheet, box, evenly, trace
from omixa.engines.illustrator.sky import stars
from omixa.engines.illustrator.stage import Stage


def space(sheet: Sheet, plan: Plan, look: Look) -> Stage:
    """Paint nebulae, stars and planets above the curve of a world."""
    del look
    rng = plan.rng("space")
    hue = rng.uniform(200, 330)
    sheet.bands(
        0, sheet.h, evenly(from_hls(hue, 0.03, 0.7), from_hls(hue + 14, 0.08, 0.62), from_hls(hue + 34, 0.17, 0.55))
    )
    for _ in range(4):
        tone = from_hls(hue + rng.choice((-60, -28, 20, 52)), 0.56, 0.75)
        sheet.glow(
            sheet.w * rng.uniform(0.05, 0.95), sheet.h * rng.uniform(0.05, 0.8), rng.uniform(210, 330), tone, 0.36
        )
    stars(sheet, plan, sheet.h, 330)
    _planet(
        sheet,
        sheet.w * rng.choice((0.17, 0.83)),
        sheet.h * rng.uniform(0.14, 0.26),
        rng.uniform(70, 115),
        hue + 150,
        ringed=rng.random() < 0.6,
    )
    _planet(
        sheet,
        sheet.w * rng.uniform(0.4, 0.6),
        sheet.h * rng.uniform(0.08, 0.14),
        rng.uniform(18, 32),
        hue + 60,
        ringed=False,
    )
    if not plan.vocabulary & {"floating", "nebula", "galaxy"}:
        _world(sheet, hue + rng.choice((-40, 100, 180)))
    return Stage(far=sheet.h * 0.86, near=sheet.h * 0.93, air=sheet.h * 0.74, lights=True)


def _planet(sheet: Sheet, x: float, y: float, radius: float, hue: float, *, ringed: bool) -> None:
    rng = sheet.rng
    base = from_hls(hue, 0.56, 0.6)
    clip = sheet.define("clipPath", "", f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>')
    sheet.circle(x, y, radius, base)
    stripes = []
    level = -radius
    while level < radius:
        tall = rng.uniform(0.08, 0.22) * radius
        stripes.append(box(x - radius, y + level, 2 * radius, tall))
        level += tall + rng.uniform(0.12, 0.3) * radius
    shine = sheet.radial(
        [(0, "#ffffff", 0.42), (0.5, "#ffffff", 0.0), (0.72, "#05030f", 0.12), (1, "#05030f", 0.78)],
        'cx="0.32" cy="0.3" r="0.82"',
    )
    sheet.add(f'<g clip-path="{clip}">')
    sheet.path("".join(stripes), from_hls(hue + 22, 0.68, 0.6), 0.55)
    sheet.circle(x, y, radius, shine)
    sheet.add("</g>")
    if ringed:
        rx, ry = radius * 1.75, radius * 0.36
        near, high = radius * 0.97, y - ry * 0.42
        arc = trace(
            "M", x - near, high, "C", x - rx * 1.3, y + ry * 0.3, x - rx * 0.8, y + ry, x, y + ry,
            "S", x + rx * 1.3, y + ry * 0.3, x + near, high,
        )  # fmt: skip
        sheet.add(f'<g transform="rotate(-16 {x:.1f} {y:.1f})">')
        sheet.stroke(arc, from_hls(hue + 40, 0.78, 0.5), radius * 0.13, 0.85)
        sheet.stroke(arc, from_hls(hue + 40, 0.5, 0.4), radius * 0.03, 0.9)
        sheet.add("</g>")


def _world(sheet: Sheet, hue: float) -> None:
    """Paint the ground of a small world with craters and a rim of light."""
    rng = sheet.rng
    top, radius = sheet.h * 0.80, sheet.w * 1.5
    sheet.circle(sheet.w / 2, top + radius - 14, radius + 10, from_hls(hue, 0.72, 0.7), 0.28)
    ground = from_hls(hue, 0.42, 0.28)
    sheet.circle(sheet.w / 2, top + radius, radius, ground)
    for _ in range(round(13 * sheet.w / 1000)):
        x, y = rng.uniform(0, sheet.w), sheet.h * rng.uniform(0.86, 0.99)
        rx = rng.uniform(18, 62)
        sheet.ellipse(x, y, rx, rx * 0.3, mix(ground, "#000000", 0.3))
        sheet.ellipse(x + rx * 0.06, y + rx * 0.06, rx * 0.9, rx * 0.22, mix(ground, "#ffffff", 0.1))
