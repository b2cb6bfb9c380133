"""Scenes with little sky of their own: city, space, underwater, studio and room."""

from __future__ import annotations

import math
from typing import Final

from omixa.engines.illustrator.colour import from_hls, hls, light, mix
from omixa.engines.illustrator.look import Look
from omixa.engines.illustrator.nature import Stage, clouds, mist, sky, stars
from omixa.engines.illustrator.plan import Plan
from omixa.engines.illustrator.sheet import Point, Sheet, box, disc, evenly, polygon, smooth

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
    walls, sides, bright, soft, neon = [], [], [], [], []
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


def space(sheet: Sheet, plan: Plan, look: Look) -> Stage:
    """Paint nebulae, stars and planets above the curve of a world."""
    del look
    rng = plan.rng("space")
    hue = rng.uniform(200, 330)
    sheet.bands(
        0, sheet.h, evenly(from_hls(hue, 0.03, 0.7), from_hls(hue + 14, 0.08, 0.62), from_hls(hue + 34, 0.17, 0.55))
    )
    for k in range(4):
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
        arc = f"M{x - radius * 0.97:.1f} {y - ry * 0.42:.1f}C{x - rx * 1.3:.1f} {y + ry * 0.3:.1f} {x - rx * 0.8:.1f} {y + ry:.1f} {x:.1f} {y + ry:.1f}S{x + rx * 1.3:.1f} {y + ry * 0.3:.1f} {x + radius * 0.97:.1f} {y - ry * 0.42:.1f}"
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


def backdrop_colour(plan: Plan) -> str:
    """Choose the colour of a studio or room: the prompt's own colour, else the seed's."""
    taken = {s.colour for s in plan.subjects}
    if "white" in plan.vocabulary and plan.style != "mono":
        return "#eef0f2"
    if "black" in plan.vocabulary and plan.style != "mono":
        return "#23242a"
    named = next((c for c in plan.colours if c not in taken), None)
    rng = plan.rng("backdrop")
    if named:
        hue, lightness, saturation = hls(named)
        return from_hls(hue, 0.35 + 0.5 * lightness, saturation * 0.72)
    return from_hls(rng.uniform(0, 360), rng.choice((0.62, 0.74, 0.82)), rng.uniform(0.42, 0.66))


def studio(sheet: Sheet, plan: Plan, look: Look) -> Stage:
    """Paint a seamless backdrop with an arch, a pedestal and a fall of light."""
    base = backdrop_colour(plan)
    if look.dark and plan.style != "neon" and light(base) > 0.3:
        base = mix(base, "#14162c", 0.62)
    floor = sheet.h * 0.70
    sheet.bands(0, floor, evenly(mix(base, "#ffffff", 0.12), mix(base, "#ffffff", 0.34)))
    x = sheet.w / 2
    rng = plan.rng("studio")
    arch, accent = (
        min(sheet.w, sheet.h) * 0.33,
        from_hls(hls(base)[0] + rng.choice((24, -28, 160)), min(0.8, light(base) * 0.5 + 0.42), 0.5),
    )
    if plan.style == "minimal":
        accent = mix(base, "#ffffff", 0.5)
    if rng.random() < 0.5:
        sheet.path(
            f"M{x - arch:.1f} {floor:.1f}v{-arch * 0.9:.1f}a{arch:.1f} {arch:.1f} 0 0 1 {2 * arch:.1f} 0v{arch * 0.9:.1f}Z",
            mix(accent, base, 0.35),
        )
        sheet.path(
            f"M{x - arch * 0.78:.1f} {floor:.1f}v{-arch * 0.9:.1f}a{arch * 0.78:.1f} {arch * 0.78:.1f} 0 0 1 {2 * arch * 0.78:.1f} 0v{arch * 0.9:.1f}Z",
            mix(accent, "#ffffff", 0.2),
        )
    else:
        sheet.circle(x, floor - arch * 0.98, arch * 1.12, mix(accent, base, 0.35))
        sheet.circle(x, floor - arch * 0.98, arch * 0.9, mix(accent, "#ffffff", 0.2))
    sheet.bands(floor, sheet.h, evenly(mix(base, "#000000", 0.10), mix(base, "#ffffff", 0.16)))
    mist(sheet, floor + 2, sheet.h * 0.03, "#000000", 0.10)
    sheet.path(polygon([(0, 0), (sheet.w * 0.34, 0), (sheet.w * 0.78, sheet.h), (0, sheet.h)]), "#ffffff", 0.05)
    count = sum(s.count for s in plan.subjects)
    rx = min(sheet.w * 0.44, 190 + 62 * min(count, 5))
    top = sheet.h * 0.795
    _pedestal(sheet, x, top, rx, mix(base, "#ffffff", 0.42))
    return Stage(far=top + 4, near=top + rx * 0.10, air=floor * 0.6, platform=(x, rx))


def _pedestal(sheet: Sheet, x: float, top: float, rx: float, colour: str) -> None:
    ry, tall = rx * 0.2, min(sheet.h * 0.10, 110)
    sheet.shadow(x, top + tall + ry * 0.4, rx * 1.3, ry * 1.5, 0.36)
    side = sheet.linear(
        [(0, mix(colour, "#000000", 0.22)), (0.35, colour), (1, mix(colour, "#000000", 0.34))], across=True
    )
    sheet.path(f"M{x - rx:.1f} {top:.1f}v{tall:.1f}a{rx:.1f} {ry:.1f} 0 0 0 {2 * rx:.1f} 0v{-tall:.1f}Z", side)
    sheet.ellipse(x, top, rx, ry, mix(colour, "#ffffff", 0.35))
    sheet.ellipse(x, top + 3, rx * 0.94, ry * 0.92, mix(colour, "#ffffff", 0.14))


def room(sheet: Sheet, plan: Plan, look: Look) -> Stage:
    """Paint a wall with a window on the time of day, a wooden floor or table, a picture, a lamp and a plant."""
    base = mix(backdrop_colour(plan), "#f3ead9", 0.45)
    wall = mix(base, "#171b38", 0.62) if look.dark else base
    table = bool(
        plan.vocabulary
        & {"table", "desk", "kitchen", "cafe", "restaurant", "bar", "shelf", "bakery", "windowsill", "workshop"}
    )
    floor = sheet.h * (0.74 if table else 0.70)
    sheet.bands(0, floor, evenly(mix(wall, "#ffffff", 0.06), mix(wall, "#000000", 0.06)))
    x = sheet.w * plan.rng("room").uniform(0.30, 0.38)
    _window(sheet, plan, look, x, sheet.h * 0.11, min(sheet.w * 0.36, 430), sheet.h * 0.36, wall)
    _wall_pictures(sheet, plan, look, sheet.w * 0.76, sheet.h * 0.16)
    wood = mix("#b9814f", "#1a1630", 0.5) if look.dark else "#b9814f"
    if table:
        _table(sheet, floor, wood)
    else:
        _floor(
            sheet,
            floor,
            wood,
            mix(plan.colours[0] if plan.colours else from_hls(hls(base)[0] + 150, 0.55, 0.4), wood, 0.15),
        )
    _plant(
        sheet,
        sheet.w * 0.93,
        floor + (sheet.h * 0.06 if not table else 14),
        sheet.h * (0.3 if not table else 0.2),
        look,
    )
    if look.dark or plan.style == "warm":
        sheet.glow(sheet.w * 0.62, sheet.h * 0.30, 330, "#ffc56b", 0.5)
    _lamp(sheet, sheet.w * 0.62, sheet.h * 0.27, look)
    if table:
        return Stage(far=sheet.h * 0.82, near=sheet.h * 0.90, air=floor * 0.5, lights=look.dark)
    return Stage(far=sheet.h * 0.82, near=sheet.h * 0.92, air=floor * 0.5, lights=look.dark)


def _window(sheet: Sheet, plan: Plan, look: Look, x: float, y: float, width: float, height: float, wall: str) -> None:
    frame = mix("#ffffff", wall, 0.12 if not look.dark else 0.45)
    left = x - width / 2
    sheet.rect(left - 16, y - 16, width + 32, height + 32, frame, radius=6)
    bottom = y + height
    for k in range(24):
        tone = mix(look.sky[min(3, k * 4 // 24)], look.sky[min(3, k * 4 // 24 + 1)], (k * 4 % 24) / 24)
        sheet.rect(left, y + height * k / 24, width, height / 24 + 1, tone)
    if look.dark:
        sheet.path(
            "".join(
                disc(left + width * sheet.rng.random(), y + height * 0.6 * sheet.rng.random(), 1.6) for _ in range(24)
            ),
            "#ffffff",
            0.9,
        )
    sheet.circle(left + width * 0.72, y + height * 0.28, 30, look.sun)
    crest = [
        (left + width * k / 6, bottom - height * (0.2 + 0.09 * math.sin(k * 1.3 + plan.seed % 7))) for k in range(7)
    ]
    sheet.path(smooth(crest) + f"L{left + width:.1f} {bottom:.1f}L{left:.1f} {bottom:.1f}Z", look.lit("#5c9a62", 0.2))
    if plan.weather == "rain":
        sheet.stroke(
            "".join(
                f"M{left + width * sheet.rng.random():.1f} {y + (height - 30) * sheet.rng.random():.1f}l-6 24"
                for _ in range(60)
            ),
            "#ffffff",
            2,
            0.6,
        )
    if plan.weather == "snow" or plan.vocabulary & {"winter", "christmas"}:
        sheet.path(
            "".join(
                disc(
                    left + 6 + (width - 12) * sheet.rng.random(),
                    y + 6 + (height - 12) * sheet.rng.random(),
                    sheet.rng.uniform(2, 5),
                )
                for _ in range(50)
            ),
            "#ffffff",
            0.9,
        )
    sheet.path(box(x - 6, y, 12, height) + box(left, y + height * 0.46, width, 11), frame)
    sheet.rect(left - 30, bottom + 14, width + 60, 18, mix(frame, "#000000", 0.06), radius=4)
    curtain = mix(from_hls(hls(wall)[0] + 40, 0.72, 0.45), "#1a1c3a", 0.5 if look.dark else 0.0)
    for side in (-1, 1):
        edge = x + side * (width / 2 + 44)
        inner = x + side * width * 0.30
        data = f"M{edge:.1f} {y - 34:.1f}L{inner:.1f} {y - 34:.1f}Q{inner + side * 20:.1f} {y + height * 0.5:.1f} {edge - side * 34:.1f} {bottom + 60:.1f}L{edge + side * 14:.1f} {bottom + 60:.1f}Z"
        sheet.path(data, curtain)
        folds = "".join(
            f"M{edge - side * d:.1f} {y - 30:.1f}Q{edge - side * (d - 6):.1f} {y + height * 0.5:.1f} {edge - side * d * 0.4:.1f} {bottom + 56:.1f}"
            for d in (24, 56)
        )
        sheet.stroke(folds, mix(curtain, "#000000", 0.14), 4, 0.8)
    sheet.stroke(
        f"M{left - 62:.1f} {y - 38:.1f}h{width + 124:.1f}", mix("#6b4a32", "#101226", 0.4 if look.dark else 0.0), 9
    )


def _wall_pictures(sheet: Sheet, plan: Plan, look: Look, x: float, y: float) -> None:
    rng = plan.rng("pictures")
    for k, (width, height) in enumerate(((150, 190), (108, 108))):
        left, top = x - 20 + 178 * k - 60, y + 46 * k
        if left + width > sheet.w - 20:
            continue
        sheet.rect(left - 9, top - 9, width + 18, height + 18, look.lit("#3b2d26"), radius=3)
        sheet.rect(left, top, width, height, look.lit("#f8f3e8"))
        hue = rng.uniform(0, 360)
        sheet.circle(left + width * 0.5, top + height * 0.42, width * 0.24, look.lit(from_hls(hue, 0.62, 0.6)))
        sheet.path(
            f"M{left + 14:.1f} {top + height - 14:.1f}Q{left + width * 0.4:.1f} {top + height * 0.45:.1f} {left + width - 14:.1f} {top + height - 14:.1f}Z",
            look.lit(from_hls(hue + 140, 0.45, 0.5)),
        )


def _table(sheet: Sheet, top: float, wood: str) -> None:
    sheet.bands(top, top + sheet.h * 0.20, evenly(mix(wood, "#ffffff", 0.22), wood))
    sheet.bands(top + sheet.h * 0.20, sheet.h, evenly(mix(wood, "#2a1408", 0.42), mix(wood, "#1a0c06", 0.66)))
    rng = sheet.rng
    grain = "".join(
        f"M{rng.uniform(-80, sheet.w):.0f} {top + sheet.h * rng.uniform(0.012, 0.19):.1f}h{rng.uniform(80, 300):.0f}"
        for _ in range(34)
    )
    sheet.stroke(grain, mix(wood, "#3a1c0c", 0.4), 2, 0.35)
    sheet.rect(0, top, sheet.w, 5, mix(wood, "#ffffff", 0.45), 0.8)


def _floor(sheet: Sheet, top: float, wood: str, rug: str) -> None:
    sheet.bands(top, sheet.h, evenly(mix(wood, "#000000", 0.12), mix(wood, "#ffffff", 0.12)))
    sheet.rect(0, top - 22, sheet.w, 22, mix(wood, "#ffffff", 0.5))
    middle = sheet.w / 2
    boards = "".join(f"M{middle + k * 74:.1f} {top:.1f}L{middle + k * 150:.1f} {sheet.h:.1f}" for k in range(-12, 13))
    sheet.stroke(boards, mix(wood, "#2a1408", 0.4), 2.4, 0.5)
    for scale, tone in ((1.0, rug), (0.86, mix(rug, "#ffffff", 0.3)), (0.72, rug)):
        sheet.ellipse(middle, sheet.h * 0.885, min(sheet.w * 0.43, 520) * scale, sheet.h * 0.085 * scale, tone)


def _plant(sheet: Sheet, x: float, y: float, height: float, look: Look) -> None:
    pot = look.lit("#c96f4a")
    sheet.shadow(x, y, height * 0.34, height * 0.06)
    for k in range(9):
        angle = math.radians(-160 + 17.5 * k)
        reach = height * (0.62 + 0.2 * math.sin(k * 2.1))
        tip = (x + reach * 0.62 * math.cos(angle), y - height * 0.28 + reach * math.sin(angle))
        bend = (x + reach * 0.18 * math.cos(angle), y - height * 0.28 + reach * 0.72 * math.sin(angle))
        data = f"M{x:.1f} {y - height * 0.22:.1f}Q{bend[0] - 16:.1f} {bend[1]:.1f} {tip[0]:.1f} {tip[1]:.1f}Q{bend[0] + 24:.1f} {bend[1] + 12:.1f} {x:.1f} {y - height * 0.22:.1f}Z"
        sheet.path(data, look.lit(("#2f8f5b", "#3fa868", "#23744a")[k % 3]))
    wide = height * 0.17
    sheet.path(
        polygon(
            [(x - wide, y - height * 0.28), (x + wide, y - height * 0.28), (x + wide * 0.72, y), (x - wide * 0.72, y)]
        ),
        pot,
    )
    sheet.rect(x - wide * 1.1, y - height * 0.31, wide * 2.2, height * 0.07, mix(pot, "#ffffff", 0.16), radius=4)


def _lamp(sheet: Sheet, x: float, y: float, look: Look) -> None:
    sheet.stroke(f"M{x:.1f} 0V{y - 40:.1f}", look.lit("#2e2a2a"), 4)
    shade = "#ffcf70" if look.dark else look.lit("#e3b04b")
    sheet.path(f"M{x - 26:.1f} {y - 42:.1f}h52l46 78h-144Z", shade)
    sheet.ellipse(x, y + 36, 72, 10, mix(shade, "#ffffff", 0.45))
