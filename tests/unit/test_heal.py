"""Holes in pictures are filled from their surroundings: colours go on, grain goes on, and nothing else changes."""

from __future__ import annotations

import random

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageStat

from omixa.engines.illustrator.heal import healed

SIZE = (320, 240)
HOLE = (110, 80, 190, 150)


def hole(box: tuple[int, int, int, int] = HOLE) -> Image.Image:
    region = Image.new("L", SIZE)
    ImageDraw.Draw(region).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=255)
    return region


def stained(picture: Image.Image) -> Image.Image:
    copy = picture.copy()
    copy.paste("#ff00ff", HOLE)
    return copy


def gradient() -> Image.Image:
    ramp = Image.linear_gradient("L").resize(SIZE)
    return Image.merge("RGB", (ramp, ramp.transpose(Image.Transpose.ROTATE_180), ramp))


def grain(seed: int) -> Image.Image:
    chance = random.Random(seed)
    noise = Image.frombytes("L", SIZE, bytes(chance.randrange(60, 200) for _ in range(SIZE[0] * SIZE[1])))
    return Image.merge("RGB", (noise, noise, noise))


@pytest.mark.parametrize("picture", [gradient(), grain(1)], ids=["gradient", "grain"])
def test_only_the_hole_changes(picture: Image.Image) -> None:
    given = stained(picture)
    changed = ImageChops.difference(given, healed(given, hole())).convert("L")
    changed.paste(0, HOLE)
    assert changed.getbbox() is None


def test_colours_go_on() -> None:
    difference = ImageChops.difference(gradient(), healed(stained(gradient()), hole()))
    assert max(high for _, high in difference.getextrema()) <= 4  # type: ignore[misc]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_grain_goes_on(seed: int) -> None:
    inside = healed(stained(grain(seed)), hole()).crop(HOLE)
    around = ImageStat.Stat(grain(seed)).stddev[0]
    assert ImageStat.Stat(inside).stddev[0] > 0.7 * around


@pytest.mark.parametrize(
    "box", [(0, 0, 320, 239), (0, 0, 1, 1), (319, 0, 320, 240), (0, 100, 320, 140), (5, 5, 318, 238)]
)
def test_any_hole_can_be_filled(box: tuple[int, int, int, int]) -> None:
    assert healed(gradient(), hole(box)).size == SIZE


def test_where_everything_is_a_hole_the_mean_colour_is_left() -> None:
    even = healed(gradient(), Image.new("L", SIZE, 255))
    assert even.getcolors(2) == [(SIZE[0] * SIZE[1], even.getpixel((0, 0)))]
    assert even.getpixel((0, 0))[0] == pytest.approx(ImageStat.Stat(gradient()).mean[0], abs=2)  # type: ignore[index]
