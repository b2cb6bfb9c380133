"""Fill a hole in a picture from its surroundings, as a healing brush does.

What lies elsewhere in the picture, and looks around itself most as the hole's surroundings do, is copied into the hole; then
its colours are bent, smoothly, until they meet those at the hole's edge. That keeps the grain of grass, sand or cloth. Where
no such place is found, colours alone are spread from the edge.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL import Image

SEARCHED_SIDE: Final = 288  # at which places are compared
RING: Final = 6  # pixels around the hole that are compared, at that size
EDGE: Final = 12  # pixels around the hole that colours are spread from, at full size
# How often a size is smoothed before the next larger one: often where it costs little.
LEAST_SWEEPS: Final = 8
MOST_SWEEPS: Final = 150
SWEPT_PIXELS: Final = 100_000
EVEN: Final = 32  # the sizes that are halved are multiples of this
LEAST: Final = 1e-6  # below every weight, so that nothing is divided by zero
DIRECTIONS: Final = 24
DISTANCES: Final = (1.05, 1.25, 1.6, 2.1, 2.8, 3.6)  # in lengths of the hole's half diagonal
# How much a place is worse that is less even, or of another colour, than the hole's surroundings.
UNREST_WEIGHT: Final = 1.5
TINT_WEIGHT: Final = 0.6
# A place that costs more is too unlike: grass costs about a hundred, another thing that would be seen twice far more.
WORST_COST: Final = 150.0


def healed(picture: Image.Image, hole: Image.Image) -> Image.Image:
    """Return an RGB picture with its hole filled; `hole` is in mode L, 255 where the picture is to be replaced.

    A picture that is nothing but a hole becomes even, in its own mean colour.
    """
    from PIL import Image, ImageChops

    if hole.getextrema()[0]:
        return picture.resize((1, 1), Image.Resampling.BOX).resize(picture.size)
    box = _grown(hole.getbbox() or (0, 0, 1, 1), EDGE, picture.size)
    part, part_hole = picture.crop(box), hole.crop(box)
    shift = _best_shift(picture, hole)
    if shift is None:
        filled = _spread(part, part_hole)
    else:
        across, down = shift
        copied = picture.crop((box[0] + across, box[1] + down, box[2] + across, box[3] + down))
        # Half of the difference, around 128, fits in eight bits.
        bend = _spread(ImageChops.subtract(part, copied, scale=2, offset=128), part_hole)
        filled = ImageChops.add(ImageChops.add(copied, bend, offset=-128), bend, offset=-128)
    result = picture.copy()
    result.paste(filled, box[:2], part_hole)
    assert isinstance(result, Image.Image)
    return result


def _grown(box: tuple[int, int, int, int], by: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    left, top, right, bottom = box
    return max(0, left - by), max(0, top - by), min(size[0], right + by), min(size[1], bottom + by)


def _best_shift(picture: Image.Image, hole: Image.Image) -> tuple[int, int] | None:
    """Return how far away the best place to copy from lies, across and down in pixels, or None."""
    from PIL import Image, ImageChops, ImageFilter, ImageStat

    scale = max(1.0, max(picture.size) / SEARCHED_SIDE)
    size = (max(1, round(picture.width / scale)), max(1, round(picture.height / scale)))
    small = picture.resize(size, Image.Resampling.BOX)
    # Whatever touches the hole belongs to it.
    taken = hole.resize(size, Image.Resampling.BOX).point([0, *[255] * 255])
    grown = taken.filter(ImageFilter.BoxBlur(RING)).point([0, *[255] * 255])
    ring = ImageChops.subtract(grown, taken)
    if ring.getbbox() is None:
        return None
    usual = ImageStat.Stat(small, ring)
    best: tuple[float, tuple[int, int]] | None = None
    for across, down in _shifts(grown, size):
        window = (across, down, across + size[0], down + size[1])
        if ImageChops.darker(taken.crop(window), grown).getbbox() is not None:
            continue
        moved = small.crop(window)
        unlike = sum(ImageStat.Stat(ImageChops.difference(small, moved), ring).mean)
        inside = ImageStat.Stat(moved, taken)
        # What stands out there would stand out here.
        unrest = sum(max(0.0, theirs - ours) for theirs, ours in zip(inside.stddev, usual.stddev, strict=True))
        tint = sum(abs(theirs - ours) for theirs, ours in zip(inside.mean, usual.mean, strict=True))
        cost = unlike + UNREST_WEIGHT * unrest + TINT_WEIGHT * tint
        if best is None or cost < best[0]:
            best = cost, (round(across * picture.width / size[0]), round(down * picture.height / size[1]))
    return None if best is None or best[0] > WORST_COST else best[1]


def _shifts(grown: Image.Image, size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield places that lie within the picture, the near ones first."""
    left, top, right, bottom = grown.getbbox() or (0, 0, 0, 0)
    half = math.hypot(right - left, bottom - top) / 2
    seen = set()
    for distance in DISTANCES:
        for step in range(DIRECTIONS):
            angle = 2 * math.pi * step / DIRECTIONS
            # A long hole is left sooner across than along itself.
            across = round(math.cos(angle) * min(distance * half, distance * (right - left)))
            down = round(math.sin(angle) * min(distance * half, distance * (bottom - top)))
            inside = left + across >= 0 and top + down >= 0 and right + across <= size[0] and bottom + down <= size[1]
            if inside and (across, down) not in seen:
                seen.add((across, down))
                yield across, down


def _spread(picture: Image.Image, hole: Image.Image) -> Image.Image:
    """Fill a hole smoothly with the colours around it: shrink until nothing is missing, then enlarge and smooth step by step."""
    from PIL import Image

    # Halving is exact only for even sizes, so there is more to fill at the right and below, which is cut off again.
    size = (-(-picture.width // EVEN) * EVEN, -(-picture.height // EVEN) * EVEN)
    known = Image.new("L", size)
    known.paste(hole.point([255, *[0] * 255]))
    channels = []
    for channel in picture.split():
        larger = Image.new("L", size)
        larger.paste(channel)
        channels.append(_spread_channel(larger, known).crop((0, 0, *picture.size)))
    return Image.merge("RGB", channels)


def _spread_channel(channel: Image.Image, known: Image.Image) -> Image.Image:
    from PIL import Image, ImageMath

    weight = known.convert("F")
    value = ImageMath.lambda_eval(lambda of: of["value"] * of["weight"], value=channel.convert("F"), weight=weight)
    levels = [(value, weight)]
    while max(value.size) > 1:
        half = _half(value.size)
        value, weight = value.resize(half, Image.Resampling.BOX), weight.resize(half, Image.Resampling.BOX)
        levels.append((value, weight))
    filled = Image.new("F", value.size, 0.0)
    for value, weight in reversed(levels):
        filled = filled.resize(value.size, Image.Resampling.BILINEAR)
        here = ImageMath.lambda_eval(
            lambda of: of["value"] / of["max"](of["weight"], LEAST), value=value, weight=weight
        )
        # A hundred thousand times as much, so that the smallest weight is not lost among eight bits.
        covered = weight.point(lambda share: share * 1e5 + 0).convert("L").point([0, *[255] * 255]).convert("1")
        filled.paste(here, mask=covered)
        for _ in range(min(MOST_SWEEPS, LEAST_SWEEPS + SWEPT_PIXELS // (filled.width * filled.height))):
            filled = filled.resize(_half(filled.size), Image.Resampling.BOX).resize(
                filled.size, Image.Resampling.BILINEAR
            )
            filled.paste(here, mask=covered)
    return filled.point(lambda level: level * 1 + 0.5).convert("L")


def _half(size: tuple[int, int]) -> tuple[int, int]:
    return (size[0] + 1) // 2, (size[1] + 1) // 2
