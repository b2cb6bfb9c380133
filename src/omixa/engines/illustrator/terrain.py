"""What the ground is made of: hills, mountains, trees, grass, flowers and roads."""

from __future__ import annotations

import math

from omixa.engines.illustrator.colour import mix
from omixa.engines.illustrator.look import Look
from omixa.engines.illustrator.plan import Plan
from omixa.engines.illustrator.sheet import Point, Sheet, disc, polygon, smooth


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


def row_of_trees(
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


def grass(sheet: Sheet, top: float, colour: str, count: int) -> None:
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


def blossoms(sheet: Sheet, plan: Plan, look: Look, top: float, count: int) -> None:
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


def road(sheet: Sheet, look: Look, top: float) -> None:
    """Run a road along the foreground, for whatever drives."""
    low = sheet.h * 0.965
    sheet.rect(0, top, sheet.w, low - top, look.lit("#4a4d57"))
    sheet.rect(0, top, sheet.w, 7, look.lit("#e8e4d6"), 0.85)
    sheet.rect(0, low - 7, sheet.w, 7, look.lit("#e8e4d6"), 0.85)
    dashes = "".join(f"M{x:.0f} {(top + low) / 2:.1f}h70" for x in range(-20, int(sheet.w), 140))
    sheet.stroke(dashes, look.lit("#f4d35e"), 7)
