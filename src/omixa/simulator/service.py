"""What the simulators share whose providers make pictures as jobs, or send them as they are: key, scenario, log, painting.

    GET, PUT /simulator/scenario      what is left of the scenario, a new one (see `scenarios`)
    GET /simulator/requests           the provider's own log, oldest first

A prompt may begin with its own scenario, as in `sim:429x2 a red kite`, and the header `x-omixa-variant: K` asks for another
picture of the same prompt.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import re
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import pybase64
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from omixa.domain.images import MEDIA_TYPES, ImageFormat, ImageInfo
from omixa.domain.scenarios import Step, parse_scenario, split_prompt
from omixa.engines.illustrator import Commission
from omixa.engines.workers import Workers
from omixa.errors import InvalidRequest, UpstreamError
from omixa.imaging.inspect import inspect
from omixa.simulator.replies import (
    DRIP_BYTES_PER_S,
    MISSING_BYTES,
    CutResponse,
    HangingResponse,
    drops,
    huge_body,
)
from omixa.simulator.rules import TRIGGER
from omixa.simulator.scenarios import Moods
from omixa.simulator.spoiling import SPOILT
from omixa.simulator.studio import Studio
from omixa.simulator.wire import ServiceError, read_body

LOG_ENTRIES_MAX = 10_000
JOBS_KEPT_MAX = 256
SCENARIO_BODY_MAX_BYTES = 8192
VARIANTS = 10
REDIRECT_TARGET = "https://elsewhere.invalid"
# Steps that are nothing but a status, in the words that every provider has for it.
STATUSES: Mapping[str, int] = {name: int(name) for name in ("401", "403", "404", "429", "500", "502", "503", "504")}


# What a simulated account always has left.
CREDITS = 1000.0


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """What the simulated account is. Raises ValueError for values that make no sense. `latency_s` is how long a picture takes."""

    api_key: str = field(repr=False)
    latency_s: float = 0.0
    scenario: str = ""

    def __post_init__(self) -> None:
        if not self.api_key:
            raise ValueError("the simulator needs an API key")
        if not (math.isfinite(self.latency_s) and self.latency_s >= 0):
            raise ValueError("latency_s must be 0 or more")
        parse_scenario(self.scenario)


class Refusal(Exception):
    """An answer in the provider's own shape, in place of what was asked for."""

    def __init__(self, status: int, document: object, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(str(document))
        self.status = status
        self.document = document
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """Return what the client sees."""
        return as_json(self.document, self.status, self.headers)


@dataclass(slots=True)
class LogEntry:
    """One request as the provider remembers it. `step` is the mood, `prompt_sha256` in hexadecimal."""

    path: str
    time: float = field(default_factory=time.time)
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    prompt_sha256: str = ""
    status: int = 0
    step: str = ""


@dataclass(slots=True)
class Wanted:
    """A picture to be made. A `size` of None follows the first reference."""

    prompt: str
    size: tuple[int, int] | None
    variant: int
    format: ImageFormat = "png"
    references: tuple[bytes, ...] = ()
    mask: bytes | None = None
    scale: int = 1
    cut_out: bool = False


@dataclass(slots=True)
class Job:
    """A picture in the making. `refused` says that the content filter stops it, `cancelled` that the client did.

    `rejection` is what was wrong with the request, of a service that takes it first and looks later.
    """

    id: str
    step: Step
    wanted: Wanted
    making: asyncio.Task[bytes]
    refused: bool = False
    cancelled: bool = False
    rejection: Refusal | None = None

    @property
    def is_running(self) -> bool:
        """Tell whether the picture is still being made."""
        return not (self.refused or self.cancelled or self.rejection) and (
            self.step.name == "hang" or not self.making.done()
        )

    @property
    def failure(self) -> Literal["unreadable", "overloaded"] | None:
        """Return why a job that has ended made nothing: its pictures cannot be read, or there was too much to paint."""
        error = self.making.exception()
        return None if error is None else "unreadable" if isinstance(error, InvalidRequest) else "overloaded"


class Service:
    """Keeps the key, the moods, the log and the jobs of one simulated provider."""

    def __init__(self, options: SimulatorOptions, workers: Workers) -> None:
        self._options = options
        self._moods = Moods(options.scenario)
        self._studio = Studio(workers)
        self._log: deque[LogEntry] = deque(maxlen=LOG_ENTRIES_MAX)
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    # ------------------------------------------------------------------------------------------------------ requests

    def is_key(self, given: str) -> bool:
        """Tell whether this is the account's key."""
        return hmac.compare_digest(given.encode(), self._options.api_key.encode())

    async def enter(self, request: Request, prompt: str) -> tuple[LogEntry, Step]:
        """Write a request into the log and return its mood, after the wait that its scenario wants. Raises ServiceError 400."""
        entry = LogEntry(request.url.path, prompt_sha256=hashlib.sha256(prompt.encode()).hexdigest())
        step = await self._moods.next_step(request.headers, prompt)
        entry.step = step.name
        self._log.append(entry)
        return entry, step

    def redirect(self, step: Step, path: str) -> None:
        """Raise the Refusal of a step that sends the client elsewhere."""
        if step.name == "redirect":
            raise Refusal(307, {"detail": "Moved."}, {"location": REDIRECT_TARGET + path})

    # ---------------------------------------------------------------------------------------------------------- jobs

    def start(self, wanted: Wanted, step: Step) -> Job:
        """Take a job. The oldest is forgotten where there are too many."""
        job = Job(
            uuid.uuid4().hex, step, wanted, asyncio.create_task(self.make(wanted, step)), is_refused(wanted, step)
        )
        self._jobs[job.id] = job
        while len(self._jobs) > JOBS_KEPT_MAX:
            self._jobs.popitem(last=False)[1].making.cancel()
        return job

    def reject(self, rejection: Refusal, step: Step) -> Job:
        """Take a job that cannot be done."""
        job = self.start(Wanted("", (64, 64), 0), step)
        job.making.cancel()
        job.rejection = rejection
        return job

    def job(self, job_id: str) -> Job | None:
        """Return the job of that name, if it is still known."""
        return self._jobs.get(job_id)

    async def make(self, wanted: Wanted, step: Step) -> bytes:
        """Paint. Raises Refusal 503 when there is too much to paint, and InvalidRequest for a picture that cannot be read."""
        slow_s = (step.number or 0.0) if step.name == "slow" else 0.0
        await asyncio.sleep(self._options.latency_s + slow_s)
        if wanted.scale > 1 or wanted.cut_out:
            png = await asyncio.to_thread(_reworked, wanted)
        else:
            commission = Commission(
                split_prompt(wanted.prompt)[1], wanted.size, wanted.variant, wanted.references, wanted.mask
            )
            try:
                png = pybase64.b64decode(await self._studio.picture(commission))
            except InvalidRequest:
                raise
            except UpstreamError as error:
                raise Refusal(503, {"detail": "Busy."}, {"retry-after": "2"}) from error
        if step.name in SPOILT:
            return SPOILT[step.name](png)
        return png if wanted.format == "png" else await asyncio.to_thread(_encoded, png, wanted.format)

    def deliver(
        self, data: bytes, format: ImageFormat, step: Step, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Return the answer that carries the bytes of a picture, in the mood of a step."""
        sent = {"content-type": MEDIA_TYPES[format], **(headers or {})}
        length = {"content-length": str(len(data))}
        match step.name:
            case "hang":
                return HangingResponse()
            case "drip":
                return StreamingResponse(drops(data, step.number or DRIP_BYTES_PER_S), headers=sent | length)
            case "reset":
                return CutResponse(data, headers=sent)
            case "short":
                return Response(data, headers=sent | {"content-length": str(len(data) + MISSING_BYTES)})
            case "html":
                return HTMLResponse("<h1>Our services are busy</h1>")
            case "huge":
                return StreamingResponse(huge_body(), headers=sent)
        return Response(data, headers=sent)

    # ----------------------------------------------------------------------------------------------------------- app

    def app(self, *routes: BaseRoute) -> ASGIApp:
        """Return the application of these routes and the simulator's own."""
        return Starlette(
            routes=[
                Route("/simulator/scenario", self._read_scenario, methods=["GET"]),
                Route("/simulator/scenario", self._write_scenario, methods=["PUT"]),
                Route("/simulator/requests", self._requests, methods=["GET"]),
                *routes,
            ],
            exception_handlers={Refusal: _on_refusal, ServiceError: _on_service_error, HTTPException: _on_http_error},
        )

    async def _read_scenario(self, request: Request) -> Response:
        self._check_operator(request)
        return PlainTextResponse(self._moods.remaining)

    async def _write_scenario(self, request: Request) -> Response:
        self._check_operator(request)
        body = await read_body(request, SCENARIO_BODY_MAX_BYTES)
        try:
            self._moods.play(body.decode())
        except ValueError as error:
            raise Refusal(400, {"detail": str(error)}) from error
        return PlainTextResponse(self._moods.remaining)

    async def _requests(self, request: Request) -> Response:
        self._check_operator(request)
        return as_json({"requests": list(self._log)})

    def _check_operator(self, request: Request) -> None:
        if not self.is_key(request.headers.get("api-key", "")):
            raise Refusal(401, {"detail": "Send the simulator's key as 'api-key'."})


def is_refused(wanted: Wanted, step: Step) -> bool:
    """Tell whether the content filter stops a picture: by the scenario, or by a word that is never allowed."""
    return step.name == "filter" or bool(TRIGGER.search(wanted.prompt))


def as_json(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer in JSON."""
    return Response(msgspec.json.encode(document), status, dict(headers or {}), media_type="application/json")


def variant_of(request: Request) -> int:
    """Return which picture of its prompt is asked for. Raises Refusal 400."""
    given = request.headers.get("x-omixa-variant", "0")
    if not re.fullmatch(r"[0-9]{1,9}", given):
        raise Refusal(400, {"detail": "'x-omixa-variant' must be an integer."})
    return int(given) % VARIANTS


def read_picture(text: object) -> bytes | None:
    """Return the bytes of a picture that is written in base64, with or without a data URL before it, None for anything else."""
    if not isinstance(text, str):
        return None
    encoded = text.partition(";base64,")[2] if text.startswith("data:image/") else text
    try:
        data = pybase64.b64decode(encoded, validate=True)
        inspect(data)
    except ValueError:
        return None
    return data


def is_count(value: object, least: int, most: int, multiple: int = 1) -> bool:
    """Tell whether a value is an integer within these bounds and a multiple; a bool is none."""
    return type(value) is int and least <= value <= most and value % multiple == 0


def natural_size(reference: ImageInfo, most_pixels: int, multiple: int) -> tuple[int, int]:
    """Return the size of an edit that follows its reference, within so many pixels."""
    shrink = min(1.0, math.sqrt(most_pixels / reference.pixels))
    width, height = (
        max(multiple, int(side * shrink) // multiple * multiple) for side in (reference.width, reference.height)
    )
    return width, height


def _reworked(wanted: Wanted) -> bytes:
    """Return the first reference enlarged, or what lies in its middle cut out."""
    import io

    from PIL import Image, ImageDraw

    with Image.open(io.BytesIO(wanted.references[0])) as opened:
        picture = opened.convert("RGBA")
    if wanted.scale > 1:
        picture = picture.resize((picture.width * wanted.scale, picture.height * wanted.scale))
    if wanted.cut_out:
        shape = Image.new("L", picture.size, 0)
        ImageDraw.Draw(shape).ellipse((0, 0, picture.width - 1, picture.height - 1), fill=255)
        picture.putalpha(shape)
    buffer = io.BytesIO()
    (picture if wanted.cut_out else picture.convert("RGB")).save(buffer, "PNG")
    return buffer.getvalue()


def _encoded(png: bytes, format: ImageFormat) -> bytes:
    from omixa.imaging.codec import convert

    return bytes(convert(png, format=format).data)


async def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error.response()


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return as_json({"detail": error.message}, error.status, error.headers)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return as_json({"detail": error.detail}, error.status_code, error.headers)
