"""A stand-in for Microsoft Foundry's MAI image API: as strict as the live service, and it fails on demand.

    POST /mai/v1/images/generations   JSON
    POST /mai/v1/images/edits         multipart/form-data
    GET, PUT /simulator/scenario      what is left of the scenario, a new one (see `scenarios`)
    GET /simulator/requests           the provider's own log, oldest first

Each of them needs the key. A request first has to pass the service's rules; then its mood is decided, the picture is
made and logged, and only then something is sent. Two things are the simulator's own: the header `x-omixa-variant: K` asks
for another picture of the same prompt, and a prompt may begin with its own scenario, as in `sim:429x2 a red kite`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import re
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from omixa.domain.scenarios import Step, parse_scenario, split_prompt
from omixa.engines.illustrator import Commission
from omixa.engines.workers import RETRY_AFTER_S, Workers
from omixa.errors import InvalidRequest, UpstreamError
from omixa.simulator.models import MODELS, ModelSpec
from omixa.simulator.refusals import bad_key, busy, rate_limited, refuse, too_many_headers, unknown_deployment
from omixa.simulator.replies import Answer, reply
from omixa.simulator.rules import Order, check_content, edit_order, generation_order
from omixa.simulator.scenarios import Moods
from omixa.simulator.statement import UsageFile
from omixa.simulator.studio import Studio
from omixa.simulator.wire import Form, ServiceError, invalid, json_response, read_body, read_json, read_multipart
from omixa.tokens import Tokenizer

LOG_ENTRIES_MAX = 10_000
CUSTOM_HEADERS_MAX = 10
RATE_WINDOW_S = 60.0
VARIANTS = 10
SCENARIO_BODY_MAX_BYTES = 8192

OrderTaker = Callable[[Form, ModelSpec, Tokenizer], Order]
FormReader = Callable[[Request], Awaitable[Form]]


@dataclass(frozen=True, slots=True)
class FoundrySimulatorOptions:
    """What the simulated resource is. Raises ValueError for values that make no sense.

    `deployments` maps deployment names to model names. Over `requests_per_minute`, counted for each deployment, the
    answer is 429 with Retry-After; None has no limit. `latency_s` is added before each picture's answer. `usage_file` is where
    every picture is billed, see `statement`.
    """

    api_key: str = field(repr=False)
    deployments: Mapping[str, str] = field(default_factory=lambda: {name: name for name in MODELS})
    requests_per_minute: int | None = None
    latency_s: float = 0.0
    scenario: str = ""
    usage_file: Path | None = None

    def __post_init__(self) -> None:
        if not self.api_key:
            raise ValueError("the simulator needs an API key")
        unknown = set(self.deployments.values()) - MODELS.keys()
        if unknown or not self.deployments:
            raise ValueError(f"deployments name a model of: {', '.join(MODELS)}; unknown: {', '.join(sorted(unknown))}")
        if self.requests_per_minute is not None and self.requests_per_minute < 0:
            raise ValueError("requests_per_minute must be 0 or more")
        if not (math.isfinite(self.latency_s) and self.latency_s >= 0):
            raise ValueError("latency_s must be 0 or more")
        parse_scenario(self.scenario)


@dataclass(slots=True)
class LogEntry:
    """One request as the provider remembers it; filled in while the request is understood.

    `usage` is what the picture really used, whatever a mood reports; None when none was made. `status` is what the
    service decided, also when the answer never arrives. `step` is the mood. `prompt_sha256` is in hexadecimal.
    """

    path: str
    time: float = field(default_factory=time.time)
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    deployment: str = ""
    prompt_sha256: str = ""
    usage: Mapping[str, int] | None = None
    status: int = 0
    step: str = ""


class RateWindow:
    """Requests of the last minute, for each deployment."""

    def __init__(self, requests_per_minute: int | None) -> None:
        self._limit = requests_per_minute
        self._times: dict[str, deque[float]] = {}

    def admit(self, deployment: str, now_s: float) -> None:
        """Count a request at a monotonic time. Raises ServiceError 429 with Retry-After when the minute is full."""
        if self._limit is None:
            return
        times = self._times.setdefault(deployment, deque())
        while times and times[0] <= now_s - RATE_WINDOW_S:
            times.popleft()
        if len(times) >= self._limit:
            oldest_s = times[0] if times else now_s
            raise rate_limited(str(max(1, math.ceil(oldest_s + RATE_WINDOW_S - now_s))))
        times.append(now_s)


class FoundrySimulator:
    """The handlers and what they remember."""

    def __init__(self, options: FoundrySimulatorOptions, tokenizer: Tokenizer, workers: Workers) -> None:
        self._options = options
        self._moods = Moods(options.scenario)
        self._rates = RateWindow(options.requests_per_minute)
        self._tokenizer = tokenizer
        self._studio = Studio(workers)
        self._usage_file = None if options.usage_file is None else UsageFile(options.usage_file)
        self._log: deque[LogEntry] = deque(maxlen=LOG_ENTRIES_MAX)

    async def generations(self, request: Request) -> Response:
        """Paint a picture from a prompt."""
        return await self._serve(request, read_json, generation_order)

    async def edits(self, request: Request) -> Response:
        """Paint a picture from a prompt and references."""
        return await self._serve(request, read_multipart, edit_order)

    async def read_scenario(self, request: Request) -> Response:
        """Return what is left of the scenario as text."""
        self._authenticate(request.headers)
        return PlainTextResponse(self._moods.remaining)

    async def write_scenario(self, request: Request) -> Response:
        """Replace the scenario by the body's text. Answers 400 with the accepted steps when it is not a scenario."""
        self._authenticate(request.headers)
        body = await read_body(request, SCENARIO_BODY_MAX_BYTES)
        try:
            self._moods.play(body.decode())
        except ValueError as error:
            raise ServiceError(400, "invalid_scenario", str(error)) from error
        return PlainTextResponse(self._moods.remaining)

    async def requests(self, request: Request) -> Response:
        """Return the log."""
        self._authenticate(request.headers)
        return json_response({"requests": list(self._log)}, str(uuid.uuid4()))

    async def _serve(self, request: Request, read_form: FormReader, take_order: OrderTaker) -> Response:
        entry = LogEntry(path=request.url.path)
        try:
            return await self._answer(request, read_form, take_order, entry)
        except ServiceError as error:
            entry.status = error.status
            self._log.append(entry)
            return error.response(entry.request_id)

    async def _answer(
        self, request: Request, read_form: FormReader, take_order: OrderTaker, entry: LogEntry
    ) -> Response:
        _check_custom_headers(request.headers)
        self._authenticate(request.headers)
        form = await read_form(request)
        spec = self._admit(form, entry)
        # In a thread, because the vocabulary is read on first use and a long prompt takes its time.
        order = await asyncio.to_thread(take_order, form, spec, self._tokenizer)
        check_content(order.prompt)
        variant = variant_of(request.headers)
        step = await self._moods.next_step(request.headers, order.prompt)
        entry.step = step.name
        refuse(step, entry.path)
        return await self._deliver(order, spec, variant, step, entry)

    def _admit(self, form: Form, entry: LogEntry) -> ModelSpec:
        name, prompt = form.fields.get("model"), form.fields.get("prompt")
        if isinstance(prompt, str):
            entry.prompt_sha256 = hashlib.sha256(prompt.encode()).hexdigest()
        if not isinstance(name, str) or not name:
            raise invalid("'model' is required: the name of a deployment.")
        if name not in self._options.deployments:
            raise unknown_deployment()
        entry.deployment = name
        self._rates.admit(name, time.monotonic())
        return MODELS[self._options.deployments[name]]

    async def _deliver(self, order: Order, spec: ModelSpec, variant: int, step: Step, entry: LogEntry) -> Response:
        size = (order.width, order.height)
        commission = Commission(split_prompt(order.prompt)[1], size, variant, order.references)
        try:
            encoded = await self._studio.picture(commission)
        except InvalidRequest as error:
            raise invalid(f"'image' cannot be decoded: {error.message}") from error
        except UpstreamError as error:
            raise busy(str(RETRY_AFTER_S)) from error
        entry.status, entry.usage = 200, order.usage
        if self._usage_file is not None:
            self._usage_file.bill(
                request_id=entry.request_id,
                at_ms=int(entry.time * 1000),
                model=spec.name,
                deployment=entry.deployment,
                usage=order.usage,
            )
        self._log.append(entry)
        await asyncio.sleep(self._options.latency_s + (step.number or 0.0 if step.name == "slow" else 0.0))
        shape = f"{order.width}x{order.height}"
        return reply(Answer(entry.request_id, int(entry.time), spec.name, shape, encoded, order.usage), step)

    async def models(self, request: Request) -> Response:
        """List the models of the resource, which says that the key is good."""
        self._authenticate(request.headers)
        listed = [{"id": name, "object": "model"} for name in sorted(set(self._options.deployments.values()))]
        return json_response({"object": "list", "data": listed}, LogEntry(request.url.path).request_id)

    def _authenticate(self, headers: Headers) -> None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        both = "authorization" in headers and "api-key" in headers
        given = headers.get("api-key") or (token.strip() if scheme.lower() == "bearer" else "")
        if both or not hmac.compare_digest(given.encode(), self._options.api_key.encode()):
            raise bad_key()


def create_app(options: FoundrySimulatorOptions, workers: Workers, *, tokenizer: Tokenizer | None = None) -> ASGIApp:
    """Return the simulator as an ASGI application. Workers and a tokenizer can be shared with others."""
    simulator = FoundrySimulator(options, tokenizer or Tokenizer(), workers)
    return Starlette(
        routes=[
            Route("/mai/v1/images/generations", simulator.generations, methods=["POST"]),
            Route("/mai/v1/images/edits", simulator.edits, methods=["POST"]),
            Route("/openai/v1/models", simulator.models, methods=["GET"]),
            Route("/simulator/scenario", simulator.read_scenario, methods=["GET"]),
            Route("/simulator/scenario", simulator.write_scenario, methods=["PUT"]),
            Route("/simulator/requests", simulator.requests, methods=["GET"]),
        ],
        exception_handlers={ServiceError: _on_service_error, HTTPException: _on_http_error},
    )


def _check_custom_headers(headers: Headers) -> None:
    if sum(name.startswith("x-") for name in headers) > CUSTOM_HEADERS_MAX:
        raise too_many_headers(CUSTOM_HEADERS_MAX)


def variant_of(headers: Headers) -> int:
    """Return which picture of a prompt is wanted. Raises ServiceError 400."""
    given = headers.get("x-omixa-variant", "0")
    if not re.fullmatch(r"[0-9]{1,9}", given):
        raise invalid("'x-omixa-variant' must be an integer.")
    return int(given) % VARIANTS


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return error.response(str(uuid.uuid4()))


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refusal = ServiceError(error.status_code, str(error.status_code), error.detail, headers=error.headers)
    return refusal.response(str(uuid.uuid4()))
