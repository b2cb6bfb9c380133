"""What goes over the wire when a picture was made: the ordinary answer, and every way in which it can be spoilt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec
import pybase64
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from omixa.domain.scenarios import Step
from omixa.simulator.models import CONTEXT_WINDOW_TOKENS
from omixa.simulator.spoiling import SPOILT
from omixa.simulator.wire import json_response

HUGE_BODY_BYTES = 72 * 1024 * 1024
HUGE_CHUNK_BYTES = 256 * 1024
DRIP_BYTES_PER_S = 200.0
DRIP_INTERVAL_S = 0.1
MISSING_BYTES = 1000
BIG_USAGE_FACTOR = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished picture: base64 of a PNG, what it is called, and what it used under the service's own names."""

    request_id: str
    created: int
    model: str
    size: str
    encoded: bytes
    usage: Mapping[str, int]

    @property
    def png(self) -> bytes:
        """Return the picture itself."""
        return pybase64.b64decode(self.encoded)

    def document(self, *, encoded: bytes | None = None) -> dict[str, Any]:
        """Return the fields of the answer, with other base64 when given."""
        picture = msgspec.Raw(b'"' + (self.encoded if encoded is None else encoded) + b'"')
        return {
            "created": self.created,
            "model": self.model,
            "size": self.size,
            "data": [{"b64_json": picture}],
            "usage": dict(self.usage),
        }

    def response(self, document: Mapping[str, Any] | None = None) -> Response:
        """Return the answer, or another document in its place."""
        return json_response(self.document() if document is None else document, self.request_id)

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of the ordinary answer."""
        return {"content-type": "application/json", "x-ms-request-id": self.request_id}


class ConnectionCut(Exception):
    """Raised after part of a body was sent, so that the server cuts the connection."""


class HangingResponse(Response):
    """Says nothing until the client has left."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait for the client to leave."""
        while (await receive())["type"] != "http.disconnect":
            pass


class CutResponse(Response):
    """Sends the first half of its body, then cuts the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send half of the body. Raises ConnectionCut."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})
        raise ConnectionCut("the scenario cuts this connection in the middle of the body")


def reply(answer: Answer, step: Step) -> Response:
    """Return the answer in the mood of the step; steps without a mood of their own give the ordinary answer."""
    mood = _MOODS.get(step.name)
    return answer.response() if mood is None else mood(answer, step)


def _with_picture(spoil: Callable[[bytes], bytes]) -> Callable[[Answer, Step], Response]:
    """Return a mood that puts other bytes in the picture's place."""
    return lambda answer, _: answer.response(answer.document(encoded=pybase64.b64encode(spoil(answer.png))))


def _with_fields(**fields: object) -> Callable[[Answer, Step], Response]:
    """Return a mood that replaces fields; None removes one."""

    def mood(answer: Answer, _: Step) -> Response:
        document = answer.document() | fields
        return answer.response({name: value for name, value in document.items() if value is not None})

    return mood


def _drip(answer: Answer, step: Step) -> Response:
    body = bytes(answer.response().body)
    headers = answer.headers | {"content-length": str(len(body))}
    return StreamingResponse(drops(body, step.number or DRIP_BYTES_PER_S), headers=headers)


async def drops(body: bytes, bytes_per_s: float) -> AsyncIterator[bytes]:
    """Give a body little by little."""
    size = max(1, round(bytes_per_s * DRIP_INTERVAL_S))
    for start in range(0, len(body), size):
        yield body[start : start + size]
        await asyncio.sleep(size / bytes_per_s)


def _short(answer: Answer, _: Step) -> Response:
    body = bytes(answer.response().body)
    return Response(body, headers=answer.headers | {"content-length": str(len(body) + MISSING_BYTES)})


def _huge(answer: Answer, _: Step) -> Response:
    return StreamingResponse(huge_body(), headers=answer.headers)


async def huge_body() -> AsyncIterator[bytes]:
    """Give more than anybody takes."""
    yield b'{"data":[{"b64_json":"'
    for _ in range(HUGE_BODY_BYTES // HUGE_CHUNK_BYTES):
        yield b"A" * HUGE_CHUNK_BYTES
    yield b'"}]}'


# Possible, and dearer than the prompt lets expect.
_LONG_USAGE = {"num_input_text_tokens": CONTEXT_WINDOW_TOKENS}
_BAD_USAGE = {"num_output_tokens": -1, "num_input_text_tokens": "many", "num_input_image_tokens": 10**15}

_MOODS: Mapping[str, Callable[[Answer, Step], Response]] = MappingProxyType(
    {
        "drip": _drip,
        "hang": lambda answer, _: HangingResponse(),
        "reset": lambda answer, _: CutResponse(answer.response().body, headers=answer.headers),
        "short": _short,
        "html": lambda answer, _: HTMLResponse("<h1>Our services are busy</h1>", headers=_named(answer)),
        "badjson": lambda answer, _: Response(answer.response().body[:-2], headers=answer.headers),
        "badbase64": lambda answer, _: answer.response(answer.document(encoded=b"!" + answer.encoded[1:])),
        **{name: _with_picture(spoil) for name, spoil in SPOILT.items()},
        "empty": _with_fields(data=[]),
        "nodata": _with_fields(data=None),
        "nousage": _with_fields(usage=None),
        "badusage": _with_fields(usage=_BAD_USAGE),
        "longusage": lambda answer, _: _using(answer, {**answer.usage, **_LONG_USAGE}),
        "bigusage": lambda answer, _: _using(answer, _big(answer.usage)),
        "topusage": lambda answer, step: _with_fields(usage=None, num_output_tokens=answer.usage["num_output_tokens"])(
            answer, step
        ),
        "huge": _huge,
    }
)


def _named(answer: Answer) -> dict[str, str]:
    return {"x-ms-request-id": answer.request_id}


def _using(answer: Answer, usage: Mapping[str, int]) -> Response:
    return answer.response(answer.document() | {"usage": usage})


def _big(usage: Mapping[str, int]) -> dict[str, int]:
    return {name: count * BIG_USAGE_FACTOR for name, count in usage.items()}
