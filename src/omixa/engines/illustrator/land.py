"""Scenes on land: meadow, forest, mountains, desert, snow and a night under the stars."""

from __future__ import annotations

from omixa.engines.illustrator.colour import mix
from omixa.engines.illustrator.look import Look
from omixa.engines.illustrator.plan import Plan
from omixa.engines.illustrator.sheet import Point, Sheet, disc, evenly, polygon, trace
from omixa.engines.illustrator.sky import aurora, clouds, mist, sky, stars
from omixa.engines.illustrator.stage import Stage
from omixa.engines.illustrator.terrain import blossoms, conifer, grass, hill, peaks, row_of_trees


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
            row_of_trees(sheet, line, 62 + 46 * k, tree, 190, leafy=0.72)
        mist(sheet, horizon + sheet.h * (0.05 + 0.055 * k), sheet.h * 0.05, look.haze, 0.22)
    top = sheet.h * 0.74
    hill(
        sheet,
        top,
        sheet.h * 0.022,
        sheet.linear([(0, look.lit(mix(near, "#d8e86a", 0.25))), (1, look.lit(mix(near, "#1f5a33", 0.42)))]),
        1.1,
    )
    grass(sheet, top + 12, look.lit(mix(near, "#1f5a33", 0.35)), 120)
    blossoms(sheet, plan, look, top + 20, 90)
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
        row_of_trees(
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
    grass(sheet, sheet.h * 0.80, look.lit(mix(green, "#12301f", 0.25)), 110)
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
    row_of_trees(sheet, line, 110, look.lit("#1f5a45", 0.12), 46, leafy=0.06)
    hill(sheet, sheet.h * 0.76, sheet.h * 0.02, sheet.linear([(0, look.lit("#7db554")), (1, look.lit("#2f6a3f"))]), 1.2)
    grass(sheet, sheet.h * 0.79, look.lit("#2a6038"), 90)
    blossoms(sheet, plan, look, sheet.h * 0.785, 54)
    return Stage(far=sheet.h * 0.81, near=sheet.h * 0.93, air=horizon * 0.75)


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
            side = trace(
                "M", x, y, "C", x + 60, y + 20, x + 40, y + drop * 0.3, x + 190, y + drop * 0.5,
                "C", x + 250, y + drop * 0.35, x + 240, y + height * 1.3, x + 320, y + height * 1.7,
                "C", x + 200, y + height * 0.9, x + 90, y + 6, x, y, "Z",
            )  # fmt: skip
            sheet.path(side, shade, 0.8)


def _cacti(sheet: Sheet, look: Look) -> None:
    rng = sheet.rng
    for side in (rng.uniform(0.05, 0.2), rng.uniform(0.8, 0.95)):
        x, y, tall = sheet.w * side, sheet.h * rng.uniform(0.72, 0.8), rng.uniform(90, 170)
        colour = look.lit("#3f8a54")
        sheet.shadow(x, y, tall * 0.5, tall * 0.08)
        arms = trace(
            "M", x, y, "v", -tall, "M", x, y - tall * 0.35, "h", -tall * 0.26, "v", -tall * 0.28,
            "M", x, y - tall * 0.5, "h", tall * 0.25, "v", -tall * 0.26,
        )  # fmt: skip
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
    row_of_trees(sheet, line, 120, look.lit("#3f6f78", 0.16), 70, leafy=0, snowy=True)
    line = hill(sheet, sheet.h * 0.71, sheet.h * 0.02, look.lit("#e3eefa"), 1.5)
    row_of_trees(sheet, line, 190, look.lit("#2a5a5f"), 230, leafy=0, snowy=True)
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
            row_of_trees(sheet, line, 90, mix("#070b1e", look.sky[2], 0.16), 40, leafy=0)
    return Stage(far=sheet.h * 0.9, near=sheet.h * 0.96, air=horizon * 0.7, lights=True)
