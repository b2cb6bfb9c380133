"""MAI image models on Microsoft Foundry: one JSON or multipart request, one PNG in base64.

Source: the vendor's page "How to use MAI image models" and the behaviour of the live service; the service takes no field
that is not listed there, ignores `n`, has no partial pictures and answers an edit in the proportions of its reference.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import msgspec

from omixa.domain.images import Image, Usage
from omixa.engines.conversions import Conversions
from omixa.providers.answers import Answer, aside, count, parse_answer
from omixa.providers.base import ProviderCall, ProviderEvent, ProviderResult
from omixa.providers.failures import failed_answer, unusable_answer
from omixa.providers.forms import form
from omixa.providers.pictures import acceptable, check_picture
from omixa.providers.single import limits, post
from omixa.providers.wire import Transport, WireRequest, WireResponse

_COUNTS = ("num_input_text_tokens", "num_input_image_tokens", "num_output_tokens")

_GENERATIONS = "/mai/v1/images/generations"
_EDITS = "/mai/v1/images/edits"


class FoundryProvider:
    """Sends one call for each picture."""

    def __init__(self, transport: Transport, conversions: Conversions) -> None:
        self._transport = transport
        self._conversions = conversions

    async def generate(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent, None]:
        """Make one picture. Raises an UpstreamError when the attempt fails."""
        references = [await acceptable(image, call, self._conversions) for image in call.request.input_images]
        request = _edit(call, references) if references else _generation(call)
        response = await self._transport.send(request, limits(call))
        if response.status != 200:
            raise failed_answer(response, secret=call.credential)
        try:
            answer, image = await aside(len(response.body), functools.partial(_read, response, call))
        except ValueError as error:
            raise unusable_answer(response, str(error), secret=call.credential) from error
        usage, problem = _usage(answer, call)
        yield ProviderResult(image, usage, response.provider_request_id, problem)


# ------------------------------------------------------------------------------------------------------ the request


def _generation(call: ProviderCall) -> WireRequest:
    size = call.offer.sizes[call.request.size]
    fields = {
        "model": call.deployment.deployment_name,
        "prompt": call.request.prompt,
        "width": size.width,
        "height": size.height,
    }
    return post(call, _GENERATIONS, "application/json", (msgspec.json.encode(fields),), key_header="api-key")


def _edit(call: ProviderCall, references: Sequence[Image]) -> WireRequest:
    texts = {"model": call.deployment.deployment_name, "prompt": call.request.prompt}
    return post(call, _EDITS, *form(texts, [("image", image) for image in references]), key_header="api-key")


# ------------------------------------------------------------------------------------------------------- the answer


def _read(response: WireResponse, call: ProviderCall) -> tuple[Answer, Image]:
    answer = parse_answer(response)
    return answer, _picture(answer, call)


def _picture(answer: Answer, call: ProviderCall) -> Image:
    """Return the picture if it is a PNG of the size that was asked for; an edit only has to stay within the offer's limit."""
    picture = check_picture(answer.picture, call, "png", exact=call.request.operation != "edit")
    return replace(picture, base64=answer.base64)


def _usage(answer: Answer, call: ProviderCall) -> tuple[Usage | None, str | None]:
    """Return the reported usage, or None and what is wrong with it.

    Older versions report the output alone: the text is then the gateway's own count, and a generation reads no pictures.
    """
    counts = dict(answer.counts)
    if counts.get("num_input_text_tokens") is None:
        counts["num_input_text_tokens"] = call.request.prompt_tokens
    if counts.get("num_input_image_tokens") is None and call.request.operation == "generation":
        counts["num_input_image_tokens"] = 0
    try:
        text, images, output = (count(counts, name) for name in _COUNTS)
    except ValueError as error:
        return None, str(error)
    return Usage(input_text_tokens=text, input_image_tokens=images, output_image_tokens=output, images=1), None
