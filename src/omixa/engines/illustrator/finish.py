"""What lies in front of a scene: weather, lettering and the marks of a style."""

from __future__ import annotations

import unicodedata
from typing import Final

from omixa.engines.illustrator.colour import light, mix
from omixa.engines.illustrator.look import Look
from omixa.engines.illustrator.plan import Plan
from omixa.engines.illustrator.sheet import Sheet, disc

LETTER_SHARE: Final = 0.6  # width of a bold letter relative to the size of the type
MAX_LINES: Final = 3


def weather(sheet: Sheet, plan: Plan, look: Look) -> None:
    """Let it rain, snow or blow, or fill the air with mist."""
    if plan.place in {"studio", "room", "ui", "abstract", "underwater", "space"}:
        return
    area = sheet.w * sheet.h / 1e6
    rng = plan.rng("weather")
    if plan.weather == "rain":
        for count, long, width, opacity in ((170, 26, 1.6, 0.4), (90, 48, 2.6, 0.5)):
            drops = (
                f"M{rng.uniform(0, sheet.w):.0f} {rng.uniform(-40, sheet.h):.0f}l{-long * 0.22:.1f} {long}"
                for _ in range(round(count * area))
            )
            sheet.stroke("".join(drops), mix(look.sky[3], "#ffffff", 0.6), width, opacity)
    elif plan.weather == "snow" or (plan.place == "snow" and plan.weather is None):
        heavy = 1.0 if plan.weather == "snow" else 0.5
        for count, radius, opacity in ((180, 2.2, 0.75), (80, 4.2, 0.85), (26, 7.5, 0.9)):
            flakes = (
                disc(rng.uniform(0, sheet.w), rng.uniform(0, sheet.h), radius * rng.uniform(0.7, 1.2))
                for _ in range(round(count * area * heavy))
            )
            sheet.path("".join(flakes), "#ffffff", opacity)
    elif plan.weather == "fog":
        for k in range(4):
            top = sheet.h * (0.40 + 0.13 * k)
            sheet.rect(0, top, sheet.w, sheet.h * 0.12, sheet.fade(look.haze, 0.0, 0.42))
            sheet.rect(0, top + sheet.h * 0.12, sheet.w, sheet.h * 0.08, sheet.fade(look.haze, 0.42, 0.0))
    elif plan.weather == "wind" and plan.place in {"forest", "meadow", "mountains", "city", "lake"}:
        for _ in range(round(34 * area)):
            x, y, size, degrees = (
                rng.uniform(0, sheet.w),
                rng.uniform(0, sheet.h),
                rng.uniform(6, 15),
                rng.uniform(0, 360),
            )
            colour = look.lit(rng.choice(("#d9772b", "#c94f2a", "#e6ab3c")))
            sheet.path(
                f"M{-size} 0Q0 {-size * 0.8:.1f} {size:.1f} 0Q0 {size * 0.8:.1f} {-size:.1f} 0Z",
                colour,
                extra=f'transform="translate({x:.0f} {y:.0f}) rotate({degrees:.0f})"',
            )


def writable(text: str) -> str:
    """Keep what the vendored typeface can draw: Latin, Greek, Cyrillic, digits and common marks."""
    kept = (c if ord(c) < 0x0530 or 0x1E00 <= ord(c) <= 0x20BF else " " for c in unicodedata.normalize("NFC", text))
    return " ".join("".join(c for c in kept if c == " " or not unicodedata.category(c).startswith("C")).split())


def lettering(sheet: Sheet, plan: Plan, look: Look) -> None:
    """Set the quoted words of a prompt large, where the picture has room: in the upper third."""
    lines = [line for quote in plan.quotes for line in _wrapped(writable(quote), sheet.w)][:MAX_LINES]
    if not lines:
        return
    longest = max(len(line) for line in lines)
    size = min(sheet.w * 0.84 / (LETTER_SHARE * max(longest, 4)), sheet.h * 0.34 / len(lines) / 1.1, 168)
    ground = look.sky[1] if plan.place not in {"studio", "room", "abstract"} else "#808080"
    pale = light(ground) < 0.62 or plan.place == "abstract"
    ink, halo = ("#ffffff", "#0b0d1c") if pale else ("#15182b", "#ffffff")
    y = sheet.h * 0.075 + size
    for line in lines:
        for reach, opacity in ((0.16, 0.12), (0.08, 0.3)):
            sheet.text(
                sheet.w / 2, y + size * 0.02, line, size, halo, bold=True, anchor="middle", opacity=opacity,
                spacing=-size * 0.015, outline=size * reach,
            )  # fmt: skip
        sheet.text(sheet.w / 2, y, line, size, ink, bold=True, anchor="middle", spacing=-size * 0.015)
        y += size * 1.12


def _wrapped(text: str, width: float) -> list[str]:
    """Break a text into lines of about equal length."""
    room = max(10, round(16 * width / 1000))
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > room:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return [line[: room * 2] for line in lines if line]


def style_marks(sheet: Sheet, plan: Plan, look: Look) -> None:
    """Add what a style adds on top: a paper edge, a scratched frame, scan lines or darkened corners."""
    w, h = sheet.w, sheet.h
    if plan.style == "watercolour":
        _deckle(sheet, plan)
    elif plan.style == "vintage":
        sheet.vignette("#2a1606", 0.55)
        sheet.stroke(f"M0 0H{w:.0f}V{h:.0f}H0Z", "#f7edd8", 64)
        rng = plan.rng("dust")
        sheet.path(
            "".join(disc(rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0.6, 1.8)) for _ in range(120)),
            "#fff6e0",
            0.55,
        )
    elif plan.style == "neon":
        sheet.vignette("#05010f", 0.6)
    elif plan.style not in {"minimal", "pastel", "blueprint"} and plan.place not in {"ui", "abstract"}:
        sheet.vignette("#0a0a1e" if look.dark else mix(look.sky[0], "#1b2036", 0.6), 0.34 if look.dark else 0.16)


def _deckle(sheet: Sheet, plan: Plan) -> None:
    """Leave the paper white around a wavering edge and drop some pigment on it."""
    rng = plan.rng("deckle")
    w, h = sheet.w, sheet.h
    inner = []
    steps = 22
    for side in range(4):
        for k in range(steps):
            t, inset = k / steps, rng.uniform(14, 50)
            inner.append(((w * t, inset), (w - inset, h * t), (w * (1 - t), h - inset), (inset, h * (1 - t)))[side])
    edge = [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b in zip(inner, [*inner[1:], inner[0]], strict=True)]
    curve = f"M{edge[-1][0]:.1f} {edge[-1][1]:.1f}" + "".join(
        f"Q{point[0]:.1f} {point[1]:.1f} {middle[0]:.1f} {middle[1]:.1f}"
        for point, middle in zip(inner, edge, strict=True)
    )
    sheet.stroke(curve + "Z", "#f7f0e3", 20, 0.5)
    sheet.path(f"M0 0H{w:.0f}V{h:.0f}H0Z{curve}Z", "#fbf6ec", extra='fill-rule="evenodd"')
    for _ in range(16):
        x, y, r = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(26, 110)
        sheet.circle(x, y, r, "#ffffff", 0.07)
        sheet.stroke(disc(x, y, r), "#5a6a8a", 1.6, 0.09)
