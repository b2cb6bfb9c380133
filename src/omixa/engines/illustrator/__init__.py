"""The embedded illustrator: deterministic pictures from the words of a prompt. It is not a neural network."""

from __future__ import annotations

from functools import cached_property

from omixa.engines.illustrator.edit import paint_edit
from omixa.engines.illustrator.library import Library, load_library
from omixa.engines.illustrator.paint import paint_svg
from omixa.engines.illustrator.plan import make_plan
from omixa.engines.illustrator.scene import draw_scene

__all__ = ["Illustrator"]


class Illustrator:
    """Paint deterministic pictures from prompts. Loads its data at first use; safe to call from several threads."""

    @cached_property
    def _library(self) -> Library:
        return load_library()

    def paint(self, prompt: str, *, width: int = 1024, height: int = 1024, variant: int = 0) -> bytes:
        """Paint a prompt as a PNG of exactly `width` x `height` pixels (768..2048 each).

        The same prompt, size and variant give the same bytes in every process; another variant another picture.
        """
        plan = make_plan(prompt, self._library, variant=variant)
        return paint_svg(draw_scene(plan, self._library, width, height), width, height)

    def edit(self, prompt: str, reference: bytes, *, width: int, height: int, variant: int = 0) -> bytes:
        """Apply a prompt to a reference picture, PNG or JPEG bytes; give a PNG of exactly `width` x `height` pixels.

        The reference keeps its proportions. Raises InvalidRequest when it cannot be read.
        """
        plan = make_plan(prompt, self._library, variant=variant)
        return paint_edit(plan, self._library, reference, width, height)
