"""Set cut-outs into a picture: pictures that are transparent around what they show stand, fly or lean in the first one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL import Image

# A picture counts as cut out when so much of it can be seen through.
CLEAR_SHARE: Final = 0.05
SEEN: Final = 128  # alpha from which on something is there
# Cut-outs carry a haze of what was behind them; alpha below the first is nothing, above the second everything.
HAZE: Final = (96, 224)
TALL: Final = 0.68  # of the whole picture's height, for one alone
LESS_EACH: Final = 0.06  # how much lower each further one makes all
WIDE: Final = 0.9  # of the whole picture's width, for all together
GROUND: Final = 0.96  # where feet stand, as a share of the height
AIR: Final = 0.34  # where what flies has its middle
LIGHT_SHARE: Final = 0.35  # how far a cut-out takes on the light around it
LIGHT_RANGE: Final = (0.78, 1.12)
SHADOW: Final = 0.5
PLACES: Final = {"left": 0.25, "right": 0.75, "middle": 0.5, "center": 0.5, "centre": 0.5}
AIRBORNE: Final = frozenset(["sky", "above", "over", "flying", "floating", "air", "clouds"])


def is_cut_out(picture: Image.Image) -> bool:
    """Tell whether a picture shows something on nothing."""
    if picture.mode != "RGBA":
        return False
    clear = sum(picture.getchannel("A").histogram()[:SEEN])
    return clear > CLEAR_SHARE * picture.width * picture.height


def montage(ground: Image.Image, cut_outs: Sequence[Image.Image], words: frozenset[str]) -> Image.Image:
    """Return an RGB picture with cut-outs set into it, from left to right in their order, later ones in front.

    Of the words, those that name a side move a single cut-out, and those that name the air lift all from the ground.
    """
    whole = ground.copy()
    number = len(cut_outs)
    side = next((share for word, share in PLACES.items() if word in words), 0.62)
    tall = whole.height * (TALL - LESS_EACH * (number - 1))
    for index, cut_out in enumerate(cut_outs):
        middle = side if number == 1 else (1 - WIDE) / 2 + WIDE * (index + 0.5) / number
        _place(whole, cut_out, middle, tall, whole.width * WIDE / number, airborne=bool(words & AIRBORNE))
    return whole


def _place(
    whole: Image.Image, cut_out: Image.Image, middle: float, tall: float, wide: float, *, airborne: bool
) -> None:
    from PIL import Image

    box = cut_out.getchannel("A").point([0] * SEEN + [255] * (256 - SEEN)).getbbox()
    if box is None:
        return
    figure = cut_out.crop(box)
    nothing, everything = HAZE
    clear = [min(255, max(0, round(255 * (alpha - nothing) / (everything - nothing)))) for alpha in range(256)]
    figure.putalpha(figure.getchannel("A").point(clear))
    scale = min(tall / figure.height, wide / figure.width)
    size = (max(1, round(figure.width * scale)), max(1, round(figure.height * scale)))
    figure = figure.resize(size, Image.Resampling.LANCZOS)
    left = min(max(0, round(whole.width * middle - size[0] / 2)), max(0, whole.width - size[0]))
    # What its own picture cut off below goes on below the edge of this one, too.
    leans = box[3] == cut_out.height
    if airborne and not leans:
        top = max(0, round(whole.height * AIR - size[1] / 2))
    else:
        top = round(whole.height * (1 if leans else GROUND)) - size[1]
        if not leans:
            _cast_shadow(whole, figure.getchannel("A"), left, top + size[1])
    around = whole.crop((left, max(0, top), left + size[0], max(0, top) + size[1]))
    whole.paste(_relit(figure, around), (left, top), figure.getchannel("A"))


def _cast_shadow(whole: Image.Image, alpha: Image.Image, left: int, feet: int) -> None:
    """Darken the ground under the feet: the figure, pressed flat and blurred."""
    from PIL import Image, ImageFilter

    flat = alpha.resize((alpha.width, max(2, alpha.height // 10)), Image.Resampling.BOX)
    shadow = Image.new("L", whole.size)
    shadow.paste(flat, (left, feet - flat.height * 2 // 3))
    soft = shadow.filter(ImageFilter.GaussianBlur(max(2.0, alpha.width * 0.03)))
    whole.paste((0, 0, 0), mask=soft.point([round(value * SHADOW) for value in range(256)]))


def _relit(figure: Image.Image, around: Image.Image) -> Image.Image:
    """Return the colours of a figure, a little nearer to the light of what lies behind it."""
    from PIL import ImageStat

    alpha = figure.getchannel("A")
    own = ImageStat.Stat(figure.convert("L"), alpha).mean[0]
    gain = 1 + LIGHT_SHARE * (ImageStat.Stat(around.convert("L")).mean[0] / max(own, 1.0) - 1)
    gain = min(max(gain, LIGHT_RANGE[0]), LIGHT_RANGE[1])
    return figure.convert("RGB").point([min(255, round(value * gain)) for value in range(256)] * 3)
