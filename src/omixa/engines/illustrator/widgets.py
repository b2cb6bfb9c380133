"""The parts of an interface: number cards, charts, bars, a ring and a table."""

from __future__ import annotations

import math
from random import Random

from omixa.engines.illustrator.colour import mix
from omixa.engines.illustrator.glass import Box, glass
from omixa.engines.illustrator.sheet import Sheet, disc, evenly, smooth, trace
from omixa.engines.illustrator.ui_theme import Theme, Wording


def icon(sheet: Sheet, kind: int, x: float, y: float, ink: str) -> None:
    """Draw one of six small line icons around a centre."""
    shapes = (
        "".join(f"M{x + dx} {y + dy}h5.6v5.6h-5.6Z" for dx in (-7, 1.6) for dy in (-7, 1.6)),
        f"M{x} {y - 8}l7.5 4v8l-7.5 4l-7.5 -4v-8ZM{x - 7.5} {y - 4}l7.5 4l7.5 -4M{x} {y}v8",
        disc(x, y - 3.6, 3.8) + f"M{x - 7} {y + 8}c0 -8.6 14 -8.6 14 0",
        f"M{x - 8} {y + 5}l5 -6l4 3l7 -9M{x + 3} {y - 7}h5v5",
        f"M{x - 6} {y - 4}h12l1.4 12h-14.8ZM{x - 3} {y - 4}c0 -5.4 6 -5.4 6 0",
        f"M{x - 8} {y - 4}h16M{x - 8} {y + 4}h16" + disc(x - 2.5, y - 4, 2.2) + disc(x + 3, y + 4, 2.2),
    )
    sheet.stroke(shapes[kind % 6], ink, 1.9)


def _value(pattern: str, rng: Random) -> str:
    return {
        "$k": f"${rng.uniform(18, 480):.1f}k",
        "n": f"{rng.randint(2_400, 98_000):,}",
        "%": f"{rng.uniform(2.4, 18):.2f}%",
        "%%": f"{rng.uniform(61, 97):.0f}%",
    }[pattern]


def number_card(sheet: Sheet, box: Box, theme: Theme, number: tuple[str, str], rng: Random, *, hero: bool) -> None:
    solid = theme.accent if hero else None
    glass(sheet, box, theme, solid=solid)
    ink, dim = theme.ink, theme.dim
    if hero:
        bright = theme.accent == "#ffffff"
        ink, dim = ("#0b0c0f", "#555a63") if bright else ("#ffffff", mix(theme.accent, "#ffffff", 0.75))
    label, pattern = number
    size = min(38.0, box.w * 0.19, box.h * 0.27)
    sheet.text(box.x + 20, box.y + box.h * 0.26, label, 15.5, dim)
    sheet.text(box.x + 20, box.y + box.h * 0.58, _value(pattern, rng), size, ink, bold=True, spacing=-1)
    change = rng.uniform(1.2, 24)
    chip = Box(box.x + 20, box.y + box.h * 0.72, 74, 23)
    sheet.rect(chip.x, chip.y, chip.w, chip.h, ink, 0.12, 11.5)
    sheet.path(f"M{chip.x + 11:.1f} {chip.y + 15:.1f}l5 -7l5 7Z", ink)
    sheet.text(chip.x + 26, chip.y + 16.5, f"{change:.1f}%", 13, ink, bold=True)
    points = _series(rng, 9)
    left, wide, low = box.x + box.w * 0.60, box.w * 0.34, box.y + box.h * 0.86
    line = [(left + wide * k / 8, low - value * box.h * 0.24) for k, value in enumerate(points)]
    sheet.stroke(smooth(line), ink, 2.6, 0.9)
    sheet.circle(line[-1][0], line[-1][1], 4.2, ink)


def _series(rng: Random, count: int) -> list[float]:
    """Make a rising, wavering series in 0..1."""
    phase, values = rng.uniform(0, 6.3), []
    for k in range(count):
        t = k / (count - 1)
        values.append(0.16 + 0.56 * t + 0.20 * math.sin(t * 7.4 + phase) + rng.uniform(-0.09, 0.09))
    low, high = min(values), max(values)
    return [0.1 + 0.86 * (v - low) / (high - low) for v in values]


def _heading(sheet: Sheet, box: Box, theme: Theme, words: str, note: str = "") -> None:
    sheet.text(box.x + 22, box.y + 38, words, 18.5, theme.ink, bold=True)
    if note:
        sheet.text(box.x + box.w - 22, box.y + 38, note, 14, theme.dim, anchor="end")


def chart(sheet: Sheet, box: Box, theme: Theme, words: Wording, rng: Random) -> None:
    """Draw the main chart: two smooth lines, the first with light below it and a note at its peak."""
    glass(sheet, box, theme)
    _heading(sheet, box, theme, words.chart)
    for k, name in enumerate(("12M", "30D", "7D")):
        chip = Box(box.x + box.w - 68 - k * 60, box.y + 18, 50, 28)
        sheet.rect(chip.x, chip.y, chip.w, chip.h, theme.ink, 0.92 if k == 1 else 0.10, 14)
        on = theme.ground[0] if theme.dark else "#ffffff"
        sheet.text(chip.x + 25, chip.y + 19, name, 13, on if k == 1 else theme.dim, bold=True, anchor="middle")
    left, right, top, low = box.x + 62, box.x + box.w - 28, box.y + 74, box.y + box.h - 46
    for k in range(5):
        y = low - (low - top) * k / 4
        sheet.stroke(f"M{left:.1f} {y:.1f}H{right:.1f}", theme.ink, 1, 0.12)
        sheet.text(left - 14, y + 5, f"{k * 25}", 13, theme.dim, anchor="end")
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    step = 1 if right - left > 480 else 2
    for k in range(0, 12, step):
        sheet.text(left + (right - left) * k / 11, low + 28, months[k], 13, theme.dim, anchor="middle")
    second = [(left + (right - left) * k / 11, low - (low - top) * v * 0.62) for k, v in enumerate(_series(rng, 12))]
    sheet.stroke(smooth(second), theme.second, 2.6, 0.85, 'stroke-dasharray="1 8"')
    line = [(left + (right - left) * k / 11, low - (low - top) * v * 0.94) for k, v in enumerate(_series(rng, 12))]
    under = sheet.fade(theme.accent, 0.46, 0.0)
    sheet.path(smooth(line) + f"L{right:.1f} {low:.1f}L{left:.1f} {low:.1f}Z", under)
    for width, opacity in ((13, 0.07), (8, 0.12), (3.8, 1.0)):
        sheet.stroke(smooth(line), theme.accent, width, opacity)
    x, y = min(line[2:-2], key=lambda p: p[1])
    sheet.stroke(f"M{x:.1f} {y:.1f}V{low:.1f}", theme.accent, 1.6, 0.55, 'stroke-dasharray="3 6"')
    sheet.circle(x, y, 13, theme.accent, 0.25)
    sheet.circle(x, y, 7, theme.accent)
    sheet.circle(x, y, 3.4, theme.ground[0] if theme.dark else "#ffffff")
    tip = Box(x - 46, max(y - 58, box.y + 52), 92, 36)
    sheet.rect(tip.x, tip.y, tip.w, tip.h, theme.ink, 1, 12)
    sheet.text(
        x,
        tip.y + 24,
        f"{rng.uniform(20, 90):.1f}k",
        17,
        theme.ground[0] if theme.dark else "#ffffff",
        bold=True,
        anchor="middle",
    )


def bars(sheet: Sheet, box: Box, theme: Theme, rng: Random) -> None:
    glass(sheet, box, theme)
    _heading(sheet, box, theme, "Weekly", "+" + f"{rng.uniform(3, 19):.1f}%")
    days = "MTWTFSS"
    left, low, top = box.x + 24, box.y + box.h - 42, box.y + 66
    step = (box.w - 48) / len(days)
    best = rng.randrange(2, 6)
    for k, day in enumerate(days):
        tall = (low - top) * (1.0 if k == best else rng.uniform(0.3, 0.82))
        wide = min(30.0, step * 0.56)
        x = left + step * (k + 0.5) - wide / 2
        sheet.rect(x, top, wide, low - top, theme.ink, 0.08, wide / 2)
        sheet.rect(
            x, low - tall, wide, tall, theme.accent if k == best else theme.second, 1.0 if k == best else 0.62, wide / 2
        )
        sheet.text(
            x + wide / 2, low + 26, day, 13.5, theme.ink if k == best else theme.dim, bold=k == best, anchor="middle"
        )


def ring(sheet: Sheet, box: Box, theme: Theme, words: Wording, rng: Random) -> None:
    """Draw a ring of four parts with its total in the middle and a legend beside or below it."""
    glass(sheet, box, theme)
    _heading(sheet, box, theme, "Sources")
    beside = box.w > box.h * 1.02
    radius = min(box.w * (0.22 if beside else 0.32), (box.h - 74) * (0.42 if beside else 0.31))
    cx = box.x + (22 + radius + 14 if beside else box.w / 2)
    cy = box.y + 58 + ((box.h - 70) / 2 if beside else radius + 8)
    shares = sorted((rng.uniform(0.6, 2.6) for _ in range(4)), reverse=True)
    total = sum(shares)
    tones = (
        theme.accent,
        theme.second,
        mix(theme.second, theme.ground[0], 0.45),
        mix(theme.ink, theme.ground[1], 0.72),
    )
    start, thick = -math.pi / 2, radius * 0.30
    for share, tone in zip(shares, tones, strict=True):
        sweep = share / total * math.tau
        a, b = start + 0.09, start + sweep - 0.09
        if b > a:
            first = (cx + radius * math.cos(a), cy + radius * math.sin(a))
            last = (cx + radius * math.cos(b), cy + radius * math.sin(b))
            arc = trace("M", *first, "A", radius, radius, f"0 {int(b - a > math.pi)} 1", *last)
            sheet.stroke(arc, tone, thick)
        start += sweep
    sheet.text(
        cx,
        cy + radius * 0.16,
        f"{shares[0] / total * 100:.0f}%",
        radius * 0.46,
        theme.ink,
        bold=True,
        anchor="middle",
        spacing=-1,
    )
    for k, (name, share, tone) in enumerate(zip(words.parts, shares, tones, strict=True)):
        x = cx + radius + 40 if beside else box.x + 24 + (k % 2) * (box.w - 40) / 2
        y = cy - 48 + k * 34 if beside else cy + radius + 52 + (k // 2) * 28
        if y > box.y + box.h - 12 or x > box.x + box.w - 60:
            continue
        sheet.circle(x, y - 5, 6, tone)
        sheet.text(x + 16, y, name, 14.5, theme.dim)
        if beside and box.w > 330:
            sheet.text(box.x + box.w - 22, y, f"{share / total * 100:.0f}%", 14.5, theme.ink, bold=True, anchor="end")


def table(sheet: Sheet, box: Box, theme: Theme, words: Wording, rng: Random) -> None:
    """List rows with a picture, a name, a bar and a value."""
    glass(sheet, box, theme)
    _heading(sheet, box, theme, "Top performers", "View all")
    rows = max(1, min(len(words.rows), int((box.h - 62) / 44)))
    step = (box.h - 66) / rows
    for k, name in enumerate(rng.sample(words.rows, rows)):
        y = box.y + 58 + step * k
        if k:
            sheet.stroke(f"M{box.x + 22:.1f} {y:.1f}H{box.x + box.w - 22:.1f}", theme.ink, 1, 0.10)
        middle = y + step / 2
        sheet.rect(
            box.x + 22,
            middle - 16,
            32,
            32,
            sheet.linear(evenly(mix(theme.orbs[k % 3], "#ffffff", 0.4), theme.orbs[k % 3]), slanted=True),
            1,
            10,
        )
        sheet.text(box.x + 68, middle + 5.5, name, 15.5, theme.ink)
        share, bar = rng.uniform(0.35, 0.95), box.w * 0.24
        if box.w > 380:
            x = box.x + box.w * 0.52
            sheet.rect(x, middle - 4, bar, 8, theme.ink, 0.12, 4)
            sheet.rect(x, middle - 4, bar * share, 8, theme.accent if k == 0 else theme.second, 1, 4)
        sheet.text(
            box.x + box.w - 22, middle + 5.5, f"${rng.uniform(2, 90):.1f}k", 15.5, theme.ink, bold=True, anchor="end"
        )
