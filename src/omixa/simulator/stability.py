"""A stand-in for Stability AI's services: as strict as the live ones, and it fails on demand.

POST /v2beta/stable-image/SERVICE     a form, with a bearer key; the bytes of the picture, or JSON, as "Accept" says
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import pybase64
from starlette.requests import Request
from starlette.responses import Response
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
    Refusal,
    Service,
    SimulatorOptions,
    Wanted,
    as_json,
    is_refused,
    natural_size,
    variant_of,
)
from omixa.simulator.wire import Form, ServiceError, read_multipart

BODY_MAX_BYTES = 10 * 1024 * 1024
PROMPT_MAX = 10_000
MAX_PIXELS = 9_437_184
UPSCALED_MAX_PIXELS = 1_048_576
SCALE = 4
RATIOS: Mapping[str, tuple[int, int]] = {
    ratio: size
    for group in (
        {"1:1": (1024, 1024), "3:2": (1216, 832), "2:3": (832, 1216), "16:9": (1344, 768), "9:16": (768, 1344)},
        {"21:9": (1536, 640), "9:21": (640, 1536), "4:5": (896, 1088), "5:4": (1088, 896)},
    )
    for ratio, size in group.items()
}
_WORDS = frozenset({"prompt", "negative_prompt", "seed", "output_format", "style_preset"})


@dataclass(frozen=True, slots=True)
class _Rules:
    """The fields of a service, its files, and which of them it needs."""

    fields: frozenset[str]
    needs: frozenset[str] = frozenset()
    files: tuple[str, ...] = ()
    needs_picture: bool = False
    most_pixels: int = MAX_PIXELS


_SERVICES: Mapping[str, _Rules] = {
    "generate/core": _Rules(_WORDS | {"aspect_ratio"}, frozenset({"prompt"})),
    "generate/ultra": _Rules(_WORDS | {"aspect_ratio", "strength"}, frozenset({"prompt"}), ("image",)),
    "generate/sd3": _Rules(
        _WORDS | {"aspect_ratio", "strength", "mode", "model", "cfg_scale"}, frozenset({"prompt"}), ("image",)
    ),
    "edit/inpaint": _Rules(_WORDS | {"grow_mask"}, frozenset({"prompt"}), ("image", "mask"), needs_picture=True),
    "edit/remove-background": _Rules(frozenset({"output_format"}), files=("image",), needs_picture=True),
    "upscale/fast": _Rules(
        frozenset({"output_format"}), files=("image",), needs_picture=True, most_pixels=UPSCALED_MAX_PIXELS
    ),
}


class StabilitySimulator(Service):
    """The handler of all services."""

    async def serve(self, request: Request) -> Response:
        """Make a picture at once."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self.is_key(key.strip()):
            raise _problem(401, "unauthorized", "missing or invalid authorization header")
        service = request.path_params["service"]
        if service not in _SERVICES:
            raise _problem(404, "not_found", "not found")
        raw = request.headers.get("accept", "image/*") == "image/*"
        if int(request.headers.get("content-length", "0")) > BODY_MAX_BYTES:
            raise _problem(413, "payload_too_large", "body: payload size must be less than 10MiB")
        try:
            wanted = _wanted(service, await read_multipart(request), variant_of(request))
        except ServiceError as error:
            raise _problem(400, "bad_request", error.message) from error
        entry, step = await self.enter(request, wanted.prompt)
        self._refuse(step, request.url.path)
        if step.name == "filter":
            raise _problem(403, "content_moderation", "Your request was flagged by our content moderation system.")
        try:
            data = await self.make(wanted, step)
        except InvalidRequest as error:
            raise _problem(400, "bad_request", f"image: {error.message}") from error
        entry.status = 200
        # A word that is never allowed is found in the picture.
        reason = "CONTENT_FILTERED" if is_refused(wanted, step) else "SUCCESS"
        headers = {"x-request-id": entry.request_id, "finish-reason": reason, "seed": "7"}
        if not raw:
            return as_json({"image": pybase64.b64encode_as_string(data), "finish_reason": reason, "seed": 7})
        if step.name == "empty":
            return Response(b"", headers=headers, media_type=f"image/{wanted.format}")
        return self.deliver(data, wanted.format, step, headers)

    async def balance(self, request: Request) -> Response:
        """Say what is left of the account's credit."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self.is_key(key.strip()):
            raise _problem(401, "unauthorized", "missing or invalid authorization header")
        return as_json({"credits": CREDITS})

    def _refuse(self, step: Step, path: str) -> None:
        self.redirect(step, path)
        if step.name == "quota":
            raise _problem(402, "payment_required", "You lack sufficient credits to make this request.")
        if step.name in STATUSES:
            status = STATUSES[step.name]
            wait = step.retry_after or ("1" if status == 429 else "none")
            headers = {} if wait == "none" else {"retry-after": wait}
            raise _problem(status, "error", f"The service answers {status}.", headers)


def create_app(options: SimulatorOptions, workers: Workers) -> ASGIApp:
    """Return the simulator as an ASGI application."""
    simulator = StabilitySimulator(options, workers)
    return simulator.app(
        Route("/v2beta/stable-image/{service:path}", simulator.serve, methods=["POST"]),
        Route("/v1/user/balance", simulator.balance, methods=["GET"]),
    )


def _wanted(service: str, form: Form, variant: int) -> Wanted:
    """Return the picture that a form asks for. Raises Refusal 400 that names the field."""
    rules, fields = _SERVICES[service], {name: str(value) for name, value in form.fields.items()}
    for name in (*fields, *(part.name for part in form.files)):
        if name not in rules.fields and name not in rules.files:
            raise _bad(f"{name}: unknown field")
    if missing := [name for name in sorted(rules.needs) if not fields.get(name, "").strip()]:
        raise _bad(f"{missing[0]}: cannot be blank")
    if len(fields.get("prompt", "")) > PROMPT_MAX:
        raise _bad(f"prompt: cannot be longer than {PROMPT_MAX} characters")
    files = {part.name: part.data for part in form.files}
    picture, mask = files.get("image"), files.get("mask")
    if picture is None and (rules.needs_picture or mask is not None):
        raise _bad("image: is required")
    size = _checked_size(rules, picture, mask)
    wanted = fields.get("output_format", "png")
    formats = ("png", "webp") if service == "edit/remove-background" else ("png", "jpeg", "webp")
    if wanted not in formats:
        raise _bad(f"output_format: must be one of {', '.join(formats)}")
    if service == "generate/sd3" and fields.get("model", "sd3.5-large") not in ("sd3.5-large", "sd3.5-medium"):
        raise _bad("model: must be one of sd3.5-large, sd3.5-large-turbo, sd3.5-medium")
    if service.startswith("generate/"):
        _check_variation(service, fields, picture)
        size = size or RATIOS[fields.get("aspect_ratio", "1:1")]
    references = () if picture is None else (picture,)
    return Wanted(
        fields.get("prompt", ""),
        size,
        variant,
        cast(ImageFormat, wanted),
        references,
        None if mask is None else _as_transparent(mask),
        scale=SCALE if service == "upscale/fast" else 1,
        cut_out=service == "edit/remove-background",
    )


def _check_variation(service: str, fields: Mapping[str, str], picture: bytes | None) -> None:
    if fields.get("aspect_ratio", "1:1") not in RATIOS:
        raise _bad(f"aspect_ratio: must be one of {', '.join(RATIOS)}")
    if (picture is not None) != ("strength" in fields):
        raise _bad("strength: is required with an image, and only then")
    if service == "generate/sd3" and (picture is not None) != (fields.get("mode") == "image-to-image"):
        raise _bad("mode: must be image-to-image with an image, and only then")
    if service == "generate/sd3" and picture is not None and "aspect_ratio" in fields:
        raise _bad("aspect_ratio: is for text-to-image only")


def _checked_size(rules: _Rules, picture: bytes | None, mask: bytes | None) -> tuple[int, int] | None:
    if picture is None:
        return None
    try:
        info = inspect(picture)
        seen = info if mask is None else inspect(mask)
    except ValueError as error:
        raise _bad(f"image: {error}") from error
    if info.pixels > rules.most_pixels or min(info.width, info.height) < 32:
        raise _bad(f"image: must have at most {rules.most_pixels} pixels and sides of at least 32")
    if seen.size != info.size:
        raise _bad("mask: must be as large as the image")
    return natural_size(info, rules.most_pixels, 1)


def _as_transparent(mask: bytes) -> bytes:
    """Return a mask that is white where the picture may change as one that is transparent there, which the illustrator takes."""
    import io

    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(mask)) as opened:
        grey = opened.convert("L")
    if grey.getextrema() == (0, 0):
        raise _bad("mask: nothing is white in it")
    picture = Image.new("RGBA", grey.size, "black")
    picture.putalpha(ImageOps.invert(grey))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _bad(message: str) -> Refusal:
    return _problem(400, "bad_request", message)


def _problem(status: int, name: str, message: str, headers: Mapping[str, str] | None = None) -> Refusal:
    return Refusal(status, {"id": uuid.uuid4().hex, "name": name, "errors": [message]}, headers)
