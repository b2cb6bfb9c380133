"""OpenRouter's Image API: others' models, by JSON, with what each call cost.

Source: the API's description. Only models that take shapes are called, one picture at a time. The cost is a number of dollars
without a promised rounding; it is kept as it is printed. Codes of errors are statuses as numbers, and may come with a 200.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final

import msgspec

from omixa.domain.images import Image, Usage
from omixa.domain.money import PICO_PER_USD
from omixa.providers.answers import count
from omixa.providers.base import ProviderCall, ProviderResult
from omixa.providers.failures import failed_answer
from omixa.providers.pictures import data_url, read_encoded
from omixa.providers.single import SingleExchange, post
from omixa.providers.wire import WireRequest, WireResponse

# More than any picture costs; a larger number is a mistake.
_MAX_COST_USD: Final = 1000


class OpenRouterProvider(SingleExchange):
    """Sends one call for each picture. A deployment's endpoint is what stands before /images."""

    def write(self, call: ProviderCall, references: Sequence[Image]) -> WireRequest:
        """Return the request."""
        size = call.offer.sizes[call.request.size]
        fields: dict[str, object] = {
            "model": call.deployment.deployment_name,
            "prompt": call.request.prompt,
            "aspect_ratio": size.aspect_ratio,
            "resolution": size.resolution,
        }
        if references:
            urls = [{"type": "image_url", "image_url": {"url": data_url(one)}} for one in references]
            fields["input_references"] = urls
            if call.request.size == "auto":
                # An edit without a size has the shape of its first reference.
                del fields["aspect_ratio"]
        body = msgspec.json.encode({name: value for name, value in fields.items() if value})
        return post(call, "/images", "application/json", (body,))

    def read(self, response: WireResponse, call: ProviderCall) -> ProviderResult:
        """Return the picture of a 200. Raises ValueError when there is none, or the error that it tells."""
        answer = _ANSWER.decode(response.body)
        if answer.error is not None:
            raise failed_answer(replace(response, status=_status(answer.error.code)), secret=self.secret(call))
        if not answer.data:
            raise ValueError("the answer holds no picture")
        datum = answer.data[0]
        picture = read_encoded(datum.b64_json, datum.media_type, call)
        usage, problem, cost = _usage(bytes(answer.usage), call)
        return ProviderResult(picture, usage, response.provider_request_id, problem, cost_pico_usd=cost)


class _Datum(msgspec.Struct):
    b64_json: str
    media_type: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: object = None
    completion_tokens: object = None
    cost: Decimal | None = None


class _Problem(msgspec.Struct):
    code: object = None


class _Answer(msgspec.Struct):
    """What is read of an answer. Its usage is read by itself, so that a fault in it does not lose the picture."""

    data: list[_Datum] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")
    error: _Problem | None = None


_ANSWER = msgspec.json.Decoder(_Answer)
_USAGE = msgspec.json.Decoder(_Usage | None)


def _status(code: object) -> int:
    """Return the status that an error says instead of the answer; one that says none is a failure."""
    return code if type(code) is int and 400 <= code < 600 else 500


def _usage(text: bytes, call: ProviderCall) -> tuple[Usage | None, str | None, int | None]:
    """Return the reported usage, or None and what is wrong with it, and what the call cost in pico-USD, where that is known.

    Words and pictures of the input are counted together: the words are the gateway's own count, the pictures the rest.
    """
    try:
        reported = _USAGE.decode(text) or _Usage()
        counts: Mapping[str, object] = msgspec.structs.asdict(reported)
        prompt, output = count(counts, "prompt_tokens"), count(counts, "completion_tokens")
    except ValueError as error:
        return None, str(error), None
    words = min(prompt, call.request.prompt_tokens) if call.request.input_images else prompt
    return Usage(words, prompt - words, output, images=1), None, _cost(reported.cost)


def _cost(usd: Decimal | None) -> int | None:
    """Return dollars as whole pico-USD, halves up. Returns None for what cannot be a price."""
    if usd is None or not usd.is_finite() or not 0 <= usd <= _MAX_COST_USD:
        return None
    return int(usd * PICO_PER_USD + Decimal("0.5"))
