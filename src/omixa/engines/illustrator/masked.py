"""Apply a prompt within a mask: erase, replace, add, recolour or paint anew; every pixel outside stays as it is."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from omixa.engines.illustrator.colour import from_hls, light, mix, tinted
from omixa.engines.illustrator.edit import MAX_ASPECT, MIN_SIDE, crops, encoded, fitted, grade_for, graded
from omixa.engines.illustrator.finish import lettering, weather
from omixa.engines.illustrator.heal import healed
from omixa.engines.illustrator.library import Library
from omixa.engines.illustrator.look import look_for
from omixa.engines.illustrator.paint import framed, paint_svg
from omixa.engines.illustrator.plan import Plan, make_plan
from omixa.engines.illustrator.scene import draw_scene
from omixa.engines.illustrator.sheet import Sheet
from omixa.imaging.masks import laid_within, resized, whole

if TYPE_CHECKING:
    from PIL import Image

_REMOVE: Final = re.compile(
    r"\b(?:remove|erase|delete|retouch|clean up|clear away|get rid of|take away|take out)\b", re.IGNORECASE
)
_REPLACE: Final = re.compile(r"\b(?:replace|swap|exchange|substitute)\b", re.IGNORECASE)
_RATHER_THAN: Final = re.compile(r"\b(?:instead of|in place of|rather than)\b", re.IGNORECASE)
# What follows one of these is what is wanted in the place of what was removed, or was replaced.
_THEN_ADD: Final = re.compile(r"\b(?:add|put|place|draw|insert|paint)\b", re.IGNORECASE)
_INSTEAD: Final = re.compile(r"\b(?:with|by|for|into|put|add)\b", re.IGNORECASE)
_ADDING: Final = frozenset(["add", "put", "place", "insert", "draw", "hang", "set"])
_COLOURING: Final = frozenset(
    ["paint", "colour", "color", "recolour", "recolor", "tint", "dye", "make", "turn", "coloured", "colored"]
)
_DIM_SHARE: Final = 0.5  # how far words that ask for nothing known tint the region


@dataclass(frozen=True, slots=True)
class Wish:
    """What a prompt wants of a region: to empty it first, and what to paint there; without a plan, nothing."""

    empties: bool
    plan: Plan | None


def make_wish(prompt: str, library: Library, *, variant: int = 0) -> Wish:
    """Read the prompt of a masked edit. What is to be removed or replaced is not to be drawn."""
    plan = make_plan(prompt, library, variant=variant)
    wanted = _wanted(prompt)
    if wanted is None:
        return Wish(empties=False, plan=plan)
    instead = make_plan(wanted, library, variant=variant)
    understood = instead.understood or instead.quotes
    return Wish(empties=True, plan=replace(instead, seed=plan.seed) if understood else None)


def _wanted(prompt: str) -> str | None:
    """Return what is to be where something is to be removed or replaced, "" for nothing; None when neither is asked for."""
    rather = _RATHER_THAN.search(prompt)
    if rather is not None:
        return prompt[: rather.start()]
    for verb, link in ((_REPLACE.search(prompt), _INSTEAD), (_REMOVE.search(prompt), _THEN_ADD)):
        if verb is not None:
            found = link.search(prompt, verb.end())
            return "" if found is None else prompt[found.end() :]
    return None


def paint_masked(
    wish: Wish,
    library: Library,
    pictures: Sequence[Image.Image],
    region: Image.Image,
    size: tuple[int, int],
    *,
    transparent: bool = False,
) -> bytes:
    """Paint the edited picture as PNG bytes.

    The first of the `pictures` is edited; further ones are set into the region, in their order. They are in mode RGB, or RGBA
    where their transparency is to be kept; `region`, in mode L, says where the first one may change. Outside it, every pixel is
    that of the picture as it is fitted into `size`.
    """
    base, region = fitted(pictures[0], size), _fitted_region(region, pictures[0], size)
    box = region.getbbox()
    if box is not None:
        inside = _edited(wish, library, base, pictures[1:], region, box, transparent=transparent)
        base.paste(laid_within(base.crop(box), inside, region.crop(box)), box[:2])
    return encoded(base, keep_alpha=transparent)


def _fitted_region(region: Image.Image, picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Bring a region to where its picture is fitted."""
    from PIL import Image, ImageOps

    region = resized(region, picture.size)
    if crops(picture.size, size):
        return whole(ImageOps.fit(region, size, Image.Resampling.BOX))
    shown = whole(ImageOps.contain(region, size, Image.Resampling.BOX))
    around = Image.new("L", size)
    around.paste(shown, ((size[0] - shown.width) // 2, (size[1] - shown.height) // 2))
    return around


def _edited(
    wish: Wish,
    library: Library,
    base: Image.Image,
    further: Sequence[Image.Image],
    region: Image.Image,
    box: tuple[int, int, int, int],
    *,
    transparent: bool,
) -> Image.Image:
    """Return what the box of the region becomes, in the mode of the base."""
    from PIL import Image

    if wish.empties and transparent:
        ground = base.crop(box)
        ground.putalpha(0)
    elif wish.empties:
        ground = healed(base, region).crop(box)
    else:
        ground = base.crop(box)
    size = (box[2] - box[0], box[3] - box[1])
    for picture, place in zip(further, _places(further, size), strict=True):
        width, height = place[2] - place[0], place[3] - place[1]
        if width and height:
            ground.paste(fitted(picture, (width, height)), place[:2])
    plan = wish.plan
    if plan is None:
        return ground
    if not further and _wants_scene(plan):
        return _painted(draw_scene(plan, library, *_canvas(size)), size).convert(base.mode)
    alpha = ground.getchannel("A") if ground.mode == "RGBA" else None
    if not wish.empties and not further:
        ground = _coloured(plan, ground.convert("RGB"))
    ground = ground.convert("RGBA")
    if alpha is not None:
        ground.putalpha(alpha)
    for overlay in _overlays(plan, library, _canvas(size)):
        ground = Image.alpha_composite(ground, _painted(overlay, size))
    return ground.convert(base.mode)


def _places(pictures: Sequence[Image.Image], size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Divide a region's box among pictures: columns where it is wide, rows where it is tall."""
    number = len(pictures)
    width, height = size
    if width >= height:
        return [(width * k // number, 0, width * (k + 1) // number, height) for k in range(number)]
    return [(0, height * k // number, width, height * (k + 1) // number) for k in range(number)]


def _wants_scene(plan: Plan) -> bool:
    """Tell whether the words name a place to paint; one that only says where something is added is there already."""
    return plan.place_named and not (plan.subjects and plan.vocabulary & _ADDING)


def _only_colours(plan: Plan) -> bool:
    """Tell whether things are named only to say what is to have a colour."""
    return bool(plan.colours and plan.vocabulary & _COLOURING) and not plan.vocabulary & _ADDING


def _coloured(plan: Plan, ground: Image.Image) -> Image.Image:
    """Give the region the colours that the words ask for; words that ask for nothing known tint it."""
    wished = next((colour for colour in plan.colours if _only_colours(plan)), None)
    if wished is not None:
        return graded(ground, lambda colour: mix(colour, _recoloured(colour, wished), 0.85))
    grade = grade_for(plan)
    if grade is not None:
        return graded(ground, grade)
    if plan.subjects or plan.quotes or plan.weather:
        return ground
    rng = plan.rng("frame")
    hue = rng.uniform(0, 360)
    shade, glow = from_hls(hue, 0.22, 0.5), from_hls(hue + rng.choice((40, 160, 200)), 0.84, 0.6)
    return graded(ground, lambda colour: mix(colour, mix(shade, glow, round(light(colour), 2)), _DIM_SHARE))


def _recoloured(colour: str, wished: str) -> str:
    """Give a colour the hue that is wished for, as light as it was; a pale or dark wish moves the lightness too."""
    return mix(tinted(colour, wished), mix("#000000", wished, min(1.0, 0.35 + light(colour))), 0.5)


def _overlays(plan: Plan, library: Library, canvas: tuple[int, int]) -> list[str]:
    """Return what is drawn over the region: things as large as they fit, weather, words."""
    drawn = []
    if plan.subjects and not _only_colours(plan):
        drawn.append(framed(draw_scene(_without_ground(plan), library, *canvas, transparent=True), *canvas))
    elif plan.quotes:
        sheet = Sheet(*canvas, plan.rng("above"))
        abstract = replace(plan, place="abstract")
        lettering(sheet, abstract, look_for(abstract))
        drawn.append(framed(sheet.document(), *canvas))
    if plan.weather:
        sheet = Sheet(*canvas, plan.rng("sheet"))
        weather(sheet, replace(plan, place="meadow"), look_for(plan))
        drawn.append(sheet.document())
    return drawn


def _without_ground(plan: Plan) -> Plan:
    # Interfaces and blueprints are whole scenes, whatever lies behind them.
    plain = replace(plan, style=None) if plan.style == "blueprint" else plan
    return replace(plain, place="meadow")


def _canvas(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size at which something is drawn for a box: the box itself, unless it is tiny or a thin line."""
    width, height = (max(side, MIN_SIDE) for side in size)
    return max(width, round(height / MAX_ASPECT)), max(height, round(width / MAX_ASPECT))


def _painted(svg: str, size: tuple[int, int]) -> Image.Image:
    """Return a document that was drawn for a box's canvas: its middle, as large as the box."""
    from PIL import Image

    width, height = _canvas(size)
    with Image.open(io.BytesIO(paint_svg(svg, width, height)), formats=("PNG",)) as painted:
        left, top = (width - size[0]) // 2, (height - size[1]) // 2
        return painted.convert("RGBA").crop((left, top, left + size[0], top + size[1]))
