"""Answers of the Images API: JSON or events, in every mood, and refusals in its own words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse

from omixa.domain.scenarios import Step
from omixa.simulator.openai_rules import ImageOrder, Rejection
from omixa.simulator.replies import BIG_USAGE_FACTOR, Answer, ConnectionCut, reply
from omixa.simulator.wire import ServiceError

# The refusals that all simulators share, in this service's words.
_CODES: Mapping[str, str] = MappingProxyType(
    {
        "RateLimitReached": "rate_limit_exceeded",
        "PermissionDenied": "unsupported_country_region_territory",
        "DeploymentNotFound": "model_not_found",
        "401": "invalid_api_key",
        "content_safety_violation": "moderation_blocked",
    }
)
_SERVER_ERROR = "server_error"
# Moods that are another answer altogether than events.
_WHOLE = frozenset({"html", "drip", "huge"})


@dataclass(frozen=True, slots=True)
class Painting(Answer):
    """What was painted for an order: the first picture, and the `others` of the same request, all in base64."""

    order: ImageOrder
    others: tuple[bytes, ...] = ()

    def document(self, *, encoded: bytes | None = None) -> dict[str, Any]:
        """Return the fields of the answer, with other base64 for the first picture when given."""
        pictures = (self.encoded if encoded is None else encoded, *self.others)
        count = len(pictures)
        usage = self.order.counts.document()
        if count > 1:
            usage = _times(usage, count)
        return {
            "created": self.created,
            **self.description,
            "data": [{"b64_json": msgspec.Raw(b'"' + picture + b'"')} for picture in pictures],
            "usage": usage,
        }

    @property
    def description(self) -> dict[str, str]:
        """Return what the service says of a picture."""
        order = self.order
        return {
            "background": "transparent" if order.transparent else "opaque",
            "output_format": order.format,
            "quality": order.quality,
            "size": self.size,
        }

    def response(self, document: Mapping[str, Any] | None = None) -> Response:
        """Return the answer, or another document in its place."""
        content = msgspec.json.encode(self.document() if document is None else document)
        return Response(content, headers=self.headers)

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of the ordinary answer."""
        return {"content-type": "application/json", "x-request-id": self.request_id}


def _times(usage: Mapping[str, Any], factor: int) -> dict[str, Any]:
    return {name: _times(count, factor) if isinstance(count, dict) else count * factor for name, count in usage.items()}


def finished(painting: Painting, step: Step) -> Response:
    """Return the answer in the mood of the step."""
    usage = _USAGES.get(step.name)
    if usage is None:
        return reply(painting, step)
    return painting.response(painting.document() | {"usage": usage(painting.order.counts.document())})


_USAGES: Mapping[str, Callable[[dict[str, Any]], object]] = MappingProxyType(
    {
        "badusage": lambda usage: {**usage, "output_tokens": -1, "input_tokens_details": {"text_tokens": "many"}},
        "longusage": lambda usage: {**usage, "input_tokens_details": {"text_tokens": 32_000, "image_tokens": 0}},
        "bigusage": lambda usage: _times(usage, BIG_USAGE_FACTOR),
        # There is no older place here.
        "topusage": lambda usage: usage,
    }
)


def failure(error: ServiceError, request_id: str) -> Response:
    """Return a refusal as the client sees it."""
    body = {"error": _complaint(error)}
    headers = {"x-request-id": request_id, **error.headers}
    return Response(msgspec.json.encode(body), error.status, headers, media_type="application/json")


def _complaint(error: ServiceError) -> dict[str, str | None]:
    code = _CODES.get(error.code, error.code)
    kind = "invalid_request_error"
    if code == "moderation_blocked":
        kind = "image_generation_user_error"
    elif error.status == 429:
        kind = code if code == "insufficient_quota" else "requests"
    elif error.status >= 500:
        kind = code = _SERVER_ERROR
    param = error.param if isinstance(error, Rejection) else None
    return {"message": error.message, "type": kind, "param": param, "code": code}


# ----------------------------------------------------------------------------------------------------------------- events


async def stream_of(
    first: bytes,
    others: AsyncGenerator[bytes, None],
    painting: Callable[[bytes], Painting],
    step: Step,
    refusal: ServiceError,
) -> Response:
    """Return pictures as events while they are made: of each, its previews and then itself, in base64.

    `streamfilter` tells `refusal`. Moods that are no events, such as a page of HTML, answer with the first finished picture.
    """
    begun = painting(first)
    if step.name in _WHOLE:
        pictures = [first, *[one async for one in others]]
        return finished(painting(pictures[begun.order.partial_images or 0]), step)
    headers = {**begun.headers, "content-type": "text/event-stream; charset=utf-8"}
    return StreamingResponse(_events(first, others, painting, step, refusal), headers=headers)


async def _events(
    first: bytes,
    others: AsyncGenerator[bytes, None],
    painting: Callable[[bytes], Painting],
    step: Step,
    refusal: ServiceError,
) -> AsyncIterator[bytes]:
    shown = 0
    async for picture in _after(first, others):
        begun = painting(picture)
        if shown < (begun.order.partial_images or 0):
            yield _event(begun, "partial_image", picture, {"partial_image_index": shown})
            shown += 1
            continue
        shown = 0
        if step.name == "hang":
            await asyncio.Event().wait()
        last = _last_event(begun, step, refusal)
        if step.name in ("reset", "short"):
            yield last[: len(last) // 2]
            if step.name == "reset":
                raise ConnectionCut("the scenario cuts this connection in the middle of an event")
            return
        yield last


async def _after(first: bytes, others: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    yield first
    async with aclosing(others):
        async for picture in others:
            yield picture


def _last_event(painting: Painting, step: Step, refusal: ServiceError) -> bytes:
    """Return the event with the finished picture, as spoilt as the step wants it; nothing where there is no picture."""
    if step.name in ("streamerror", "streamfilter"):
        told = ServiceError(500, _SERVER_ERROR, "The server had an error.") if step.name == "streamerror" else refusal
        return b"event: error\ndata: " + msgspec.json.encode({"type": "error", "error": _complaint(told)}) + b"\n\n"
    plain = painting.response() if step.name in ("reset", "short") else finished(painting, step)
    try:
        document = msgspec.json.decode(bytes(plain.body))
    except msgspec.DecodeError:
        return b"data: " + bytes(plain.body) + b"\n\n"
    data = document.get("data")
    if not data:
        return b""
    usage = {"usage": document["usage"]} if "usage" in document else {}
    return _event(painting, "completed", data[0]["b64_json"].encode(), usage)


def _event(painting: Painting, kind: str, encoded: bytes, rest: Mapping[str, object]) -> bytes:
    name = f"{painting.order.prefix}.{kind}"
    picture = msgspec.Raw(b'"' + encoded + b'"')
    document = {"type": name, "b64_json": picture, "created_at": painting.created, **painting.description, **rest}
    return f"event: {name}\ndata: ".encode() + msgspec.json.encode(document) + b"\n\n"
