"""A request against the rules of its model: what comes through is exactly what the live service would paint."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from omixa.domain.images import ImageInfo
from omixa.imaging.inspect import inspect
from omixa.simulator.models import (
    CONTEXT_WINDOW_TOKENS,
    DEFAULT_SIZE,
    MIN_SIDE,
    SIDE_MULTIPLE,
    ModelSpec,
    auto_size,
    edit_size,
    image_tokens,
    input_tokens,
)
from omixa.simulator.multipart import Part
from omixa.simulator.refusals import content_violation
from omixa.simulator.wire import Form, invalid, unsupported
from omixa.tokens import Tokenizer

# `n` is taken and ignored: one picture comes back, as from the live service.
_COMMON_FIELDS = frozenset({"model", "prompt", "n"})
_SIZE_FIELDS = frozenset({"width", "height"})
_EXTENSIONS: Mapping[str, str] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}

# Prompts that contain one of these as a word of its own are always refused.
TRIGGER_WORDS = ("sim:filter", "forbidden-test-word")
TRIGGER = re.compile(r"(?<!\S)(?:" + "|".join(map(re.escape, TRIGGER_WORDS)) + r")(?=[\s.,;:!?]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be painted, and what reading the request costs in tokens. An edit has references."""

    prompt: str
    width: int
    height: int
    references: tuple[bytes, ...]
    text_tokens: int
    reference_tokens: int

    @property
    def usage(self) -> dict[str, int]:
        """Return the usage under the service's own names."""
        return {
            "num_output_tokens": image_tokens(self.width, self.height),
            "num_input_text_tokens": self.text_tokens,
            "num_input_image_tokens": self.reference_tokens,
        }


def generation_order(form: Form, spec: ModelSpec, tokenizer: Tokenizer) -> Order:
    """Check a generation. Raises ServiceError 400 that names the field."""
    _check_names(form.fields, _COMMON_FIELDS | _SIZE_FIELDS | spec.switches)
    prompt, text_tokens = _prompt(form.fields, tokenizer)
    switches = {name: _boolean(form.fields, name) for name in spec.switches}
    size = _size(form.fields, spec)
    if switches.get("auto_aspect_ratio"):
        size = _automatic(size, auto_size(prompt))
    width, height = size or DEFAULT_SIZE
    return Order(prompt, width, height, (), text_tokens, 0)


def edit_order(form: Form, spec: ModelSpec, tokenizer: Tokenizer) -> Order:
    """Check an edit. Raises ServiceError 400 that names the field."""
    fields = {name: _typed(name, value) for name, value in form.fields.items()}
    _check_names(
        (*fields, *(part.name for part in form.files)),
        _COMMON_FIELDS | {"image"} | spec.switches | (_SIZE_FIELDS if spec.sized_edits else frozenset()),
    )
    prompt, text_tokens = _prompt(fields, tokenizer)
    switches = {name: _boolean(fields, name) for name in spec.switches}
    pictures = _pictures(form, spec)
    natural = edit_size(pictures[0].width, pictures[0].height)
    size = _size(fields, spec)
    if switches.get("auto_aspect_ratio"):
        size = _automatic(size, natural)
    width, height = size or natural
    reference_tokens = sum(input_tokens(picture.width, picture.height) for picture in pictures)
    return Order(prompt, width, height, tuple(part.data for part in form.files), text_tokens, reference_tokens)


def check_content(prompt: str) -> None:
    """Raise ServiceError `content_safety_violation` when a trigger word stands in the prompt."""
    if TRIGGER.search(prompt):
        raise content_violation()


def _check_names(names: Iterable[str], accepted: frozenset[str]) -> None:
    for name in names:
        if name not in accepted:
            raise unsupported(f"Unsupported field: '{name}'. This model takes: {', '.join(sorted(accepted))}.")


def _prompt(fields: Mapping[str, object], tokenizer: Tokenizer) -> tuple[str, int]:
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise invalid("'prompt' is required and must be a text that is not blank.")
    count = tokenizer.count(prompt, limit=CONTEXT_WINDOW_TOKENS)
    if count.tokens > CONTEXT_WINDOW_TOKENS or not count.exact:
        raise unsupported(f"'prompt' has at least {count.tokens} tokens; the limit is {CONTEXT_WINDOW_TOKENS}.")
    return prompt, count.tokens


def _size(fields: Mapping[str, object], spec: ModelSpec) -> tuple[int, int] | None:
    if not _SIZE_FIELDS & fields.keys():
        return None
    width, height = _side(fields, "width"), _side(fields, "height")
    if width * height > spec.max_pixels:
        raise unsupported(f"'width' x 'height' is {width * height} pixels; {spec.name} takes up to {spec.max_pixels}.")
    return width, height


def _side(fields: Mapping[str, object], name: str) -> int:
    side = fields.get(name)
    if not isinstance(side, int) or isinstance(side, bool):
        raise unsupported(f"'{name}' must be an integer, and 'width' and 'height' go together.")
    if side < MIN_SIDE or side % SIDE_MULTIPLE:
        raise unsupported(f"'{name}' is {side}; it must be at least {MIN_SIDE} and a multiple of {SIDE_MULTIPLE}.")
    return side


def _automatic(given: tuple[int, int] | None, chosen: tuple[int, int]) -> tuple[int, int]:
    if given is not None:
        raise unsupported("'auto_aspect_ratio' cannot be combined with 'width' and 'height'.")
    return chosen


def _boolean(fields: Mapping[str, object], name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise unsupported(f"'{name}' must be true or false.")
    return value


def _typed(name: str, value: object) -> object:
    """Return a multipart text as the type its field has; what does not fit stays a text and is refused by its rule."""
    if name in _SIZE_FIELDS and isinstance(value, str) and re.fullmatch(r"\d{1,6}", value):
        return int(value)
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) and name != "prompt" else value


def _pictures(form: Form, spec: ModelSpec) -> tuple[ImageInfo, ...]:
    if "image" in form.fields:
        raise invalid("'image' must be a file part with a filename.")
    if not form.files:
        raise invalid("'image' is required.")
    if len(form.files) > spec.max_input_images:
        raise unsupported(f"{len(form.files)} images were sent; {spec.name} takes up to {spec.max_input_images}.")
    return tuple(map(_picture, form.files))


def _picture(part: Part) -> ImageInfo:
    try:
        info = inspect(part.data)
    except ValueError as error:
        raise invalid(f"'image' is not a picture: {error}.") from error
    if info.format not in _EXTENSIONS.values():
        raise unsupported(f"'image' is {info.format}; only JPEG and PNG are supported.")
    if part.content_type != f"image/{info.format}" or _extension_format(part.filename) != info.format:
        raise invalid(f"'image' is {info.format}, but its filename or content type says something else.")
    return info


def _extension_format(filename: str | None) -> str | None:
    return _EXTENSIONS.get(PurePath(filename or "").suffix.lower())
