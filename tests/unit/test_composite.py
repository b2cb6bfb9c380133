"""The original laid over an edit: whatever the mask and the sizes, no pixel outside the mask is another one."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from omixa.imaging.codec import convert
from omixa.imaging.composite import MAX_PIXELS, compose, natural_size
from omixa.imaging.masks import faded, read_region
from omixa.imaging.refusals import UnacceptableImage
from tests.support.imagefiles import opened, saved
from tests.support.pictures import mask, outside

SIDES = st.integers(1, 48)


def noise(width: int, height: int, seed: int) -> Image.Image:
    return Image.frombytes("RGB", (width, height), random.Random(seed).randbytes(3 * width * height))


def speckled(width: int, height: int, seed: int) -> bytes:
    """Return a mask of random blocks, some transparent, some nearly; one pixel is transparent for certain."""
    chance = random.Random(seed)
    alpha = Image.new("L", (width, height), 255)
    for _ in range(chance.randint(0, 4)):
        left, top = chance.randrange(width), chance.randrange(height)
        alpha.paste(
            chance.choice((0, 0, 0, 1, 128)), (left, top, chance.randint(left, width), chance.randint(top, height))
        )
    alpha.putpixel((chance.randrange(width), chance.randrange(height)), 0)
    picture = Image.new("RGBA", (width, height))
    picture.putalpha(alpha)
    return saved(picture, "png")


@settings(max_examples=80)
@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 10**6))
def test_no_pixel_outside_the_mask_changes(width: int, height: int, other: int, another: int, seed: int) -> None:
    original, text = noise(width, height, seed), speckled(width, height, seed)
    edited = saved(noise(other, another, seed + 1), "png")
    composed = compose(saved(original, "png"), edited, text, format="png")
    assert (composed.info.width, composed.info.height) == (width, height)
    assert outside(original, opened(bytes(composed.data)), text) == 0


@settings(max_examples=40)
@given(SIDES, SIDES, st.integers(1, 3), st.integers(0, 10**6))
def test_at_a_smaller_size_a_pixel_changes_only_if_all_that_it_covers_may(
    width: int, height: int, factor: int, seed: int
) -> None:
    original, text = noise(factor * width, factor * height, seed), speckled(factor * width, factor * height, seed)
    edited = saved(noise(width, height, seed + 1), "png")
    composed = opened(bytes(compose(saved(original, "png"), edited, text, format="png", size=(width, height)).data))
    resampled = opened(bytes(convert(saved(original, "png"), format="png", size=(width, height)).data))
    alpha = opened(text).getchannel("A")
    for y in range(height):
        for x in range(width):
            covered = alpha.crop((factor * x, factor * y, factor * (x + 1), factor * (y + 1)))
            if covered.getextrema()[1]:
                assert composed.getpixel((x, y)) == resampled.getpixel((x, y))


@settings(max_examples=60)
@given(SIDES, SIDES, st.integers(0, 10**6))
def test_an_edge_fades_on_the_inside_only(width: int, height: int, seed: int) -> None:
    region = read_region(speckled(width, height, seed))
    soft = faded(region)
    pairs = list(zip(region.tobytes(), soft.tobytes(), strict=True))
    assert all(inner <= outer for outer, inner in pairs)
    # What is thin does not fade away.
    assert max(soft.tobytes()) > 0


def test_an_edge_rises_to_the_whole_edit() -> None:
    soft = faded(read_region(mask(400, 400, (100, 100, 300, 300))))
    row = list(soft.crop((99, 200, 201, 201)).tobytes())
    assert row == sorted(row)
    assert (row[0], row[-1]) == (0, 255)
    assert 0 < row[8] < 255


def test_a_large_original_is_scaled_down_and_a_small_one_is_not() -> None:
    assert natural_size((2048, 2048)) == (2048, 2048)
    width, height = natural_size((8000, 4000))
    assert 0.99 * MAX_PIXELS < width * height <= MAX_PIXELS


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_what_cannot_be_decoded_is_refused(broken: int) -> None:
    files = [saved(noise(9, 9, 1), "png"), saved(noise(9, 9, 2), "png"), mask(9, 9, (0, 0, 4, 4))]
    place = files[broken].index(b"IDAT") + 6
    files[broken] = files[broken][:place] + bytes(8) + files[broken][place + 8 :]
    with pytest.raises(UnacceptableImage):
        compose(*files, format="png")


def test_a_mask_of_another_shape_is_refused() -> None:
    shown = saved(noise(90, 60, 1), "png")
    with pytest.raises(UnacceptableImage, match="another shape"):
        compose(shown, shown, mask(60, 90, (0, 0, 5, 5)), format="png")
