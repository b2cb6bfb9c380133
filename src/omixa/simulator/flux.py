"""A stand-in for FLUX.2 at Black Forest Labs and on Microsoft Foundry: as strict as both, and it fails on demand.

POST /v1/MODEL                                                          a job, with x-key
GET  /v1/get_result?id=ID                                               what became of it, with x-key
GET  /delivery/ID                                                       the picture, without any key
POST /providers/blackforestlabs/v1/MODEL?api-version=preview            the picture in base64, with a bearer token
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import pybase64
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from omixa.domain.images import ImageFormat
from omixa.domain.scenarios import Step
from omixa.engines.workers import Workers
from omixa.errors import InvalidRequest
from omixa.imaging.inspect import inspect
from omixa.simulator.service import (
    CREDITS,
    STATUSES,
    Job,
    LogEntry,
    Refusal,
    Service,
    SimulatorOptions,
    Wanted,
    as_json,
    is_count,
    is_refused,
    natural_size,
    read_picture,
    variant_of,
)
from omixa.simulator.wire import LARGE_JSON_BODY_MAX_BYTES, read_json

MAX_PIXELS = 4_194_304
MIN_SIDE = 64
MULTIPLE = 16
DEFAULT_SIZE = (1024, 1024)
# Hundredths of a cent: the first megapixel, and each further one, also of the references.
_CREDITS: Mapping[str, tuple[float, float]] = {
    "flux-2-pro": (3.0, 1.5),
    "flux-2-max": (7.0, 3.0),
    "flux-2-flex": (5.0, 5.0),
    "flux-2-klein-4b": (1.4, 0.1),
    "flux-2-klein-9b": (1.5, 0.2),
}
_REFERENCES: Mapping[str, int] = {"flux-2-klein-4b": 4, "flux-2-klein-9b": 4}
_ON_FOUNDRY: Mapping[str, int] = {"flux-2-pro": 8, "flux-2-flex": 10}
_FIELDS = frozenset({"prompt", "width", "height", "seed", "safety_tolerance", "output_format"})
_FLEX = frozenset({"guidance", "steps"})
_DEFAULT_FORMATS: Mapping[bool, ImageFormat] = {True: "png", False: "jpeg"}


@dataclass(frozen=True, slots=True)
class _Rules:
    """What one of the two services takes."""

    model: str
    references: int
    extra: frozenset[str] = frozenset()
    on_foundry: bool = False


class FluxSimulator(Service):
    """The handlers of both services."""

    async def submit(self, request: Request) -> Response:
        """Take a job."""
        if not self.is_key(request.headers.get("x-key", "")):
            raise Refusal(403, {"detail": "Not authenticated - Invalid Authentication"})
        model = request.path_params["model"]
        if model not in _CREDITS:
            raise Refusal(404, {"detail": "Not Found"})
        wanted = await _wanted(request, _Rules(model, _REFERENCES.get(model, 8)))
        entry, step = await self.enter(request, wanted.prompt)
        self._refuse(step, entry)
        job = self.start(wanted, step)
        entry.request_id, entry.status = job.id, 200
        width, height = wanted.size or DEFAULT_SIZE
        output_mp, input_mp = width * height / 1e6, sum(inspect(data).pixels for data in wanted.references) / 1e6
        first, more = _CREDITS[model]
        document = {
            "id": job.id,
            "polling_url": f"{request.base_url}v1/get_result?id={job.id}",
            "cost": round(first + max(0.0, output_mp - 1) * more + input_mp * more, 2),
            "input_mp": round(input_mp, 2),
            "output_mp": round(output_mp, 2),
        }
        if step.name == "nodata":
            del document["polling_url"]
        return as_json(document)

    async def result(self, request: Request) -> Response:
        """Tell what became of a job."""
        if not self.is_key(request.headers.get("x-key", "")):
            raise Refusal(403, {"detail": "Not authenticated - Invalid Authentication"})
        job = self.job(request.query_params.get("id", ""))
        if job is None:
            return as_json({"id": request.query_params.get("id", ""), "status": "Task not found"}, 404)
        if job.step.name == "html":
            return HTMLResponse("<h1>Our services are busy</h1>")
        if job.step.name == "badjson":
            return Response(b'{"status": "Rea', media_type="application/json")
        return as_json(_state(job, str(request.base_url)))

    async def delivery(self, request: Request) -> Response:
        """Hand out a picture to whoever has its address, but not to whoever sends a key."""
        if {"x-key", "authorization", "api-key"} & set(request.headers.keys()):
            raise Refusal(400, {"detail": "This host takes no credentials."})
        job = self.job(request.path_params["job"])
        if job is None or job.is_running:
            raise Refusal(404, {"detail": "Not Found"})
        if job.step.name == "redirect":
            raise Refusal(302, {}, {"location": "http://169.254.169.254/latest/meta-data/"})
        return self.deliver(await job.making, job.wanted.format, job.step)

    async def credits(self, request: Request) -> Response:
        """Say what is left of the account's credit."""
        if not self.is_key(request.headers.get("x-key", "")):
            raise Refusal(403, {"detail": "Not authenticated"})
        return as_json({"credits": CREDITS})

    async def foundry(self, request: Request) -> Response:
        """Make a picture at once."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self.is_key(token.strip()):
            raise Refusal(401, {"error": {"code": "401", "message": "Access denied. Send a valid key or token."}})
        model = request.path_params["model"]
        if model not in _ON_FOUNDRY or request.query_params.get("api-version") != "preview":
            raise Refusal(404, {"error": {"code": "404", "message": "Resource not found"}})
        wanted = await _wanted(request, _Rules(model, _ON_FOUNDRY[model], frozenset({"model", "num_images"}), True))
        entry, step = await self.enter(request, wanted.prompt)
        self._refuse(step, entry)
        if is_refused(wanted, step):
            entry.status = 400
            message = "The prompt or the picture was filtered."
            raise Refusal(400, {"error": {"code": "content_filter", "message": message}})
        try:
            data = await self.make(wanted, step)
        except InvalidRequest as error:
            raise _invalid("input_image", error.message) from error
        entry.status = 200
        pictures = [] if step.name == "empty" else [{"b64_json": pybase64.b64encode_as_string(data)}]
        document = {} if step.name == "nodata" else {"data": pictures}
        body = bytes(as_json({"created": int(time.time()), **document}).body)
        if step.name == "badjson":
            body = body[:-2]
        headers = {"content-type": "application/json", "x-ms-request-id": entry.request_id}
        return self.deliver(body, "png", step, headers)

    async def foundry_models(self, request: Request) -> Response:
        """List the models of a resource on Foundry, which says that the credential is good."""
        _, _, token = request.headers.get("authorization", "").partition(" ")
        if not self.is_key(request.headers.get("api-key") or token.strip()):
            raise Refusal(401, {"error": {"code": "401", "message": "Access denied. Send a valid key or token."}})
        return as_json({"object": "list", "data": [{"id": name, "object": "model"} for name in sorted(_ON_FOUNDRY)]})

    def _refuse(self, step: Step, entry: LogEntry) -> None:
        self.redirect(step, entry.path)
        if step.name == "quota":
            entry.status = 402
            raise Refusal(402, {"detail": "Insufficient credits."})
        if step.name in STATUSES:
            entry.status = STATUSES[step.name]
            wait = step.retry_after or ("1" if entry.status == 429 else "none")
            raise Refusal(
                entry.status,
                {"detail": f"The service answers {entry.status}."},
                {} if wait == "none" else {"retry-after": wait},
            )


def create_app(options: SimulatorOptions, workers: Workers) -> ASGIApp:
    """Return the simulator as an ASGI application."""
    simulator = FluxSimulator(options, workers)
    return simulator.app(
        Route("/v1/get_result", simulator.result, methods=["GET"]),
        Route("/v1/credits", simulator.credits, methods=["GET"]),
        Route("/v1/{model}", simulator.submit, methods=["POST"]),
        Route("/delivery/{job}", simulator.delivery, methods=["GET"]),
        Route("/providers/blackforestlabs/v1/{model}", simulator.foundry, methods=["POST"]),
        Route("/openai/v1/models", simulator.foundry_models, methods=["GET"]),
    )


def _state(job: Job, base_url: str) -> dict[str, object]:
    if job.refused:
        words = "Content Moderated" if job.step.name == "filter" else "Request Moderated"
        return {"id": job.id, "status": words, "result": None, "details": {"Moderation Reasons": ["Simulated"]}}
    if job.is_running:
        return {"id": job.id, "status": "Pending", "result": None, "progress": 0.5}
    if job.failure is not None:
        words = "the pictures cannot be read" if job.failure == "unreadable" else "too much is being made"
        return {"id": job.id, "status": "Error", "result": None, "details": {"error": words}}
    result = None if job.step.name == "empty" else {"sample": f"{base_url}delivery/{job.id}", "seed": 7}
    return {"id": job.id, "status": "Ready", "result": result}


async def _wanted(request: Request, rules: _Rules) -> Wanted:
    """Return the picture that a body asks for. Raises Refusal 422 that names the field."""
    fields = (await read_json(request, LARGE_JSON_BODY_MAX_BYTES)).fields
    names = ["input_image", *(f"input_image_{number}" for number in range(2, rules.references + 1))]
    accepted = _FIELDS | rules.extra | set(names) | (_FLEX if rules.model == "flux-2-flex" else frozenset())
    for name in fields:
        if name not in accepted:
            raise _invalid(name, "Extra inputs are not permitted")
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise _invalid("prompt", "Field required")
    if rules.on_foundry and (not isinstance(fields.get("model"), str) or fields.get("num_images", 1) != 1):
        raise _invalid("model", "Field required, and one image at a time")
    if not is_count(fields.get("safety_tolerance", 2), 0, 5):
        raise _invalid("safety_tolerance", "Input should be between 0 and 5")
    wanted = fields.get("output_format", _DEFAULT_FORMATS[rules.on_foundry])
    if wanted not in ("png", "jpeg"):
        raise _invalid("output_format", "Input should be 'jpeg' or 'png'")
    references = _references(fields, names)
    size = _size(fields)
    if size is None:
        size = natural_size(inspect(references[0]), MAX_PIXELS, MULTIPLE) if references else DEFAULT_SIZE
    return Wanted(prompt, size, variant_of(request), wanted, references)


def _references(fields: Mapping[str, object], names: list[str]) -> tuple[bytes, ...]:
    given = [name for name in names if name in fields]
    if given != names[: len(given)]:
        raise _invalid(given[-1], "The images before this one are missing")
    pictures = []
    for name in given:
        data = read_picture(fields[name])
        if data is None:
            raise _invalid(name, "Input should be an image in base64")
        pictures.append(data)
    return tuple(pictures)


def _size(fields: Mapping[str, object]) -> tuple[int, int] | None:
    sides = {name: fields.get(name, 0) for name in ("width", "height")}
    if list(sides.values()) == [0, 0]:
        return None
    for name, side in sides.items():
        if not is_count(side, MIN_SIDE, MAX_PIXELS // MIN_SIDE, MULTIPLE):
            raise _invalid(name, f"Input should be a multiple of {MULTIPLE} of at least {MIN_SIDE}")
    width, height = (cast(int, side) for side in sides.values())
    if width * height > MAX_PIXELS:
        raise _invalid("width", "The image would have more than 4 megapixels")
    return width, height


def _invalid(name: str, message: str) -> Refusal:
    return Refusal(422, {"detail": [{"type": "value_error", "loc": ["body", name], "msg": message}]})
