"""Scenes under a roof: a photo studio and a room."""

from __future__ import annotations

import math

from omixa.engines.illustrator.colour import from_hls, hls, light, mix
from omixa.engines.illustrator.look import Look
from omixa.engines.illustrator.plan import Plan
from omixa.engines.illustrator.sheet import Sheet, box, disc, evenly, polygon, smooth, trace
from omixa.engines.illustrator.sky import mist
from omixa.engines.illustrator.stage import Stage


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
        for scale, tone in ((1.0, mix(accent, base, 0.35)), (0.78, mix(accent, "#ffffff", 0.2))):
            r = arch * scale
            gate = trace("M", x - r, floor, "v", -arch * 0.9, "a", r, r, "0 0 1", 2 * r, 0, "v", arch * 0.9, "Z")
            sheet.path(gate, tone)
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
        data = trace(
            "M", edge, y - 34, "L", inner, y - 34, "Q", inner + side * 20, y + height * 0.5, edge - side * 34, bottom + 60,
            "L", edge + side * 14, bottom + 60, "Z",
        )  # fmt: skip
        sheet.path(data, curtain)
        folds = "".join(
            trace(
                "M",
                edge - side * d,
                y - 30,
                "Q",
                edge - side * (d - 6),
                y + height * 0.5,
                edge - side * d * 0.4,
                bottom + 56,
            )
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
        hue, foot = rng.uniform(0, 360), top + height - 14
        sheet.circle(left + width * 0.5, top + height * 0.42, width * 0.24, look.lit(from_hls(hue, 0.62, 0.6)))
        sheet.path(
            trace("M", left + 14, foot, "Q", left + width * 0.4, top + height * 0.45, left + width - 14, foot, "Z"),
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
        stem = y - height * 0.22
        data = trace("M", x, stem, "Q", bend[0] - 16, bend[1], *tip, "Q", bend[0] + 24, bend[1] + 12, x, stem, "Z")
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
