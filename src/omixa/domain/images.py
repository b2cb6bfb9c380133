"""What is asked for, what comes back, and what it used. Plain values without I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

ImageFormat = Literal["png", "jpeg", "webp"]

Provenance = Literal["none", "kept", "lost", "signed"]
"""What became of a picture's Content Credentials: there were none, the provider's came through, a conversion lost them, or the
operator signed."""

# A token of an image is a tile of 32 x 32 pixels.
PIXELS_PER_TOKEN = 1024

MEDIA_TYPES: Mapping[str, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the header of a picture says. `size_bytes` is the length of the encoded picture.

    `has_credentials` says that Content Credentials (C2PA) are in it. Whether they are valid is for those who read them.
    """

    format: ImageFormat
    width: int
    height: int
    size_bytes: int
    has_alpha: bool
    has_credentials: bool = False

    @property
    def pixels(self) -> int:
        """Return how many pixels the picture has."""
        return self.width * self.height

    @property
    def size(self) -> str:
        """Return the size as the API writes it, for example 1024x1536."""
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class Image:
    """An encoded picture and what its header says.

    `data` may be a view of a file, so that a large picture need not be in memory to be sent. `base64` is its text as it came,
    where that is exactly what encoding `data` would give. `needs_decoding` says of a picture that came in that it has to be
    turned or brought to sRGB, so that `data` is as it came and `info` what it will be; its length is not known before.
    """

    data: bytes | memoryview
    info: ImageInfo
    base64: memoryview | None = field(default=None, repr=False, compare=False)
    needs_decoding: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What one or several provider calls used. Counts are tokens of the model.

    `images` counts pictures that arrived, `cutouts` those whose background the gateway took away. `output_text_tokens` are words
    that a model wrote besides, or only thought. `estimated` says that the provider reported nothing usable and the counts come
    from the model's formulas.
    """

    input_text_tokens: int = 0
    input_image_tokens: int = 0
    output_image_tokens: int = 0
    images: int = 0
    estimated: bool = False
    cutouts: int = 0
    output_text_tokens: int = 0

    @property
    def input_tokens(self) -> int:
        """Return all input tokens."""
        return self.input_text_tokens + self.input_image_tokens

    @property
    def output_tokens(self) -> int:
        """Return all output tokens."""
        return self.output_image_tokens + self.output_text_tokens

    @property
    def total_tokens(self) -> int:
        """Return input and output tokens together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_text_tokens + other.input_text_tokens,
            self.input_image_tokens + other.input_image_tokens,
            self.output_image_tokens + other.output_image_tokens,
            self.images + other.images,
            self.estimated or other.estimated,
            self.cutouts + other.cutouts,
            self.output_text_tokens + other.output_text_tokens,
        )


def share_tokens(pixels: Sequence[int], total: int) -> list[int]:
    """Return how many of the tokens that were counted for all pictures given together belong to each of them.

    They are its tiles of 32 x 32 pixels where these add up to the total. A model that scales pictures first counts other tiles,
    of which each picture has its share by its pixels; what is left of rounding down goes to the largest remainders.
    """
    tiles = [-(-count // PIXELS_PER_TOKEN) for count in pixels]
    if sum(tiles) == total:
        return tiles
    area = sum(pixels)
    shares = [total * count // area for count in pixels]
    remainders = sorted(range(len(pixels)), key=lambda index: (-(total * pixels[index] % area), index))
    for index in remainders[: total - sum(shares)]:
        shares[index] += 1
    return shares


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A complete, checked request: every field has its value, `given` names those the caller wrote.

    `size` is "auto" or WIDTHxHEIGHT. `prompt_tokens` is the gateway's own count. `output_compression` is the encoder's
    quality from 0 to 100, None for the default. `partial_images` is how many previews a stream should carry. `mask` is a PNG
    as large as the first of `input_images`; only where it is fully transparent may an edit change anything. `response_format`
    is how the pictures come back, None as the workspace has it.
    `moderation`, `input_fidelity` and `user` are passed on to providers that have them, None where nothing is said.
    `scale` is how many times as wide and as high the picture is to become, where the model makes pictures larger.
    """

    model: str
    prompt: str
    prompt_tokens: int
    n: int
    size: str
    quality: str
    background: str
    output_format: ImageFormat
    output_compression: int | None
    input_images: tuple[Image, ...]
    stream: bool
    partial_images: int
    given: frozenset[str]
    mask: Image | None = None
    response_format: Literal["b64_json", "url"] | None = None
    scale: int | None = None
    moderation: str | None = None
    input_fidelity: str | None = None
    user: str | None = None

    @property
    def operation(self) -> Literal["generation", "edit"]:
        """Return what the provider is asked to do: a reference picture makes it an edit."""
        return "edit" if self.input_images else "generation"
