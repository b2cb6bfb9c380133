"""OpenAI's Images API, and those who speak it: Azure OpenAI, and servers that were built to be called in its place.

A generation is JSON and an edit a form; the answer is JSON with base64, or events with previews and, last, the picture. Source:
the reference of the Images API and OpenAI's own client. GPT image models refuse to be asked for base64, others want to be.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Final

import msgspec
import pybase64

from omixa.domain.images import Image, Usage
from omixa.engines.conversions import Conversions
from omixa.imaging.inspect import inspect
from omixa.providers.answers import aside, count, parse_answer
from omixa.providers.base import PartialImage, ProviderCall, ProviderEvent, ProviderResult
from omixa.providers.dialects import OPENAI, Dialect
from omixa.providers.events import MEDIA_TYPE, follow
from omixa.providers.failures import failed_answer, failed_event, unusable_answer
from omixa.providers.forms import form
from omixa.providers.pictures import EVERY_FORMAT, acceptable, check_picture
from omixa.providers.single import limits, post
from omixa.providers.wire import Transport, WireEvent, WireRequest, WireResponse

_ACCEPT: Final = "application/json, text/event-stream"


class OpenAIProvider:
    """Paints over whatever transport leads to a deployment's address.

    A deployment's endpoint is what OpenAI's clients call the base URL, for example https://api.openai.com/v1.
    """

    def __init__(self, transport: Transport, conversions: Conversions, dialect: Dialect = OPENAI) -> None:
        self._transport = transport
        self._conversions = conversions
        self._dialect = dialect

    async def generate(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent, None]:
        """Make one picture, after the previews that come by themselves. Raises an UpstreamError when the attempt fails."""
        references = [await acceptable(image, call, self._conversions) for image in call.request.input_images]
        request = _request(call, self._dialect, references)
        async with aclosing(follow(self._transport, request, limits(call))) as told:
            async for each in told:
                event = await aside(len(each.body), functools.partial(_read, each, call))
                if event is not None:
                    yield event
                if isinstance(event, ProviderResult):
                    return


# ------------------------------------------------------------------------------------------------------ the request


def _request(call: ProviderCall, dialect: Dialect, references: Sequence[Image]) -> WireRequest:
    fields = _fields(call, dialect)
    if references:
        path = "/images/edits"
        files: list[tuple[str, Image]] = [(dialect.picture_field, image) for image in references]
        if call.request.mask is not None:
            files.append(("mask", call.request.mask))
        content_type, parts = form({name: _text(value) for name, value in fields.items()}, files)
    else:
        path, content_type, parts = "/images/generations", "application/json", (msgspec.json.encode(fields),)
    return post(call, path, content_type, parts, key_header=dialect.key_header, accept=_ACCEPT)


def _fields(call: ProviderCall, dialect: Dialect) -> Mapping[str, str | int | bool]:
    request = call.request
    # What cannot be asked for is encoded from a PNG, which loses nothing.
    output_format = request.output_format if request.output_format in dialect.formats else "png"
    fields: dict[str, str | int | bool | None] = {
        "model": call.deployment.deployment_name,
        "prompt": dialect.guard(request.prompt),
        "n": 1,
        "size": _size(call, dialect),
        "quality": request.quality,
        "background": request.background,
        # Not every version of the reference has it for edits, so nothing is said where nothing is wanted.
        "moderation": None if request.input_images and request.moderation == "auto" else request.moderation,
        "output_format": output_format if len(dialect.formats) > 1 else None,
        "output_compression": request.output_compression if output_format != "png" else None,
        "input_fidelity": request.input_fidelity if request.input_images else None,
        "user": request.user,
        "response_format": "b64_json" if dialect.is_open else None,
    }
    if request.stream and request.partial_images and "partial_images" not in call.offer.ignored:
        fields |= {"stream": True, "partial_images": request.partial_images}
    return {name: value for name, value in fields.items() if value is not None and name not in call.offer.ignored}


def _size(call: ProviderCall, dialect: Dialect) -> str | None:
    if call.request.size == "auto":
        if not dialect.is_open:
            return "auto"
        if call.request.input_images:
            return None
    size = call.offer.sizes[call.request.size]
    return f"{size.width}x{size.height}"


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# ------------------------------------------------------------------------------------------------------- the answer


class _Event(msgspec.Struct):
    """What is read of an event."""

    type: str = ""
    b64_json: str = ""
    partial_image_index: int = 0
    usage: object = None
    error: object = None


_EVENT = msgspec.json.Decoder(_Event)


def _read(told: WireEvent | WireResponse, call: ProviderCall) -> ProviderEvent | None:
    return _answered(told, call) if isinstance(told, WireResponse) else _happened(told, call)


def _happened(event: WireEvent, call: ProviderCall) -> ProviderEvent | None:
    """Return what an event brings. Raises an UpstreamError for one that says that the call failed."""
    try:
        told = _EVENT.decode(event.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The word at the end of a stream, or what nobody has agreed upon.
        return None
    if told.error or told.type == "error":
        raise failed_event(event, secret=call.credential)
    try:
        if told.type.endswith(".completed"):
            usage = told.usage if isinstance(told.usage, dict) else {}
            return _result(pybase64.b64decode(told.b64_json, validate=True), None, usage, event, call)
        if told.type.endswith(".partial_image") and not call.is_late:
            preview = pybase64.b64decode(told.b64_json, validate=True)
            return PartialImage(Image(preview, inspect(preview)), told.partial_image_index)
    except ValueError as error:
        if told.type.endswith(".completed"):
            raise unusable_answer(event.as_answer(), str(error), secret=call.credential) from error
    # A preview that cannot be shown is no loss.
    return None


def _answered(response: WireResponse, call: ProviderCall) -> ProviderResult:
    if response.status != 200:
        raise failed_answer(response, secret=call.credential)
    try:
        if response.media_type == MEDIA_TYPE:
            raise ValueError("the events ended before the picture came")
        answer = parse_answer(response)
        return _result(answer.picture, answer.base64, answer.counts, response, call)
    except ValueError as error:
        raise unusable_answer(response, str(error), secret=call.credential) from error


def _result(
    data: bytes,
    base64: memoryview | None,
    counts: Mapping[str, object],
    told: WireResponse | WireEvent,
    call: ProviderCall,
) -> ProviderResult:
    """Return the picture if it is one of the size that was asked for. Raises ValueError otherwise."""
    picture = check_picture(data, call, *EVERY_FORMAT, exact=call.request.size != "auto")
    usage, problem = _usage(counts, bool(call.request.input_images))
    return ProviderResult(dataclasses.replace(picture, base64=base64), usage, told.provider_request_id, problem)


def _usage(counts: Mapping[str, object], editing: bool) -> tuple[Usage | None, str | None]:
    """Return the reported usage, or None and what is wrong with it. Words are told apart only by those who charge for them."""
    inputs, outputs = counts.get("input_tokens_details"), counts.get("output_tokens_details")
    try:
        output = count(counts, "output_tokens")
        words = count(outputs, "text_tokens") if isinstance(outputs, dict) else 0
        if isinstance(inputs, dict):
            text, images = count(inputs, "text_tokens"), count(inputs, "image_tokens")
        elif editing:
            raise ValueError("input_tokens_details is absent")
        else:
            text, images = count(counts, "input_tokens"), 0
    except ValueError as error:
        return None, str(error)
    if words > output:
        return None, "output_tokens is less than its text_tokens"
    return Usage(text, images, output - words, 1, output_text_tokens=words), None
