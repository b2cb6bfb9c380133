"""How good pictures and masks are, by the usual measures. All take arrays; pictures are [height, width, 3] of bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PHOTOGRAPHS: Final = Path(__file__).parents[1] / "photographs"
ENLARGED: Final = ("astronaut.png", "camera.png", "cat.png", "coffee.png", "flower.jpg", "rocket.jpg")
CUT_OUT: Final = ("astronaut.png", "camera.png", "cat.png", "coffee.png", "flower.jpg")
# In a mask: neither the thing nor the background.
NOT_COUNTED: Final = 128
# Pixels near one that is not counted are no boundary.
_MARGIN: Final = 3

Array = NDArray[Any]


def photograph(name: str) -> Image.Image:
    """Return a photograph in colour, without its profile: engines would obey that, and then differ from what is compared."""
    with Image.open(PHOTOGRAPHS / name) as opened:
        picture = opened.convert("RGB")
    picture.info.clear()
    return picture


def mask_of(name: str) -> Array:
    """Return what a person would cut out of a photograph: 255, 0 and NOT_COUNTED."""
    with Image.open(PHOTOGRAPHS / "masks" / f"{Path(name).stem}.png") as opened:
        return np.asarray(opened.convert("L"))


def halved(picture: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Return a picture with sides that are even numbers, and the same at half the size."""
    width, height = picture.width // 2 * 2, picture.height // 2 * 2
    whole = picture.crop((0, 0, width, height))
    return whole, whole.resize((width // 2, height // 2), Image.Resampling.LANCZOS)


def psnr(one: Array, other: Array) -> float:
    """Return the peak signal-to-noise ratio in dB; more is better."""
    error = np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / error))


def ssim(one: Array, other: Array) -> float:
    """Return the structural similarity of the brightness, up to 1: Wang et al. 2004, with a Gaussian of 1.5 pixels."""
    x, y = (np.asarray(Image.fromarray(part).convert("L"), dtype=np.float64) for part in (one, other))
    first, second = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = _smooth(x), _smooth(y)
    variance_x, variance_y = _smooth(x * x) - mean_x**2, _smooth(y * y) - mean_y**2
    covariance = _smooth(x * y) - mean_x * mean_y
    above = (2 * mean_x * mean_y + first) * (2 * covariance + second)
    below = (mean_x**2 + mean_y**2 + first) * (variance_x + variance_y + second)
    return float(np.mean(above / below))


def intersection_over_union(alpha: Array, mask: Array) -> float:
    """Return what two masks share, of all that is in either, up to 1. Half transparent counts as in."""
    counted = mask != NOT_COUNTED
    mine, true = (alpha > 127)[counted], (mask == 255)[counted]
    return float((mine & true).sum() / (mine | true).sum())


def boundary_error(alpha: Array, mask: Array) -> float:
    """Return how far the boundaries of two masks are apart on average, in pixels, each seen from the other."""
    counted = ~_near(mask == NOT_COUNTED)
    mine, true = (np.argwhere(_boundary(part) & counted) for part in (alpha > 127, mask == 255))
    return (_distance(mine, true) + _distance(true, mine)) / 2


def absolute_error(alpha: Array, mask: Array) -> float:
    """Return by how much alpha is wrong on average, from 0 to 1."""
    counted = mask != NOT_COUNTED
    return float(np.abs(alpha.astype(np.float64) - mask)[counted].mean() / 255)


def _smooth(values: Array) -> Array:
    places = np.arange(-5, 6)
    weights = np.exp(-(places**2) / (2 * 1.5**2))
    weights /= weights.sum()
    for axis in (0, 1):
        windows = np.lib.stride_tricks.sliding_window_view(values, len(weights), axis=axis)
        values = windows @ weights
    return values


def _boundary(mask: Array) -> Array:
    """Return the pixels of a mask that touch another kind; the edge of the picture is none."""
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def _near(mask: Array) -> Array:
    padded = np.pad(mask, _MARGIN)
    side = 2 * _MARGIN + 1
    return np.lib.stride_tricks.sliding_window_view(padded, (side, side)).any(axis=(2, 3))


def _distance(some: Array, others: Array) -> float:
    nearest = [
        np.sqrt(((part[:, None, :] - others[None]) ** 2).sum(axis=2).min(axis=1))
        for part in np.array_split(some, max(1, len(some) // 256))
    ]
    return float(np.concatenate(nearest).mean())
