"""A stand-in for OpenAI's Images API and for Azure OpenAI's: as strict as the live services, and it fails on demand.

    POST /v1/images/generations, /v1/images/edits                 OpenAI's, with a bearer key; also without /v1
    POST /openai/v1/images/generations, /openai/v1/images/edits   Azure's, with api-key or a bearer token
    GET, PUT /simulator/scenario, GET /simulator/requests         as `foundry` has them

A generation is JSON and an edit a form. A request first has to pass the service's rules; then its mood is decided, the pictures
are made and logged, and only then something is sent. The header `x-omixa-variant` and prompts with a scenario of their own are
the simulator's, as `foundry` has them.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec
import pybase64
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from omixa.domain.images import ImageFormat
from omixa.domain.scenarios import Step, parse_scenario, split_prompt
from omixa.engines.conversions import Conversion, Converter
from omixa.engines.illustrator import Commission, Illustrator
from omixa.engines.workers import RETRY_AFTER_S, Workers
from omixa.errors import InvalidRequest, UpstreamError
from omixa.simulator.foundry import (
    LOG_ENTRIES_MAX,
    SCENARIO_BODY_MAX_BYTES,
    VARIANTS,
    LogEntry,
    RateWindow,
    variant_of,
)
from omixa.simulator.openai_replies import Painting, failure, finished, stream_of
from omixa.simulator.openai_rules import MODELS, GptImage, ImageOrder, Rejection, take_order
from omixa.simulator.refusals import busy, content_violation, refuse
from omixa.simulator.rules import check_content
from omixa.simulator.scenarios import Moods
from omixa.simulator.wire import Form, ServiceError, json_response, read_body, read_json, read_multipart
from omixa.tokens import Tokenizer

FormReader = Callable[[Request], Awaitable[Form]]

AZURE = "/openai/v1"
_PREFIXES = ("", "/v1", AZURE)
_FORMATS: tuple[ImageFormat, ...] = ("png", "jpeg", "webp")
_AZURE_FORMATS: tuple[ImageFormat, ...] = ("png", "jpeg")
# What the illustrator paints; other sizes are made from these.
_LEAST_SIDE, _MOST_SIDE = 768, 2048


@dataclass(frozen=True, slots=True)
class OpenAISimulatorOptions:
    """What the simulated account is. Raises ValueError for values that make no sense.

    `models` maps the names that may be called to models. Over `requests_per_minute`, counted for each name, the answer is 429
    with Retry-After; None has no limit. `latency_s` is added before each answer.
    """

    api_key: str = field(repr=False)
    models: Mapping[str, str] = field(default_factory=lambda: {name: name for name in MODELS})
    requests_per_minute: int | None = None
    latency_s: float = 0.0
    scenario: str = ""

    def __post_init__(self) -> None:
        if not self.api_key:
            raise ValueError("the simulator needs an API key")
        unknown = set(self.models.values()) - MODELS.keys()
        if unknown or not self.models:
            raise ValueError(f"deployments name a model of: {', '.join(MODELS)}; unknown: {', '.join(sorted(unknown))}")
        if self.requests_per_minute is not None and self.requests_per_minute < 0:
            raise ValueError("requests_per_minute must be 0 or more")
        if not (math.isfinite(self.latency_s) and self.latency_s >= 0):
            raise ValueError("latency_s must be 0 or more")
        parse_scenario(self.scenario)


class OpenAISimulator:
    """The handlers and what they remember."""

    def __init__(self, options: OpenAISimulatorOptions, tokenizer: Tokenizer, workers: Workers) -> None:
        self._options = options
        self._moods = Moods(options.scenario)
        self._rates = RateWindow(options.requests_per_minute)
        self._tokenizer = tokenizer
        self._workers = workers
        self._log: deque[LogEntry] = deque(maxlen=LOG_ENTRIES_MAX)

    async def generations(self, request: Request) -> Response:
        """Paint pictures from a prompt."""
        return await self._serve(request, read_json)

    async def edits(self, request: Request) -> Response:
        """Paint pictures from a prompt and references."""
        return await self._serve(request, read_multipart)

    async def read_scenario(self, request: Request) -> Response:
        """Return what is left of the scenario as text."""
        self._authenticate(request.headers, AZURE)
        return PlainTextResponse(self._moods.remaining)

    async def write_scenario(self, request: Request) -> Response:
        """Replace the scenario by the body's text. Answers 400 with the accepted steps when it is not a scenario."""
        self._authenticate(request.headers, AZURE)
        body = await read_body(request, SCENARIO_BODY_MAX_BYTES)
        try:
            self._moods.play(body.decode())
        except ValueError as error:
            raise ServiceError(400, "invalid_scenario", str(error)) from error
        return PlainTextResponse(self._moods.remaining)

    async def requests(self, request: Request) -> Response:
        """Return the log."""
        self._authenticate(request.headers, AZURE)
        return Response(msgspec.json.encode({"requests": list(self._log)}), media_type="application/json")

    async def _serve(self, request: Request, read_form: FormReader) -> Response:
        entry = LogEntry(path=request.url.path)
        try:
            return await self._answer(request, read_form, entry)
        except ServiceError as error:
            entry.status = error.status
            self._log.append(entry)
            return failure(error, entry.request_id)

    async def _answer(self, request: Request, read_form: FormReader, entry: LogEntry) -> Response:
        self._authenticate(request.headers, entry.path)
        form = await read_form(request)
        model = self._admit(form, entry)
        if read_form is read_multipart and not form.files:
            raise Rejection("Missing required parameter: 'image'.", "image", code="missing_required_parameter")
        formats = _AZURE_FORMATS if entry.path.startswith(AZURE) else _FORMATS
        # In a thread, because the vocabulary is read on first use and a long prompt takes its time.
        order = await asyncio.to_thread(take_order, form, model, self._tokenizer, formats)
        check_content(order.prompt)
        step = await self._moods.next_step(request.headers, order.prompt)
        entry.step = step.name
        refuse(step, entry.path)
        return await self._deliver(order, variant_of(request.headers), step, entry)

    def _admit(self, form: Form, entry: LogEntry) -> GptImage:
        name, prompt = form.fields.get("model"), form.fields.get("prompt")
        if isinstance(prompt, str):
            entry.prompt_sha256 = hashlib.sha256(prompt.encode()).hexdigest()
        if not isinstance(name, str) or name not in self._options.models:
            raise Rejection(f"The model '{name}' does not exist.", "model", code="model_not_found", status=404)
        entry.deployment = name
        self._rates.admit(name, time.monotonic())
        return MODELS[self._options.models[name]]

    async def _deliver(self, order: ImageOrder, variant: int, step: Step, entry: LogEntry) -> Response:
        made = self._paint(order, variant)
        try:
            # Of a stream only the first, so that whoever asked sees the others come.
            pictures = [await anext(made)] if order.partial_images is not None else [one async for one in made]
        except InvalidRequest as error:
            raise Rejection(f"Invalid image file: {error.message}.", "image", code="invalid_image_file") from error
        except UpstreamError as error:
            raise busy(str(RETRY_AFTER_S)) from error
        entry.status, entry.usage = 200, {"output_tokens": order.counts.output * order.n}
        self._log.append(entry)
        await asyncio.sleep(self._options.latency_s + (step.number or 0.0 if step.name == "slow" else 0.0))
        size = f"{order.size[0]}x{order.size[1]}"

        def painting(picture: bytes, *others: bytes) -> Painting:
            return Painting(entry.request_id, int(entry.time), entry.deployment, size, picture, {}, order, others)

        if order.partial_images is None:
            return finished(painting(*pictures), step)
        return await stream_of(pictures[0], made, painting, step, content_violation())

    async def _paint(self, order: ImageOrder, variant: int) -> AsyncGenerator[bytes, None]:
        """Yield in base64, for each picture of an order, its previews and then itself."""
        width, height = (min(max(side, _LEAST_SIDE), _MOST_SIDE) for side in order.size)
        resized, previews = None if (width, height) == order.size else order.size, order.partial_images or 0
        for number in range(order.n):
            commission = Commission(
                split_prompt(order.prompt)[1],
                (width, height),
                (variant + number) % VARIANTS,
                order.references,
                order.mask,
                order.transparent,
                previews,
            )
            index = 0
            async with aclosing(self._workers.run(Illustrator, commission)) as painted:
                async for png in painted:
                    yield await self._encoded(png, order, resized if index == previews else None)
                    index += 1

    async def _encoded(self, png: bytes, order: ImageOrder, size: tuple[int, int] | None) -> bytes:
        if order.format == "png" and size is None:
            return pybase64.b64encode(png)
        image = await self._workers.finished(Converter, Conversion(png, order.format, order.compression, size))
        return pybase64.b64encode(image.data)

    async def models(self, request: Request) -> Response:
        """List the models of the account, which says that the key is good."""
        self._authenticate(request.headers, request.url.path)
        listed = [{"id": name, "object": "model"} for name in sorted(self._options.models)]
        return json_response({"object": "list", "data": listed}, LogEntry(request.url.path).request_id)

    def _authenticate(self, headers: Headers, path: str) -> None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""
        given = headers.get("api-key", bearer) if path.startswith(AZURE) else bearer
        if not hmac.compare_digest(given.encode(), self._options.api_key.encode()):
            raise ServiceError(401, "invalid_api_key", "Incorrect API key provided.")


def create_app(options: OpenAISimulatorOptions, workers: Workers, *, tokenizer: Tokenizer | None = None) -> ASGIApp:
    """Return the simulator as an ASGI application. Workers and a tokenizer can be shared with others."""
    simulator = OpenAISimulator(options, tokenizer or Tokenizer(), workers)
    handlers = {"generations": simulator.generations, "edits": simulator.edits}
    return Starlette(
        routes=[
            *(
                Route(f"{prefix}/images/{name}", handler, methods=["POST"])
                for prefix in _PREFIXES
                for name, handler in handlers.items()
            ),
            *(Route(f"{prefix}/models", simulator.models, methods=["GET"]) for prefix in _PREFIXES),
            Route("/simulator/scenario", simulator.read_scenario, methods=["GET"]),
            Route("/simulator/scenario", simulator.write_scenario, methods=["PUT"]),
            Route("/simulator/requests", simulator.requests, methods=["GET"]),
        ],
        exception_handlers={ServiceError: _on_service_error, HTTPException: _on_http_error},
    )


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return failure(error, LogEntry(request.url.path).request_id)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refusal = ServiceError(error.status_code, "unknown_url", f"Invalid URL: {error.detail}.", headers=error.headers)
    return failure(refusal, LogEntry(request.url.path).request_id)
