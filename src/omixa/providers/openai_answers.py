"""What comes back by OpenAI's Images API: JSON with the picture in base64, or events with previews and, last, the picture.

Azure, servers that were built to be called in OpenAI's place, and other gateways answer in the same way. Source: the reference of
the Images API and OpenAI's own client.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import msgspec
import pybase64

from omixa.domain.images import Image, Usage
from omixa.imaging.inspect import inspect
from omixa.providers.answers import count, parse_answer
from omixa.providers.base import PartialImage, ProviderCall, ProviderEvent, ProviderResult
from omixa.providers.events import MEDIA_TYPE
from omixa.providers.failures import failed_answer, failed_event, unusable_answer
from omixa.providers.pictures import EVERY_FORMAT, check_picture
from omixa.providers.wire import WireEvent, WireResponse


class _Event(msgspec.Struct):
    """What is read of an event."""

    type: str = ""
    b64_json: str = ""
    partial_image_index: int = 0
    usage: object = None
    error: object = None


_EVENT = msgspec.json.Decoder(_Event)


def read(told: WireEvent | WireResponse, call: ProviderCall) -> ProviderEvent | None:
    """Return what an answer or one of its events brings; None for an event that brings nothing. Raises an UpstreamError."""
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
