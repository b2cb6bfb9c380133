"""The sky and what hangs in it: sun, moon, stars, clouds, northern lights, a rainbow, mist."""

from __future__ import annotations

import math
from typing import Final

from omixa.engines.illustrator.colour import mix
from omixa.engines.illustrator.look import Look
from omixa.engines.illustrator.plan import Plan
from omixa.engines.illustrator.sheet import Point, Sheet, disc, evenly, smooth, trace

CLOUDS_PER_WIDTH: Final = 4


def sky(sheet: Sheet, plan: Plan, look: Look, horizon: float) -> Point:
    """Paint the sky down to the horizon; give the place of the sun or moon."""
    # Hills may dip below the horizon; what shows between them is still sky.
    sheet.rect(0, horizon, sheet.w, sheet.h - horizon, look.sky[-1])
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
    if plan.vocabulary & {"firework", "fireworks"}:
        _fireworks(sheet, plan, horizon)
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
        spots = ((-0.3, -0.25, 0.2), (0.28, 0.12, 0.26), (-0.12, 0.45, 0.15), (0.35, -0.42, 0.11))
        craters = "".join(disc(x + dx * radius, y + dy * radius, r * radius) for dx, dy, r in spots)
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


def _fireworks(sheet: Sheet, plan: Plan, horizon: float) -> None:
    """Burst five fireworks: rays with a spark at each end."""
    rng = plan.rng("fireworks")
    for k in range(5):
        x, y = sheet.w * (k + rng.uniform(0.3, 0.7)) / 5, horizon * rng.uniform(0.18, 0.62)
        reach, colour = rng.uniform(80, 165), ("#ff5f7e", "#ffd35c", "#7be0ff", "#b98bff", "#7dffa8")[k]
        sheet.glow(x, y, reach * 0.9, colour, 0.4)
        rays, sparks = [], []
        for n in range(26):
            angle, inner, outer = n * math.tau / 26, reach * 0.16, reach * (1.0 if n % 2 else 0.66)
            tip = (x + outer * math.cos(angle), y + outer * math.sin(angle) + outer * 0.06)
            rays.append(trace("M", x + inner * math.cos(angle), y + inner * math.sin(angle), "L", *tip))
            sparks.append(disc(*tip, 3.4 if n % 2 else 2.4))
        sheet.stroke("".join(rays), colour, 2.2, 0.75)
        sheet.path("".join(sparks), mix(colour, "#ffffff", 0.5))


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
    r = size * 20
    foot = trace(
        "M", left + r, bottom - 2 * r, "h", width - 2 * r, "a", r, r, "0 0 1", 0, 2 * r,
        "h", 2 * r - width, "a", r, r, "0 0 1", 0, -2 * r, "Z",
    )  # fmt: skip
    sheet.path(foot, colour)
    sheet.path("".join(disc(px, min(py, bottom - r * 0.9), r) for px, py, r in puffs), colour)
    r = size * 15
    under = trace(
        "M", left + size * 8, bottom - r, "h", width - size * 16, "a", size * 13, r, "0 0 1", -size * 12, r,
        "h", size * 40 - width, "a", size * 13, r, "0 0 1", -size * 12, -r, "Z",
    )  # fmt: skip
    sheet.path(under, mix(colour, look.sky[1], 0.42), 0.7)


def mist(sheet: Sheet, y: float, height: float, colour: str, strength: float) -> None:
    """Lay a strip of haze whose lower edge is thickest."""
    sheet.rect(0, y - height, sheet.w, height, sheet.fade(colour, 0, strength))
