"""The colours and the words of interface mock-ups."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from omixa.engines.illustrator.colour import from_hls, hls
from omixa.engines.illustrator.plan import Plan


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
class Wording:
    """The words of one kind of business."""

    title: str
    pages: tuple[str, ...]
    numbers: tuple[tuple[str, str], ...]  # label and the pattern of its value
    chart: str
    parts: tuple[str, ...]
    rows: tuple[str, ...]


def _keys(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PRODUCT: Final = Wording(
    "Product overview",
    ("Overview", "Products", "Customers", "Insights", "Orders", "Settings"),
    (("Revenue", "$k"), ("Active users", "n"), ("Conversion", "%"), ("Retention", "%%")),
    "Performance",
    ("Direct", "Search", "Social", "Partners"),
    ("Aurora Headset", "Nimbus Lamp", "Atlas Chair", "Orbit Speaker", "Halo Watch", "Vela Desk"),
)


_WORDINGS: Final = (
    (_keys("finance banking bank fintech crypto trading stock stocks wallet money investment payment payments budget"),
     Wording("Portfolio", ("Overview", "Accounts", "Transfers", "Markets", "Cards", "Settings"),
             (("Balance", "$k"), ("Income", "$k"), ("Growth", "%"), ("Savings", "%%")), "Net worth",
             ("Stocks", "Bonds", "Cash", "Funds"),
             ("Northwind Ltd", "Blue Harbor", "Meridian", "Solstice Inc", "Juniper Co", "Kite Energy"))),
    (_keys("health meditation mindfulness yoga calm fitness medical sleep workout hospital heart wellness patient"),
     Wording("Your health", ("Today", "Activity", "Sleep", "Heart", "Nutrition", "Settings"),
             (("Steps", "n"), ("Calories", "n"), ("Sleep score", "%%"), ("Recovery", "%%")), "Heart rate",
             ("Rest", "Walk", "Run", "Strength"),
             ("Morning run", "Yoga flow", "Swim set", "Evening walk", "Cycling", "Stretching"))),
    (_keys("music audio podcast player streaming song"),
     Wording("Listening", ("Home", "Library", "Artists", "Radio", "Charts", "Settings"),
             (("Plays", "n"), ("Listeners", "n"), ("Completion", "%%"), ("Growth", "%")), "Plays per day",
             ("Ambient", "Jazz", "Indie", "Classical"),
             ("Slow Tide", "Paper Moons", "Night Bloom", "Glass River", "Low Sun", "Far Field"))),
    (_keys("energy weather climate smart-home home iot solar garden sensor"),
     Wording("Energy at home", ("Today", "Rooms", "Solar", "Climate", "Devices", "Settings"),
             (("Solar yield", "n"), ("Usage", "n"), ("Self-supply", "%%"), ("Saved", "%")), "Power",
             ("Heating", "Kitchen", "Light", "Car"),
             ("Living room", "Kitchen", "Office", "Garage", "Garden", "Bedroom"))),
    (_keys("travel booking hotel flight flights trip restaurant food delivery"),
     Wording("Bookings", ("Overview", "Trips", "Guests", "Places", "Reviews", "Settings"),
             (("Bookings", "n"), ("Revenue", "$k"), ("Occupancy", "%%"), ("Rating trend", "%")), "Arrivals",
             ("Web", "Phone", "Agents", "Walk-in"),
             ("Lisbon weekend", "Kyoto spring", "Alpine lodge", "Oslo fjord", "Porto wine", "Bergen rail"))),
)  # fmt: skip


def words_for(plan: Plan) -> Wording:
    """Choose the words of the business that a prompt names."""
    return next((words for keys, words in _WORDINGS if keys & plan.vocabulary), _PRODUCT)


def theme_for(plan: Plan, rng: Random) -> Theme:
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


def brand(plan: Plan) -> str:
    rng = plan.rng("brand")
    return rng.choice(("Nova", "Lumen", "Orbit", "Vela", "Prism", "Halo", "Onyx", "Arc", "Mono", "Atlas"))
