"""A user interface as a picture: a dashboard, a phone, or a frame around a given picture."""

from __future__ import annotations

from random import Random
from typing import Final

from omixa.engines.illustrator.colour import mix
from omixa.engines.illustrator.finish import writable
from omixa.engines.illustrator.glass import MARGIN, Box, frosted, glass, ground
from omixa.engines.illustrator.plan import Plan
from omixa.engines.illustrator.sheet import Sheet, disc
from omixa.engines.illustrator.ui_theme import Theme, Wording, brand, theme_for, words_for
from omixa.engines.illustrator.widgets import bars, chart, icon, number_card, ring, table

GAP: Final = 18.0


PHONE_WORDS: Final = frozenset(("mobile", "phone", "app", "ios", "android", "smartphone"))


def interface(sheet: Sheet, plan: Plan) -> None:
    """Paint the mock-up that suits the words and the shape of the picture: a phone or a dashboard."""
    rng = plan.rng("ui")
    theme = theme_for(plan, rng)
    words = words_for(plan)
    if plan.vocabulary & PHONE_WORDS and "dashboard" not in plan.vocabulary:
        ground(sheet, theme, rng, whole=True)
        _phone(sheet, plan, theme, words, rng)
        return
    orbs = ground(sheet, theme, rng, whole=False)
    frame = Box(0, 0, sheet.w, sheet.h).inset(MARGIN)
    frosted(sheet, frame, theme, orbs, 38)
    inner = frame.inset(22)
    if sheet.w >= sheet.h * 0.9:
        _sidebar(sheet, Box(inner.x, inner.y, 178, inner.h), theme, words, plan)
        inner = Box(inner.x + 178 + GAP, inner.y, inner.w - 178 - GAP, inner.h)
    top = Box(inner.x, inner.y, inner.w, 64)
    _top_bar(sheet, top, theme, words, plan)
    _cards(sheet, Box(inner.x, inner.y + 64 + 12, inner.w, inner.h - 76), theme, words, rng)


def showcase(sheet: Sheet, plan: Plan, aspect: float) -> Box:
    """Paint an interface with a glass card for a picture of an aspect (width by height); give the picture's place."""
    rng = plan.rng("ui")
    theme = theme_for(plan, rng)
    words = words_for(plan)
    orbs = ground(sheet, theme, rng, whole=False)
    frame = Box(0, 0, sheet.w, sheet.h).inset(MARGIN)
    frosted(sheet, frame, theme, orbs, 38)
    inner = frame.inset(26)
    _top_bar(sheet, Box(inner.x, inner.y, inner.w, 64), theme, words, plan)
    low_h = min(150.0, inner.h * 0.17)
    card = Box(inner.x, inner.y + 80, inner.w, inner.h - 80 - GAP - low_h)
    glass(sheet, card, theme)
    room = card.inset(20)
    wide = min(room.w, room.h * aspect)
    tall = wide / aspect
    x, y = room.x + (room.w - wide) / 2, room.y + (room.h - tall) / 2
    count = 4 if inner.w > 1000 else 3
    width = (inner.w - GAP * (count - 1)) / count
    for k in range(count):
        box = Box(inner.x + k * (width + GAP), inner.y + inner.h - low_h, width, low_h)
        number_card(sheet, box, theme, words.numbers[k], rng, hero=k == 0)
    return Box(x, y, wide, tall)


def _sidebar(sheet: Sheet, box: Box, theme: Theme, words: Wording, plan: Plan) -> None:
    glass(sheet, box, theme)
    cx, y = box.x + 34, box.y + 42
    sheet.circle(cx, y, 16, theme.accent)
    sheet.path(f"M{cx - 7} {y + 5}l7 -13l7 13Z", "#0b0c0f" if theme.accent == "#ffffff" else "#ffffff")
    sheet.text(cx + 28, y + 7, brand(plan), 20, theme.ink, bold=True)
    for k, page in enumerate(words.pages):
        top = box.y + 92 + k * 58
        on = k == 0
        if on:
            sheet.rect(box.x + 12, top, box.w - 24, 46, theme.accent, 1, 15)
        ink = ("#0b0c0f" if theme.accent == "#ffffff" else "#ffffff") if on else theme.dim
        icon(sheet, k, box.x + 36, top + 23, ink)
        sheet.text(box.x + 58, top + 29, page, 16.5, ink, bold=on)
    foot = Box(box.x + 12, box.y + box.h - 150, box.w - 24, 138)
    if foot.y > box.y + 92 + 58 * len(words.pages):
        sheet.rect(foot.x, foot.y, foot.w, foot.h, theme.ink, 0.09, 18)
        sheet.text(foot.x + 16, foot.y + 34, "Storage", 15, theme.dim)
        share = plan.rng("storage").uniform(0.4, 0.85)
        sheet.text(foot.x + 16, foot.y + 68, f"{share * 100:.0f}%", 28, theme.ink, bold=True)
        sheet.rect(foot.x + 16, foot.y + 90, foot.w - 32, 8, theme.ink, 0.16, 4)
        sheet.rect(foot.x + 16, foot.y + 90, (foot.w - 32) * share, 8, theme.accent, 1, 4)
        sheet.text(foot.x + 16, foot.y + 122, "of 2 TB used", 13, theme.dim)


def _top_bar(sheet: Sheet, box: Box, theme: Theme, words: Wording, plan: Plan) -> None:
    title = writable(plan.quotes[0]) if plan.quotes else words.title
    sheet.text(box.x + 6, box.y + 30, title[:26], 30, theme.ink, bold=True, spacing=-0.6)
    sheet.text(box.x + 6, box.y + 55, "Last 30 days, compared with the month before", 14.5, theme.dim)
    right = box.x + box.w
    sheet.circle(right - 24, box.y + 28, 23, theme.orbs[0])
    sheet.circle(right - 24, box.y + 22, 8.5, theme.ground[0])
    sheet.path(f"M{right - 39:.1f} {box.y + 44:.1f}c3 -17 27 -17 30 0c-7 8 -23 8 -30 0Z", theme.ground[0])
    if box.w > 640:
        sheet.rect(right - 256, box.y + 6, 190, 44, theme.ink, 0.10, 22)
        sheet.stroke(disc(right - 231, box.y + 26, 7) + f"M{right - 226:.1f} {box.y + 31:.1f}l6 6", theme.dim, 2)
        sheet.text(right - 210, box.y + 33, "Search", 15, theme.dim)


def _cards(sheet: Sheet, area: Box, theme: Theme, words: Wording, rng: Random) -> None:
    """Lay out number cards, the main chart, bars, a ring and a table; the shape of the area decides the grid."""
    wide = area.w >= area.h * 1.15
    tall = area.h > area.w * 1.25
    count = 4 if wide else 3
    if tall:
        count = 2
    card_h = min(150.0, area.h * 0.19)
    width = (area.w - GAP * (count - 1)) / count
    for k in range(count):
        number_card(
            sheet, Box(area.x + k * (width + GAP), area.y, width, card_h), theme, words.numbers[k], rng, hero=k == 0
        )
    y = area.y + card_h + GAP
    rest = area.y + area.h - y
    if wide:
        split = area.w * 0.66
        half = (rest - GAP) * 0.56
        chart(sheet, Box(area.x, y, split - GAP, half), theme, words, rng)
        ring(sheet, Box(area.x + split, y, area.w - split, half), theme, words, rng)
        low = Box(area.x, y + half + GAP, area.w, rest - half - GAP)
        bars(sheet, Box(low.x, low.y, area.w * 0.42 - GAP, low.h), theme, rng)
        table(sheet, Box(low.x + area.w * 0.42, low.y, area.w * 0.58, low.h), theme, words, rng)
        return
    parts = (0.36, 0.30) if tall else (0.52, 0.48)
    chart_h = (rest - GAP * (2 if tall else 1)) * parts[0]
    chart(sheet, Box(area.x, y, area.w, chart_h), theme, words, rng)
    y += chart_h + GAP
    row_h = (rest - GAP * (2 if tall else 1)) * parts[1]
    half_w = (area.w - GAP) / 2
    bars(sheet, Box(area.x, y, half_w, row_h), theme, rng)
    ring(sheet, Box(area.x + half_w + GAP, y, half_w, row_h), theme, words, rng)
    if tall:
        y += row_h + GAP
        table(sheet, Box(area.x, y, area.w, area.y + area.h - y), theme, words, rng)


def _phone(sheet: Sheet, plan: Plan, theme: Theme, words: Wording, rng: Random) -> None:
    """Show the interface on a phone, upright in the middle of the picture."""
    tall = sheet.h * 0.88
    wide = min(tall * 0.47, sheet.w * 0.8)
    x, y = (sheet.w - wide) / 2, (sheet.h - tall) / 2
    sheet.shadow(sheet.w / 2, y + tall + 4, wide * 0.62, 34, 0.5)
    sheet.rect(x - 12, y - 12, wide + 24, tall + 24, "#16171c", 1, 66)
    sheet.rect(x - 12, y - 12, wide + 24, tall + 24, sheet.fade("#ffffff", 0.25, 0.0), 1, 66)
    screen = mix(theme.ground[0], theme.orbs[0], 0.10)
    sheet.rect(x, y, wide, tall, screen, 1, 54)
    sheet.rect(sheet.w / 2 - wide * 0.14, y + 15, wide * 0.28, 26, "#050507", 1, 13)
    inner = Box(x + 20, y + 66, wide - 40, tall - 66 - 84)
    title = writable(plan.quotes[0]) if plan.quotes else words.title
    sheet.text(inner.x + 4, inner.y + 30, title[:18], 29, theme.ink, bold=True, spacing=-0.6)
    sheet.circle(inner.x + inner.w - 20, inner.y + 20, 20, theme.orbs[1])
    sheet.text(inner.x + 4, inner.y + 55, "Good to see you again", 15, theme.dim)
    top = inner.y + 76
    half = (inner.w - 14) / 2
    unit = (inner.y + inner.h - top - 42) / 10
    number_card(sheet, Box(inner.x, top, half, unit * 2.3), theme, words.numbers[0], rng, hero=True)
    number_card(sheet, Box(inner.x + half + 14, top, half, unit * 2.3), theme, words.numbers[1], rng, hero=False)
    chart(sheet, Box(inner.x, top + unit * 2.3 + 14, inner.w, unit * 4.2), theme, words, rng)
    table(sheet, Box(inner.x, top + unit * 6.5 + 28, inner.w, unit * 3.5), theme, words, rng)
    bar_y = y + tall - 62
    for k in range(4):
        icon(sheet, (0, 3, 1, 2)[k], x + wide * (k + 0.5) / 4, bar_y + 14, theme.accent if k == 0 else theme.dim)
    sheet.rect(sheet.w / 2 - wide * 0.17, y + tall - 18, wide * 0.34, 5, theme.ink, 0.8, 2.5)
