"""A request to the Images API against the rules of its model: what comes through is exactly what the live service would paint."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from types import MappingProxyType

from omixa.domain.images import ImageFormat, ImageInfo
from omixa.imaging.inspect import inspect
from omixa.simulator.models import edit_size, input_tokens
from omixa.simulator.multipart import Part
from omixa.simulator.wire import Form, ServiceError
from omixa.tokens import Tokenizer

MAX_PROMPT_CHARS = 32_000
MAX_PICTURES = 10
MAX_INPUT_IMAGES = 16
MAX_INPUT_BYTES = 50 * 1024 * 1024
MAX_MASK_BYTES = 4 * 1024 * 1024
MAX_PARTIAL_IMAGES = 3
MAX_COMPRESSION = 100
DEFAULT_SIZE = (1024, 1024)
# Of sizes that the caller chooses.
SIDE_MULTIPLE = 16
MAX_SIDE = 3840
MIN_PIXELS = 655_360
MAX_PIXELS = 8_294_400
MAX_ASPECT = 3
# Each picture in the making costs about this much.
PARTIAL_IMAGE_TOKENS = 100

_EXTENSIONS: Mapping[str, str] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


@dataclass(frozen=True, slots=True)
class GptImage:
    """One row: which qualities a model has and how many tokens a picture of each uses, and what else it takes.

    The counts of gpt-image-2 follow from its list prices; those of others are the simulator's own, because none are published.
    """

    name: str
    output_tokens: Mapping[str, int]
    transparent: bool = True
    input_fidelity: bool = True


_GPT_IMAGE_2 = {"low": 200, "medium": 1767, "high": 7024}
_FLARE = {"low": 200, "medium": 1200, "high": 4200, "xhigh": 8000, "max": 12_000}
_SUNBURST = {"low": 300, "medium": 1800, "high": 6200, "xhigh": 10_000, "max": 15_000}
# Over three times as many at the lower qualities.
_FLARE_26 = {**_FLARE, "low": 700, "medium": 4100}
_SUNBURST_26 = {**_SUNBURST, "low": 1000, "medium": 6100}

MODELS: Mapping[str, GptImage] = MappingProxyType(
    {
        model.name: model
        for model in (
            GptImage("gpt-image-2", _GPT_IMAGE_2, transparent=False, input_fidelity=False),
            GptImage("gpt-image-2.5-flare", _FLARE),
            GptImage("gpt-image-2.5-sunburst", _SUNBURST),
            GptImage("gpt-image-2.6-flare", _FLARE_26),
            GptImage("gpt-image-2.6-sunburst", _SUNBURST_26),
        )
    }
)


class Rejection(ServiceError):
    """A refusal that names the field at fault."""

    def __init__(self, message: str, param: str | None, *, code: str = "invalid_value", status: int = 400) -> None:
        super().__init__(status, code, message)
        self.param = param


@dataclass(frozen=True, slots=True)
class Counts:
    """What the pictures of a request use, in tokens."""

    text: int
    images: int
    output: int

    def document(self) -> dict[str, object]:
        """Return the usage as the service reports it."""
        return {
            "input_tokens": self.text + self.images,
            "input_tokens_details": {"text_tokens": self.text, "image_tokens": self.images},
            "output_tokens": self.output,
            "output_tokens_details": {"text_tokens": 0, "image_tokens": self.output},
            "total_tokens": self.text + self.images + self.output,
        }


@dataclass(frozen=True, slots=True)
class ImageOrder:
    """What is to be painted. An edit has references; `partial_images` is None unless events are asked for."""

    prompt: str
    n: int
    size: tuple[int, int]
    quality: str
    transparent: bool
    format: ImageFormat
    compression: int | None
    partial_images: int | None
    references: tuple[bytes, ...]
    mask: bytes | None
    counts: Counts

    @property
    def prefix(self) -> str:
        """Return how the names of its events begin."""
        return "image_edit" if self.references else "image_generation"


class _Fields:
    """The fields of a body, taken one by one; texts of a form are read as the type of their field."""

    def __init__(self, fields: Mapping[str, object], textual: bool) -> None:
        self._fields = fields
        self._textual = textual

    def word(self, name: str, accepted: Iterable[str], default: str) -> str:
        value, accepted = self._fields.get(name, default), tuple(accepted)
        if value not in accepted:
            raise Rejection(f"Invalid value: '{value}'. Supported values are: {', '.join(map(repr, accepted))}.", name)
        return str(value)

    def number(self, name: str, least: int, most: int) -> int | None:
        value = self._fields.get(name)
        if self._textual and isinstance(value, str) and re.fullmatch(r"\d{1,6}", value):
            value = int(value)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise Rejection(f"Invalid value for '{name}': must be an integer from {least} to {most}.", name)
        return value

    def truth(self, name: str) -> bool:
        value = self._fields.get(name, False)
        if self._textual and isinstance(value, str):
            value = {"true": True, "false": False}.get(value, value)
        if not isinstance(value, bool):
            raise Rejection(f"Invalid type for '{name}': expected a boolean.", name, code="invalid_type")
        return value

    def text(self, name: str) -> str | None:
        value = self._fields.get(name)
        if value is not None and not isinstance(value, str):
            raise Rejection(f"Invalid type for '{name}': expected a string.", name, code="invalid_type")
        return value


_FIELDS = frozenset(
    {
        *("model", "prompt", "n", "size", "quality", "background", "moderation", "output_format"),
        *("output_compression", "stream", "partial_images", "user"),
    }
)


def take_order(form: Form, model: GptImage, tokenizer: Tokenizer, formats: tuple[ImageFormat, ...]) -> ImageOrder:
    """Check a generation, or with files an edit. Raises ServiceError 400 that names the field."""
    is_edit = bool(form.files)
    known = _FIELDS | ({"input_fidelity"} if is_edit and model.input_fidelity else frozenset[str]())
    for name in form.fields:
        if name not in known:
            raise Rejection(f"Unknown parameter: '{name}'.", name, code="unknown_parameter")
    fields = _Fields(form.fields, textual=is_edit)
    prompt = _prompt(fields)
    references, mask, infos = _pictures(form.files)
    size = _size(fields.text("size") or "auto", infos)
    quality = fields.word("quality", ("auto", *model.output_tokens), "auto")
    fields.word("moderation", ("auto", "low"), "auto")
    fields.word("input_fidelity", ("low", "high"), "low")
    fields.text("user")
    output_format = fields.word("output_format", formats, "png")
    compression = fields.number("output_compression", 0, MAX_COMPRESSION)
    if compression not in (None, MAX_COMPRESSION) and output_format == "png":
        raise Rejection("Compression less than 100 is not supported for PNG output format.", "output_compression")
    background = fields.word("background", ("auto", "opaque", "transparent"), "auto")
    if background == "transparent" and not model.transparent:
        raise Rejection("Transparent background is not supported for this model.", "background")
    if background == "transparent" and output_format == "jpeg":
        raise Rejection("Transparent background is not supported for JPEG output format.", "background")
    partial_images = _partial_images(fields)
    painted = model.output_tokens["medium" if quality == "auto" else quality]
    counts = Counts(
        text=tokenizer.count(prompt).tokens,
        images=sum(input_tokens(info.width, info.height) for info in infos),
        # Oblong pictures use about four fifths of a square one.
        output=(painted if size[0] == size[1] else painted * 4 // 5) + (partial_images or 0) * PARTIAL_IMAGE_TOKENS,
    )
    return ImageOrder(
        prompt=prompt,
        n=fields.number("n", 1, MAX_PICTURES) or 1,
        size=size,
        quality="medium" if quality == "auto" else quality,
        transparent=background == "transparent",
        format=next(one for one in formats if one == output_format),
        compression=compression,
        partial_images=partial_images,
        references=references,
        mask=mask,
        counts=counts,
    )


def _prompt(fields: _Fields) -> str:
    prompt = fields.text("prompt")
    if not prompt or not prompt.strip():
        raise Rejection("Missing required parameter: 'prompt'.", "prompt", code="missing_required_parameter")
    if len(prompt) > MAX_PROMPT_CHARS:
        message = f"Invalid 'prompt': string too long. Expected a string with maximum length {MAX_PROMPT_CHARS}."
        raise Rejection(message, "prompt", code="string_above_max_length")
    return prompt


def _partial_images(fields: _Fields) -> int | None:
    number = fields.number("partial_images", 0, MAX_PARTIAL_IMAGES)
    if fields.truth("stream"):
        return number or 0
    if number is not None:
        raise Rejection("'partial_images' is only supported when 'stream' is true.", "partial_images")
    return None


def _size(text: str, infos: tuple[ImageInfo, ...]) -> tuple[int, int]:
    if text == "auto":
        return edit_size(infos[0].width, infos[0].height) if infos else DEFAULT_SIZE
    match = re.fullmatch(r"([1-9]\d{2,3})x([1-9]\d{2,3})", text)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    fits = (
        match is not None
        and width % SIDE_MULTIPLE == height % SIDE_MULTIPLE == 0
        and max(width, height) <= MAX_SIDE
        and MIN_PIXELS <= width * height <= MAX_PIXELS
        and max(width, height) <= MAX_ASPECT * min(width, height)
    )
    if not fits:
        raise Rejection(f"Invalid size '{text}': sides are multiples of 16, at most 3840, at most 3:1.", "size")
    return width, height


def _pictures(files: tuple[Part, ...]) -> tuple[tuple[bytes, ...], bytes | None, tuple[ImageInfo, ...]]:
    """Return the references, the mask, and what the references' headers say."""
    images = [part for part in files if part.name in ("image", "image[]")]
    masks = [part for part in files if part.name == "mask"]
    if unknown := [part.name for part in files if part not in images and part not in masks]:
        raise Rejection(f"Unknown parameter: '{unknown[0]}'.", unknown[0], code="unknown_parameter")
    if files and not images:
        raise Rejection("Missing required parameter: 'image'.", "image", code="missing_required_parameter")
    if len(images) > MAX_INPUT_IMAGES or (len(images) > 1 and any(part.name == "image" for part in images)):
        raise Rejection("'image' takes one file, and 'image[]' up to 16.", "image")
    infos = tuple(_picture(part) for part in images)
    return tuple(part.data for part in images), _mask(masks, infos), infos


def _picture(part: Part) -> ImageInfo:
    try:
        info = inspect(part.data)
    except ValueError as error:
        raise Rejection(f"Invalid image file: {error}.", part.name, code="invalid_image_file") from error
    declared = _EXTENSIONS.get(PurePath(part.filename or "").suffix.lower())
    if len(part.data) >= MAX_INPUT_BYTES or {info.format} != {declared, str(part.content_type).removeprefix("image/")}:
        raise Rejection(
            f"Invalid file '{part.filename}': unsupported mimetype or too large.",
            part.name,
            code="unsupported_file_mimetype",
        )
    return info


def _mask(masks: list[Part], infos: tuple[ImageInfo, ...]) -> bytes | None:
    if not masks:
        return None
    info = _picture(masks[0])
    if len(masks) > 1 or info.format != "png" or not info.has_alpha or len(masks[0].data) >= MAX_MASK_BYTES:
        raise Rejection("Invalid mask: one PNG of less than 4 MB with an alpha channel.", "mask", code="invalid_mask")
    if info.size != infos[0].size:
        raise Rejection("Invalid mask image: it must be as large as the first image.", "mask", code="invalid_mask")
    return masks[0].data
