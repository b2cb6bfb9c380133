"""Scenes with water: the sea, a lake, and the world below the surface."""

from __future__ import annotations

import math

from omixa.engines.illustrator.colour import mix
from omixa.engines.illustrator.look import Look
from omixa.engines.illustrator.plan import Plan
from omixa.engines.illustrator.sheet import Point, Sheet, disc, evenly, polygon, smooth, trace
from omixa.engines.illustrator.sky import clouds, sky
from omixa.engines.illustrator.stage import Stage
from omixa.engines.illustrator.terrain import grass, hill, hill_line, peaks, row_of_trees


def sea(sheet: Sheet, plan: Plan, look: Look) -> Stage:
    """Paint the sea below the sky, glitter under the sun, and a beach with foam."""
    horizon = sheet.h * 0.50
    x, _ = sky(sheet, plan, look, horizon)
    clouds(sheet, plan, look, horizon)
    for k in range(2):
        centre, wide = sheet.w * sheet.rng.uniform(0, 1), sheet.w * sheet.rng.uniform(0.16, 0.3)
        tall = sheet.h * sheet.rng.uniform(0.03, 0.07)
        top = horizon - tall
        data = trace(
            "M", centre - wide, horizon, "Q", centre - wide * 0.3, top, centre, top, "T", centre + wide, horizon, "Z"
        )
        sheet.path(data, look.lit("#5f86a5", 0.58 - 0.2 * k))
    water = (
        ("#7fd6dd", "#2a9fc4", "#11679c")
        if not look.dark
        else (mix(look.sky[3], "#2a6a9c", 0.45), mix(look.sky[1], "#1b4f86", 0.5), mix(look.sky[0], "#0c2a58", 0.5))
    )
    sheet.bands(horizon, sheet.h, evenly(*(look.lit(c) for c in water)) if not look.dark else evenly(*water))
    _ripples(sheet, horizon, sheet.h * 0.86, x, look, 0.72 if look.dark else 0.6)
    beach = sheet.h * 0.85
    line = hill_line(sheet, beach, sheet.h * 0.014, 1.1)
    tail = f"L{sheet.w:.0f} {sheet.h + 2:.0f}L0 {sheet.h + 2:.0f}Z"
    foam = [(px, py - 16) for px, py in line]
    sheet.path(smooth(foam) + tail, look.lit("#9fe3e4"), 0.55)
    sheet.stroke(smooth([(px, py - 4) for px, py in line]), look.lit("#ffffff"), 12, 0.92)
    sheet.path(
        smooth(line) + tail,
        sheet.linear([(0, look.lit("#dcb982")), (0.2, look.lit("#f3dcaa")), (1, look.lit("#d9b071"))]),
    )
    pebbles = "".join(
        disc(sheet.rng.uniform(0, sheet.w), sheet.h * sheet.rng.uniform(0.90, 1.0), sheet.rng.uniform(1.2, 3.4))
        for _ in range(60)
    )
    sheet.path(pebbles, look.lit("#a37f4d"), 0.6)
    return Stage(
        far=sheet.h * 0.9, near=sheet.h * 0.955, air=horizon * 0.8, water=(horizon + sheet.h * 0.06, sheet.h * 0.80)
    )


def lake(sheet: Sheet, plan: Plan, look: Look) -> Stage:
    """Paint a still lake below mountains, which it mirrors, and a near shore."""
    shore = sheet.h * 0.58
    x, _ = sky(sheet, plan, look, shore)
    clouds(sheet, plan, look, shore * 0.8)
    start = len(sheet.shapes)
    for k, (rock, depth) in enumerate((("#7f93b5", 0.5), ("#5c7192", 0.22))):
        peaks(
            sheet,
            shore + 2,
            sheet.h * (0.36 - 0.12 * k),
            look.lit(rock, depth),
            look,
            snow=0.5 - 0.1 * k,
            sun_left=x < sheet.w / 2,
        )
    line = hill_line(sheet, shore - 12, 8, 2)
    sheet.path(smooth(line) + f"L{sheet.w:.0f} {shore + 3:.0f}L0 {shore + 3:.0f}Z", look.lit("#2f6a4f", 0.2))
    row_of_trees(sheet, [(p[0], p[1] + 4) for p in line], 96, look.lit("#1f5a45", 0.14), 40, leafy=0.1)
    mirrored = "".join(sheet.shapes[start:])
    sheet.bands(
        shore, sheet.h, evenly(mix(look.sky[3], look.sky[2], 0.4), mix(look.sky[2], look.sky[1], 0.5), look.sky[0])
    )
    sheet.add(f'<g transform="translate(0 {2 * shore:.1f}) scale(1 -1)">{mirrored}</g>')
    sheet.rect(0, shore, sheet.w, sheet.h - shore, mix(look.sky[1], look.sky[0], 0.4), 0.42)
    _ripples(sheet, shore, sheet.h, x, look, 0.42)
    hill(sheet, sheet.h * 0.9, sheet.h * 0.02, sheet.linear([(0, look.lit("#6fa04c")), (1, look.lit("#2c5a35"))]), 1.3)
    grass(sheet, sheet.h * 0.905, look.lit("#2a5a35"), 90)
    return Stage(
        far=sheet.h * 0.91, near=sheet.h * 0.955, air=shore * 0.75, water=(shore + sheet.h * 0.12, sheet.h * 0.85)
    )


def _ripples(sheet: Sheet, top: float, bottom: float, x: float, look: Look, strength: float) -> None:
    """Glitter on water: dashes below the light, wider and farther apart towards the viewer."""
    rng = sheet.rng
    near, wide = [], []
    for k in range(58):
        depth = (k / 58) ** 1.5
        y = top + 6 + (bottom - top) * depth
        half = (14 + 64 * depth) * rng.uniform(0.4, 1.3)
        centre = x + rng.gauss(0, 20 + 80 * depth)
        near.append(f"M{centre - half:.1f} {y:.1f}h{2 * half:.1f}")
        if k % 2:
            far = rng.uniform(0, sheet.w)
            wide.append(f"M{far - half:.1f} {y:.1f}h{2 * half:.1f}")
    sheet.stroke("".join(near), look.sun, 3.4, strength)
    sheet.stroke("".join(wide), mix(look.sky[3], "#ffffff", 0.4), 2.4, strength * 0.5)


def underwater(sheet: Sheet, plan: Plan, look: Look) -> Stage:
    """Paint light falling through water on a reef."""
    del look
    rng = plan.rng("underwater")
    night = plan.time == "night" or bool(plan.vocabulary & {"deep", "abyss"})
    colours = ("#0d4f86", "#0a3a6e", "#06234e", "#03132f") if night else ("#8ff0ea", "#2fc3d8", "#0e86bd", "#0a4f8c")
    sheet.bands(0, sheet.h, evenly(*colours))
    ray = sheet.fade("#eaffff", 0.42, 0.0)
    for _ in range(round(5 * sheet.w / 1000)):
        x, wide, slant = rng.uniform(-100, sheet.w), rng.uniform(24, 70), rng.uniform(60, 220)
        sheet.path(
            polygon([(x, -2), (x + wide, -2), (x + slant + wide * 2.4, sheet.h * 0.8), (x + slant, sheet.h * 0.8)]), ray
        )
    for k, depth in enumerate((0.72, 0.46)):
        _reef_line(sheet, sheet.h * (0.80 + 0.05 * k), mix("#0b2f52" if not night else "#04142c", colours[2], depth))
    sand = ("#f2deae", "#b99a66") if not night else ("#5f7391", "#22344f")
    line = [(sheet.w * k / 12, sheet.h * 0.90 + 14 * math.sin(k * 1.1 + rng.random())) for k in range(13)]
    _seaweed(sheet, plan, colours, sheet.h * 0.91)
    sheet.path(smooth(line) + f"L{sheet.w:.0f} {sheet.h + 2:.0f}L0 {sheet.h + 2:.0f}Z", sheet.linear(evenly(*sand)))
    _corals(sheet, plan, sheet.h * 0.93)
    bubbles = [(rng.uniform(0, sheet.w), sheet.h * rng.uniform(0.08, 0.9), rng.uniform(3, 13)) for _ in range(34)]
    sheet.stroke("".join(disc(*b) for b in bubbles), "#ffffff", 1.8, 0.6)
    sheet.path("".join(disc(x - r * 0.3, y - r * 0.35, r * 0.26) for x, y, r in bubbles), "#ffffff", 0.85)
    return Stage(far=sheet.h * 0.91, near=sheet.h * 0.96, air=sheet.h * 0.3, water=(sheet.h * 0.12, sheet.h * 0.84))


def _reef_line(sheet: Sheet, base: float, colour: str) -> None:
    rng = sheet.rng
    points: list[Point] = [(0, base)]
    x = 0.0
    while x < sheet.w:
        x += rng.uniform(50, 120)
        points.append((x, base - rng.uniform(-10, 110)))
    sheet.path(smooth(points) + f"L{sheet.w + 130:.0f} {sheet.h:.0f}L0 {sheet.h:.0f}Z", colour)


def _seaweed(sheet: Sheet, plan: Plan, colours: tuple[str, ...], base: float) -> None:
    rng = plan.rng("seaweed")
    for _ in range(round(13 * sheet.w / 1000)):
        x, tall = sheet.w * rng.choice((rng.uniform(0, 0.3), rng.uniform(0.7, 1), rng.random())), rng.uniform(90, 260)
        sway = rng.uniform(18, 36)
        blade = [(x + sway * math.sin(k * 0.9 + x), base - tall * k / 8) for k in range(9)]
        left = [(px - 9 * (1 - k / 8), py) for k, (px, py) in enumerate(blade)]
        right = [(px + 9 * (1 - k / 8), py) for k, (px, py) in enumerate(blade)]
        sheet.path(
            polygon([*left, *right[::-1]]),
            mix(rng.choice(("#1f8f6b", "#3fae5a", "#167a74")), colours[3], rng.uniform(0, 0.4)),
        )


def _corals(sheet: Sheet, plan: Plan, base: float) -> None:
    """Grow branching, domed and tubular corals from the sand, at the sides rather than in the middle."""
    rng = plan.rng("corals")
    for k in range(round(8 * sheet.w / 1000)):
        x = sheet.w * (rng.uniform(0, 0.26) if k % 2 else rng.uniform(0.74, 1.0))
        y, size = base + rng.uniform(-6, 30), rng.uniform(50, 120)
        colour = rng.choice(("#ff6f7d", "#ff9a5a", "#f25fa8", "#b06bff", "#ffd257"))
        kind = rng.randrange(3)
        if kind == 0:
            sheet.stroke("".join(_branch(x, y, size, -90, 3, plan)), colour, size * 0.09)
        elif kind == 1:
            sheet.path(
                f"M{x - size * 0.6:.1f} {y:.1f}a{size * 0.6:.1f} {size * 0.55:.1f} 0 0 1 {size * 1.2:.1f} 0Z", colour
            )
            dots = "".join(
                disc(x + rng.uniform(-0.42, 0.42) * size, y - rng.uniform(0.06, 0.36) * size, size * 0.035)
                for _ in range(14)
            )
            sheet.path(dots, mix(colour, "#ffffff", 0.5), 0.8)
        else:
            for t in range(4):
                wide, tall, tx = size * 0.17, size * rng.uniform(0.5, 1.0), x + (t - 1.5) * size * 0.21
                sheet.rect(tx - wide / 2, y - tall, wide, tall, mix(colour, "#000000", 0.08 * t), radius=wide * 0.4)
                sheet.ellipse(tx, y - tall + wide * 0.22, wide * 0.34, wide * 0.16, mix(colour, "#2a0a2a", 0.55))


def _branch(x: float, y: float, size: float, degrees: float, depth: int, plan: Plan) -> list[str]:
    end_x = x + size * 0.42 * math.cos(math.radians(degrees))
    end_y = y + size * 0.42 * math.sin(math.radians(degrees))
    here = [f"M{x:.1f} {y:.1f}L{end_x:.1f} {end_y:.1f}"]
    if depth:
        for turn_deg in (-34, 6, 36):
            here += _branch(end_x, end_y, size * 0.74, degrees + turn_deg, depth - 1, plan)
    return here
