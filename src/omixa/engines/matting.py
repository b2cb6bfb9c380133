"""How much of each pixel at an edge is in front, and in which colour: pure calculations, without a network.

A pixel at the edge of a thing shows a mixture, `alpha` parts of the thing's colour and the rest of what is behind it. Where
both colours are known from the neighbourhood, the share follows from the pixel, and a better colour from the share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageFilter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float32]
    """Colours [height, width, 3] or shares [height, width], from 0 to 1."""

# Shares from which on something is surely in front, or surely behind.
_FRONT: Final = 0.95
_BACK: Final = 0.05
# An edge is where both are within two of the network's pixels.
_EDGE_FRONT: Final = 0.9
_EDGE_BACK: Final = 0.1
_EDGE_WINDOW: Final = 5
# Colours in front and behind change slowly, so they are worked out on a picture of at most this many pixels.
_WORK_PIXELS: Final = 1_048_576
# So many pixels are finished at a time, which bounds the memory.
_STRIP_PIXELS: Final = 524_288
# A weight below this counts as none.
_LEAST: Final = 1e-4
# Squared distances of colours: from here on, front and back are told apart; about here, no mixture of both is like the pixel.
_APART: Final = 0.05
_ALIKE: Final = 0.02


def cut_out(picture: Image.Image, seen: Numbers) -> Image.Image:
    """Return an RGB picture as RGBA, with alpha where the thing is that a network has seen, and its own colours at the edges.

    `seen` are the network's shares, of any size, which is smaller than the picture's.
    """
    return _Layers(picture, seen).finished()


def spread(colours: Numbers, weight: Numbers) -> Numbers:
    """Return colours that are known where `weight` is 1 and guessed from the nearest known ones where it is 0.

    A pyramid: averages of ever larger squares, of which each pixel gets the smallest that knows something.
    """
    height, width = weight.shape
    if height == 1 and width == 1:
        return colours
    known = np.concatenate((colours * weight[..., None], weight[..., None]), axis=2)
    known = np.pad(known, ((0, height % 2), (0, width % 2), (0, 0)))
    known = known.reshape(known.shape[0] // 2, 2, known.shape[1] // 2, 2, 4).sum(axis=(1, 3))
    total = known[..., 3]
    means = known[..., :3] / np.maximum(total, _LEAST)[..., None]
    guessed = _doubled(spread(means, np.minimum(total, 1)))[:height, :width]
    blended: Numbers = guessed + (colours - guessed) * weight[..., None]
    return blended


def sharpened(alpha: Numbers, picture: Numbers, front: Numbers, back: Numbers, trust: Numbers) -> Numbers:
    """Return shares that agree with the pixels, given the colours in front and behind that are expected at each.

    `trust`, from 0 to 1, says where an edge is. Shares stay as they are where the two colours are alike, where no mixture of
    them looks like the pixel, and where `alpha` was sure.
    """
    difference = front - back
    distance = (difference**2).sum(axis=2)
    share = (((picture - back) * difference).sum(axis=2) / (distance + _LEAST)).clip(0, 1)
    missed = ((picture - back - share[..., None] * difference) ** 2).sum(axis=2)
    unsure = 4 * alpha * (1 - alpha)
    belief = (distance / _APART).clip(0, 1) * np.exp(-missed / _ALIKE) * unsure * trust
    refined: Numbers = alpha + (share - alpha) * belief
    return refined


def colours_in_front(alpha: Numbers, picture: Numbers, front: Numbers, back: Numbers) -> Numbers:
    """Return the colours of the thing alone: the smallest change of the expected ones with which the mixture is the pixel."""
    share = alpha[..., None]
    missing = picture - share * front - (1 - share) * back
    colours: Numbers = (front + share * missing / (share**2 + (1 - share) ** 2)).clip(0, 1)
    return colours


def _doubled(coarse: Numbers) -> Numbers:
    """Return twice the size, with straight lines between the middles of the squares."""
    for axis in (0, 1):
        last = coarse.shape[axis] - 1
        before = coarse.take([0, *range(last)], axis)
        after = coarse.take([*range(1, last + 1), last], axis)
        halves = np.stack((0.75 * coarse + 0.25 * before, 0.75 * coarse + 0.25 * after), axis + 1)
        coarse = halves.reshape([size * 2 if place == axis else size for place, size in enumerate(coarse.shape)])
    return coarse


class _Layers:
    """A picture and, all smaller than it: the network's shares, where edges are, and the colours in front and behind."""

    def __init__(self, picture: Image.Image, seen: Numbers) -> None:
        self._picture = picture
        self._seen = Image.fromarray(seen)
        self._edges = _edges(seen)
        work = picture
        share = (_WORK_PIXELS / (picture.width * picture.height)) ** 0.5
        if share < 1:
            size = (max(1, int(picture.width * share)), max(1, int(picture.height * share)))
            work = picture.resize(size, Image.Resampling.BOX)
        colours = _numbers(work)
        alpha = np.asarray(self._seen.resize(work.size, Image.Resampling.BICUBIC))
        self._front = _pixels(spread(colours, (alpha > _FRONT).astype(np.float32)))
        self._back = _pixels(spread(colours, (alpha < _BACK).astype(np.float32)))

    def finished(self) -> Image.Image:
        """Return the cut-out, strip by strip."""
        width, height = self._picture.size
        cut = Image.new("RGBA", (width, height))
        rows = max(1, _STRIP_PIXELS // width)
        for top in range(0, height, rows):
            cut.paste(self._strip(top, min(top + rows, height)), (0, top))
        return cut

    def _strip(self, top: int, bottom: int) -> Image.Image:
        def rows(layer: Image.Image) -> Numbers:
            """Return these rows of a layer at the picture's size."""
            scale = layer.height / self._picture.height
            box = (0.0, top * scale, float(layer.width), bottom * scale)
            size = (self._picture.width, bottom - top)
            return _numbers(layer.resize(size, Image.Resampling.BICUBIC, box=box))

        picture = _numbers(self._picture.crop((0, top, self._picture.width, bottom)))
        front, back = rows(self._front), rows(self._back)
        alpha = sharpened(rows(self._seen).clip(0, 1), picture, front, back, rows(self._edges).clip(0, 1))
        colours = colours_in_front(alpha, picture, front, back)
        return _pixels(np.concatenate((colours, alpha[..., None]), axis=2))


def _edges(seen: Numbers) -> Image.Image:
    """Return 1 where something surely in front and something surely behind are near, and 0 elsewhere."""
    front, back = (Image.fromarray(part * np.uint8(255)) for part in (seen > _EDGE_FRONT, seen < _EDGE_BACK))
    near_both = [np.asarray(part.filter(ImageFilter.MaxFilter(_EDGE_WINDOW))) > 0 for part in (front, back)]
    return Image.fromarray((near_both[0] & near_both[1]).astype(np.float32))


def _numbers(picture: Image.Image) -> Numbers:
    """Return a picture of bytes as numbers from 0 to 1, and one of numbers as they are."""
    numbers: Numbers = np.asarray(picture, dtype=np.float32)
    return numbers if picture.mode == "F" else numbers / np.float32(255)


def _pixels(numbers: Numbers) -> Image.Image:
    whole: NDArray[np.uint8] = (numbers * 255).round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(whole)
