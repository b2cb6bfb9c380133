"""Take the background away: a neural network (U2-Net-p) says what stands out, and the edges are worked out from the colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from omixa.engines.networks import load_network
from omixa.errors import InvalidRequest

if TYPE_CHECKING:
    from PIL import Image

    from omixa.engines.matting import Numbers
    from omixa.engines.networks import Tensor

# The network sees every picture as a square of this side; means and deviations of colours are those of its training.
SIDE: Final = 320
_MEANS: Final = (0.485, 0.456, 0.406)
_DEVIATIONS: Final = (0.229, 0.224, 0.225)
# A picture of which the network is nowhere this sure shows nothing that stands out.
_FOUND: Final = 0.5


@dataclass(frozen=True, slots=True)
class Cutting:
    """A picture whose background is to be taken away: encoded bytes."""

    picture: bytes


class Cutter:
    """Cut out what a picture shows. Loads its network at first use."""

    @cached_property
    def _network(self) -> Callable[[Tensor], Tensor]:
        return load_network("u2net-p")

    def carry_out(self, job: Cutting) -> Iterator[bytes]:
        """Yield the PNG, in the picture's own size and with alpha.

        Colours at the edges are those of the thing alone, without the background's. What was transparent stays so. Raises
        InvalidRequest when the picture cannot be read or shows nothing that stands out.
        """
        # Here, so that no decoder is ever loaded into a process that serves.
        from PIL import Image, ImageChops

        from omixa.engines.matting import cut_out
        from omixa.engines.pictures import read_picture, write_png

        opened = read_picture(job.picture)
        picture = Image.new("RGB", opened.size, "#ffffff")
        picture.paste(opened, mask=opened.getchannel("A") if opened.mode == "RGBA" else None)
        seen = self._seen(picture)
        if seen.max() < _FOUND:
            raise InvalidRequest(
                "nothing in the picture stands out from its background.", code="nothing_found", param="input_images"
            )
        cut = cut_out(picture, seen)
        if opened.mode == "RGBA":
            cut.putalpha(ImageChops.multiply(cut.getchannel("A"), opened.getchannel("A")))
        yield write_png(cut)

    def _seen(self, picture: Image.Image) -> Numbers:
        """Return for each of SIDE x SIDE places of the picture how likely it is in front."""
        import numpy as np
        from PIL import Image

        small: Numbers = np.array(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), dtype=np.float32)
        small /= max(float(small.max()), 1.0)
        small -= np.array(_MEANS, np.float32)
        small /= np.array(_DEVIATIONS, np.float32)
        seen: Numbers = self._network(np.ascontiguousarray(small.transpose(2, 0, 1)[None]))[0, 0]
        return seen
