"""Make pictures larger with a neural network (waifu2x, trained on photographs), tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from omixa.engines.networks import load_network

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from omixa.engines.networks import Tensor

    Pixels = NDArray[np.uint8]
    """A picture as numbers: [height, width, channels], of 3 channels or 4 with alpha."""

SCALES: Final = (2, 4)
# The sides of a tile in pixels of the smaller picture. The network needs 1 KB of memory for each of its pixels.
TILE: Final = 192
# A pixel of the larger picture depends on no pixel of the smaller one that is further away: with so much around it,
# a tile comes out as if the whole picture had been given to the network, and there are no seams.
REACH: Final = 7
PREVIEW_MAX_PIXELS: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class Enlargement:
    """A picture to be made 2 or 4 times as wide and as high: encoded bytes, and how many previews are wanted on the way."""

    picture: bytes
    scale: int
    previews: int = 0


class Upscaler:
    """Enlarge pictures. Loads its network at first use."""

    @cached_property
    def _network(self) -> Callable[[Tensor], Tensor]:
        return load_network("waifu2x-photo-2x")

    def carry_out(self, job: Enlargement) -> Iterator[bytes]:
        """Yield PNGs: the previews that are asked for, in which ever more of the picture is sharp, then the whole.

        A preview has at most PREVIEW_MAX_PIXELS. Transparency is kept. Raises InvalidRequest when the picture cannot be read.
        """
        # Here, so that no decoder is ever loaded into a process that serves.
        import numpy as np
        from PIL import Image

        from omixa.engines.pictures import read_picture, write_png

        assert job.scale in SCALES
        pixels = _without_hidden_colours(np.asarray(read_picture(job.picture)))
        if job.scale == max(SCALES):
            canvas, tiles = self._begun(pixels)
            for place, tile in tiles:
                canvas[place] = tile
            pixels = canvas
        canvas, tiles = self._begun(pixels)
        number = -(-pixels.shape[0] // TILE) * -(-pixels.shape[1] // TILE)
        shown = 0
        for done, (place, tile) in enumerate(tiles):
            while shown < job.previews and done * job.previews >= shown * number:
                yield _preview(canvas)
                shown += 1
            canvas[place] = tile
        for _ in range(shown, job.previews):
            # There were fewer tiles than previews.
            yield _preview(canvas)
        yield write_png(Image.fromarray(canvas))

    def _begun(self, pixels: Pixels) -> tuple[Pixels, Iterator[tuple[tuple[slice, slice], Pixels]]]:
        """Return a picture of twice the size as it is without the network, and what the network makes of each tile."""
        import numpy as np
        from PIL import Image

        height, width, _ = pixels.shape
        smooth = Image.fromarray(pixels).resize((2 * width, 2 * height), Image.Resampling.BICUBIC)
        return np.array(smooth), self._tiles(pixels)

    def _tiles(self, pixels: Pixels) -> Iterator[tuple[tuple[slice, slice], Pixels]]:
        import numpy as np

        height, width, _ = pixels.shape
        framed = np.pad(pixels, ((REACH, REACH), (REACH, REACH), (0, 0)), mode="edge")
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                bottom, right = min(top + TILE, height), min(left + TILE, width)
                around = framed[top : bottom + 2 * REACH, left : right + 2 * REACH]
                yield (slice(2 * top, 2 * bottom), slice(2 * left, 2 * right)), self._doubled(around)

    def _doubled(self, around: Pixels) -> Pixels:
        """Return a tile of twice the size, without the frame of REACH pixels that it is given with."""
        import numpy as np

        colours = self._through_network(around[..., :3])
        if around.shape[2] == 3:
            return colours
        alpha = around[..., 3:]
        larger = alpha[REACH:-REACH, REACH:-REACH].repeat(2, axis=0).repeat(2, axis=1)
        edge = _edge(alpha[..., 0])[REACH:-REACH, REACH:-REACH].repeat(2, axis=0).repeat(2, axis=1)
        if edge.any():
            # Only there, because the network is not exact: what is opaque must not become nearly so.
            drawn = self._through_network(alpha.repeat(3, axis=2))[..., 1:2]
            larger = np.where(edge[..., None], drawn, larger)
        return np.concatenate((colours, larger), axis=2)

    def _through_network(self, around: Pixels) -> Pixels:
        import numpy as np

        tensor = np.ascontiguousarray(around.transpose(2, 0, 1)[None], dtype=np.float32)
        tensor /= 255
        made = self._network(tensor)[0]
        made *= 255
        larger: Pixels = made.round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
        return larger


def _without_hidden_colours(pixels: Pixels) -> Pixels:
    """Give what is invisible the colours of what is visible beside it: otherwise black would bleed into the edges."""
    import numpy as np

    from omixa.engines.matting import spread

    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3:]
    visible = (alpha[..., 0] > 0).astype(np.float32)
    colours = spread(pixels[..., :3].astype(np.float32), visible).round().astype(np.uint8)
    return np.concatenate((colours, alpha), axis=2)


def _edge(alpha: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell of each pixel whether one beside it is more or less transparent."""
    import numpy as np
    from PIL import Image, ImageFilter

    picture = Image.fromarray(alpha)
    most, least = picture.filter(ImageFilter.MaxFilter(3)), picture.filter(ImageFilter.MinFilter(3))
    differs: NDArray[np.bool_] = np.asarray(most) != np.asarray(least)
    return differs


def _preview(canvas: Pixels) -> bytes:
    from PIL import Image

    from omixa.engines.pictures import write_png

    picture = Image.fromarray(canvas)
    share = (PREVIEW_MAX_PIXELS / (picture.width * picture.height)) ** 0.5
    if share < 1:
        size = (max(1, int(picture.width * share)), max(1, int(picture.height * share)))
        picture = picture.resize(size, Image.Resampling.BOX)
    return write_png(picture)
