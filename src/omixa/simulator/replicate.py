"""A stand-in for Replicate's official models: as strict as the live ones, and it fails on demand.

POST /v1/models/OWNER/NAME/predictions     a prediction, with a bearer token; "Prefer: wait=N" waits for it
GET  /v1/predictions/ID                    what became of it
POST /v1/predictions/ID/cancel
GET  /files/ID                             the picture, without any token
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import cast

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from omixa.domain.images import ImageFormat
from omixa.domain.scenarios import Step
from omixa.engines.workers import Workers
from omixa.imaging.inspect import inspect
from omixa.simulator.service import (
    STATUSES,
    Job,
    Refusal,
    Service,
    SimulatorOptions,
    Wanted,
    as_json,
    is_count,
    natural_size,
    read_picture,
    variant_of,
)
from omixa.simulator.wire import LARGE_JSON_BODY_MAX_BYTES, read_json

MAX_PIXELS = 4_194_304
MAX_WAIT_S = 60
MODELS = frozenset({"black-forest-labs/flux-2-pro"})
_FORMATS: Mapping[str, ImageFormat] = {"webp": "webp", "jpg": "jpeg", "png": "png"}
_SIZES: Mapping[str, tuple[int, int]] = {
    ratio: size
    for group in (
        {"1:1": (1024, 1024), "3:2": (1248, 832), "2:3": (832, 1248), "16:9": (1344, 768), "9:16": (768, 1344)},
        {"4:3": (1152, 864), "3:4": (864, 1152), "5:4": (1120, 896), "4:5": (896, 1120)},
    )
    for ratio, size in group.items()
}
_RESOLUTIONS = frozenset({"match_input_image", "0.5 MP", "1 MP", "2 MP", "4 MP"})
_FIELDS = frozenset(
    {
        *("prompt", "input_images", "aspect_ratio", "resolution", "width", "height"),
        *("safety_tolerance", "seed", "output_format", "output_quality"),
    }
)


class ReplicateSimulator(Service):
    """The handlers of predictions."""

    async def create(self, request: Request) -> Response:
        """Take a prediction, and wait for it as long as the client prefers."""
        self._check_token(request)
        name = f"{request.path_params['owner']}/{request.path_params['name']}"
        if name not in MODELS:
            raise _problem(404, "The requested resource could not be found.")
        form = await read_json(request, LARGE_JSON_BODY_MAX_BYTES)
        given = form.fields.get("input")
        if set(form.fields) - {"input", "webhook", "webhook_events_filter"} or not isinstance(given, dict):
            raise _problem(422, "- input is required")
        wanted = _wanted(given, variant_of(request))
        _, step = await self.enter(request, wanted.prompt)
        self._refuse(step, request.url.path)
        job = self.start(wanted, step)
        await self._wait(request, job)
        return self._answer(job, request, 201)

    async def read(self, request: Request) -> Response:
        """Tell what became of a prediction."""
        return self._answer(self._job(request), request, 200)

    async def cancel(self, request: Request) -> Response:
        """Stop a prediction that runs."""
        job = self._job(request)
        if job.is_running:
            job.cancelled = True
            job.making.cancel()
        return self._answer(job, request, 200)

    async def file(self, request: Request) -> Response:
        """Hand out a picture to whoever has its address, but not to whoever sends a token."""
        if "authorization" in request.headers:
            raise _problem(400, "This host takes no credentials.")
        job = self.job(request.path_params["id"])
        if job is None or job.is_running:
            raise _problem(404, "Not found.")
        if job.step.name == "redirect":
            raise Refusal(302, {}, {"location": "http://169.254.169.254/latest/meta-data/"})
        return self.deliver(await job.making, job.wanted.format, job.step)

    async def _wait(self, request: Request, job: Job) -> None:
        preference = re.fullmatch(r"wait(?:=([0-9]{1,2}))?", request.headers.get("prefer", ""))
        if preference is None:
            return
        wait_s = int(preference[1] or MAX_WAIT_S)
        if not 1 <= wait_s <= MAX_WAIT_S:
            raise _problem(400, "Prefer: wait takes 1 to 60 seconds.")
        if job.step.name not in ("hang", "slow") and not job.refused:
            await asyncio.wait({job.making}, timeout=wait_s)

    def _answer(self, job: Job, request: Request, status: int) -> Response:
        if job.step.name == "html":
            return HTMLResponse("<h1>Our services are busy</h1>", status)
        document = _prediction(job, str(request.base_url))
        if job.step.name == "badjson":
            return Response(b'{"id": "', status, media_type="application/json")
        if job.step.name == "nodata":
            del document["urls"]
        return as_json(document, status)

    def _job(self, request: Request) -> Job:
        self._check_token(request)
        job = self.job(request.path_params["id"])
        if job is None:
            raise _problem(404, "The requested resource could not be found.")
        return job

    async def account(self, request: Request) -> Response:
        """Say whose the token is."""
        self._check_token(request)
        return as_json({"type": "organization", "username": "simulated", "name": "Simulated"})

    def _check_token(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self.is_key(token.strip()):
            raise Refusal(
                401,
                {
                    "title": "Unauthenticated",
                    "detail": "You did not pass a valid authentication token",
                    "status": 401,
                },
            )

    def _refuse(self, step: Step, path: str) -> None:
        self.redirect(step, path)
        if step.name == "quota":
            raise Refusal(
                402, {"title": "Insufficient credit", "detail": "You have insufficient credit.", "status": 402}
            )
        if step.name == "429":
            raise Refusal(429, {"detail": "Request was throttled. Expected available in 1 second.", "status": 429})
        if step.name in STATUSES:
            raise _problem(STATUSES[step.name], f"The service answers {step.name}.")


def create_app(options: SimulatorOptions, workers: Workers) -> ASGIApp:
    """Return the simulator as an ASGI application."""
    simulator = ReplicateSimulator(options, workers)
    return simulator.app(
        Route("/v1/models/{owner}/{name}/predictions", simulator.create, methods=["POST"]),
        Route("/v1/account", simulator.account, methods=["GET"]),
        Route("/v1/predictions/{id}", simulator.read, methods=["GET"]),
        Route("/v1/predictions/{id}/cancel", simulator.cancel, methods=["POST"]),
        Route("/files/{id}", simulator.file, methods=["GET"]),
    )


def _prediction(job: Job, base_url: str) -> dict[str, object]:
    url = f"{base_url}v1/predictions/{job.id}"
    document: dict[str, object] = {
        "id": job.id,
        "status": "processing",
        "output": None,
        "error": None,
        "metrics": {},
        "urls": {"get": url, "cancel": f"{url}/cancel"},
    }
    if job.refused:
        words = "The input or output was flagged as sensitive. Please try again with different inputs. (E005)"
        return document | {"status": "failed", "error": words}
    if job.cancelled:
        return document | {"status": "canceled"}
    if job.is_running:
        return document
    if job.failure is not None:
        words = "cannot identify image file" if job.failure == "unreadable" else "too much is being made"
        return document | {"status": "failed", "error": f"Prediction failed: {words}"}
    output = None if job.step.name == "empty" else f"{base_url}files/{job.id}"
    return document | {"status": "succeeded", "output": output, "metrics": {"predict_time": 2.1}}


def _wanted(fields: Mapping[str, object], variant: int) -> Wanted:
    """Return the picture that an input asks for. Raises Refusal 422 that names the field."""
    for name in fields:
        if name not in _FIELDS:
            raise _problem(422, f"- input: Additional property {name} is not allowed")
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise _problem(422, "- input: prompt is required")
    wanted = fields.get("output_format", "webp")
    if wanted not in _FORMATS:
        raise _problem(422, "- input.output_format: must be one of webp, jpg, png")
    if fields.get("resolution", "1 MP") not in _RESOLUTIONS:
        raise _problem(422, "- input.resolution: is not one of the resolutions")
    references = _references(fields)
    return Wanted(prompt, _size(fields, references), variant, _FORMATS[str(wanted)], references)


def _references(fields: Mapping[str, object]) -> tuple[bytes, ...]:
    given = fields.get("input_images", [])
    if not isinstance(given, list) or len(given) > 8:
        raise _problem(422, "- input.input_images: at most 8 images")
    pictures = [read_picture(one) for one in given]
    if None in pictures:
        raise _problem(422, "- input.input_images: must be URIs of images")
    return tuple(data for data in pictures if data is not None)


def _size(fields: Mapping[str, object], references: tuple[bytes, ...]) -> tuple[int, int]:
    ratio = fields.get("aspect_ratio", "1:1")
    if ratio == "custom":
        sides = (fields.get("width"), fields.get("height"))
        if not all(is_count(side, 256, 2048, 32) for side in sides):
            raise _problem(422, "- input.width: width and height are multiples of 32 from 256 to 2048")
        return cast(tuple[int, int], sides)
    if ratio == "match_input_image" and references:
        return natural_size(inspect(references[0]), MAX_PIXELS, 16)
    if ratio not in _SIZES:
        raise _problem(422, "- input.aspect_ratio: is not one of the ratios")
    return _SIZES[str(ratio)]


def _problem(status: int, detail: str) -> Refusal:
    return Refusal(status, {"title": "Problem", "detail": detail, "status": status})
