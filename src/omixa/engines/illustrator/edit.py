"""Apply a prompt to a reference picture: its colours, the weather, added subjects and words, or a new setting."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from omixa.engines.illustrator.cast import place_cast
from omixa.engines.illustrator.colour import GRADES, Grade, from_hls, light, mix, regrade, rgb
from omixa.engines.illustrator.finish import lettering, style_marks, weather
from omixa.engines.illustrator.glass import Box
from omixa.engines.illustrator.library import Library
from omixa.engines.illustrator.look import look_for
from omixa.engines.illustrator.montage import is_cut_out, montage
from omixa.engines.illustrator.paint import paint_svg
from omixa.engines.illustrator.plan import Plan
from omixa.engines.illustrator.scene import BACKDROPS
from omixa.engines.illustrator.sheet import SHORT_SIDE, Sheet
from omixa.engines.illustrator.stage import Stage
from omixa.engines.illustrator.ui import showcase
from omixa.errors import InvalidRequest

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

LUT_SIZE: Final = 11
PNG_LEVEL: Final = 1
CARD_RADIUS: Final = 18
CROP_LIMIT: Final = 1.12  # up to this difference in aspect the picture is cropped, beyond it lies on a blur of itself
BLUR_SIDE: Final = 24
CARD_SHARE: Final = 0.66
CARD_GAP: Final = 66.0
ROUND_SHARE: Final = 0.06
MAX_REFERENCE_PIXELS: Final = 4_194_304
MIN_SIDE: Final = 64
MAX_ASPECT: Final = 4.0
MOVING_WORDS: Final = frozenset(
    ["background", "place", "put", "onto", "into", "inside", "set", "setting", "scene", "backdrop"]
)


@dataclass(frozen=True, slots=True)
class Print:
    """A picture to lay down, where (left, top, right, bottom in pixels) and how round its corners are."""

    picture: Image.Image
    place: tuple[int, int, int, int]
    radius: int = 0


Layer = str | Print
"""An SVG document over the whole picture, or a print."""


def paint_edit(
    plan: Plan, library: Library, pictures: Sequence[Image.Image], size: tuple[int, int], *, transparent: bool = False
) -> bytes:
    """Paint the edited picture as PNG bytes.

    Several pictures are set side by side in their order, as prints; where all but the first are cut out, they are set into that.
    """
    cut_outs = pictures[1:]
    pictures = [on_white(picture) for picture in pictures]
    if cut_outs and all(map(is_cut_out, cut_outs)) and not transparent and plan.place != "ui":
        whole = montage(fitted(pictures[0], size), cut_outs, plan.vocabulary)
        # What the words name is in the pictures already.
        layers = _over_picture(replace(plan, subjects=()), library, whole, size, mounted=False)
    elif plan.place == "ui":
        layers = _in_interface(plan, pictures, size)
    elif transparent or len(pictures) > 1 or (plan.place_named and plan.vocabulary & MOVING_WORDS):
        layers = _as_prints(plan, library, pictures, size, on_nothing=transparent)
    else:
        layers = _over_picture(plan, library, pictures[0], size)
    return encoded(_composed(layers, size, rounded=transparent and plan.place == "ui"), keep_alpha=transparent)


def read_reference(data: bytes, *, keep_alpha: bool = False) -> Image.Image:
    """Return a picture upright and of at most MAX_REFERENCE_PIXELS, on white or, with `keep_alpha`, in mode RGBA.

    Raises InvalidRequest when the bytes are no readable PNG, JPEG or WebP.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as opened:
            upright = ImageOps.exif_transpose(_bounded(opened))
            return upright.convert("RGBA") if keep_alpha else on_white(upright)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise InvalidRequest("The reference picture cannot be read as PNG, JPEG or WebP.", param="image") from error


def _bounded(opened: ImageFile) -> Image.Image:
    """Decode a picture, a large one at less than its own size: everything after this costs by the pixel."""
    from PIL import Image

    share = math.sqrt(MAX_REFERENCE_PIXELS / (opened.width * opened.height))
    if share >= 1:
        return opened
    size = (max(1, int(opened.width * share)), max(1, int(opened.height * share)))
    # A JPEG is decoded at a half or a quarter where that is still large enough; other formats ignore this.
    opened.draft("RGB", size)
    exif = opened.getexif()
    picture = opened if opened.mode in {"RGB", "RGBA"} else opened.convert("RGBA" if _is_layered(opened) else "RGB")
    smaller = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    # What says which way is up.
    smaller.info["exif"] = exif.tobytes()
    return smaller


def _is_layered(picture: Image.Image) -> bool:
    return picture.mode in {"RGBA", "LA", "P", "PA"}


def on_white(picture: Image.Image) -> Image.Image:
    """Return a picture in mode RGB, with white where it is transparent."""
    from PIL import Image

    if not _is_layered(picture):
        return picture.convert("RGB")
    layered = picture.convert("RGBA")
    ground = Image.new("RGB", layered.size, "#ffffff")
    ground.paste(layered, mask=layered.getchannel("A"))
    return ground


def natural_size(picture: Image.Image) -> tuple[int, int]:
    """Return the size of an edit for which none is asked: the picture's own, where that is neither tiny nor a thin line."""
    width, height = picture.size
    enlarged = max(1.0, MIN_SIDE / min(width, height))
    longest = MAX_ASPECT * enlarged * min(width, height)
    return round(min(width * enlarged, longest)), round(min(height * enlarged, longest))


def encoded(picture: Image.Image, *, keep_alpha: bool = False) -> bytes:
    """Return a picture as PNG bytes."""
    stream = io.BytesIO()
    (picture if keep_alpha else picture.convert("RGB")).save(stream, "PNG", compress_level=PNG_LEVEL)
    return stream.getvalue()


def _composed(layers: Sequence[Layer], size: tuple[int, int], *, rounded: bool) -> Image.Image:
    """Lay all layers over each other, the first one lowest. Pillow does this at a third of the renderer's price."""
    from PIL import Image

    canvas = Image.new("RGBA", size)
    for layer in layers:
        if isinstance(layer, Print):
            _stamp(canvas, layer)
        else:
            with Image.open(io.BytesIO(paint_svg(layer, *size)), formats=("PNG",)) as painted:
                canvas.alpha_composite(painted.convert("RGBA"))
    if rounded:
        canvas.putalpha(_rounded(size, round(min(size) * ROUND_SHARE)))
    return canvas


def _stamp(canvas: Image.Image, layer: Print) -> None:
    from PIL import Image

    left, top, right, bottom = layer.place
    print_size = (right - left, bottom - top)
    scaled = layer.picture.resize(print_size, Image.Resampling.BICUBIC)
    canvas.paste(scaled, (left, top), _rounded(print_size, layer.radius))


def _rounded(size: tuple[int, int], radius: int) -> Image.Image:
    """Return a mask of a whole rectangle with round corners."""
    from PIL import Image, ImageDraw

    mask = Image.new("L", (2 * size[0], 2 * size[1]), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width, mask.height), 2 * radius, fill=255)
    return mask.resize(size, Image.Resampling.BOX)


def fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Fit a picture into a size without stretching: cropped a little, or whole on a blur of itself."""
    from PIL import Image, ImageOps

    if crops(picture.size, size):
        return ImageOps.fit(picture, size, Image.Resampling.BICUBIC)
    blur = ImageOps.fit(picture, (BLUR_SIDE, BLUR_SIDE), Image.Resampling.BOX).resize(size, Image.Resampling.BICUBIC)
    whole = ImageOps.contain(picture, size, Image.Resampling.BICUBIC)
    blur.paste(whole, ((size[0] - whole.width) // 2, (size[1] - whole.height) // 2))
    return blur


def crops(shape: tuple[int, int], size: tuple[int, int]) -> bool:
    """Tell whether a shape is so near to a size that it is cropped to it rather than laid on a blur."""
    aspect, wanted = shape[0] / shape[1], size[0] / size[1]
    return max(aspect / wanted, wanted / aspect) <= CROP_LIMIT


def graded(picture: Image.Image, grade: Grade) -> Image.Image:
    """Apply a grade to pixels through a table of 11 x 11 x 11 colours."""
    from PIL import ImageFilter

    def entry(red: float, green: float, blue: float) -> tuple[float, float, float]:
        colour = f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
        first, second, third = rgb(grade(colour))
        return first / 255, second / 255, third / 255

    return picture.filter(ImageFilter.Color3DLUT.generate(LUT_SIZE, entry))


def grade_for(plan: Plan) -> Grade | None:
    """Choose the change of colours that the words ask for; none when they only ask for additions."""
    if plan.style in GRADES:
        return GRADES[plan.style]
    if plan.time in {"night", "sunset"}:
        return GRADES[plan.time]
    if plan.weather in {"snow", "rain", "fog"} or plan.place == "snow":
        return GRADES["cold"]
    taken = {s.colour for s in plan.subjects}
    wished = next((c for c in plan.colours if c not in taken), None)
    if wished is not None:
        return lambda colour: mix(colour, mix(colour, wished, 0.9), 0.38)
    return None


def _over_picture(
    plan: Plan, library: Library, picture: Image.Image, size: tuple[int, int], *, mounted: bool = True
) -> list[Layer]:
    """Lay the graded reference over the whole picture and everything asked for on top of it.

    Where the words ask for nothing known, it gets a mount that shows at least that there were words, if it may be `mounted`.
    """
    grade = grade_for(plan)
    if mounted and grade is None and not (plan.subjects or plan.quotes or plan.weather or plan.place == "snow"):
        return _framed(plan, picture, size)
    below = fitted(picture, size)
    sheet = Sheet(*size, plan.rng("sheet"))
    outdoors = replace(plan, place="snow" if plan.place == "snow" else "meadow")
    look = look_for(outdoors)
    even = replace(look, tint_share=look.tint_share / 2)
    place_cast(sheet, outdoors, library, even, Stage(far=sheet.h * 0.88, near=sheet.h * 0.95, air=sheet.h * 0.5))
    weather(sheet, outdoors, look)
    style_marks(sheet, replace(outdoors, style=plan.style or "minimal"), look)
    lettering(sheet, replace(plan, place="abstract"), look)
    return [_whole(graded(below, grade) if grade else below), _styled(sheet, plan)]


def _whole(picture: Image.Image) -> Print:
    return Print(picture, (0, 0, picture.width, picture.height))


def _styled(sheet: Sheet, plan: Plan) -> str:
    svg = sheet.document()
    return regrade(svg, GRADES[plan.style]) if plan.style in GRADES else svg


def _framed(plan: Plan, picture: Image.Image, size: tuple[int, int]) -> list[Layer]:
    """Answer words that ask for nothing known: a gentle two-tone grade and a mount in the seed's colours."""
    rng = plan.rng("frame")
    hue = rng.uniform(0, 360)
    shade, glow = from_hls(hue, 0.22, 0.5), from_hls(hue + rng.choice((40, 160, 200)), 0.84, 0.6)
    below = graded(fitted(picture, size), lambda c: mix(c, mix(shade, glow, round(light(c), 2)), 0.4))
    sheet = Sheet(*size, rng)
    sheet.stroke(f"M0 0H{sheet.w:.0f}V{sheet.h:.0f}H0Z", mix(glow, "#ffffff", 0.7), 76)
    sheet.stroke(f"M48 48H{sheet.w - 48:.0f}V{sheet.h - 48:.0f}H48Z", shade, 3, 0.8)
    return [_whole(below), sheet.document()]


def _as_prints(
    plan: Plan, library: Library, pictures: Sequence[Image.Image], size: tuple[int, int], *, on_nothing: bool
) -> list[Layer]:
    """Set the references as framed prints into a newly painted scene, or on nothing."""
    plan = plan if plan.place_named and plan.place in BACKDROPS else replace(plan, place="studio")
    look = look_for(plan)
    below, above = Sheet(*size, plan.rng("sheet")), Sheet(*size, plan.rng("above"))
    nowhere = Stage(far=below.h * 0.88, near=below.h * 0.95, air=below.h * 0.5)
    stage = nowhere if on_nothing else BACKDROPS[plan.place](below, plan, look)
    room = _room_for_prints(plan, below, alone=len(pictures) == 1 and not on_nothing)
    scale = len(pictures) ** -0.4
    cards = _side_by_side(room, pictures, gap=CARD_GAP * scale)
    for card in cards:
        for grow, opacity in ((32, 0.08), (26, 0.10), (21, 0.14)):
            around = card.inset(-grow * scale)
            below.rect(around.x, around.y + 12 * scale, around.w, around.h, "#000000", opacity, grow * scale)
        mount = card.inset(-18 * scale)
        below.rect(mount.x, mount.y, mount.w, mount.h, "#ffffff", 1, 8 * scale)
    place_cast(above, plan, library, look, stage)
    if not on_nothing:
        weather(above, plan, look)
        style_marks(above, plan, look)
    lettering(above, plan, look)
    prints = _prints(pictures, cards, below, size, grade_for(plan))
    return [_styled(below, plan), *prints, _styled(above, plan)]


def _room_for_prints(plan: Plan, sheet: Sheet, *, alone: bool) -> Box:
    """Choose where prints go: a single one may be partly covered; several leave room for words above and subjects below."""
    if alone:
        wide, tall = sheet.w * CARD_SHARE, sheet.h * CARD_SHARE
        return Box((sheet.w - wide) / 2, sheet.h * 0.44 - tall / 2, wide, tall)
    top, bottom = sheet.h * (0.27 if plan.quotes else 0.07), sheet.h * (0.6 if plan.subjects else 0.92)
    return Box(sheet.w * 0.08, top, sheet.w * 0.84, bottom - top)


def _in_interface(plan: Plan, pictures: Sequence[Image.Image], size: tuple[int, int]) -> list[Layer]:
    """Show the references on a glass card of an interface."""
    sheet = Sheet(*size, plan.rng("sheet"))
    aspect = sum(picture.width / picture.height for picture in pictures)
    card = showcase(sheet, plan, aspect)
    places = _side_by_side(card, pictures, gap=CARD_RADIUS)
    grade = GRADES.get(plan.style or "")
    radius = round(CARD_RADIUS * min(size) / SHORT_SIDE)
    return [sheet.document(), *_prints(pictures, places, sheet, size, grade, radius)]


def _prints(
    pictures: Sequence[Image.Image],
    places: Sequence[Box],
    sheet: Sheet,
    size: tuple[int, int],
    grade: Grade | None,
    radius: int = 0,
) -> list[Print]:
    return [
        Print(graded(picture, grade) if grade else picture, _in_pixels(place, sheet, size), radius)
        for picture, place in zip(pictures, places, strict=True)
    ]


def _side_by_side(room: Box, pictures: Sequence[Image.Image], *, gap: float) -> list[Box]:
    """Give each picture its place: in reading order, unstretched, in as many rows as make the pictures largest."""
    layouts = [_rows(room, pictures, columns, gap) for columns in range(1, len(pictures) + 1)]
    return max(layouts, key=lambda places: sum(place.w * place.h for place in places))


def _rows(room: Box, pictures: Sequence[Image.Image], columns: int, gap: float) -> list[Box]:
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    wide, tall = (room.w - gap * (columns - 1)) / columns, (room.h - gap * (len(rows) - 1)) / len(rows)
    places = []
    for down, row in enumerate(rows):
        left = room.x + (room.w - len(row) * wide - (len(row) - 1) * gap) / 2
        for across, picture in enumerate(row):
            scale = min(wide / picture.width, tall / picture.height)
            w, h = picture.width * scale, picture.height * scale
            x, y = left + across * (wide + gap), room.y + down * (tall + gap)
            places.append(Box(x + (wide - w) / 2, y + (tall - h) / 2, w, h))
    return places


def _in_pixels(box: Box, sheet: Sheet, size: tuple[int, int]) -> tuple[int, int, int, int]:
    across, down = size[0] / sheet.w, size[1] / sheet.h
    return round(box.x * across), round(box.y * down), round((box.x + box.w) * across), round((box.y + box.h) * down)
