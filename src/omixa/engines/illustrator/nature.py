"""Skies and the outdoor scenes: sea, lake, mountains, forest, meadow, desert and snow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from omixa.engines.illustrator.colour import mix
from omixa.engines.illustrator.look import Look
from omixa.engines.illustrator.plan import Plan
from omixa.engines.illustrator.sheet import Point, Sheet, disc, evenly, polygon, smooth


@dataclass(frozen=True, slots=True)
class Stage:
    """Where subjects may go: baselines between `far` and `near`, air above `air`, water between two levels (or none)."""

    far: float
    near: float
    air: float
    water: tuple[float, float] | None = None
    platform: tuple[float, float] | None = None  # centre x and top y of a pedestal or table
    lights: bool = False


CLOUDS_PER_WIDTH: Final = 4


def sky(sheet: Sheet, plan: Plan, look: Look, horizon: float) -> Point:
    """Paint the sky down to the horizon; give the place of the sun or moon."""
    sheet.bands(0, horizon + 2, evenly(*look.sky))
    rng = plan.rng("sky")
    height = {"day": 0.24, "night": 0.24, "sunset": 0.80, "dawn": 0.74}[plan.time]
    x, y = sheet.w * rng.choice((rng.uniform(0.16, 0.36), rng.uniform(0.64, 0.84))), horizon * height
    if plan.time == "night":
        stars(sheet, plan, horizon, 170)
    if plan.weather not in {"rain", "fog", "snow"} or look.dark:
        _sun(sheet, plan, look, x, y)
    if plan.weather == "aurora":
        aurora(sheet, plan, horizon)
    if plan.weather == "rainbow":
        _rainbow(sheet, horizon)
    return x, y


def _sun(sheet: Sheet, plan: Plan, look: Look, x: float, y: float) -> None:
    radius = {"day": 62, "night": 66, "sunset": 96, "dawn": 84}[plan.time]
    sheet.glow(x, y, radius * (3.1 if plan.time != "day" else 2.8), look.sun, 0.72)
    if plan.style == "neon":
        _striped_sun(sheet, x, y, radius * 1.5)
        return
    sheet.circle(x, y, radius, look.sun)
    if plan.time == "night":
        craters = "".join(disc(x + dx * radius, y + dy * radius, r * radius)
                          for dx, dy, r in ((-0.3, -0.25, 0.2), (0.28, 0.12, 0.26), (-0.12, 0.45, 0.15), (0.35, -0.42, 0.11)))  # fmt: skip
        sheet.path(craters, "#cfcbb8", 0.6)


def _striped_sun(sheet: Sheet, x: float, y: float, radius: float) -> None:
    """Paint the sun of the eighties: cut by lines that widen downwards."""
    fill = sheet.linear(evenly("#fff09a", "#ff7ab8", "#ff2d95"))
    slices = []
    level = -radius
    for k in range(9):
        bottom = level + radius * (0.42 - 0.028 * k if k == 0 else 0.25 - 0.012 * k)
        slices.append(_slice(x, y, radius, level, min(bottom, radius)))
        level = bottom + radius * 0.022 * (k + 1)
        if level >= radius:
            break
    sheet.path("".join(slices), fill)


def _slice(x: float, y: float, radius: float, top: float, bottom: float) -> str:
    """Give the part of a disc between two levels."""
    half_top, half_bottom = (math.sqrt(max(radius**2 - v**2, 0)) for v in (top, bottom))
    return (
        f"M{x - half_top:.1f} {y + top:.1f}L{x + half_top:.1f} {y + top:.1f}A{radius:.1f} {radius:.1f} 0 0 1 "
        f"{x + half_bottom:.1f} {y + bottom:.1f}L{x - half_bottom:.1f} {y + bottom:.1f}A{radius:.1f} {radius:.1f} 0 0 1 "
        f"{x - half_top:.1f} {y + top:.1f}Z"
    )


def stars(sheet: Sheet, plan: Plan, bottom: float, count: int) -> None:
    """Scatter stars of three sizes above a level."""
    rng = plan.rng("stars")
    count = round(count * sheet.w / 1000)
    for share, radius, opacity in ((0.62, 0.9, 0.55), (0.3, 1.5, 0.8), (0.08, 2.4, 1.0)):
        data = "".join(
            disc(rng.uniform(0, sheet.w), bottom * rng.random() ** 1.25, radius) for _ in range(round(count * share))
        )
        sheet.path(data, "#ffffff", opacity)
    for _ in range(5):
        x, y, size = rng.uniform(0, sheet.w), bottom * rng.uniform(0.04, 0.6), rng.uniform(7, 13)
        sheet.path(
            f"M{x:.1f} {y - size:.1f}Q{x:.1f} {y:.1f} {x + size:.1f} {y:.1f}Q{x:.1f} {y:.1f} {x:.1f} {y + size:.1f}"
            f"Q{x:.1f} {y:.1f} {x - size:.1f} {y:.1f}Q{x:.1f} {y:.1f} {x:.1f} {y - size:.1f}Z",
            "#ffffff",
            0.9,
        )


def aurora(sheet: Sheet, plan: Plan, horizon: float) -> None:
    """Hang two curtains of northern light."""
    rng = plan.rng("aurora")
    for colour, strength in (("#4dffb0", 0.5), ("#7a6bff", 0.34)):
        base = horizon * rng.uniform(0.42, 0.62)
        phase = rng.uniform(0, 6)
        top, low = [], []
        for k in range(17):
            x = sheet.w * k / 16
            wave = math.sin(k * 0.7 + phase) * 46 + math.sin(k * 1.7 + phase) * 18
            low.append((x, base + wave))
            top.append((x, base + wave - horizon * (0.26 + 0.08 * math.sin(k * 1.1 + phase))))
        fill = sheet.fade(colour, 0.0, strength)
        sheet.path(smooth(top) + "L" + smooth(low[::-1])[1:] + "Z", fill)


def _rainbow(sheet: Sheet, horizon: float) -> None:
    radius = min(sheet.w * 0.5, horizon * 0.94)
    for k, colour in enumerate(("#ff5b5b", "#ffa24d", "#ffe45c", "#67d67a", "#53b4ff", "#9b7bff")):
        r = radius - k * 15
        data = f"M{sheet.w / 2 - r:.1f} {horizon:.1f}a{r:.1f} {r:.1f} 0 0 1 {2 * r:.1f} 0"
        sheet.stroke(data, colour, 16, 0.55)


def clouds(sheet: Sheet, plan: Plan, look: Look, horizon: float) -> None:
    """Drift flat-bottomed clouds through the sky: more under rain and none at night without a word for them."""
    rng = plan.rng("clouds")
    many = plan.weather in {"rain", "cloudy", "snow"}
    if plan.weather == "aurora" or plan.style == "neon" or (plan.time == "night" and not many):
        return
    colour = mix("#ffffff", look.sky[1], 0.18 if plan.time == "day" else 0.42)
    if plan.weather == "rain":
        colour = mix(look.sky[0], "#39424e", 0.35)
    count = round(sheet.w / 1000 * (CLOUDS_PER_WIDTH + 5 * many))
    for k in range(count):
        x = sheet.w * (k + rng.uniform(0.1, 0.9)) / count
        y = horizon * rng.uniform(0.06, 0.5 if many else 0.44)
        size = rng.uniform(0.55, 1.15) * (1.5 if many else 1)
        _cloud(sheet, x, y, size, mix(colour, look.sky[2], rng.uniform(0, 0.3)), look)


def _cloud(sheet: Sheet, x: float, y: float, size: float, colour: str, look: Look) -> None:
    rng = sheet.rng
    bumps = rng.randint(3, 5)
    width = size * 58 * bumps
    left, bottom = x - width / 2, y + size * 22
    puffs = []
    for k in range(bumps):
        share = (k + 0.5) / bumps
        radius = size * (24 + 34 * math.sin(math.pi * share)) * rng.uniform(0.86, 1.12)
        puffs.append((left + width * (0.12 + 0.76 * share), bottom - radius * 0.72 - size * 6, radius))
    foot = (
        f"M{left + size * 20:.1f} {bottom - size * 40:.1f}h{width - size * 40:.1f}a{size * 20:.1f} {size * 20:.1f} 0 0 1 0 {size * 40:.1f}"
        f"h{-width + size * 40:.1f}a{size * 20:.1f} {size * 20:.1f} 0 0 1 0 {-size * 40:.1f}Z"
    )
    sheet.path(foot, colour)
    sheet.path("".join(disc(px, min(py, bottom - r * 0.9), r) for px, py, r in puffs), colour)
    under = bottom - size * 15
    sheet.path(
        f"M{left + size * 8:.1f} {under:.1f}h{width - size * 16:.1f}a{size * 13:.1f} {size * 15:.1f} 0 0 1 {-size * 12:.1f} {size * 15:.1f}"
        f"h{-width + size * 40:.1f}a{size * 13:.1f} {size * 15:.1f} 0 0 1 {-size * 12:.1f} {-size * 15:.1f}Z",
        mix(colour, look.sky[1], 0.42),
        0.7,
    )


def hill_line(sheet: Sheet, base: float, height: float, waves: float) -> list[Point]:
    """Make a gentle rolling line: points from left to right around a level."""
    rng = sheet.rng
    phases = [rng.uniform(0, 6.3) for _ in range(3)]
    count = 25
    return [
        (
            sheet.w * k / (count - 1),
            base
            - height
            * sum(math.sin(k / (count - 1) * waves * (1 + 1.3 * n) * 3 + phases[n]) / (1 + 1.6 * n) for n in range(3))
            / 1.6,
        )
        for k in range(count)
    ]


def hill(sheet: Sheet, base: float, height: float, fill: str, waves: float = 1.6) -> list[Point]:
    """Paint one hill across the picture; give its line."""
    line = hill_line(sheet, base, height, waves)
    sheet.path(smooth(line) + f"L{sheet.w:.0f} {sheet.h + 2:.0f}L0 {sheet.h + 2:.0f}Z", fill)
    return line


def mist(sheet: Sheet, y: float, height: float, colour: str, strength: float) -> None:
    """Lay a strip of haze whose lower edge is thickest."""
    sheet.rect(0, y - height, sheet.w, height, sheet.fade(colour, 0, strength))


def peaks(sheet: Sheet, base: float, height: float, rock: str, look: Look, *, snow: float, sun_left: bool) -> None:
    """Paint a range of mountains with a lit and a shaded side each, capped by `snow` 0..1 of their height."""
    rng = sheet.rng
    count = max(3, round(sheet.w / 300))
    tops = [(sheet.w * (k + rng.uniform(0.25, 0.75)) / count, height * rng.uniform(0.55, 1.0)) for k in range(count)]
    for x, tall in sorted(tops, key=lambda top: -top[1]):
        half = tall * rng.uniform(0.72, 0.98)
        left, right = _slope(sheet, x, base, tall, -half), _slope(sheet, x, base, tall, half)
        spine = [(x + (rng.uniform(-0.10, 0.14) * half * k), base - tall * (1 - k / 4)) for k in range(5)]
        shade, glow = mix(rock, look.tint, 0.34), mix(rock, look.sun, 0.16)
        sheet.path(polygon([*left[::-1], *right[1:]]), glow)
        dark_side = right if sun_left else left
        sheet.path(polygon([*spine, *dark_side[::-1]]), shade)
        if snow > 0 and tall > height * 0.5:
            _snow_cap(sheet, left, right, spine, snow, look, sun_left=sun_left)


def _slope(sheet: Sheet, x: float, base: float, tall: float, half: float) -> list[Point]:
    """Give a jagged line from the top of a mountain to its foot."""
    rng = sheet.rng
    steps = 7
    return [
        (x + half * (k / steps) ** 0.94 + (rng.uniform(-0.05, 0.05) * half if 0 < k < steps else 0),
         base - tall * (1 - k / steps) + (rng.uniform(-0.03, 0.03) * tall if 0 < k < steps else 0))
        for k in range(steps + 1)
    ]  # fmt: skip


def _snow_cap(
    sheet: Sheet, left: list[Point], right: list[Point], spine: list[Point], share: float, look: Look, *, sun_left: bool
) -> None:
    rng = sheet.rng
    reach = 1 + round(share * 4)
    start, end = left[reach], right[reach]
    teeth = 6
    zigzag = []
    for k in range(1, teeth):
        x = start[0] + (end[0] - start[0]) * k / teeth
        drop = (end[1] - left[0][1]) * (0.30 if k % 2 else -0.22) * rng.uniform(0.6, 1.2)
        zigzag.append((x, start[1] + (end[1] - start[1]) * k / teeth + drop))
    white = look.lit("#fbfdff")
    sheet.path(polygon([*left[reach::-1], *right[1 : reach + 1], *zigzag[::-1]]), white)
    shadow = mix(white, look.tint if look.dark else "#7fa3d1", 0.34)
    middle = spine[1]
    if sun_left:
        sheet.path(
            polygon([left[0], middle, zigzag[teeth // 2], *zigzag[teeth // 2 + 1 :], *right[reach:0:-1]]), shadow
        )
    else:
        sheet.path(
            polygon([left[0], middle, zigzag[teeth // 2 - 1], *zigzag[: teeth // 2 - 1][::-1], *left[reach:0:-1]]),
            shadow,
        )


def conifer(sheet: Sheet, x: float, y: float, height: float, colour: str, *, snowy: bool = False) -> None:
    """Paint a fir with a lit half, standing on (x, y)."""
    tiers = 4
    left, right = [], []
    for k in range(tiers):
        top, low = y - height * (1 - k * 0.2), y - height * (0.72 - k * 0.205)
        half = height * (0.13 + 0.062 * k)
        left += [(x - half * 0.34 * (k > 0), top), (x - half, low)]
        right += [(x + half * 0.34 * (k > 0), top), (x + half, low)]
    sheet.rect(x - height * 0.025, y - height * 0.12, height * 0.05, height * 0.12, mix(colour, "#3a2618", 0.6))
    sheet.path(polygon([*left, *right[::-1]]), colour)
    sheet.path(polygon([(x, y - height), *left, (x, left[-1][1])]), mix(colour, "#ffffff", 0.55 if snowy else 0.12))


def leafy_tree(sheet: Sheet, x: float, y: float, height: float, colour: str) -> None:
    """Paint a round tree with a lit crown, standing on (x, y)."""
    rng = sheet.rng
    sheet.path(
        polygon(
            [
                (x - height * 0.05, y),
                (x - height * 0.025, y - height * 0.5),
                (x + height * 0.025, y - height * 0.5),
                (x + height * 0.05, y),
            ]
        ),
        mix("#5a3b26", colour, 0.25),
    )
    crown = [(0, -0.68, 0.27), (-0.19, -0.52, 0.21), (0.19, -0.54, 0.22), (-0.08, -0.83, 0.17), (0.1, -0.8, 0.18)]
    jitter = [(dx * rng.uniform(0.85, 1.15), dy, r * rng.uniform(0.92, 1.08)) for dx, dy, r in crown]
    for shift, shade in ((0.0, colour), (-0.05, mix(colour, "#fff3a0", 0.16))):
        scale = 1.0 if shift == 0 else 0.72
        sheet.path(
            "".join(
                disc(x + (dx + shift) * height, y + (dy + shift) * height, r * height * scale) for dx, dy, r in jitter
            ),
            shade,
        )


def _row_of_trees(
    sheet: Sheet, line: list[Point], height: float, colour: str, step: float, *, leafy: float, snowy: bool = False
) -> None:
    """Plant trees along a line; `leafy` 0..1 of them are round."""
    rng = sheet.rng
    x = rng.uniform(-step, 0)
    while x < sheet.w + step:
        nearest = min(line, key=lambda p: abs(p[0] - x))
        tall = height * rng.uniform(0.66, 1.15)
        shade = mix(colour, "#000000", rng.uniform(0, 0.1))
        if rng.random() < leafy:
            leafy_tree(sheet, x, nearest[1] + 8, tall * 0.86, shade)
        else:
            conifer(sheet, x, nearest[1] + 8, tall, shade, snowy=snowy)
        x += step * rng.uniform(0.6, 1.5)


def _grass(sheet: Sheet, top: float, colour: str, count: int) -> None:
    """Tuft the foreground."""
    rng = sheet.rng
    data = []
    for _ in range(round(count * sheet.w / 1000)):
        y = top + (sheet.h - top) * rng.random() ** 0.8
        x, tall = rng.uniform(0, sheet.w), 8 + 20 * (y - top) / max(sheet.h - top, 1)
        data += [
            f"M{x + d:.1f} {y:.1f}q{d * 0.2:.1f} {-tall * 0.6:.1f} {d + lean:.1f} {-tall * (1 - abs(d) * 0.05):.1f}"
            for d, lean in ((-7, -3), (-3, -2), (0, rng.uniform(-2, 2)), (3, 2), (7, 3))
        ]
    sheet.stroke("".join(data), colour, 2.2, 0.85)


def _blossoms(sheet: Sheet, plan: Plan, look: Look, top: float, count: int) -> None:
    """Dot a meadow with flowers in the prompt's colours, or in three of the seed's own."""
    rng = plan.rng("blossoms")
    colours = plan.colours[:3] or tuple(
        rng.sample(("#ff6b8b", "#ffd24d", "#ffffff", "#b48bff", "#ff9a4d", "#7cc4ff"), 3)
    )
    for colour in colours:
        petals, hearts = [], []
        for _ in range(round(count * sheet.w / 1000 / len(colours))):
            depth = rng.random()
            y, x, r = top + (sheet.h - top) * (0.06 + 0.94 * depth), rng.uniform(0, sheet.w), 2.2 + 4.6 * depth
            petals += [disc(x + r * math.cos(a * 1.257), y + r * math.sin(a * 1.257), r * 0.72) for a in range(5)]
            hearts.append(disc(x, y, r * 0.55))
        sheet.path("".join(petals), look.lit(colour))
        sheet.path("".join(hearts), look.lit("#f7b52c"))


def meadow(sheet: Sheet, plan: Plan, look: Look) -> Stage:
    """Paint rolling green hills with trees and flowers."""
    horizon = sheet.h * 0.58
    sky(sheet, plan, look, horizon)
    clouds(sheet, plan, look, horizon)
    autumn = plan.vocabulary & {"autumn", "fall", "october", "november"}
    near, far = ("#c98a2f", "#a8622c") if autumn else ("#6cb443", "#2f8f57")
    for k, depth in enumerate((0.66, 0.42, 0.2)):
        colour = look.lit(mix(far, near, k / 2), depth)
        line = hill(sheet, horizon + sheet.h * (0.0 + 0.055 * k), sheet.h * 0.04, colour, 1.2 + 0.5 * k)
        if k:
            tree = look.lit("#b3541e" if autumn else "#2c7a4b", depth * 0.8)
            _row_of_trees(sheet, line, 62 + 46 * k, tree, 190, leafy=0.72)
        mist(sheet, horizon + sheet.h * (0.05 + 0.055 * k), sheet.h * 0.05, look.haze, 0.22)
    top = sheet.h * 0.74
    hill(
        sheet,
        top,
        sheet.h * 0.022,
        sheet.linear([(0, look.lit(mix(near, "#d8e86a", 0.25))), (1, look.lit(mix(near, "#1f5a33", 0.42)))]),
        1.1,
    )
    _grass(sheet, top + 12, look.lit(mix(near, "#1f5a33", 0.35)), 120)
    _blossoms(sheet, plan, look, top + 20, 90)
    return Stage(far=sheet.h * 0.79, near=sheet.h * 0.93, air=horizon)


def forest(sheet: Sheet, plan: Plan, look: Look) -> Stage:
    """Paint rows of firs that fade into mist, with a clearing in front."""
    horizon = sheet.h * 0.62
    sun = sky(sheet, plan, look, horizon)
    autumn = bool(plan.vocabulary & {"autumn", "fall", "october", "november"})
    jungle = bool(plan.vocabulary & {"jungle", "rainforest", "tropical"})
    green = "#b5622a" if autumn else "#1f7a4a" if jungle else "#1d5a45"
    for k, depth in enumerate((0.78, 0.56, 0.34, 0.14)):
        base = horizon + sheet.h * (-0.03 + 0.045 * k)
        colour = look.lit(green, depth)
        line = hill(sheet, base, sheet.h * 0.03, colour, 1.3 + 0.4 * k)
        _row_of_trees(
            sheet,
            line,
            sheet.h * (0.15 + 0.075 * k),
            colour,
            62 + 22 * k,
            leafy=0.85 if jungle else 0.4 if autumn else 0.08,
        )
        mist(sheet, base + sheet.h * 0.07, sheet.h * 0.10, look.haze, 0.34)
    if not look.dark and plan.weather not in {"rain", "fog"}:
        _sunbeams(sheet, sun, look.sun, horizon * 1.25)
    ground = look.lit(mix(green, "#7fb24a", 0.4))
    hill(
        sheet,
        sheet.h * 0.78,
        sheet.h * 0.018,
        sheet.linear([(0, ground), (1, look.lit(mix(green, "#0d2a1d", 0.4)))]),
        1.2,
    )
    _grass(sheet, sheet.h * 0.80, look.lit(mix(green, "#12301f", 0.25)), 110)
    for side in (-0.01, 1.01):
        for k in range(2):
            conifer(
                sheet,
                sheet.w * side + (60 if side < 0.5 else -60) * k,
                sheet.h * (0.97 + 0.05 * k),
                sheet.h * (0.66 - 0.16 * k),
                look.lit(mix(green, "#06140f", 0.42)),
            )
    return Stage(far=sheet.h * 0.82, near=sheet.h * 0.94, air=horizon * 0.8)


def _sunbeams(sheet: Sheet, source: Point, colour: str, bottom: float) -> None:
    """Let light fall in widening shafts from the sun."""
    rng = sheet.rng
    fill = sheet.fade(colour, 0.34, 0.0)
    x, y = source
    for slope in (-0.55, -0.12, 0.3, 0.75):
        drop = bottom - y
        end, wide = x + drop * (slope + rng.uniform(-0.12, 0.12)), rng.uniform(60, 130)
        sheet.path(polygon([(x - 6, y), (x + 6, y), (end + wide, bottom), (end - wide, bottom)]), fill)


def mountains(sheet: Sheet, plan: Plan, look: Look) -> Stage:
    """Paint ranges of peaks behind each other, with firs and a meadow below; a road when something drives."""
    horizon = sheet.h * 0.60
    x, _ = sky(sheet, plan, look, horizon)
    clouds(sheet, plan, look, horizon * 0.8)
    left = x < sheet.w / 2
    for k, (rock, depth, snow) in enumerate((("#7f93b5", 0.58, 0.55), ("#6b7f9f", 0.34, 0.5), ("#56688a", 0.14, 0.35))):
        base = horizon + sheet.h * (0.02 + 0.05 * k)
        peaks(sheet, base, sheet.h * (0.44 - 0.1 * k), look.lit(rock, depth), look, snow=snow, sun_left=left)
        mist(sheet, base, sheet.h * 0.12, look.haze, 0.5)
        sheet.rect(0, base - 1, sheet.w, sheet.h * 0.08, mix(look.lit(rock, depth), look.haze, 0.5))
    line = hill(sheet, sheet.h * 0.70, sheet.h * 0.025, look.lit("#3d7f55", 0.16), 1.4)
    _row_of_trees(sheet, line, 110, look.lit("#1f5a45", 0.12), 46, leafy=0.06)
    hill(sheet, sheet.h * 0.76, sheet.h * 0.02, sheet.linear([(0, look.lit("#7db554")), (1, look.lit("#2f6a3f"))]), 1.2)
    _grass(sheet, sheet.h * 0.79, look.lit("#2a6038"), 90)
    _blossoms(sheet, plan, look, sheet.h * 0.785, 54)
    return Stage(far=sheet.h * 0.81, near=sheet.h * 0.93, air=horizon * 0.75)


def road(sheet: Sheet, look: Look, top: float) -> None:
    """Run a road along the foreground, for whatever drives."""
    low = sheet.h * 0.965
    sheet.rect(0, top, sheet.w, low - top, look.lit("#4a4d57"))
    sheet.rect(0, top, sheet.w, 7, look.lit("#e8e4d6"), 0.85)
    sheet.rect(0, low - 7, sheet.w, 7, look.lit("#e8e4d6"), 0.85)
    dashes = "".join(f"M{x:.0f} {(top + low) / 2:.1f}h70" for x in range(-20, int(sheet.w), 140))
    sheet.stroke(dashes, look.lit("#f4d35e"), 7)


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
    _row_of_trees(sheet, [(p[0], p[1] + 4) for p in line], 96, look.lit("#1f5a45", 0.14), 40, leafy=0.1)
    mirrored = "".join(sheet.shapes[start:])
    sheet.bands(
        shore, sheet.h, evenly(mix(look.sky[3], look.sky[2], 0.4), mix(look.sky[2], look.sky[1], 0.5), look.sky[0])
    )
    sheet.add(f'<g transform="translate(0 {2 * shore:.1f}) scale(1 -1)">{mirrored}</g>')
    sheet.rect(0, shore, sheet.w, sheet.h - shore, mix(look.sky[1], look.sky[0], 0.4), 0.42)
    _ripples(sheet, shore, sheet.h, x, look, 0.42)
    hill(sheet, sheet.h * 0.9, sheet.h * 0.02, sheet.linear([(0, look.lit("#6fa04c")), (1, look.lit("#2c5a35"))]), 1.3)
    _grass(sheet, sheet.h * 0.905, look.lit("#2a5a35"), 90)
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


def sea(sheet: Sheet, plan: Plan, look: Look) -> Stage:
    """Paint the sea below the sky, glitter under the sun, and a beach with foam."""
    horizon = sheet.h * 0.50
    x, _ = sky(sheet, plan, look, horizon)
    clouds(sheet, plan, look, horizon)
    for k in range(2):
        centre, wide = sheet.w * sheet.rng.uniform(0, 1), sheet.w * sheet.rng.uniform(0.16, 0.3)
        tall = sheet.h * sheet.rng.uniform(0.03, 0.07)
        data = f"M{centre - wide:.0f} {horizon:.1f}Q{centre - wide * 0.3:.0f} {horizon - tall:.1f} {centre:.0f} {horizon - tall:.1f}T{centre + wide:.0f} {horizon:.1f}Z"
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


def desert(sheet: Sheet, plan: Plan, look: Look) -> Stage:
    """Paint dunes with a lit and a shaded side, and distant mesas."""
    horizon = sheet.h * 0.56
    warm = Look(look.sky, look.sun, mix(look.haze, "#ffd9a0", 0.4), look.tint, look.tint_share, look.dark)
    sky(sheet, plan, warm, horizon)
    rng = sheet.rng
    sheet.rect(0, horizon, sheet.w, sheet.h * 0.2, warm.lit("#eebc77", 0.5))
    for _ in range(3):
        x, wide, tall = rng.uniform(0, sheet.w), rng.uniform(90, 200), sheet.h * rng.uniform(0.06, 0.14)
        sheet.path(
            polygon(
                [
                    (x - wide, horizon + 20),
                    (x - wide * 0.62, horizon - tall),
                    (x + wide * 0.6, horizon - tall * rng.uniform(0.9, 1.05)),
                    (x + wide, horizon + 20),
                ]
            ),
            warm.lit("#b5653f", 0.5),
        )
    for k, depth in enumerate((0.45, 0.22, 0.0)):
        _dune(
            sheet,
            horizon + sheet.h * (0.04 + 0.10 * k),
            sheet.h * (0.05 + 0.02 * k),
            warm.lit(mix("#eebc77", "#d98e48", k / 2), depth),
            warm.lit(mix("#c98a4e", "#a8622f", k / 2), depth),
        )
    _cacti(sheet, warm)
    return Stage(far=sheet.h * 0.80, near=sheet.h * 0.93, air=horizon * 0.8)


def _dune(sheet: Sheet, base: float, height: float, bright: str, shade: str) -> None:
    line = hill(sheet, base, height, bright, 1.1)
    for before, top, after in zip(line, line[1:], line[2:], strict=False):
        if top[1] <= before[1] and top[1] < after[1]:
            x, y = top
            drop = sheet.h - y
            sheet.path(f"M{x:.1f} {y:.1f}C{x + 60:.1f} {y + 20:.1f} {x + 40:.1f} {y + drop * 0.3:.1f} {x + 190:.1f} {y + drop * 0.5:.1f}"
                       f"C{x + 250:.1f} {y + drop * 0.35:.1f} {x + 240:.1f} {y + height * 1.3:.1f} {x + 320:.1f} {y + height * 1.7:.1f}C{x + 200:.1f} {y + height * 0.9:.1f} {x + 90:.1f} {y + 6:.1f} {x:.1f} {y:.1f}Z", shade, 0.8)  # fmt: skip


def _cacti(sheet: Sheet, look: Look) -> None:
    rng = sheet.rng
    for side in (rng.uniform(0.05, 0.2), rng.uniform(0.8, 0.95)):
        x, y, tall = sheet.w * side, sheet.h * rng.uniform(0.72, 0.8), rng.uniform(90, 170)
        colour = look.lit("#3f8a54")
        sheet.shadow(x, y, tall * 0.5, tall * 0.08)
        arms = f"M{x:.1f} {y:.1f}v{-tall:.1f}M{x:.1f} {y - tall * 0.35:.1f}h{-tall * 0.26:.1f}v{-tall * 0.28:.1f}M{x:.1f} {y - tall * 0.5:.1f}h{tall * 0.25:.1f}v{-tall * 0.26:.1f}"
        sheet.stroke(arms, colour, tall * 0.15)
        sheet.stroke(
            f"M{x - tall * 0.03:.1f} {y - 4:.1f}v{-tall * 0.94:.1f}", mix(colour, "#ffffff", 0.3), tall * 0.018, 0.7
        )


def snow(sheet: Sheet, plan: Plan, look: Look) -> Stage:
    """Paint white peaks, snow-laden firs and soft drifts."""
    horizon = sheet.h * 0.58
    x, _ = sky(sheet, plan, look, horizon)
    clouds(sheet, plan, look, horizon * 0.8)
    for k, (rock, depth) in enumerate((("#9db4d3", 0.5), ("#86a0c6", 0.24))):
        base = horizon + sheet.h * 0.05 * k
        peaks(sheet, base, sheet.h * (0.4 - 0.12 * k), look.lit(rock, depth), look, snow=0.9, sun_left=x < sheet.w / 2)
        mist(sheet, base, sheet.h * 0.1, look.haze, 0.55)
        sheet.rect(0, base - 1, sheet.w, sheet.h * 0.16, mix(look.lit("#cfe0f2"), look.haze, 0.4))
    line = hill(sheet, sheet.h * 0.64, sheet.h * 0.022, look.lit("#cfe0f2", 0.12), 1.2)
    _row_of_trees(sheet, line, 120, look.lit("#3f6f78", 0.16), 70, leafy=0, snowy=True)
    line = hill(sheet, sheet.h * 0.71, sheet.h * 0.02, look.lit("#e3eefa"), 1.5)
    _row_of_trees(sheet, line, 190, look.lit("#2a5a5f"), 230, leafy=0, snowy=True)
    hill(
        sheet, sheet.h * 0.78, sheet.h * 0.016, sheet.linear([(0, look.lit("#ffffff")), (1, look.lit("#bcd3ee"))]), 1.2
    )
    return Stage(far=sheet.h * 0.82, near=sheet.h * 0.94, air=horizon * 0.75)


def night_sky(sheet: Sheet, plan: Plan, look: Look) -> Stage:
    """Paint the Milky Way above dark hills."""
    horizon = sheet.h * 0.78
    sheet.bands(0, horizon, evenly(*look.sky))
    rng = sheet.rng
    x0, x1 = sheet.w * rng.uniform(0.05, 0.3), sheet.w * rng.uniform(0.7, 0.95)
    for k in range(6):
        place = k / 5
        sheet.glow(
            x0 + (x1 - x0) * place, horizon * (0.95 - 0.9 * place), 190, ("#8f7bff", "#5aa7ff", "#ff9ad1")[k % 3], 0.34
        )
    stars(sheet, plan, horizon, 420)
    dust = "".join(
        disc(
            x0 + (x1 - x0) * t + rng.gauss(0, 40), horizon * (0.95 - 0.9 * t) + rng.gauss(0, 46), rng.uniform(0.5, 1.5)
        )
        for t in (rng.random() for _ in range(260))
    )
    sheet.path(dust, "#ffffff", 0.75)
    if plan.weather == "aurora":
        aurora(sheet, plan, horizon)
    for k, depth in enumerate((0.5, 0.22, 0.0)):
        line = hill(
            sheet, sheet.h * (0.76 + 0.06 * k), sheet.h * 0.035, mix("#070b1e", look.sky[2], depth), 1.3 + 0.4 * k
        )
        if k == 1:
            _row_of_trees(sheet, line, 90, mix("#070b1e", look.sky[2], 0.16), 40, leafy=0)
    return Stage(far=sheet.h * 0.9, near=sheet.h * 0.96, air=horizon * 0.7, lights=True)
