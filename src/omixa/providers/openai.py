"""OpenAI's Images API, and those who speak it: Azure OpenAI, and servers that were built to be called in its place.

A generation is JSON and an edit a form; `openai_answers` reads what comes back. Source: the reference of the Images API and
OpenAI's own client. GPT image models refuse to be asked for base64, others want to be.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Final

import msgspec

from omixa.domain.images import Image
from omixa.engines.conversions import Conversions
from omixa.providers.answers import aside
from omixa.providers.base import ProviderCall, ProviderEvent, ProviderResult
from omixa.providers.dialects import OPENAI, Dialect
from omixa.providers.events import follow
from omixa.providers.forms import form
from omixa.providers.openai_answers import read
from omixa.providers.pictures import acceptable
from omixa.providers.single import limits, post
from omixa.providers.wire import Transport, WireRequest

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
                event = await aside(len(each.body), functools.partial(read, each, call))
                if event is not None:
                    yield event
                if isinstance(event, ProviderResult):
                    return


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
