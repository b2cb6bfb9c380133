"""The embedded illustrator: deterministic pictures from the words of a prompt. It is not a neural network."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from omixa.engines.illustrator.commission import Commission
from omixa.engines.illustrator.edit import natural_size, paint_edit, read_reference
from omixa.engines.illustrator.library import Library, load_library
from omixa.engines.illustrator.masked import make_wish, paint_masked
from omixa.engines.illustrator.paint import blurred, framed, paint_svg
from omixa.engines.illustrator.plan import Plan, make_plan
from omixa.engines.illustrator.scene import draw_scene
from omixa.errors import InvalidRequest
from omixa.imaging.masks import read_region, require_shape
from omixa.imaging.refusals import UnacceptableImage

__all__ = ["Commission", "Illustrator"]

# How far a preview is blurred, as a share of its short side, when it is the last one; each one before twice as far.
LAST_BLUR = 0.006
DEFAULT_SIZE = (1024, 1024)


class Illustrator:
    """Paint deterministic pictures from prompts. Loads its data at first use; safe to call from several threads."""

    @cached_property
    def _library(self) -> Library:
        return load_library()

    def paint(self, prompt: str, *, width: int = 1024, height: int = 1024, variant: int = 0) -> bytes:
        """Paint a prompt as a PNG of exactly `width` x `height` pixels (768..2048 each).

        The same prompt, size and variant give the same bytes in every process; another variant another picture.
        """
        return self._finished(Commission(prompt, (width, height), variant))

    def edit(self, prompt: str, *references: bytes, width: int, height: int, variant: int = 0) -> bytes:
        """Apply a prompt to reference pictures, PNG, JPEG or WebP bytes; give a PNG of exactly `width` x `height` pixels.

        A reference keeps its proportions. Raises InvalidRequest when one cannot be read.
        """
        return self._finished(Commission(prompt, (width, height), variant, references))

    def carry_out(self, commission: Commission) -> Iterator[bytes]:
        """Yield PNGs: the previews that are asked for, at half the size and ever less blurred, then the picture."""
        plan = make_plan(commission.prompt, self._library, variant=commission.variant)
        if commission.mask is not None:
            yield from self._masked(commission, commission.mask)
            return
        if commission.references:
            yield from self._edited(plan, commission)
            return
        width, height = commission.size or DEFAULT_SIZE
        svg = draw_scene(plan, self._library, width, height, transparent=commission.transparent)
        if commission.transparent:
            svg = framed(svg, width, height)
        if commission.previews:
            yield from _previews(paint_svg(svg, width // 2, height // 2), commission.previews)
        yield paint_svg(svg, width, height)

    def _edited(self, plan: Plan, commission: Commission) -> Iterator[bytes]:
        first, *others = commission.references
        # What is transparent around the others says how they are to be merged.
        pictures = [read_reference(first), *(read_reference(data, keep_alpha=True) for data in others)]
        width, height = commission.size or natural_size(pictures[0])
        transparent = commission.transparent
        if commission.previews:
            half = (width // 2, height // 2)
            small = paint_edit(plan, self._library, pictures, half, transparent=transparent)
            yield from _previews(small, commission.previews)
        yield paint_edit(plan, self._library, pictures, (width, height), transparent=transparent)

    def _masked(self, commission: Commission, mask: bytes) -> Iterator[bytes]:
        wish = make_wish(commission.prompt, self._library, variant=commission.variant)
        pictures = [read_reference(data, keep_alpha=commission.transparent) for data in commission.references]
        try:
            region = read_region(mask)
            require_shape(region, pictures[0].size)
        except UnacceptableImage as error:
            raise InvalidRequest(f"mask: {error.message}.", code=error.reason_code, param="mask") from error
        width, height = commission.size or natural_size(pictures[0])

        def painted(size: tuple[int, int]) -> bytes:
            return paint_masked(wish, self._library, pictures, region, size, transparent=commission.transparent)

        if commission.previews:
            yield from _previews(painted((width // 2, height // 2)), commission.previews)
        yield painted((width, height))

    def _finished(self, commission: Commission) -> bytes:
        *_, picture = self.carry_out(commission)
        return picture


def _previews(small: bytes, number: int) -> Iterator[bytes]:
    for left in reversed(range(number)):
        yield blurred(small, LAST_BLUR * 2**left)
