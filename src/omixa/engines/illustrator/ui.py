"""A user interface as a picture: glass cards with numbers, a chart, a ring and a table over floating spheres."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Final

from omixa.engines.illustrator.colour import from_hls, hls, mix
from omixa.engines.illustrator.plan import Plan
from omixa.engines.illustrator.sheet import Sheet, disc, evenly, smooth

MARGIN: Final = 46.0
GAP: Final = 18.0
RADIUS: Final = 26.0
PHONE_WORDS: Final = frozenset(("mobile", "phone", "app", "ios", "android", "smartphone"))


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of an interface: ground, ink, dimmed ink, accent, a second accent, and whether the ground is dark."""

    ground: tuple[str, str]
    ink: str
    dim: str
    accent: str
    second: str
    orbs: tuple[str, ...]
    dark: bool


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in units."""

    x: float
    y: float
    w: float
    h: float

    def inset(self, by: float) -> Box:
        """Give the box without a margin."""
        return Box(self.x + by, self.y + by, self.w - 2 * by, self.h - 2 * by)


@dataclass(frozen=True, slots=True)
class Wording:
    """The words of one kind of business."""

    title: str
    pages: tuple[str, ...]
    numbers: tuple[tuple[str, str], ...]  # label and the pattern of its value
    chart: str
    parts: tuple[str, ...]
    rows: tuple[str, ...]


_PRODUCT: Final = Wording(
    "Product overview",
    ("Overview", "Products", "Customers", "Insights", "Orders", "Settings"),
    (("Revenue", "$k"), ("Active users", "n"), ("Conversion", "%"), ("Retention", "%%")),
    "Performance",
    ("Direct", "Search", "Social", "Partners"),
    ("Aurora Headset", "Nimbus Lamp", "Atlas Chair", "Orbit Speaker", "Halo Watch", "Vela Desk"),
)
_WORDINGS: Final = (
    (frozenset("finance banking bank fintech crypto trading stock stocks wallet money investment payment payments budget".split()),
     Wording("Portfolio", ("Overview", "Accounts", "Transfers", "Markets", "Cards", "Settings"),
             (("Balance", "$k"), ("Income", "$k"), ("Growth", "%"), ("Savings", "%%")), "Net worth",
             ("Stocks", "Bonds", "Cash", "Funds"), ("Northwind Ltd", "Blue Harbor", "Meridian", "Solstice Inc", "Juniper Co", "Kite Energy"))),
    (frozenset("health meditation mindfulness yoga calm fitness medical sleep workout hospital heart wellness patient".split()),
     Wording("Your health", ("Today", "Activity", "Sleep", "Heart", "Nutrition", "Settings"),
             (("Steps", "n"), ("Calories", "n"), ("Sleep score", "%%"), ("Recovery", "%%")), "Heart rate",
             ("Rest", "Walk", "Run", "Strength"), ("Morning run", "Yoga flow", "Swim set", "Evening walk", "Cycling", "Stretching"))),
    (frozenset("music audio podcast player streaming song".split()),
     Wording("Listening", ("Home", "Library", "Artists", "Radio", "Charts", "Settings"),
             (("Plays", "n"), ("Listeners", "n"), ("Completion", "%%"), ("Growth", "%")), "Plays per day",
             ("Ambient", "Jazz", "Indie", "Classical"), ("Slow Tide", "Paper Moons", "Night Bloom", "Glass River", "Low Sun", "Far Field"))),
    (frozenset("energy weather climate smart-home home iot solar garden sensor".split()),
     Wording("Energy at home", ("Today", "Rooms", "Solar", "Climate", "Devices", "Settings"),
             (("Solar yield", "n"), ("Usage", "n"), ("Self-supply", "%%"), ("Saved", "%")), "Power",
             ("Heating", "Kitchen", "Light", "Car"), ("Living room", "Kitchen", "Office", "Garage", "Garden", "Bedroom"))),
    (frozenset("travel booking hotel flight flights trip restaurant food delivery".split()),
     Wording("Bookings", ("Overview", "Trips", "Guests", "Places", "Reviews", "Settings"),
             (("Bookings", "n"), ("Revenue", "$k"), ("Occupancy", "%%"), ("Rating trend", "%")), "Arrivals",
             ("Web", "Phone", "Agents", "Walk-in"), ("Lisbon weekend", "Kyoto spring", "Alpine lodge", "Oslo fjord", "Porto wine", "Bergen rail"))),
)  # fmt: skip


def interface(sheet: Sheet, plan: Plan) -> None:
    """Paint the mock-up that suits the words and the shape of the picture: a phone or a dashboard."""
    rng = plan.rng("ui")
    theme = _theme(plan, rng)
    words = next((w for keys, w in _WORDINGS if keys & plan.vocabulary), _PRODUCT)
    if plan.vocabulary & PHONE_WORDS and "dashboard" not in plan.vocabulary:
        _ground(sheet, theme, rng, whole=True)
        _phone(sheet, plan, theme, words, rng)
        return
    orbs = _ground(sheet, theme, rng, whole=False)
    frame = Box(0, 0, sheet.w, sheet.h).inset(MARGIN)
    _frosted(sheet, frame, theme, orbs, 38)
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
    theme = _theme(plan, rng)
    words = next((w for keys, w in _WORDINGS if keys & plan.vocabulary), _PRODUCT)
    orbs = _ground(sheet, theme, rng, whole=False)
    frame = Box(0, 0, sheet.w, sheet.h).inset(MARGIN)
    _frosted(sheet, frame, theme, orbs, 38)
    inner = frame.inset(26)
    _top_bar(sheet, Box(inner.x, inner.y, inner.w, 64), theme, words, plan)
    low_h = min(150.0, inner.h * 0.17)
    card = Box(inner.x, inner.y + 80, inner.w, inner.h - 80 - GAP - low_h)
    _glass(sheet, card, theme)
    room = card.inset(20)
    wide = min(room.w, room.h * aspect)
    tall = wide / aspect
    x, y = room.x + (room.w - wide) / 2, room.y + (room.h - tall) / 2
    count = 4 if inner.w > 1000 else 3
    width = (inner.w - GAP * (count - 1)) / count
    for k in range(count):
        box = Box(inner.x + k * (width + GAP), inner.y + inner.h - low_h, width, low_h)
        _number_card(sheet, box, theme, words.numbers[k], rng, hero=k == 0)
    return Box(x, y, wide, tall)


def _theme(plan: Plan, rng: Random) -> Theme:
    if plan.style == "mono" or {"black", "white"} <= plan.vocabulary:
        return Theme(
            ("#0a0b0d", "#1d1f24"),
            "#ffffff",
            "#a3a7b0",
            "#ffffff",
            "#8d929c",
            ("#f2f3f5", "#8a8e98", "#6a6e78"),
            dark=True,
        )
    hue = hls(plan.colours[0])[0] if plan.colours else rng.uniform(0, 360)
    light_words = plan.vocabulary & {"light", "white", "bright", "minimal", "minimalist", "pastel", "clean", "airy"}
    dark = bool(plan.vocabulary & {"dark", "black", "night", "neon", "cyberpunk"}) or (
        not light_words and rng.random() < 0.45
    )
    orbs = (from_hls(hue, 0.62, 0.85), from_hls(hue + 48, 0.6, 0.8), from_hls(hue - 62, 0.64, 0.8))
    accent, second = from_hls(hue, 0.62 if dark else 0.52, 0.85), from_hls(hue + 48, 0.62, 0.75)
    if dark:
        return Theme(
            (from_hls(hue, 0.06, 0.5), from_hls(hue + 30, 0.14, 0.5)),
            "#ffffff",
            from_hls(hue, 0.72, 0.2),
            accent,
            second,
            orbs,
            dark=True,
        )
    return Theme(
        (from_hls(hue, 0.95, 0.7), from_hls(hue + 40, 0.86, 0.7)),
        from_hls(hue, 0.13, 0.4),
        from_hls(hue, 0.45, 0.16),
        accent,
        second,
        orbs,
        dark=False,
    )


def _ground(sheet: Sheet, theme: Theme, rng: Random, *, whole: bool) -> list[tuple[float, float, float, str]]:
    """Paint the ground and glossy spheres; give (x, y, radius, colour) of each for the glass to blur.

    Unless `whole`, only the margin around the pane is painted: the pane covers the rest.
    """
    sheet.bands(0, sheet.h, evenly(theme.ground[0], theme.ground[1], theme.ground[0]))
    spots = ((0.92, 0.09, 0.20), (0.05, 0.60, 0.17), (0.60, 0.97, 0.21), (0.27, 0.03, 0.11))
    orbs = []
    everything = Box(0, 0, sheet.w, sheet.h)
    strips = [everything] if whole else _around(everything, MARGIN + 12)
    for k, (x, y, r) in enumerate(spots):
        tone, radius = theme.orbs[k % 3], r * 1000 * rng.uniform(0.9, 1.08)
        px, py = sheet.w * (x + rng.uniform(-0.02, 0.02)), sheet.h * (y + rng.uniform(-0.015, 0.015))
        shades = ((0.0, mix(tone, "#ffffff", 0.55)), (0.45, tone), (0.99, mix(tone, theme.ground[0], 0.74)))
        stops = [*((place, shade, 1.0) for place, shade in shades), (1.0, shades[-1][1], 0.0)]
        focus = f'fx="{px - radius * 0.34:.1f}" fy="{py - radius * 0.4:.1f}"'
        fill = sheet.radial(
            stops, f'gradientUnits="userSpaceOnUse" cx="{px:.1f}" cy="{py:.1f}" r="{radius:.1f}" {focus}'
        )
        for strip in strips:
            _fill_within(sheet, strip, px, py, radius, fill)
        orbs.append((px, py, radius, tone))
    return orbs


def _around(box: Box, margin: float) -> list[Box]:
    """Give the four strips along the edges of a box."""
    return [
        Box(box.x, box.y, box.w, margin),
        Box(box.x, box.y + box.h - margin, box.w, margin),
        Box(box.x, box.y + margin - 2, margin, box.h - 2 * margin + 4),
        Box(box.x + box.w - margin, box.y + margin - 2, margin, box.h - 2 * margin + 4),
    ]


def _fill_within(sheet: Sheet, box: Box, x: float, y: float, reach: float, fill: str, radius: float = 0.0) -> None:
    """Paint the part of a box that a round light reaches; this spares the clipping, which is dear."""
    left, top = max(box.x, x - reach), max(box.y, y - reach)
    wide, tall = min(box.x + box.w, x + reach) - left, min(box.y + box.h, y + reach) - top
    if wide > 0 and tall > 0:
        sheet.rect(left, top, wide, tall, fill, 1, radius)


def _soft_edge(sheet: Sheet, box: Box, radius: float, *, reach: float, strength: float) -> None:
    """Throw a shadow around a box from four strips and four corners; nothing is painted below the box itself."""
    x, y, w, h, size = box.x, box.y, box.w, box.h, radius + reach
    edge = radius / size
    for dx, dy in ((1, 1), (0, 1), (1, 0), (0, 0)):
        corner = sheet.radial(
            [(edge - 0.01, "#000000", 0.0), (edge, "#000000", strength), (edge * 0.5 + 0.5, "#000000", strength * 0.3),
             (1, "#000000", 0.0)], f'cx="{dx}" cy="{dy}" r="1"')  # fmt: skip
        sheet.rect(
            x - reach if dx else x + w - radius, y - reach if dy else y + h - radius, size, size, corner, crisp=True
        )
    up, down = (
        _falloff(sheet, strength, 'x1="0" x2="0" y1="1" y2="0"'),
        _falloff(sheet, strength, 'x1="0" x2="0" y1="0" y2="1"'),
    )
    sheet.rect(x + radius, y - reach, w - 2 * radius, reach, up, crisp=True)
    sheet.rect(x + radius, y + h, w - 2 * radius, reach, down, crisp=True)
    before, after = (
        _falloff(sheet, strength, 'x1="1" x2="0" y1="0" y2="0"'),
        _falloff(sheet, strength, 'x1="0" x2="1" y1="0" y2="0"'),
    )
    sheet.rect(x - reach, y + radius, reach, h - 2 * radius, before, crisp=True)
    sheet.rect(x + w, y + radius, reach, h - 2 * radius, after, crisp=True)


def _falloff(sheet: Sheet, strength: float, axis: str) -> str:
    stops = ((0, strength), (0.5, strength * 0.3), (1, 0.0))
    content = "".join(
        f'<stop offset="{place}" stop-color="#000000" stop-opacity="{opacity:.3f}"/>' for place, opacity in stops
    )
    return sheet.define("linearGradient", axis, content)


def _frosted(sheet: Sheet, box: Box, theme: Theme, orbs: list[tuple[float, float, float, str]], radius: float) -> None:
    """Lay the large pane: what lies under it shows as soft light, as through frosted glass."""
    _soft_edge(sheet, box, radius, reach=46, strength=0.6 if theme.dark else 0.2)
    sheet.rect(box.x, box.y, box.w, box.h, mix(theme.ground[1], theme.ground[0], 0.4), 1, radius)
    strength = 0.5 if theme.dark else 0.6
    for x, y, own, tone in orbs:
        reach = own * 1.45
        fill = sheet.radial(
            [(0, tone, strength), (0.4, tone, strength * 0.72), (0.75, tone, strength * 0.22), (1, tone, 0)],
            f'gradientUnits="userSpaceOnUse" cx="{x:.1f}" cy="{y:.1f}" r="{reach:.1f}"',
        )
        _fill_within(sheet, box, x, y, reach, fill, radius)
    rim = sheet.fade("#ffffff", 0.7 if theme.dark else 1.0, 0.12 if theme.dark else 0.6)
    sheet.add(
        f'<rect x="{box.x + 1:.1f}" y="{box.y + 1:.1f}" width="{box.w - 2:.1f}" height="{box.h - 2:.1f}" rx="{radius}" '
        f'fill="none" stroke="{rim}" stroke-width="2"/>'
    )


def _glass(
    sheet: Sheet, box: Box, theme: Theme, *, strength: float = 1.0, radius: float = RADIUS, solid: str | None = None
) -> None:
    """Lay a pane of glass: a shadow, a veil, a bright rim above and a dim one below."""
    _soft_edge(sheet, box, radius, reach=16, strength=0.34 if theme.dark else 0.12)
    if solid:
        sheet.rect(box.x, box.y, box.w, box.h, solid, 1, radius)
    elif theme.dark:
        sheet.rect(box.x, box.y, box.w, box.h, theme.ground[0], 0.4, radius)
        sheet.rect(box.x, box.y, box.w, box.h, "#ffffff", 0.09, radius)
    else:
        sheet.rect(box.x, box.y, box.w, box.h, "#ffffff", 0.66, radius)
    rim = sheet.fade("#ffffff", 0.75 if theme.dark else 1.0, 0.10 if theme.dark else 0.5)
    sheet.add(
        f'<rect x="{box.x + 0.8:.1f}" y="{box.y + 0.8:.1f}" width="{box.w - 1.6:.1f}" height="{box.h - 1.6:.1f}" rx="{radius}" '
        f'fill="none" stroke="{rim}" stroke-width="1.6"/>'
    )


def _sidebar(sheet: Sheet, box: Box, theme: Theme, words: Wording, plan: Plan) -> None:
    _glass(sheet, box, theme)
    cx, y = box.x + 34, box.y + 42
    sheet.circle(cx, y, 16, theme.accent)
    sheet.path(f"M{cx - 7} {y + 5}l7 -13l7 13Z", "#0b0c0f" if theme.accent == "#ffffff" else "#ffffff")
    sheet.text(cx + 28, y + 7, _brand(plan), 20, theme.ink, bold=True)
    for k, page in enumerate(words.pages):
        top = box.y + 92 + k * 58
        on = k == 0
        if on:
            sheet.rect(box.x + 12, top, box.w - 24, 46, theme.accent, 1, 15)
        ink = ("#0b0c0f" if theme.accent == "#ffffff" else "#ffffff") if on else theme.dim
        _icon(sheet, k, box.x + 36, top + 23, ink)
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


def _brand(plan: Plan) -> str:
    rng = plan.rng("brand")
    return rng.choice(("Nova", "Lumen", "Orbit", "Vela", "Prism", "Halo", "Onyx", "Arc", "Mono", "Atlas"))


def _icon(sheet: Sheet, kind: int, x: float, y: float, ink: str) -> None:
    """Draw one of six small line icons around a centre."""
    shapes = (
        f"M{x - 7} {y - 7}h5.6v5.6h-5.6ZM{x + 1.6} {y - 7}h5.6v5.6h-5.6ZM{x - 7} {y + 1.6}h5.6v5.6h-5.6ZM{x + 1.6} {y + 1.6}h5.6v5.6h-5.6Z",
        f"M{x} {y - 8}l7.5 4v8l-7.5 4l-7.5 -4v-8ZM{x - 7.5} {y - 4}l7.5 4l7.5 -4M{x} {y}v8",
        disc(x, y - 3.6, 3.8) + f"M{x - 7} {y + 8}c0 -8.6 14 -8.6 14 0",
        f"M{x - 8} {y + 5}l5 -6l4 3l7 -9M{x + 3} {y - 7}h5v5",
        f"M{x - 6} {y - 4}h12l1.4 12h-14.8ZM{x - 3} {y - 4}c0 -5.4 6 -5.4 6 0",
        f"M{x - 8} {y - 4}h16M{x - 8} {y + 4}h16" + disc(x - 2.5, y - 4, 2.2) + disc(x + 3, y + 4, 2.2),
    )
    sheet.stroke(shapes[kind % 6], ink, 1.9)


def _top_bar(sheet: Sheet, box: Box, theme: Theme, words: Wording, plan: Plan) -> None:
    title = plan.quotes[0] if plan.quotes else words.title
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
        _number_card(
            sheet, Box(area.x + k * (width + GAP), area.y, width, card_h), theme, words.numbers[k], rng, hero=k == 0
        )
    y = area.y + card_h + GAP
    rest = area.y + area.h - y
    if wide:
        split = area.w * 0.66
        half = (rest - GAP) * 0.56
        _chart(sheet, Box(area.x, y, split - GAP, half), theme, words, rng)
        _ring(sheet, Box(area.x + split, y, area.w - split, half), theme, words, rng)
        low = Box(area.x, y + half + GAP, area.w, rest - half - GAP)
        _bars(sheet, Box(low.x, low.y, area.w * 0.42 - GAP, low.h), theme, rng)
        _table(sheet, Box(low.x + area.w * 0.42, low.y, area.w * 0.58, low.h), theme, words, rng)
        return
    parts = (0.36, 0.30) if tall else (0.52, 0.48)
    chart_h = (rest - GAP * (2 if tall else 1)) * parts[0]
    _chart(sheet, Box(area.x, y, area.w, chart_h), theme, words, rng)
    y += chart_h + GAP
    row_h = (rest - GAP * (2 if tall else 1)) * parts[1]
    half_w = (area.w - GAP) / 2
    _bars(sheet, Box(area.x, y, half_w, row_h), theme, rng)
    _ring(sheet, Box(area.x + half_w + GAP, y, half_w, row_h), theme, words, rng)
    if tall:
        y += row_h + GAP
        _table(sheet, Box(area.x, y, area.w, area.y + area.h - y), theme, words, rng)


def _value(pattern: str, rng: Random) -> str:
    return {
        "$k": f"${rng.uniform(18, 480):.1f}k",
        "n": f"{rng.randint(2_400, 98_000):,}",
        "%": f"{rng.uniform(2.4, 18):.2f}%",
        "%%": f"{rng.uniform(61, 97):.0f}%",
    }[pattern]


def _number_card(sheet: Sheet, box: Box, theme: Theme, number: tuple[str, str], rng: Random, *, hero: bool) -> None:
    solid = theme.accent if hero else None
    _glass(sheet, box, theme, solid=solid)
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


def _chart(sheet: Sheet, box: Box, theme: Theme, words: Wording, rng: Random) -> None:
    """Draw the main chart: two smooth lines, the first with light below it and a note at its peak."""
    _glass(sheet, box, theme)
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


def _bars(sheet: Sheet, box: Box, theme: Theme, rng: Random) -> None:
    _glass(sheet, box, theme)
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


def _ring(sheet: Sheet, box: Box, theme: Theme, words: Wording, rng: Random) -> None:
    """Draw a ring of four parts with its total in the middle and a legend beside or below it."""
    _glass(sheet, box, theme)
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
            arc = f"M{cx + radius * math.cos(a):.1f} {cy + radius * math.sin(a):.1f}A{radius:.1f} {radius:.1f} 0 {int(b - a > math.pi)} 1 {cx + radius * math.cos(b):.1f} {cy + radius * math.sin(b):.1f}"
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


def _table(sheet: Sheet, box: Box, theme: Theme, words: Wording, rng: Random) -> None:
    """List rows with a picture, a name, a bar and a value."""
    _glass(sheet, box, theme)
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
    title = plan.quotes[0] if plan.quotes else words.title
    sheet.text(inner.x + 4, inner.y + 30, title[:18], 29, theme.ink, bold=True, spacing=-0.6)
    sheet.circle(inner.x + inner.w - 20, inner.y + 20, 20, theme.orbs[1])
    sheet.text(inner.x + 4, inner.y + 55, "Good to see you again", 15, theme.dim)
    top = inner.y + 76
    half = (inner.w - 14) / 2
    unit = (inner.y + inner.h - top - 42) / 10
    _number_card(sheet, Box(inner.x, top, half, unit * 2.3), theme, words.numbers[0], rng, hero=True)
    _number_card(sheet, Box(inner.x + half + 14, top, half, unit * 2.3), theme, words.numbers[1], rng, hero=False)
    _chart(sheet, Box(inner.x, top + unit * 2.3 + 14, inner.w, unit * 4.2), theme, words, rng)
    _table(sheet, Box(inner.x, top + unit * 6.5 + 28, inner.w, unit * 3.5), theme, words, rng)
    bar_y = y + tall - 62
    for k in range(4):
        _icon(sheet, (0, 3, 1, 2)[k], x + wide * (k + 0.5) / 4, bar_y + 14, theme.accent if k == 0 else theme.dim)
    sheet.rect(sheet.w / 2 - wide * 0.17, y + tall - 18, wide * 0.34, 5, theme.ink, 0.8, 2.5)
