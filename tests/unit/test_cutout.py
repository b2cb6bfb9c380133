"""The cut-out: what a person would cut out, with real alpha and the thing's own colours at the edges."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from omixa.engines.cutout import Cutter, Cutting
from omixa.engines.matting import colours_in_front, sharpened, spread
from omixa.errors import InvalidRequest
from tests.support.quality import (
    CUT_OUT,
    Array,
    absolute_error,
    boundary_error,
    intersection_over_union,
    mask_of,
    photograph,
)

# Intersection over union and boundary error in pixels of OpenCV's GrabCut, told to look everywhere but in a margin of 4 %:
# measured by `python -m bench.engines`.
GRABCUT = {
    "astronaut.png": (0.633, 24.1),
    "camera.png": (0.836, 7.3),
    "cat.png": (0.472, 65.9),
    "coffee.png": (0.902, 18.8),
    "flower.jpg": (0.990, 0.7),
}


@pytest.fixture(scope="module")
def engine() -> Cutter:
    return Cutter()


def png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def cut_out(engine: Cutter, picture: Image.Image) -> Array:
    (result,) = engine.carry_out(Cutting(png(picture)))
    with Image.open(io.BytesIO(result)) as opened:
        return np.asarray(opened)


@pytest.mark.parametrize("name", CUT_OUT)
def test_it_finds_what_a_person_would_cut_out_better_than_grabcut(engine: Cutter, name: str) -> None:
    picture, mask = photograph(name), mask_of(name)
    made = cut_out(engine, picture)
    assert made.shape == (*mask.shape, 4)
    shared, apart = GRABCUT[name]
    # GrabCut is as good at the flower, which is orange on black.
    assert intersection_over_union(made[..., 3], mask) >= shared
    assert boundary_error(made[..., 3], mask) <= apart
    assert intersection_over_union(made[..., 3], mask) > 0.9


def test_the_edges_are_better_than_the_networks_own(engine: Cutter, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = {name: cut_out(engine, photograph(name))[..., 3] for name in CUT_OUT}
    monkeypatch.setattr("omixa.engines.matting.sharpened", lambda alpha, *_: alpha)
    for name, alpha in pictures.items():
        plain = cut_out(engine, photograph(name))[..., 3]
        assert absolute_error(alpha, mask_of(name)) < absolute_error(plain, mask_of(name)), name


def test_alpha_is_real(engine: Cutter) -> None:
    alpha = cut_out(engine, photograph("astronaut.png"))[..., 3]
    assert (alpha.min(), alpha.max()) == (0, 255)
    soft = ((alpha > 25) & (alpha < 230)).mean()
    assert 0.005 < soft < 0.1


def test_the_background_does_not_shine_through_at_the_edges(engine: Cutter) -> None:
    """The dahlia cut out from green has the colours of the dahlia that was laid on it, and not of the mixture."""
    dahlia = cut_out(engine, photograph("flower.jpg"))
    share = dahlia[..., 3:].astype(float) / 255
    mixture = dahlia[..., :3] * share + np.array([0, 255, 0]) * (1 - share)
    again = cut_out(engine, Image.fromarray(mixture.round().astype(np.uint8)))
    edge = (dahlia[..., 3] > 60) & (dahlia[..., 3] < 200) & (again[..., 3] > 30)
    assert edge.sum() > 200
    excess_of_green = again[edge][:, 1].astype(int) - dahlia[edge][:, 1]
    assert np.abs(excess_of_green).mean() < 0.35 * np.abs(mixture[edge][:, 1] - dahlia[edge][:, 1]).mean()


def test_what_was_transparent_stays_so(engine: Cutter) -> None:
    picture = photograph("coffee.png").convert("RGBA")
    alpha = Image.new("L", picture.size, 255)
    alpha.paste(0, (0, 0, 300, 400))
    picture.putalpha(alpha)
    made = cut_out(engine, picture)[..., 3]
    assert made[:, :300].max() == 0
    assert (made[:, 300:] > 200).mean() > 0.3


@pytest.mark.parametrize("colour", ["white", "black", "#808080", "#3060c0"])
def test_a_picture_of_nothing_is_refused(engine: Cutter, colour: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        next(engine.carry_out(Cutting(png(Image.new("RGB", (200, 100), colour)))))
    assert caught.value.code == "nothing_found"


def test_what_is_no_picture_is_the_callers_fault(engine: Cutter) -> None:
    with pytest.raises(InvalidRequest):
        next(engine.carry_out(Cutting(b"no picture")))


def test_strips_leave_no_seams(engine: Cutter, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = photograph("coffee.png").crop((60, 0, 500, 395))
    whole = cut_out(engine, picture)
    monkeypatch.setattr("omixa.engines.matting._STRIP_PIXELS", 440 * 37)
    assert np.abs(cut_out(engine, picture).astype(int) - whole).max() <= 1


# ------------------------------------------------------------------------------------------------------------- properties

sides = st.integers(1, 9)
unit = st.floats(0, 1, width=32)


@st.composite
def drawn_mixtures(draw: st.DrawFn) -> tuple[Array, Array, Array]:
    height, width = draw(sides), draw(sides)
    colours = arrays.arrays(np.float32, (height, width, 3), elements=unit)
    return draw(colours), draw(colours), draw(arrays.arrays(np.float32, (height, width), elements=unit))


@given(drawn_mixtures())
def test_what_is_known_stays_and_what_is_guessed_is_among_it(drawn: tuple[Array, Array, Array]) -> None:
    colours, _, weight = drawn
    known = weight > 0.5
    made = spread(colours, known.astype(np.float32))
    assert np.allclose(made[known], colours[known], atol=1e-6)
    if known.any():
        assert made.min() >= colours[known].min() - 1e-5
        assert made.max() <= colours[known].max() + 1e-5


@given(drawn_mixtures())
def test_a_mixture_gives_its_colours_and_its_share_back(drawn: tuple[Array, Array, Array]) -> None:
    front, back, alpha = drawn
    share = alpha[..., None]
    mixture = share * front + (1 - share) * back
    assert np.allclose(colours_in_front(alpha, mixture, front, back), front, atol=1e-4)
    everywhere = np.ones_like(alpha)
    assert np.allclose(sharpened(alpha, mixture, front, back, everywhere), alpha, atol=5e-3)
    assert np.array_equal(sharpened(alpha, mixture, front, back, 0 * everywhere), alpha)
