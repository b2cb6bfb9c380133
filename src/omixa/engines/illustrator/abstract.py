"""Abstract art for prompts that name no thing: four ways to fill a picture, chosen by the prompt's seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Final

from omixa.engines.illustrator.colour import from_hls, hls, mix
from omixa.engines.illustrator.look import Look
from omixa.engines.illustrator.plan import Plan
from omixa.engines.illustrator.sheet import Sheet, box, disc, evenly, smooth
from omixa.engines.illustrator.stage import Stage

Colours = tuple[str, ...]


def palette(plan: Plan, rng: Random) -> Colours:
    """Choose five colours that go together, around the prompt's own colours when it names any."""
    if plan.style == "mono":
        return ("#111318", "#3a3d46", "#7d828d", "#c3c7ce", "#f5f6f8")
    if len(plan.colours) > 1:
        named = [*plan.colours, *(mix(c, "#ffffff", 0.55) for c in plan.colours)][:4]
        return (mix(named[0], "#0d1020", 0.72), *named[: 4 - 1], mix(named[-1], "#fdf8ee", 0.82))
    hue = hls(plan.colours[0])[0] if plan.colours else rng.uniform(0, 360)
    spread = rng.choice((24, 36, 52))
    accent = hue + rng.choice((150, 180, 205))
    return (
        from_hls(hue, 0.16, 0.55),
        from_hls(hue + spread, 0.40, 0.66),
        from_hls(hue - spread, 0.58, 0.72),
        from_hls(accent, 0.62, 0.82),
        from_hls(hue + spread * 2, 0.90, 0.62),
    )


def abstract(sheet: Sheet, plan: Plan, look: Look) -> Stage:
    """Fill the sheet with one of the four kinds."""
    del look
    rng = plan.rng("abstract")
    colours = palette(plan, rng)
    kind = (
        _KINDS[2] if plan.vocabulary & {"geometric", "bauhaus", "shapes", "pattern", "cubist"} else rng.choice(_KINDS)
    )
    if plan.vocabulary & {"wave", "waves", "flowing", "fluid", "swirls", "ribbons"}:
        kind = _KINDS[0]
    kind(sheet, rng, colours)
    return Stage(far=sheet.h * 0.82, near=sheet.h * 0.9, air=sheet.h * 0.5)


def _ribbons(sheet: Sheet, rng: Random, colours: Colours) -> None:
    """Lay flowing ribbons over each other, each with an edge of light and a shadow."""
    sheet.bands(0, sheet.h, evenly(colours[0], mix(colours[0], colours[1], 0.7)))
    count = 11
    phase, tilt = rng.uniform(0, 6.3), rng.uniform(-0.25, 0.25)
    for k in range(count):
        share = k / (count - 1)
        line = []
        for n in range(15):
            t = n / 14
            swing = (
                math.sin(t * 4.2 + phase + share * 2.1) * (0.13 - 0.05 * share)
                + math.sin(t * 9 + phase * 1.7 + share * 3.4) * 0.025
            )
            line.append((sheet.w * (t * 1.04 - 0.02), sheet.h * (0.10 + 0.86 * share + swing + tilt * (t - 0.5))))
        ramp = [*colours[1:], colours[2], colours[1]]
        place = share * (len(ramp) - 1.001)
        tone = mix(ramp[int(place)], ramp[int(place) + 1], place % 1)
        tail = f"L{sheet.w * 1.02:.0f} {sheet.h + 2:.0f}L{-sheet.w * 0.02:.0f} {sheet.h + 2:.0f}Z"
        sheet.path(smooth([(x, y - 13) for x, y in line]) + tail, "#000000", 0.13)
        sheet.path(smooth(line) + tail, tone)
        sheet.stroke(smooth(line), mix(tone, "#ffffff", 0.5), 2.4, 0.9)


def _orbs(sheet: Sheet, rng: Random, colours: Colours) -> None:
    """Float glossy spheres of many sizes before a soft ground."""
    sheet.bands(0, sheet.h, evenly(mix(colours[4], "#ffffff", 0.25), mix(colours[2], colours[4], 0.5)))
    placed: list[tuple[float, float, float]] = []
    for _ in range(400):
        r = rng.choice((200, 130, 84, 54, 30, 18)) * rng.uniform(0.8, 1.15)
        x, y = rng.uniform(0.02, 0.98) * sheet.w, rng.uniform(0.03, 0.97) * sheet.h
        if all(math.hypot(x - a, y - b) > (r + c) * 0.94 for a, b, c in placed):
            placed.append((x, y, r))
        if len(placed) > 22 * sheet.w * sheet.h / 1e6:
            break
    for k, (x, y, r) in enumerate(sorted(placed, key=lambda p: p[2])):
        tone = colours[(k * 2 + 1) % 4]
        sheet.shadow(x + r * 0.25, y + r * 1.04, r * 0.95, r * 0.24, 0.3)
        gloss = sheet.radial(
            [(0, mix(tone, "#ffffff", 0.72), 1), (0.4, tone, 1), (1, mix(tone, colours[0], 0.72), 1)],
            'cx="0.34" cy="0.28" r="0.8"',
        )
        sheet.circle(x, y, r, gloss)
        sheet.ellipse(x - r * 0.34, y - r * 0.46, r * 0.2, r * 0.11, "#ffffff", 0.65)


def _tiles(sheet: Sheet, rng: Random, colours: Colours) -> None:
    """Set a grid of quarter circles, discs, stripes and leaves."""
    side = rng.choice((125.0, 166.7, 200.0, 250.0))
    columns, rows = math.ceil(sheet.w / side), math.ceil(sheet.h / side)
    sheet.rect(0, 0, sheet.w, sheet.h, colours[4])
    for row in range(rows):
        for column in range(columns):
            ground, figure = rng.sample(colours, 2)
            _tile(sheet, rng, column * side, row * side, side, (ground, figure, rng.choice(colours)))


def _tile(sheet: Sheet, rng: Random, x: float, y: float, s: float, colours: tuple[str, str, str]) -> None:
    ground, figure, detail = colours
    sheet.rect(x, y, s + 0.6, s + 0.6, ground)
    kind = rng.randrange(6)
    if kind == 0:
        data = (f"M{x} {y}h{s}a{s} {s} 0 0 1 {-s} {s}Z", f"M{x + s} {y}v{s}a{s} {s} 0 0 1 {-s} {-s}Z",
                f"M{x + s} {y + s}h{-s}a{s} {s} 0 0 1 {s} {-s}Z", f"M{x} {y + s}v{-s}a{s} {s} 0 0 1 {s} {s}Z")  # fmt: skip
        sheet.path(rng.choice(data), figure)
    elif kind == 1:
        sheet.circle(x + s / 2, y + s / 2, s * 0.4, figure)
        sheet.circle(x + s / 2, y + s / 2, s * 0.18, detail)
    elif kind == 2:
        sheet.path(f"M{x} {y}a{s} {s} 0 0 1 {s} {s}a{s} {s} 0 0 1 {-s} {-s}Z", figure)
    elif kind == 3:
        sheet.path("".join(box(x, y + s * k / 3, s, s / 6) for k in range(3)), figure)
    elif kind == 4:
        sheet.path(f"M{x} {y + s}L{x + s} {y}V{y + s}Z", figure)
        sheet.circle(x + s * 0.28, y + s * 0.28, s * 0.14, detail)
    else:
        sheet.path(f"M{x} {y + s / 2}a{s / 2} {s / 2} 0 0 1 {s} 0Z", figure)
        sheet.path(f"M{x} {y + s}a{s / 2} {s / 2} 0 0 1 {s} 0Z", detail)


def _contours(sheet: Sheet, rng: Random, colours: Colours) -> None:
    """Stack cut paper: nested wavering rings, each throwing a shadow on the one below."""
    sheet.rect(0, 0, sheet.w, sheet.h, colours[4])
    x, y = sheet.w * rng.uniform(0.35, 0.65), sheet.h * rng.uniform(0.4, 0.6)
    phases = [rng.uniform(0, 6.3) for _ in range(4)]
    reach = math.hypot(sheet.w, sheet.h) * 0.58
    rings = 10
    ramp = (colours[4], colours[3], colours[2], colours[1], colours[0])
    for k in range(rings):
        radius = reach * (1 - k / rings) ** 1.15
        points = []
        for n in range(49):
            angle = n / 48 * math.tau
            wobble = sum(math.sin(angle * (m + 2) + phases[m] + k * 0.24) / (m + 2) for m in range(4)) * 0.24
            points.append((x + radius * (1 + wobble) * math.cos(angle), y + radius * (1 + wobble) * math.sin(angle)))
        data = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in points) + "Z"
        place = k / (rings - 1) * (len(ramp) - 1.001)
        shade = "M" + "L".join(f"{px + 7:.1f} {py + 12:.1f}" for px, py in points) + "Z"
        sheet.path(shade, "#000000", 0.16)
        sheet.path(data, mix(ramp[int(place)], ramp[int(place) + 1], place % 1))
    sheet.path(
        "".join(disc(rng.uniform(0, sheet.w), rng.uniform(0, sheet.h), rng.uniform(2, 6)) for _ in range(26)),
        colours[3],
        0.9,
    )


_KINDS: Final[tuple[Callable[[Sheet, Random, Colours], None], ...]] = (_ribbons, _orbs, _tiles, _contours)
