"""What each MAI image model makes and takes, and how it counts tokens. Source: the vendor's pages and observed replies."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

ONE_MEGAPIXEL = 1_048_576
SIDE_MULTIPLE = 16
MIN_SIDE = 768
PIXELS_PER_TOKEN = 32 * 32
CONTEXT_WINDOW_TOKENS = 32_000
DEFAULT_SIZE = (1024, 1024)

# A wider or taller input is painted at this ratio: the live limit is unknown, and an edit must not become a thin line.
MAX_EDIT_ASPECT = 4.0

# What `auto_aspect_ratio` chooses from. The live choice is the model's; here the prompt decides, the same each time.
AUTO_SIZES = ((1024, 1024), (1248, 832), (832, 1248), (1344, 768), (768, 1344))


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One row: the largest picture in pixels, how many pictures an edit takes, and which optional fields exist."""

    name: str
    max_pixels: int = ONE_MEGAPIXEL
    max_input_images: int = 1
    sized_edits: bool = False
    switches: frozenset[str] = frozenset()


_SWITCHES = frozenset({"auto_aspect_ratio", "web_grounding"})

MODELS: Mapping[str, ModelSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            ModelSpec("MAI-Image-2.5"),
            ModelSpec("MAI-Image-2.5-Flash"),
            ModelSpec("MAI-Image-2.5-Pro"),
            ModelSpec("MAI-Image-2.6", 2_359_296, max_input_images=5, sized_edits=True, switches=_SWITCHES),
            ModelSpec("MAI-Image-2.6-Flash", 2_359_296, max_input_images=5, sized_edits=True, switches=_SWITCHES),
            ModelSpec("MAI-Image-2.7", 4_194_304, max_input_images=5, sized_edits=True),
            ModelSpec("MAI-Image-2.7-Flash", 4_194_304, max_input_images=5, sized_edits=True),
        )
    }
)


def image_tokens(width: int, height: int) -> int:
    """Return the tokens of a picture: one for each 32 x 32 pixels, a begun one counts."""
    return math.ceil(width * height / PIXELS_PER_TOKEN)


def edit_size(width: int, height: int) -> tuple[int, int]:
    """Return the size of an edit: the input's aspect ratio at about one megapixel, for example 1200x1500 gives 912x1152.

    Rounding to 16 may exceed one megapixel slightly, as the live service does.
    """
    aspect = min(max(width / height, 1 / MAX_EDIT_ASPECT), MAX_EDIT_ASPECT)
    return _rounded(math.sqrt(ONE_MEGAPIXEL * aspect)), _rounded(math.sqrt(ONE_MEGAPIXEL / aspect))


def input_tokens(width: int, height: int) -> int:
    """Return the tokens of a reference: those of its area at about one megapixel. Smaller ones are not enlarged."""
    share = min(1.0, width * height / ONE_MEGAPIXEL)
    return math.ceil(image_tokens(*edit_size(width, height)) * share)


def auto_size(prompt: str) -> tuple[int, int]:
    """Return the size that `auto_aspect_ratio` gives this prompt."""
    return AUTO_SIZES[hashlib.sha256(prompt.encode()).digest()[0] % len(AUTO_SIZES)]


def _rounded(side: float) -> int:
    return max(SIDE_MULTIPLE, round(side / SIDE_MULTIPLE) * SIDE_MULTIPLE)
