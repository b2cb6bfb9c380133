"""A stand-in for fal.ai's queue: as strict as the live one, and it fails on demand.

POST /MODEL                                     a job, with "Authorization: Key …"; the addresses of the job come back
GET  /OWNER/APP/requests/ID/status              202 while it waits or runs, 200 when it is over
GET  /OWNER/APP/requests/ID                     what it gave, or how it failed
PUT  /OWNER/APP/requests/ID/cancel
GET  /files/ID                                  the picture, without any key
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

ONE_MEGAPIXEL = 1_048_576
MAX_PIXELS = 4_194_304
_SIZES: Mapping[str, tuple[int, int]] = {
    ratio: size
    for group in (
        {"1:1": (1024, 1024), "3:2": (1248, 832), "2:3": (832, 1248), "16:9": (1360, 768), "9:16": (768, 1360)},
        {"4:3": (1168, 880), "3:4": (880, 1168), "5:4": (1136, 912), "4:5": (912, 1136), "21:9": (1552, 672)},
    )
    for ratio, size in group.items()
}
# An edit has eight of the ratios.
_NOT_FOR_EDITS = frozenset({"21:9", "5:4", "4:5"})
Fields = Mapping[str, object]


class FalSimulator(Service):
    """The handlers of the queue."""

    async def submit(self, request: Request) -> Response:
        """Take a job."""
        self._check_key(request)
        model = request.path_params["model"]
        if model not in _MODELS:
            raise Refusal(404, {"detail": f"Application '{model.split('/')[-1]}' not found"})
        form = await read_json(request, LARGE_JSON_BODY_MAX_BYTES)
        # The queue takes whatever comes: what is wrong with it is told by the job.
        prompt = form.fields.get("prompt")
        _, step = await self.enter(request, prompt if isinstance(prompt, str) else "")
        self._refuse(step, request.url.path)
        owner, app = model.split("/")[:2]
        try:
            job = self.start(_MODELS[model](form.fields, variant_of(request)), step)
        except Refusal as refusal:
            job = self.reject(refusal, step)
        base = f"{request.base_url}{owner}/{app}/requests/{job.id}"
        document: dict[str, object] = {
            "status": "IN_QUEUE",
            "request_id": job.id,
            "response_url": base,
            "status_url": f"{base}/status",
            "cancel_url": f"{base}/cancel",
            "queue_position": 0,
        }
        if step.name == "nodata":
            del document["status_url"]
        return as_json(document)

    async def status(self, request: Request) -> Response:
        """Tell how far a job is."""
        job = self._job(request)
        if job.step.name == "html":
            return HTMLResponse("<h1>Our services are busy</h1>")
        running = job.is_running
        document = {
            "status": "IN_PROGRESS" if running else "COMPLETED",
            "request_id": job.id,
            "response_url": str(request.url).removesuffix("/status"),
        }
        return as_json(document, 202 if running else 200)

    async def response(self, request: Request) -> Response:
        """Hand out what a job gave, or how it failed."""
        job = self._job(request)
        if job.is_running:
            raise Refusal(400, {"detail": "Request is still in progress"})
        if job.cancelled:
            raise Refusal(400, {"detail": "Request was cancelled"})
        if job.refused:
            raise _invalid("prompt", "content_policy_violation", "The content could not be processed.")
        if job.rejection is not None:
            raise job.rejection
        if job.failure == "unreadable":
            raise _invalid("image_urls", "image_load_error", "Failed to load the image.")
        if job.failure is not None:
            raise Refusal(500, {"detail": "Too much is being made."})
        if job.step.name == "badjson":
            return Response(b'{"images": [', media_type="application/json")
        file = {
            "url": f"{request.base_url}files/{job.id}",
            "content_type": f"image/{job.wanted.format}",
        }
        if "clarity" in request.url.path:
            return as_json({"image": None if job.step.name == "empty" else file, "seed": 7})
        return as_json({"images": [] if job.step.name == "empty" else [file], "seed": 7})

    async def cancel(self, request: Request) -> Response:
        """Stop a job that waits or runs."""
        job = self._job(request)
        if not job.is_running:
            raise Refusal(400, {"status": "ALREADY_COMPLETED"})
        job.cancelled = True
        job.making.cancel()
        return as_json({"status": "CANCELLATION_REQUESTED"}, 202)

    async def file(self, request: Request) -> Response:
        """Hand out a picture to whoever has its address, but not to whoever sends a key."""
        if "authorization" in request.headers:
            raise Refusal(400, {"detail": "This host takes no credentials."})
        job = self.job(request.path_params["id"])
        if job is None or job.is_running:
            raise Refusal(404, {"detail": "Not Found"})
        if job.step.name == "redirect":
            raise Refusal(302, {}, {"location": "http://169.254.169.254/latest/meta-data/"})
        return self.deliver(await job.making, job.wanted.format, job.step)

    def _job(self, request: Request) -> Job:
        self._check_key(request)
        job = self.job(request.path_params["id"])
        if job is None:
            raise Refusal(404, {"detail": "Request not found"})
        return job

    def _check_key(self, request: Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "Key" or not self.is_key(key.strip()):
            raise Refusal(401, {"detail": "Cannot access application. Authentication is required to access it."})

    def _refuse(self, step: Step, path: str) -> None:
        self.redirect(step, path)
        if step.name == "quota":
            raise Refusal(402, {"detail": "User is locked. Reason: Exhausted balance."})
        if step.name in STATUSES:
            status = STATUSES[step.name]
            wait = step.retry_after or ("1" if status == 429 else "none")
            headers = {} if wait == "none" else {"retry-after": wait}
            raise Refusal(status, {"detail": f"The queue answers {status}."}, headers)


def create_app(options: SimulatorOptions, workers: Workers) -> ASGIApp:
    """Return the simulator as an ASGI application."""
    simulator = FalSimulator(options, workers)
    job = "/{owner}/{app}/requests/{id}"
    return simulator.app(
        Route("/files/{id}", simulator.file, methods=["GET"]),
        Route(f"{job}/status", simulator.status, methods=["GET"]),
        Route(f"{job}/cancel", simulator.cancel, methods=["PUT"]),
        Route(job, simulator.response, methods=["GET"]),
        Route("/{model:path}", simulator.submit, methods=["POST"]),
    )


# --------------------------------------------------------------------------------------------------------- the models


def _mai(fields: Fields, variant: int) -> Wanted:
    return _mai_of(fields, variant, pictures=0)


def _mai_edit(fields: Fields, variant: int) -> Wanted:
    return _mai_of(fields, variant, pictures=1)


def _mai_of(fields: Fields, variant: int, pictures: int) -> Wanted:
    accepted = {"prompt", "num_images", "aspect_ratio", "output_format", "sync_mode"}
    _check_names(fields, accepted | ({"image_urls"} if pictures else set()))
    references = _pictures(fields, pictures) if pictures else ()
    if not is_count(fields.get("num_images", 1), 1, 4):
        raise _invalid("num_images", "less_than_equal", "Input should be between 1 and 4")
    ratio = fields.get("aspect_ratio", "auto")
    if ratio != "auto" and (ratio not in _SIZES or (pictures and ratio in _NOT_FOR_EDITS)):
        raise _invalid("aspect_ratio", "literal_error", "Input should be one of the ratios")
    size = _SIZES["1:1"] if ratio == "auto" else _SIZES[str(ratio)]
    if ratio == "auto" and references:
        size = natural_size(inspect(references[0]), ONE_MEGAPIXEL, 16)
    return Wanted(_prompt(fields), size, variant, _format(fields, "png", "jpeg", "webp"), references)


def _flux(fields: Fields, variant: int) -> Wanted:
    return _flux_of(fields, variant, pictures=0)


def _flux_edit(fields: Fields, variant: int) -> Wanted:
    return _flux_of(fields, variant, pictures=9)


def _flux_of(fields: Fields, variant: int, pictures: int) -> Wanted:
    accepted = {
        "prompt",
        "image_size",
        "seed",
        "safety_tolerance",
        "enable_safety_checker",
        "output_format",
        "sync_mode",
    }
    _check_names(fields, accepted | ({"image_urls"} if pictures else set()))
    references = _pictures(fields, pictures) if pictures else ()
    size = fields.get("image_size", "auto" if pictures else {"width": 1024, "height": 768})
    if size == "auto" and references:
        shape = natural_size(inspect(references[0]), MAX_PIXELS, 16)
    elif isinstance(size, dict) and all(is_count(size.get(side), 256, 2048, 16) for side in ("width", "height")):
        shape = (size["width"], size["height"])
    else:
        raise _invalid("image_size", "value_error", "Input should be a size with sides that are multiples of 16")
    return Wanted(_prompt(fields), shape, variant, _format(fields, "jpeg", "png"), references)


def _clarity(fields: Fields, variant: int) -> Wanted:
    accepted = {"image_url", "upscale_factor", "prompt", "negative_prompt", "creativity", "resemblance", "seed"}
    _check_names(fields, accepted)
    data = read_picture(fields.get("image_url"))
    if data is None:
        raise _invalid("image_url", "image_load_error", "Failed to load the image.")
    factor = fields.get("upscale_factor", 2)
    if not is_count(factor, 1, 4):
        raise _invalid("upscale_factor", "less_than_equal", "Input should be between 1 and 4")
    prompt = fields.get("prompt", "")
    return Wanted(str(prompt), None, variant, references=(data,), scale=cast(int, factor))


_MODELS: Mapping[str, Callable[[Fields, int], Wanted]] = {
    "microsoft/mai-image-2.5/text-to-image": _mai,
    "microsoft/mai-image-2.5/edit": _mai_edit,
    "fal-ai/flux-2-pro": _flux,
    "fal-ai/flux-2-pro/edit": _flux_edit,
    "fal-ai/clarity-upscaler": _clarity,
}


def _check_names(fields: Fields, accepted: set[str]) -> None:
    for name in fields:
        if name not in accepted:
            raise _invalid(name, "extra_forbidden", "Extra inputs are not permitted")


def _prompt(fields: Fields) -> str:
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise _invalid("prompt", "missing", "Field required")
    return prompt


def _format(fields: Fields, *accepted: ImageFormat) -> ImageFormat:
    wanted = fields.get("output_format", accepted[0])
    if wanted not in accepted:
        raise _invalid("output_format", "literal_error", f"Input should be one of {', '.join(accepted)}")
    return wanted


def _pictures(fields: Fields, most: int) -> tuple[bytes, ...]:
    given = fields.get("image_urls")
    if not isinstance(given, list) or not 1 <= len(given) <= most:
        raise _invalid("image_urls", "too_long", f"List should have 1 to {most} items")
    pictures = [read_picture(one) for one in given if isinstance(one, str) and one.startswith("data:")]
    if len(pictures) < len(given) or None in pictures:
        raise _invalid("image_urls", "image_load_error", "Failed to load the image.")
    return tuple(data for data in pictures if data is not None)


def _invalid(name: str, kind: str, message: str) -> Refusal:
    detail = {"loc": ["body", name], "type": kind, "msg": message, "url": "https://docs.fal.ai/errors", "ctx": {}}
    return Refusal(422, {"detail": [detail]}, {"x-fal-retryable": "false"})
