"""The playground: a form for each model, made from its parameters, and the program that sends what is filled in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from omixa.api.address import public_address
from omixa.api.exchange import Exchange
from omixa.api.intake import JSON
from omixa.catalogue.checks import MAX_INPUT_IMAGES
from omixa.catalogue.loader import Catalogue
from omixa.domain.access import Mode
from omixa.domain.models import Model, Parameter
from omixa.errors import InvalidRequest, Overloaded
from omixa.imaging.inspect import InputFormat
from omixa.services import Services
from omixa.web.models import PATIENCE_S, Seller, routes_by_keys
from omixa.web.samples import LANGUAGES, Language, Value, sample
from omixa.web.writing import colours

MAX_CODE_BYTES: Final = 64 * 1024
"""The largest request for a program; a longer prompt is better kept in a file."""
MAX_COLOURED_CHARS: Final = 8 * 1024
"""Longer programs come without colours: their words are found by patterns, which take long on texts that were made for it."""
MAX_RENDERED_AT_ONCE: Final = 4
"""Programs in the making. Anybody may ask, so they must not take the processor from those who pay."""

# How an answer comes back is up to whoever reads it. The programs read one whole answer with the pictures in it.
_OF_THE_ANSWER: Final = frozenset({"stream", "partial_images", "response_format"})
_LANGUAGES: Final[Mapping[str, Language]] = {language.id: language for language in LANGUAGES}

Kind = Literal["prompt", "text", "choice", "number", "switch", "pictures", "mask"]

# What people look for first, in this order. Whatever is required is shown as well.
_FIRST: Final = ("prompt", "input_images", "mask", "scale", "size", "n", "background", "output_format")


@dataclass(frozen=True, slots=True)
class Control:
    """A field of a form. `default` is what its absence means and `initial` what the form starts with, both as text.

    `choices` are the values of a choice, `minimum` and `maximum` bound numbers, texts and how many pictures there may be.
    `description` is Markdown. One without effect is accepted by the model and changes nothing.
    """

    name: str
    kind: Kind
    required: bool
    choices: tuple[str, ...]
    default: str
    initial: str
    minimum: int | None
    maximum: int | None
    description: str
    has_effect: bool
    is_integer: bool


@dataclass(frozen=True, slots=True)
class ModelForm:
    """The form of a model. `refused` tells why a field that others have is not available, in Markdown.

    `provider` is who makes the pictures, `modes` are the keys that the model serves on this gateway.
    """

    id: str
    name: str
    path: str
    provider: str
    modes: frozenset[Mode]
    first: tuple[Control, ...]
    further: tuple[Control, ...]
    refused: tuple[tuple[str, str], ...]


def model_form(seller: Seller, services: Services) -> ModelForm:
    """Return the form of a model, made from what its parameters accept."""
    model = seller.model
    controls = [_control(one, seller) for one in model.parameters if one.name != "model" and one.refusal is None]
    first = [one for one in controls if one.name in _FIRST or one.required]
    further = [one for one in controls if one not in first]
    return ModelForm(
        id=model.id,
        name=model.name,
        path=f"docs/models/{seller.slug}",
        provider=seller.offer.provider,
        modes=frozenset(mode for modes in routes_by_keys(model, services) for mode in modes),
        first=tuple(sorted(first, key=_order)),
        further=tuple(sorted(further, key=lambda one: not one.has_effect)),
        refused=tuple((one.name, one.refusal) for one in model.parameters if one.refusal is not None),
    )


def _order(control: Control) -> tuple[bool, int]:
    # A prompt that says nothing to the model is no place to begin.
    place = _FIRST.index(control.name) if control.name in _FIRST else len(_FIRST)
    return not control.has_effect, place


def _control(parameter: Parameter, seller: Seller) -> Control:
    has_effect = parameter.name not in seller.offer.ignored
    default = _text(parameter.default)
    return Control(
        name=parameter.name,
        kind=_kind(parameter),
        required=parameter.required,
        choices=tuple(map(str, parameter.accepted)),
        default=default,
        initial=_initial(parameter, seller.model, default, has_effect=has_effect),
        minimum=parameter.minimum,
        maximum=MAX_INPUT_IMAGES if parameter.type == "images" and parameter.maximum is None else parameter.maximum,
        description=parameter.description,
        has_effect=has_effect,
        is_integer=parameter.type == "integer",
    )


def _kind(parameter: Parameter) -> Kind:
    kinds: Mapping[str, Kind] = {"images": "pictures", "image": "mask", "boolean": "switch"}
    if parameter.type in kinds:
        return kinds[parameter.type]
    if parameter.accepted:
        return "choice"
    if parameter.type == "integer":
        return "number"
    return "prompt" if parameter.name == "prompt" else "text"


def _initial(parameter: Parameter, model: Model, default: str, *, has_effect: bool) -> str:
    """Return what a form starts with: the example's words, and a stream with previews, so that there is something to see."""
    if parameter.name == "stream":
        return "true"
    if parameter.name == "partial_images" and has_effect:
        return str(min(2, parameter.maximum or 0))
    return _text(model.example.get("prompt")) if parameter.name == "prompt" else default


def _text(value: str | int | bool | None) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


# --------------------------------------------------------------------------------------------------------------- programs


class _CodeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What is filled in: the fields of a request, of which formats the pictures are, and whether there is a mask."""

    language: str
    body: dict[str, str | int | bool]
    pictures: Annotated[list[InputFormat], Meta(max_length=MAX_INPUT_IMAGES)] = []
    mask: bool = False


class CodeAnswer(msgspec.Struct):
    """A program in pieces, each with the class of its colour, which may be empty. `left_out` are fields that it does not send."""

    language: str
    pieces: list[tuple[str, str]]
    left_out: list[str]


_DECODER: Final = msgspec.json.Decoder(_CodeRequest)


class Programs:
    """POST /playground/code: the program that sends what is filled in. It sees neither pictures nor keys, and keeps nothing."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._rooms = threading.BoundedSemaphore(MAX_RENDERED_AT_ONCE)

    async def code(self, exchange: Exchange) -> CodeAnswer:
        """Read what is asked and return the program.

        Raises InvalidRequest, ModelNotFound, UnsupportedMediaType, TooLarge, RequestTimeout, or Overloaded when too many are in
        the making.
        """
        exchange.require_media_type(JSON)
        settings = self._services.settings
        with self._services.body_bytes.lease() as lease:
            raw = await exchange.read_body(limit=MAX_CODE_BYTES, timeout_s=settings.body_timeout_s, lease=lease)
            asked = _read(raw, self._services.catalogue)
            if not self._rooms.acquire(blocking=False):
                raise Overloaded("Too many programs are being written. Try again shortly.", retry_after_s=1)
            try:
                base_url = f"{public_address(exchange, self._services)}/api/v1"
                return await asyncio.to_thread(_write, asked, base_url, int(settings.run_deadline_s) + PATIENCE_S)
            finally:
                self._rooms.release()


def _read(raw: bytes, catalogue: Catalogue) -> _CodeRequest:
    try:
        asked = _DECODER.decode(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The body is not a request for a program: {error}.", code="invalid_json") from None
    if asked.language not in _LANGUAGES:
        raise InvalidRequest(f"language must be one of {', '.join(_LANGUAGES)}.", param="language")
    name = asked.body.get("model")
    if not isinstance(name, str):
        raise InvalidRequest("body needs the name of a model.", code="missing_required_parameter", param="model")
    # Names become arguments of the programs, so only those of the model may stand there.
    known = {one.name for one in catalogue.resolve(name).parameters if one.type not in ("image", "images")}
    for field in asked.body:
        if field not in known:
            raise InvalidRequest(f"{name[:80]} has no field {field[:80]}.", code="unknown_parameter", param="body")
    return asked


def _write(asked: _CodeRequest, base_url: str, timeout_s: int) -> CodeAnswer:
    language = _LANGUAGES[asked.language]
    body: dict[str, Value] = {name: value for name, value in asked.body.items() if name not in _OF_THE_ANSWER}
    source = sample(
        language,
        body,
        base_url=base_url,
        timeout_s=timeout_s,
        pictures=asked.pictures,
        has_mask=asked.mask and bool(asked.pictures),
    ).source
    pieces = colours(source, language.lexer) if len(source) <= MAX_COLOURED_CHARS else iter([("", source)])
    return CodeAnswer(language.id, list(pieces), [name for name in asked.body if name not in body])
