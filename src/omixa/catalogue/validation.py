"""From the fields of a body to a complete, checked request: every refusal names the field and what would be accepted."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

from omixa.catalogue.bodies import Body, parse_body, shortened
from omixa.catalogue.pictures import read_mask, read_pictures
from omixa.domain.images import ImageInfo, ImageRequest
from omixa.domain.models import Model, Parameter
from omixa.errors import InvalidRequest
from omixa.tokens import Tokenizer

__all__ = ["Body", "parse_body", "requested_model", "validate"]

# How far the shape of a given size may be from that of the reference picture.
ASPECT_TOLERANCE_PERCENT = 2
# The neutral value of output_compression, the only one that means something for lossless pictures.
UNCOMPRESSED = 100

_INTEGER = re.compile(r"-?[0-9]{1,15}", re.ASCII)
_TRUTH = {"true": True, "false": False}


def requested_model(body: Body, known: Callable[[], Sequence[str]]) -> str:
    """Return the name of the wanted model; `known` gives those that an error names, which takes its time.

    Raises InvalidRequest when there is none or it is not a string.
    """
    if not body.given("model"):
        raise InvalidRequest(
            f"model is required; models here: {', '.join(known())}.", code="missing_required_parameter", param="model"
        )
    name = body.value("model")
    if not isinstance(name, str):
        raise InvalidRequest(f"model must be a string; got {body.shown('model')}.", code="invalid_type", param="model")
    return name


def validate(body: Body, model: Model, tokenizer: Tokenizer) -> ImageRequest:
    """Return the request that a body makes of a model.

    Unknown fields, values that the model does not take and combinations without a meaning raise InvalidRequest. Takes up to
    half a second for a prompt of megabytes; what is cheap is checked first.
    """
    requested_model(body, lambda: [model.id])
    _refuse_unknown(body, model)
    given = [parameter for parameter in model.parameters if body.given(parameter.name)]
    values = _values(given, body, model)
    _check_compression(values)
    _check_transparency(values)
    prompt = model.parameter("prompt")
    needs_prompt = prompt is not None and prompt.required
    prompt_tokens = _count_tokens(values["prompt"], model, tokenizer) if needs_prompt or values["prompt"].strip() else 0
    pictures = next((parameter for parameter in given if parameter.type == "images"), None)
    input_images = read_pictures(pictures, body, model) if pictures else ()
    _check_protection(model, values["background"], body)
    mask = next((parameter for parameter in given if parameter.type == "image"), None)
    if model.edits_follow_reference and input_images:
        _check_shape(values["size"], input_images[0].info)
    return ImageRequest(
        model=model.id,
        prompt=values["prompt"],
        prompt_tokens=prompt_tokens,
        n=values["n"],
        size=values["size"],
        quality=values["quality"],
        background=values["background"],
        output_format=values["output_format"],
        output_compression=values["output_compression"],
        input_images=input_images,
        stream=values["stream"],
        partial_images=values["partial_images"],
        given=frozenset(parameter.name for parameter in given),
        mask=read_mask(mask, body, model, input_images) if mask else None,
        response_format=values["response_format"],
        scale=values.get("scale"),
        moderation=values.get("moderation"),
        input_fidelity=values.get("input_fidelity"),
        user=values.get("user"),
    )


def _values(given: list[Parameter], body: Body, model: Model) -> dict[str, Any]:
    """Return the value of every parameter that is not a picture: the given one, else the default."""
    values: dict[str, Any] = {parameter.name: parameter.default for parameter in model.parameters}
    for parameter in model.parameters:
        if parameter.required and parameter not in given:
            raise _missing(parameter.name)
    for parameter in given:
        _refuse_unsupported(parameter, body, model)
        if parameter.type not in ("image", "images") and parameter.name != "model":
            values[parameter.name] = _value(parameter, body)
    return values


def _missing(name: str) -> InvalidRequest:
    return InvalidRequest(f"{name} is required.", code="missing_required_parameter", param=name)


def _refuse_unknown(body: Body, model: Model) -> None:
    names = [parameter.name for parameter in model.parameters]
    for name in body.names:
        if name not in names:
            shown = shortened(body.pictures.get(name, name))
            near = difflib.get_close_matches(shown, names, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise InvalidRequest(
                f"Unknown parameter {shown}.{hint} {model.id} accepts: {', '.join(names)}.",
                code="unknown_parameter",
                param=shown,
            )


def _refuse_unsupported(parameter: Parameter, body: Body, model: Model) -> None:
    reason, subject = parameter.refusal, parameter.name
    if reason is None and parameter.unsupported and isinstance(value := body.value(parameter.name), str):
        reason, subject = parameter.unsupported.get(value), f'{parameter.name} "{shortened(value)}"'
    if reason is not None:
        raise InvalidRequest(
            f"{subject} is not supported by {model.id}: {reason}.", code="unsupported_value", param=parameter.name
        )


def _value(parameter: Parameter, body: Body) -> str | int | bool | None:
    """Return the checked value of any parameter that is not a picture; a foreign word becomes the default."""
    value = body.value(parameter.name)
    if body.textual:
        value = _read_text(value, parameter)
    if parameter.type == "string" and isinstance(value, str):
        return _string(parameter, value, body)
    if parameter.type == "boolean" and isinstance(value, bool):
        return value
    if parameter.type == "integer" and isinstance(value, int) and not isinstance(value, bool):
        if value in parameter.accepted or (not parameter.accepted and parameter.within(value)):
            return value
        raise _unacceptable(parameter, body, "invalid_value")
    raise _unacceptable(parameter, body, "invalid_type")


def _read_text(value: object, parameter: Parameter) -> object:
    """Return what a text of a form means for a parameter that is no string; a text that means nothing stays as it is."""
    if parameter.type == "integer" and isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if parameter.type == "boolean" and isinstance(value, str):
        return _TRUTH.get(value.lower(), value)
    return value


def _string(parameter: Parameter, value: str, body: Body) -> str | int | bool | None:
    if value in parameter.foreign:
        return parameter.default
    if parameter.accepted and value not in parameter.accepted:
        raise _unacceptable(parameter, body, "invalid_value")
    if "\0" in value:
        raise InvalidRequest(f"{parameter.name} must not contain the character NUL (\\u0000).", param=parameter.name)
    if not parameter.accepted and not parameter.within(len(value)):
        raise _unacceptable(parameter, body, "invalid_value")
    return value


def _unacceptable(parameter: Parameter, body: Body, code: str) -> InvalidRequest:
    return InvalidRequest(
        f"{parameter.name} must be {expectation(parameter)}; got {body.shown(parameter.name)}.",
        code=code,
        param=parameter.name,
    )


def expectation(parameter: Parameter) -> str:
    """Return in words which values a parameter takes."""
    if parameter.accepted:
        values = [str(value) for value in parameter.accepted]
        return f"one of {', '.join(values)}" if len(values) > 1 else values[0]
    if parameter.type == "integer":
        return f"an integer from {parameter.minimum} to {parameter.maximum}"
    if parameter.type == "boolean":
        return "true or false"
    kind = "a non-empty string" if parameter.minimum else "a string"
    return kind if parameter.maximum is None else f"{kind} of at most {parameter.maximum} characters"


def _check_compression(values: dict[str, Any]) -> None:
    compression = values["output_compression"]
    if values["output_format"] == "png" and compression not in (None, UNCOMPRESSED):
        raise InvalidRequest(
            f"output_compression {compression} needs output_format jpeg or webp; png is lossless and takes {UNCOMPRESSED}.",
            param="output_compression",
        )


def _check_transparency(values: dict[str, Any]) -> None:
    if values["background"] == "transparent" and values["output_format"] == "jpeg":
        raise InvalidRequest(
            "background transparent needs output_format png or webp; jpeg has no transparency.", param="background"
        )


def _check_protection(model: Model, background: str, body: Body) -> None:
    """Refuse to cut out what a mask protects: both would be the gateway's work, and the one would undo the other."""
    if model.cuts_out(background) and body.given("mask"):
        raise InvalidRequest(
            f"background transparent does not go with a mask on {model.id}: what is taken away would be changed outside the"
            " mask. Ask for one of them, and for the other in a second request.",
            param="background",
        )


def _count_tokens(prompt: str, model: Model, tokenizer: Tokenizer) -> int:
    if not prompt.strip():
        raise InvalidRequest("prompt must not be blank.", param="prompt")
    limit = model.context_window_tokens
    count = tokenizer.count(prompt, limit=limit)
    if count.exact and count.tokens <= limit:
        return count.tokens
    counted = f"{count.tokens:,}" if count.exact else f"at least {count.tokens:,}"
    raise InvalidRequest(
        f"prompt has {counted} tokens; the context window of {model.id} is {limit:,} tokens.",
        code="context_length_exceeded",
        param="prompt",
    )


def _check_shape(size: str, reference: ImageInfo) -> None:
    """Refuse a size whose shape is not the reference's, since an edit comes back in the shape of its reference."""
    if size == "auto":
        return
    width, height = map(int, size.split("x"))
    wanted, delivered = width * reference.height, height * reference.width
    if 100 * max(wanted, delivered) > (100 + ASPECT_TOLERANCE_PERCENT) * min(wanted, delivered):
        raise InvalidRequest(
            f"size {size} does not have the shape of the reference picture, {reference.size}, which an edit keeps; "
            'use size "auto", or a reference of the same aspect ratio.',
            param="size",
        )
