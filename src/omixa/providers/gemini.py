"""Google's Gemini image models by generateContent: one JSON request, parts in answer, one of which is the picture.

Source: the Gemini API's reference and the types of Google's own client. Sizes are shapes and resolutions in words. A refusal is
a 200 that says why there is no picture. What the model only thought, drafts included, counts as words that it wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import quote

import msgspec
import pybase64

from omixa.domain.images import MEDIA_TYPES, Image, Usage
from omixa.providers.answers import count
from omixa.providers.base import ProviderCall, ProviderResult
from omixa.providers.failures import refused_answer
from omixa.providers.pictures import read_encoded
from omixa.providers.single import SingleExchange, post
from omixa.providers.wire import WireRequest, WireResponse, request_id

# Why a candidate ended that shows that a filter ended it. The other reasons without a picture are failures.
_REFUSALS: Final = frozenset(
    {
        *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"),
        *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
    }
)


class GeminiProvider(SingleExchange):
    """Sends one call for each picture.

    A deployment's endpoint is what stands before /models: https://generativelanguage.googleapis.com/v1beta, where an API key is
    sent, or an address of Vertex AI that ends in /publishers/google, where a bearer token is.
    """

    def write(self, call: ProviderCall, references: Sequence[Image]) -> WireRequest:
        """Return the request."""
        parts: list[Mapping[str, object]] = [{"text": call.request.prompt}]
        for image in references:
            data = pybase64.b64encode_as_string(image.data)
            parts.append({"inlineData": {"mimeType": MEDIA_TYPES[image.info.format], "data": data}})
        fields = {
            "contents": [{"role": "user", "parts": parts}],
            "generationConfig": {"responseModalities": ["IMAGE"], "imageConfig": _shape(call)},
        }
        path = f"/models/{quote(call.deployment.deployment_name, safe='')}:generateContent"
        return post(call, path, "application/json", (msgspec.json.encode(fields),), key_header="x-goog-api-key")

    def read(self, response: WireResponse, call: ProviderCall) -> ProviderResult:
        """Return the picture of a 200. Raises ValueError when there is none, UpstreamRefused when a filter says so."""
        answer = _ANSWER.decode(response.body)
        blob, refusal = _picture(answer), _refusal(answer)
        if blob is None and refusal is not None:
            raise refused_answer(response, refusal, secret=self.secret(call))
        if blob is None:
            raise ValueError(f"the answer holds no picture: {', '.join(_ends(answer)) or 'no reason given'}")
        picture = read_encoded(blob.data, blob.mime_type, call)
        usage, problem = _usage(answer.usage_metadata)
        return ProviderResult(picture, usage, response.provider_request_id or request_id(answer.response_id), problem)


def _shape(call: ProviderCall) -> Mapping[str, str]:
    """Return what is said of the size. An edit without one has the shape of its first reference."""
    size = call.offer.sizes[call.request.size]
    shape = {"aspectRatio": size.aspect_ratio, "imageSize": size.resolution}
    if call.request.size == "auto" and call.request.input_images:
        del shape["aspectRatio"]
    return {name: value for name, value in shape.items() if value}


class _Blob(msgspec.Struct, rename="camel"):
    mime_type: str
    data: str


class _Part(msgspec.Struct, rename="camel"):
    inline_data: _Blob | None = None
    thought: bool | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Answer(msgspec.Struct, rename="camel"):
    """What is read of an answer."""

    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: object = None
    response_id: object = None


_ANSWER = msgspec.json.Decoder(_Answer)


def _picture(answer: _Answer) -> _Blob | None:
    """Return the first picture that is no draft."""
    for candidate in answer.candidates or ():
        for part in (candidate.content and candidate.content.parts) or ():
            if part.inline_data is not None and not part.thought:
                return part.inline_data
    return None


def _refusal(answer: _Answer) -> str | None:
    """Return which filter said no. A prompt is only ever blocked by one, whatever the reason is called."""
    if answer.prompt_feedback is not None and answer.prompt_feedback.block_reason:
        return answer.prompt_feedback.block_reason
    return next((reason for reason in _ends(answer) if reason in _REFUSALS), None)


def _ends(answer: _Answer) -> list[str]:
    return [candidate.finish_reason for candidate in answer.candidates or () if candidate.finish_reason]


def _usage(metadata: object) -> tuple[Usage | None, str | None]:
    """Return the reported usage, or None and what is wrong with it."""
    if not isinstance(metadata, dict):
        return None, "usageMetadata is absent"
    # What is zero may be left out.
    counts = {"thoughtsTokenCount": 0, **metadata}
    try:
        prompt, output = count(counts, "promptTokenCount"), count(counts, "candidatesTokenCount")
        thoughts = count(counts, "thoughtsTokenCount")
        prompt_images = _of_images(counts.get("promptTokensDetails"), otherwise=0)
        images = _of_images(counts.get("candidatesTokensDetails"), otherwise=output)
    except ValueError as error:
        return None, str(error)
    if prompt_images > prompt or images > output:
        return None, "the tokens of pictures are more than all tokens"
    usage = Usage(prompt - prompt_images, prompt_images, images, images=1)
    return replace(usage, output_text_tokens=output - images + thoughts), None


def _of_images(details: object, *, otherwise: int) -> int:
    """Return how many of the tokens are those of pictures. Raises ValueError for what is no list of counts."""
    if details is None:
        return otherwise
    if not isinstance(details, list) or not all(isinstance(each, dict) for each in details):
        raise ValueError("the tokens by modality are no list of objects")
    return sum(count(each, "tokenCount") for each in details if each.get("modality") == "IMAGE")
