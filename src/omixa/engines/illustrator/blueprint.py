"""Technical drawings: white lines on blue paper, with a grid, measures and a title block."""

from __future__ import annotations

import re
from typing import Final

from omixa.engines.illustrator.finish import writable
from omixa.engines.illustrator.library import Library, Picture
from omixa.engines.illustrator.plan import Plan
from omixa.engines.illustrator.sheet import Sheet, disc, evenly

PAPER: Final = "#14488f"
INK: Final = "#e6f1ff"
MAX_DRAWN: Final = 3
_FILL: Final = re.compile(r'\s(?:fill|stroke|stroke-width|opacity|fill-opacity|stroke-opacity)="[^"]*"')
_SHAPE: Final = re.compile(r"<(path|circle|ellipse|rect|polygon)\b")


def blueprint(sheet: Sheet, plan: Plan, library: Library) -> None:
    """Draw the subjects as line drawings; without a subject, concentric constructions."""
    sheet.bands(0, sheet.h, evenly("#1a56a8", PAPER, "#0f3a78"))
    for step, opacity in ((25, 0.10), (125, 0.22)):
        lines = "".join(f"M{x} 0V{sheet.h:.0f}" for x in range(0, int(sheet.w) + 1, step))
        lines += "".join(f"M0 {y}H{sheet.w:.0f}" for y in range(0, int(sheet.h) + 1, step))
        sheet.stroke(lines, INK, 1, opacity)
    sheet.stroke(f"M28 28H{sheet.w - 28:.0f}V{sheet.h - 28:.0f}H28Z", INK, 3, 0.9)
    pictures = [library.pictures[s.icon] for s in plan.subjects[:MAX_DRAWN]]
    room = min(sheet.w / max(len(pictures), 1), sheet.h * 0.86) * 0.62
    for k, picture in enumerate(pictures):
        _drawing(sheet, picture, sheet.w * (k + 0.5) / len(pictures), sheet.h * 0.47, room)
    if not pictures:
        _construction(sheet, plan)
    _title_block(sheet, plan)


def _drawing(sheet: Sheet, picture: Picture, x: float, y: float, room: float) -> None:
    """Draw one subject in outline, hidden lines removed, with its measures."""
    scale = room / max(picture.right - picture.left, picture.bottom - picture.top)
    wide, tall = (picture.right - picture.left) * scale, (picture.bottom - picture.top) * scale
    sheet.stroke(
        f"M{x:.1f} {y - tall * 0.66:.1f}V{y + tall * 0.66:.1f}M{x - wide * 0.66:.1f} {y:.1f}H{x + wide * 0.66:.1f}",
        INK,
        1.2,
        0.5,
        'stroke-dasharray="18 6 3 6"',
    )
    body = _SHAPE.sub(
        rf'<\1 fill="{PAPER}" stroke="{INK}" stroke-width="{2.3 / scale:.3f}"', _FILL.sub("", picture.body)
    )
    centre_x, centre_y = (picture.left + picture.right) / 2, (picture.top + picture.bottom) / 2
    sheet.add(
        f'<g transform="translate({x:.1f} {y:.1f}) scale({scale:.4f}) translate({-centre_x:.1f} {-centre_y:.1f})" '
        'stroke-linejoin="round">'
        f"{body.replace('~', sheet.fresh_id())}</g>"
    )
    left, right, low = x - wide / 2, x + wide / 2, y + tall / 2 + 46
    sheet.stroke(
        f"M{left:.1f} {low - 30:.1f}v42M{right:.1f} {low - 30:.1f}v42M{left:.1f} {low:.1f}H{right:.1f}", INK, 1.8, 0.9
    )
    sheet.path(f"M{left:.1f} {low:.1f}l15 -5v10ZM{right:.1f} {low:.1f}l-15 -5v10Z", INK)
    sheet.text(x, low - 9, f"{round(wide * 2.4)} mm", 20, INK, anchor="middle")


def _construction(sheet: Sheet, plan: Plan) -> None:
    rng = plan.rng("blueprint")
    x, y, short = sheet.w / 2, sheet.h * 0.47, min(sheet.w, sheet.h)
    for k in range(7):
        r = short * 0.06 * (k + 1) * rng.uniform(0.9, 1.05)
        sheet.stroke(disc(x, y, r), INK, rng.choice((1.2, 2.4)), 0.85, 'stroke-dasharray="14 7"' if k % 2 else "")
    sheet.stroke(
        f"M{x - short * 0.46:.1f} {y:.1f}h{short * 0.92:.1f}M{x:.1f} {y - short * 0.46:.1f}v{short * 0.92:.1f}",
        INK,
        1.4,
        0.7,
    )


def _title_block(sheet: Sheet, plan: Plan) -> None:
    x, y = sheet.w - 28 - 330, sheet.h - 28 - 104
    sheet.rect(x, y, 330, 104, PAPER)
    sheet.stroke(f"M{x:.0f} {y:.0f}h330v104h-330ZM{x:.0f} {y + 58:.0f}h330M{x + 150:.0f} {y + 58:.0f}v46", INK, 2, 0.9)
    name = plan.quotes[0] if plan.quotes else " + ".join(s.icon.replace("-", " ") for s in plan.subjects[:2]) or "study"
    sheet.text(x + 16, y + 38, (writable(name) or "study").upper()[:22], 23, INK, bold=True, spacing=1)
    sheet.text(x + 16, y + 88, f"No. {plan.seed % 9000 + 1000}", 18, INK)
    sheet.text(x + 166, y + 88, "Scale 1:10", 18, INK)
