"""A stand-in for OpenRouter's Image API: as strict as the live service, and it fails on demand.

POST /api/v1/images     JSON, with a bearer key; also without /api/v1
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from omixa.domain.scenarios import Step
from omixa.engines.workers import Workers
from omixa.errors import InvalidRequest
from omixa.imaging.inspect import inspect
from omixa.simulator.documents import DocumentService, encoded, reported
from omixa.simulator.models import CONTEXT_WINDOW_TOKENS, edit_size, image_tokens, input_tokens
from omixa.simulator.service import (
    STATUSES,
    Refusal,
    SimulatorOptions,
    Wanted,
    as_json,
    is_refused,
    read_picture,
    variant_of,
)
from omixa.simulator.wire import LARGE_JSON_BODY_MAX_BYTES, ServiceError, read_json
from omixa.tokens import Tokenizer

MODEL = "microsoft/mai-image-2.5"
SHAPES: Mapping[str, tuple[int, int]] = {
    "1:1": (1024, 1024),
    "3:2": (1248, 832),
    "2:3": (832, 1248),
    "4:3": (1152, 864),
    "3:4": (864, 1152),
    "16:9": (1344, 768),
    "9:16": (768, 1344),
}
_FIELDS = frozenset({"model", "prompt", "n", "aspect_ratio", "input_references"})
# Millionths of a dollar for one token: of words, of references, of the picture.
_PRICES = (5, 8, 47)
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class _Order:
    """A request that was understood."""

    prompt: str
    references: tuple[bytes, ...]
    size: tuple[int, int]


class OpenRouterSimulator(DocumentService):
    """The handler of the Image API."""

    def __init__(self, options: SimulatorOptions, workers: Workers, tokenizer: Tokenizer) -> None:
        super().__init__(options, workers)
        self._tokenizer = tokenizer

    async def serve(self, request: Request) -> Response:
        """Make a picture at once."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self.is_key(key.strip()):
            raise _problem(401, "No auth credentials found")
        try:
            form = await read_json(request, LARGE_JSON_BODY_MAX_BYTES)
        except ServiceError as error:
            raise _problem(error.status, error.message) from error
        order = _order(form.fields)
        entry, step = await self.enter(request, order.prompt)
        wanted = Wanted(order.prompt, order.size, variant_of(request), references=order.references)
        self._refuse(step, wanted, request.url.path)
        try:
            data = await self.make(wanted, step)
        except InvalidRequest as error:
            raise _problem(400, f"input_references: {error.message}") from error
        words = (await asyncio.to_thread(self._tokenizer.count, order.prompt, limit=CONTEXT_WINDOW_TOKENS)).tokens
        entry.status = 200
        return self.answer(_document(data, order, words, step), step, {"x-request-id": entry.request_id})

    async def key(self, request: Request) -> Response:
        """Say what the key is."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self.is_key(key.strip()):
            raise _problem(401, "No auth credentials found")
        return as_json({"data": {"label": "simulated", "limit": None, "limit_remaining": None, "usage": 0}})

    def _refuse(self, step: Step, wanted: Wanted, path: str) -> None:
        self.redirect(step, path)
        if is_refused(wanted, step):
            raw = '{"error":{"code":"content_safety_violation","message":"blocked by label"}}'
            raise _problem(400, "Provider returned error", {"provider_name": "Azure", "raw": raw})
        if step.name == "quota":
            raise _problem(402, "Insufficient credits. Add more at the settings page.")
        if step.name in STATUSES:
            status = STATUSES[step.name]
            wait = step.retry_after or ("1" if status == 429 else "none")
            headers = {} if wait == "none" else {"retry-after": wait}
            raise _problem(status, f"The service answers {status}.", headers=headers)


def create_app(options: SimulatorOptions, workers: Workers, *, tokenizer: Tokenizer | None = None) -> ASGIApp:
    """Return the simulator as an ASGI application."""
    simulator = OpenRouterSimulator(options, workers, tokenizer or Tokenizer())
    prefixes = ("", "/api/v1")
    return simulator.app(
        *(Route(f"{prefix}/images", simulator.serve, methods=["POST"]) for prefix in prefixes),
        *(Route(f"{prefix}/key", simulator.key, methods=["GET"]) for prefix in prefixes),
    )


def _order(fields: Mapping[str, Any]) -> _Order:
    """Return what a request asks for. Raises Refusal 400 that names the field, and 404 for an unknown model."""
    for name in fields:
        if name not in _FIELDS:
            raise _problem(400, f"{name} is not supported by this model")
    if fields.get("model") != MODEL:
        raise _problem(404, f"No endpoints found for {fields.get('model')}.")
    prompt, references = fields.get("prompt"), fields.get("input_references", [])
    if not isinstance(prompt, str) or not prompt.strip():
        raise _problem(400, "prompt: a text is required")
    if fields.get("n", 1) != 1:
        raise _problem(400, "n: this model makes one image")
    if not isinstance(references, list) or len(references) > 1:
        raise _problem(400, "input_references: at most one image")
    pictures = tuple(map(_reference, references))
    shape = fields.get("aspect_ratio", "auto")
    if shape not in SHAPES and shape != "auto":
        raise _problem(400, f"aspect_ratio: must be one of auto, {', '.join(SHAPES)}")
    if pictures:
        # An edit keeps the shape of its reference, whatever is asked for.
        info = inspect(pictures[0])
        return _Order(prompt, pictures, edit_size(info.width, info.height))
    return _Order(prompt, pictures, SHAPES.get(shape, SHAPES["1:1"]))


def _reference(part: object) -> bytes:
    match part:
        case {"type": "image_url", "image_url": {"url": str() as url}}:
            picture = read_picture(url) if url.startswith("data:image/") else None
            if picture is not None:
                return picture
    raise _problem(400, "input_references: must be image_url parts that hold a picture")


def _document(data: bytes, order: _Order, words: int, step: Step) -> Mapping[str, object]:
    inputs = sum(input_tokens(info.width, info.height) for info in map(inspect, order.references))
    output = image_tokens(*order.size)
    usage = {"prompt_tokens": words + inputs, "completion_tokens": output, "total_tokens": words + inputs + output}
    counted = reported(usage, step, text="prompt_tokens", most=CONTEXT_WINDOW_TOKENS + inputs)
    media_type = "image/jpeg" if step.name == "jpeg" else "image/png"
    document: dict[str, object] = {"created": 1_794_300_000}
    if step.name != "nodata":
        document["data"] = [] if step.name == "empty" else [{"b64_json": encoded(data, step), "media_type": media_type}]
    if counted is not None:
        micro_usd = sum(price * tokens for price, tokens in zip(_PRICES, (words, inputs, output), strict=True))
        document["usage"] = {**counted, "cost": micro_usd / _MICRO}
    return document


def _problem(
    status: int, message: str, metadata: Mapping[str, object] | None = None, headers: Mapping[str, str] | None = None
) -> Refusal:
    error: dict[str, object] = {"code": status, "message": message}
    if metadata is not None:
        error["metadata"] = metadata
    return Refusal(status, {"error": error}, {"x-request-id": uuid.uuid4().hex, **(headers or {})})
