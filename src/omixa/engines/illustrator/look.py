"""Light: the colours of the sky and what they do to everything below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from omixa.engines.illustrator.colour import mix, turn
from omixa.engines.illustrator.plan import Plan

SKY_TURN_DEG: Final = 14  # how far a picture's seed may turn the hues of the sky


@dataclass(frozen=True, slots=True)
class Look:
    """Colours of a time of day: the sky from top to horizon, the sun or moon, haze, and the tint of the light."""

    sky: tuple[str, ...]
    sun: str
    haze: str
    tint: str
    tint_share: float
    dark: bool

    def lit(self, colour: str, depth: float = 0.0) -> str:
        """Show a colour in this light; `depth` 0..1 fades it into the haze of the distance."""
        return mix(mix(colour, self.tint, self.tint_share), self.haze, round(depth, 3))


_LOOKS: Final = {
    "day": Look(("#2f7fe0", "#69b1f2", "#aad8f8", "#e4f4fb"), "#fff4cf", "#dbeef9", "#fff6dd", 0.04, dark=False),
    "dawn": Look(("#5468b0", "#a88fcb", "#f3b3b5", "#ffe3bf"), "#fff0d2", "#f6cfc6", "#d58aa8", 0.2, dark=False),
    "sunset": Look(("#2a1158", "#8f2a70", "#ef6a58", "#ffc877"), "#fff0bf", "#e8846b", "#5b1f52", 0.36, dark=True),
    "night": Look(("#050a22", "#0d1b4a", "#1f3a7d", "#4a6bb0"), "#f4f2e4", "#2b4688", "#0c1a4a", 0.5, dark=True),
}
_GLOOM: Final = Look(("#5c6b7c", "#7f8e9d", "#a6b2bd", "#cdd5da"), "#eef1f2", "#b9c4cc", "#54636f", 0.3, dark=False)
_NEON: Final = Look(("#0b0324", "#2c0b5e", "#8b1a92", "#ff5aa5"), "#ffd9a8", "#a02a92", "#2a0c5c", 0.45, dark=True)
_BLEACHED: Final = Look(("#8fa4ba", "#b5c4d2", "#d5dfe7", "#eef3f6"), "#ffffff", "#dde6ec", "#c8d6e4", 0.14, dark=False)


def look_for(plan: Plan) -> Look:
    """Choose the light for a plan and shift it a little, so that no two prompts share a sky."""
    base = _LOOKS[plan.time]
    if plan.style == "neon":
        base = _NEON
    elif plan.time == "day" and plan.weather == "rain":
        base = _GLOOM
    elif plan.time == "day" and plan.weather in {"fog", "snow"}:
        base = _BLEACHED
    rng = plan.rng("look")
    degrees = rng.uniform(-SKY_TURN_DEG, SKY_TURN_DEG)
    wished = _sky_colour(plan)
    sky = [turn(c, degrees) for c in base.sky]
    if wished:
        sky = [mix(c, wished, share) for c, share in zip(sky, (0.62, 0.5, 0.36, 0.2), strict=True)]
    haze = mix(turn(base.haze, degrees), wished, 0.3) if wished else turn(base.haze, degrees)
    return Look(tuple(sky), base.sun, haze, base.tint, base.tint_share, base.dark)


def _sky_colour(plan: Plan) -> str | None:
    """Give a colour word that belongs to no subject: it tints the air instead."""
    taken = {s.colour for s in plan.subjects}
    if plan.style == "mono":
        return None
    return next((c for c in plan.colours if c not in taken and c not in {"#fafafa", "#1b1c20"}), None)
