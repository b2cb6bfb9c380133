"""Colours as `#rrggbb` text: mixing, turning hues, and the grades that give a whole picture its style."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

Grade = Callable[[str], str]
"""Turns one `#rrggbb` colour into another."""

_PAINT: Final = re.compile(r'((?:fill|stroke|stop-color|flood-color)=")#([0-9a-fA-F]{6}|[0-9a-fA-F]{3})(?=")')
HUE_REACH_DEG: Final = 62  # a subject's shades lie this near to its main hue
GREY_SATURATION: Final = 0.12


def rgb(colour: str) -> tuple[int, int, int]:
    """Split `#rrggbb` or `#rgb` into three numbers of 0..255."""
    digits = colour.lstrip("#")
    if len(digits) == 3:
        digits = "".join(d + d for d in digits)
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)


def hexed(red: float, green: float, blue: float) -> str:
    """Join three numbers, clamped to 0..255, into `#rrggbb`."""
    return "#" + "".join(f"{min(255, max(0, round(v))):02x}" for v in (red, green, blue))


@lru_cache(maxsize=4096)
def mix(first: str, second: str, share: float) -> str:
    """Blend two colours; `share` 0 gives the first, 1 the second."""
    return hexed(*(a + (b - a) * share for a, b in zip(rgb(first), rgb(second), strict=True)))


def light(colour: str) -> float:
    """Give the luma of a colour, 0 black to 1 white (Rec. 709 weights)."""
    red, green, blue = rgb(colour)
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


def hls(colour: str) -> tuple[float, float, float]:
    """Give hue in degrees, lightness and saturation in 0..1."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(v / 255 for v in rgb(colour)))
    return hue * 360, lightness, saturation


def from_hls(hue_deg: float, lightness: float, saturation: float) -> str:
    """Make a colour from hue in degrees, lightness and saturation, the latter two clamped to 0..1."""
    clamp = (min(1.0, max(0.0, v)) for v in (lightness, saturation))
    return hexed(*(v * 255 for v in colorsys.hls_to_rgb(hue_deg % 360 / 360, *clamp)))


@lru_cache(maxsize=4096)
def turn(colour: str, degrees: float) -> str:
    """Turn the hue of a colour."""
    hue, lightness, saturation = hls(colour)
    return from_hls(hue + degrees, lightness, saturation)


def regrade(svg: str, grade: Grade) -> str:
    """Apply a grade to every paint attribute of an SVG text; words and paths stay as they are."""
    return _PAINT.sub(lambda found: found[1] + grade("#" + found[2]), svg)


def towards(target: str, main_hue_deg: int) -> Grade:
    """Make the grade that repaints a subject: shades near its main hue become shades of the target colour."""
    hue, lightness, saturation = hls(target)

    def repaint(colour: str) -> str:
        own_hue, own_light, own_saturation = hls(colour)
        away = (own_hue - main_hue_deg + 180) % 360 - 180
        if own_saturation < GREY_SATURATION or abs(away) > HUE_REACH_DEG:
            return colour
        if saturation < GREY_SATURATION:
            return from_hls(0, own_light + (lightness - own_light) * 0.72, 0.03)
        return from_hls(hue + away * 0.12, own_light + (lightness - 0.5) * 0.45, own_saturation)

    return repaint


def tinted(colour: str, target: str) -> str:
    """Give a grey subject's shade the hue of a target colour, lighter and darker as the shade was."""
    hue, lightness, saturation = hls(target)
    _, own_light, _ = hls(colour)
    if saturation < GREY_SATURATION:
        return from_hls(0, own_light + (lightness - own_light) * 0.6, 0.02)
    return from_hls(hue, own_light * 0.9 + 0.05, saturation * 0.7)


def _mono(colour: str) -> str:
    value = light(colour)
    value = value + 0.35 * (value - 0.5) * (1 - abs(2 * value - 1))
    return hexed(value * 252, value * 253, value * 255)


def _neon(colour: str) -> str:
    value = light(colour)
    ramp = ("#0a0320", "#3a0f7d", "#c81fae", "#ff5fb0", "#8af6ff")
    place = min(value * 1.12, 0.999) * (len(ramp) - 1)
    glow = mix(ramp[int(place)], ramp[int(place) + 1], place % 1)
    hue, _, saturation = hls(colour)
    own = from_hls(hue, 0.08 + value * 0.62, min(1.0, saturation * 1.3))
    return mix(own, glow, 0.55)


def _pastel(colour: str) -> str:
    hue, lightness, saturation = hls(colour)
    return from_hls(hue, 0.42 + lightness * 0.54, saturation * 0.72)


def _vintage(colour: str) -> str:
    value = light(colour)
    faded = mix("#2f2218", "#f6e6c4", 0.06 + value * 0.94)
    return mix(colour, faded, 0.62)


def _watercolour(colour: str) -> str:
    hue, lightness, saturation = hls(colour)
    return mix(from_hls(hue, 0.22 + lightness * 0.72, saturation * 0.82), "#f7f0e3", 0.1)


def _warm(colour: str) -> str:
    red, green, blue = rgb(colour)
    return hexed(red * 1.06 + 10, green * 0.99 + 3, blue * 0.82)


def _night(colour: str) -> str:
    return mix(hexed(*(v * 0.62 for v in rgb(colour))), "#16245c", 0.38)


def _cold(colour: str) -> str:
    red, green, blue = rgb(colour)
    return hexed(red * 0.86, green * 0.97 + 3, blue * 1.05 + 12)


def _sunset(colour: str) -> str:
    red, green, blue = rgb(colour)
    return mix(hexed(red * 1.08 + 14, green * 0.86, blue * 0.78 + 12), "#ff7a4d", 0.14)


def _faded(colour: str) -> str:
    hue, lightness, saturation = hls(colour)
    return from_hls(hue, 0.08 + lightness * 0.88, saturation * 0.82)


GRADES: Final[dict[str, Grade]] = {
    "mono": _mono,
    "neon": _neon,
    "pastel": _pastel,
    "vintage": _vintage,
    "watercolour": _watercolour,
    "warm": _warm,
    "minimal": _faded,
    "night": _night,
    "cold": _cold,
    "sunset": _sunset,
}
"""Grades by the name of a style or a mood."""
