"""What is asked for, what comes back, and what it used. Plain values without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ImageFormat = Literal["png", "jpeg", "webp"]

MEDIA_TYPES: Mapping[str, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the header of a picture says. `size_bytes` is the length of the encoded picture."""

    format: ImageFormat
    width: int
    height: int
    size_bytes: int
    has_alpha: bool

    @property
    def size(self) -> str:
        """Return the size as the API writes it, for example 1024x1536."""
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class Image:
    """An encoded picture and what its header says."""

    data: bytes
    info: ImageInfo


@dataclass(frozen=True, slots=True)
class Usage:
    """What one or several provider calls used. Counts are tokens of the model.

    `images` counts pictures that arrived. `estimated` says that the provider reported nothing usable and the counts
    come from the model's formulas.
    """

    input_text_tokens: int = 0
    input_image_tokens: int = 0
    output_image_tokens: int = 0
    images: int = 0
    estimated: bool = False

    @property
    def input_tokens(self) -> int:
        """Return all input tokens."""
        return self.input_text_tokens + self.input_image_tokens

    @property
    def total_tokens(self) -> int:
        """Return input and output tokens together."""
        return self.input_tokens + self.output_image_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_text_tokens + other.input_text_tokens,
            self.input_image_tokens + other.input_image_tokens,
            self.output_image_tokens + other.output_image_tokens,
            self.images + other.images,
            self.estimated or other.estimated,
        )
