"""A city by day, by night and in neon."""

from __future__ import annotations

from typing import Final

from omixa.engines.illustrator.colour import mix
from omixa.engines.illustrator.look import Look
from omixa.engines.illustrator.plan import Plan
from omixa.engines.illustrator.sheet import Sheet, box, evenly, polygon
from omixa.engines.illustrator.sky import clouds, mist, sky
from omixa.engines.illustrator.stage import Stage

NEON_LIGHTS: Final = ("#ff3fa4", "#22e6ff", "#b45cff", "#ffd34d", "#3dffb0")


def city(sheet: Sheet, plan: Plan, look: Look) -> Stage:
    """Paint a skyline in three depths, its windows lit at night, and a street that shines when wet or neon."""
    ground = sheet.h * 0.80
    sky(sheet, plan, look, ground * 0.92)
    sheet.bands(ground * 0.92, ground, evenly(look.sky[3], look.haze))
    clouds(sheet, plan, look, ground * 0.8)
    lit = look.dark
    shades = ("#8aa0c4", "#5f7399", "#34405f") if not lit else ("#4a4c86", "#2b2c5c", "#15152f")
    if plan.style == "neon":
        shades = ("#5a1e8c", "#33115f", "#150838")
    for k, shade in enumerate(shades):
        _skyline(
            sheet,
            plan,
            look,
            ground,
            k,
            look.lit(shade, (0.5, 0.26, 0.0)[k]) if not lit else mix(shade, look.haze, (0.4, 0.2, 0.0)[k]),
            lit=lit,
        )
        mist(sheet, ground, sheet.h * 0.16, look.haze, 0.34 if k < 2 else 0.0)
    wet = plan.style == "neon" or plan.weather == "rain" or lit
    _street(sheet, plan, look, ground, wet=wet)
    return Stage(far=sheet.h * 0.875, near=sheet.h * 0.945, air=ground * 0.42, lights=lit)


def _skyline(sheet: Sheet, plan: Plan, look: Look, ground: float, depth: int, colour: str, *, lit: bool) -> None:
    rng = plan.rng(f"skyline{depth}")
    x = -rng.uniform(0, 60)
    walls: list[str] = []
    sides: list[str] = []
    bright: list[str] = []
    soft: list[str] = []
    neon: list[tuple[float, float, float, float]] = []
    while x < sheet.w:
        width = rng.uniform(62, 128) * (0.8 + 0.22 * depth)
        tall = ground * rng.uniform(*((0.34, 0.66), (0.24, 0.52), (0.12, 0.36))[depth])
        top = ground - tall
        walls.append(box(x, top, width, tall))
        walls += _roof(rng.random(), x, top, width)
        sides.append(box(x + width * 0.72, top, width * 0.28, tall))
        step_x, step_y = 17 + 3 * depth, 23 + 5 * depth
        if depth:
            for row in range(int((tall - 30) / step_y)):
                for column in range(int((width - 14) / step_x)):
                    if rng.random() < (0.46 if lit else 0.62):
                        spot = box(x + 10 + column * step_x, top + 16 + row * step_y, step_x * 0.48, step_y * 0.5)
                        (bright if rng.random() < 0.6 else soft).append(spot)
            if lit and rng.random() < 0.45:
                neon.append((x + width * 0.12, top + 30, width * 0.18, tall * rng.uniform(0.25, 0.45)))
        x += width + rng.choice((0, 0, rng.uniform(4, 30)))
    sheet.path("".join(walls), colour)
    sheet.path("".join(sides), mix(colour, "#000018", 0.16))
    neon_style = plan.style == "neon"
    warm, cool = (
        ("#ff5fb8", "#3fe3ff")
        if neon_style
        else ("#ffd88a", "#8fd0ff")
        if lit
        else (mix(colour, "#e8f4ff", 0.55), mix(colour, "#ffffff", 0.32))
    )
    sheet.path("".join(bright), mix(warm, colour, 0.12 if depth == 2 else 0.4))
    sheet.path("".join(soft), mix(cool, colour, 0.25 if depth == 2 else 0.5))
    if plan.style == "neon" and depth:
        for k, (sx, sy, width, tall) in enumerate(neon):
            tone = NEON_LIGHTS[(k + depth) % len(NEON_LIGHTS)]
            sheet.glow(sx + width / 2, sy + tall / 2, min(tall * 0.9, 110), tone, 0.55)
            sheet.rect(sx, sy, width, tall, mix(tone, "#0b0324", 0.25), 0.95, 6)
            sheet.stroke(f"M{sx + width / 2:.1f} {sy + 10:.1f}v{tall - 20:.1f}", mix(tone, "#ffffff", 0.6), 3.4)


def _roof(chance: float, x: float, top: float, width: float) -> list[str]:
    """Give a roof: a step, a spire or a slant, or none."""
    if chance < 0.25:
        return [box(x + width * 0.2, top - 22, width * 0.6, 23)]
    if chance < 0.42:
        return [box(x + width * 0.48, top - 74, width * 0.04, 75), box(x + width * 0.38, top - 26, width * 0.24, 27)]
    if chance < 0.56:
        return [polygon([(x, top + 1), (x + width, top - 36), (x + width, top + 1)])]
    return []


def _street(sheet: Sheet, plan: Plan, look: Look, ground: float, *, wet: bool) -> None:
    rng = plan.rng("street")
    dark = look.dark
    kerb, road = ("#3a3850", "#1b1a2b") if dark else ("#b9bfc9", "#5d636e")
    sheet.rect(0, ground, sheet.w, sheet.h * 0.035, look.lit(kerb))
    sheet.bands(ground + sheet.h * 0.03, sheet.h, evenly(look.lit(road), look.lit(mix(road, "#000000", 0.25))))
    if wet:
        for _ in range(round(13 * sheet.w / 1000)):
            tone = rng.choice(NEON_LIGHTS) if plan.style == "neon" else rng.choice(("#ffd88a", "#ffb86b", "#9fd0ff"))
            x, wide = rng.uniform(0, sheet.w), rng.uniform(14, 46)
            sheet.rect(
                x,
                ground + sheet.h * 0.032,
                wide,
                sheet.h * rng.uniform(0.07, 0.16),
                sheet.fade(tone, 0.75 if dark else 0.25, 0.0),
            )
    dashes = "".join(f"M{x:.0f} {sheet.h * 0.965:.1f}h80" for x in range(-30, int(sheet.w), 150))
    sheet.stroke(dashes, look.lit("#f1e3b0"), 7, 0.8)
