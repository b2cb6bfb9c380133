"""The upscaler: closer to the original than plain enlarging, without seams, with alpha, in every size."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from omixa.engines import upscaler
from omixa.engines.networks import load_network
from omixa.engines.upscaler import Enlargement, Upscaler
from omixa.errors import EngineMissing, InvalidRequest
from tests.support.quality import ENLARGED, Array, halved, photograph, psnr, ssim


@pytest.fixture(scope="module")
def engine() -> Upscaler:
    return Upscaler()


def png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def opened(data: bytes) -> Array:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


def enlarged(engine: Upscaler, picture: Image.Image, scale: int = 2) -> Array:
    *_, result = engine.carry_out(Enlargement(png(picture), scale))
    return opened(result)


def disc_of(side: int) -> Array:
    """Return the alpha of a disc in the middle of a square, drawn at this size."""
    row, column = np.mgrid[:side, :side] - (side - 1) / 2
    covered: Array = (np.clip(0.375 * side + 0.5 - np.hypot(row, column), 0, 1) * 255).astype(np.uint8)
    return covered


@pytest.mark.parametrize("name", ENLARGED)
def test_it_comes_closer_to_the_photograph_than_lanczos(engine: Upscaler, name: str) -> None:
    whole, half = halved(photograph(name))
    original = np.asarray(whole)
    plain = np.asarray(half.resize(whole.size, Image.Resampling.LANCZOS))
    made = enlarged(engine, half)
    # The smallest gains of the set are those of the cat: 0.8 dB, and of the camera: 0.011.
    assert psnr(made, original) > psnr(plain, original) + 0.7
    assert ssim(made, original) > ssim(plain, original) + 0.01


def test_four_times_comes_closer_than_lanczos(engine: Upscaler) -> None:
    whole = photograph("astronaut.png").crop((128, 0, 384, 256))
    small = whole.resize((64, 64), Image.Resampling.LANCZOS)
    original = np.asarray(whole)
    plain = np.asarray(small.resize(whole.size, Image.Resampling.LANCZOS))
    made = enlarged(engine, small, 4)
    assert made.shape == original.shape
    assert psnr(made, original) > psnr(plain, original)
    assert ssim(made, original) > ssim(plain, original)


@pytest.mark.parametrize("scale", [2, 4])
def test_tiles_leave_no_seams(engine: Upscaler, monkeypatch: pytest.MonkeyPatch, scale: int) -> None:
    picture = photograph("coffee.png").crop((150, 0, 221, 58))
    monkeypatch.setattr(upscaler, "TILE", 1000)
    whole = enlarged(engine, picture, scale)
    monkeypatch.setattr(upscaler, "TILE", 17)
    tiled = enlarged(engine, picture, scale)
    # Sums in another order may round to the neighbouring level.
    assert np.abs(whole.astype(int) - tiled).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 2), (193, 7), (40, 192)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_every_size_is_doubled_exactly(engine: Upscaler, size: tuple[int, int], mode: str) -> None:
    made = enlarged(engine, Image.new("RGBA", size, (200, 100, 50, 120)).convert(mode))
    assert made.shape == (2 * size[1], 2 * size[0], 4 if mode.endswith("A") else 3)


def test_the_same_picture_gives_the_same_bytes(engine: Upscaler) -> None:
    job = Enlargement(png(photograph("flower.jpg").crop((200, 200, 300, 300))), 2)
    assert list(engine.carry_out(job)) == list(Upscaler().carry_out(job))


def test_alpha_is_kept_and_what_is_invisible_does_not_darken_the_edge(engine: Upscaler) -> None:
    """A disc of one colour on invisible black stays of that colour to its edge."""
    alpha = disc_of(64)
    disc = np.zeros((64, 64, 4), np.uint8)
    disc[alpha > 0, :3] = (230, 120, 40)
    disc[..., 3] = alpha
    made = enlarged(engine, Image.fromarray(disc)).astype(int)
    assert (made[0, 0, 3], made[64, 64, 3]) == (0, 255)
    wanted = disc_of(128).astype(int)
    plain = np.asarray(Image.fromarray(alpha).resize((128, 128), Image.Resampling.LANCZOS))
    assert np.abs(made[..., 3] - wanted).mean() < np.abs(plain - wanted).mean() < 3
    visible = made[made[..., 3] > 0][:, :3]
    assert np.abs(visible - (230, 120, 40)).max() <= 12


def test_a_picture_that_is_nowhere_transparent_needs_no_alpha(engine: Upscaler) -> None:
    assert enlarged(engine, Image.new("RGBA", (10, 10), (1, 2, 3, 255))).shape == (20, 20, 3)


@pytest.mark.parametrize("size", [(5, 5), (250, 230)])
@pytest.mark.parametrize("previews", [0, 1, 3])
def test_previews_come_ever_closer(engine: Upscaler, size: tuple[int, int], previews: int) -> None:
    picture = photograph("astronaut.png").crop((130, 20, 130 + size[0], 20 + size[1]))
    *shown, result = engine.carry_out(Enlargement(png(picture), 2, previews))
    assert len(shown) == previews
    distances = [float(np.abs(opened(one).astype(int) - opened(result)).mean()) for one in shown]
    assert distances == sorted(distances, reverse=True)
    assert not distances or distances[0] > 0


def test_previews_are_small_where_the_picture_is_large(engine: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscaler, "PREVIEW_MAX_PIXELS", 2500)
    first, result = engine.carry_out(Enlargement(png(Image.new("RGB", (100, 50), "red")), 2, 1))
    assert opened(result).shape[:2] == (100, 200)
    assert opened(first).shape[:2] == (35, 70)


def test_what_is_no_picture_is_the_callers_fault(engine: Upscaler) -> None:
    with pytest.raises(InvalidRequest):
        next(engine.carry_out(Enlargement(b"no picture", 2)))


def test_without_onnxruntime_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineMissing, match=r"omixa\[vision\]"):
        load_network("waifu2x-photo-2x")
