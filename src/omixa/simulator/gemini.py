"""A stand-in for the Gemini API's image models: as strict as the live service, and it fails on demand.

    POST /v1beta/models/MODEL:generateContent     JSON, with the key in x-goog-api-key; also without /v1beta
    POST /v1/projects/P/locations/L/publishers/google/models/MODEL:generateContent     as Vertex AI has it, with a bearer token

The better model answers with a JPEG, after a draft that it only thought. A prompt with a word that is never allowed is blocked
before it is read, the scenario's `filter` stops the picture that was made of it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pybase64
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from omixa.domain.images import MEDIA_TYPES, ImageFormat
from omixa.domain.scenarios import Step
from omixa.engines.workers import Workers
from omixa.errors import InvalidRequest
from omixa.imaging.inspect import inspect
from omixa.simulator.documents import DocumentService, encoded, reported
from omixa.simulator.rules import TRIGGER
from omixa.simulator.service import (
    STATUSES,
    Refusal,
    SimulatorOptions,
    Wanted,
    as_json,
    natural_size,
    read_picture,
    variant_of,
)
from omixa.simulator.wire import LARGE_JSON_BODY_MAX_BYTES, ServiceError, read_json
from omixa.tokens import Tokenizer

SIDE_MULTIPLE = 16
REFERENCES_MAX = 14
# At 1K; other resolutions have a multiple of these sides.
SHAPES: Mapping[str, tuple[int, int]] = {
    "1:1": (1024, 1024),
    "2:3": (848, 1264),
    "3:2": (1264, 848),
    "3:4": (896, 1200),
    "4:3": (1200, 896),
    "4:5": (928, 1152),
    "5:4": (1152, 928),
    "9:16": (768, 1376),
    "16:9": (1376, 768),
    "21:9": (1584, 672),
}
SCALES: Mapping[str, int] = {"1K": 1, "2K": 2, "4K": 4}
_STATUS_WORDS: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNKNOWN",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_REFERENCE_TYPES = frozenset(MEDIA_TYPES.values())


@dataclass(frozen=True, slots=True)
class GeminiModel:
    """What a model makes: tokens by resolution, tokens of a reference, what it thinks, and in which format it answers."""

    tokens: Mapping[str, int]
    reference_tokens: int
    thoughts: int
    window: int
    format: ImageFormat = "png"


MODELS: Mapping[str, GeminiModel] = {
    "gemini-3.1-flash-image": GeminiModel({"1K": 1120, "2K": 1680, "4K": 2520}, 1120, 180, 131_072),
    "gemini-3-pro-image": GeminiModel({"1K": 1120, "2K": 1120, "4K": 2000}, 560, 940, 65_536, format="jpeg"),
}


@dataclass(frozen=True, slots=True)
class _Order:
    """A request that was understood."""

    prompt: str
    references: tuple[bytes, ...]
    size: tuple[int, int]
    resolution: str


class GeminiSimulator(DocumentService):
    """The handler of generateContent."""

    def __init__(self, options: SimulatorOptions, workers: Workers, tokenizer: Tokenizer) -> None:
        super().__init__(options, workers)
        self._tokenizer = tokenizer

    async def serve(self, request: Request) -> Response:
        """Make a picture at once."""
        self._authenticate(request)
        model = MODELS.get(request.path_params["model"])
        if model is None:
            raise _problem(404, f"models/{request.path_params['model']} is not found for API version v1beta.")
        try:
            form = await read_json(request, LARGE_JSON_BODY_MAX_BYTES)
        except ServiceError as error:
            raise _problem(error.status, error.message) from error
        order = _order(form.fields, model)
        entry, step = await self.enter(request, order.prompt)
        self._refuse(step, request.url.path)
        usage = {
            "promptTokenCount": 0,
            "candidatesTokenCount": model.tokens[order.resolution],
            "thoughtsTokenCount": model.thoughts,
        }
        words = (await asyncio.to_thread(self._tokenizer.count, order.prompt, limit=model.window)).tokens
        pictures = len(order.references) * model.reference_tokens
        usage["promptTokenCount"] = words + pictures
        counted = reported(usage, step, text="promptTokenCount", most=model.window + pictures)
        fields: dict[str, Any] = {"modelVersion": request.path_params["model"], "responseId": entry.request_id}
        if counted is not None:
            fields["usageMetadata"] = {
                **counted,
                "promptTokensDetails": _details(TEXT=words, IMAGE=pictures),
                "candidatesTokensDetails": _details(IMAGE=counted["candidatesTokenCount"]),
            }
        entry.status = 200
        if TRIGGER.search(order.prompt):
            return self.answer({**fields, "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, step, {})
        if step.name == "filter":
            return self.answer({**fields, "candidates": [{"finishReason": "IMAGE_SAFETY", "index": 0}]}, step, {})
        wanted = Wanted(order.prompt, order.size, variant_of(request), model.format, order.references)
        try:
            data = await self.make(wanted, step)
        except InvalidRequest as error:
            raise _problem(400, f"Unable to process input image: {error.message}") from error
        if step.name != "nodata":
            fields["candidates"] = [] if step.name == "empty" else [_candidate(data, model, step)]
        return self.answer(fields, step, {})

    async def models(self, request: Request) -> Response:
        """List the models, which says that the key is good."""
        self._authenticate(request)
        return as_json({"models": [{"name": f"models/{name}"} for name in sorted(MODELS)]})

    def _authenticate(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = request.headers.get("x-goog-api-key") or (token.strip() if scheme.lower() == "bearer" else "")
        if not given:
            raise _problem(403, "Method doesn't allow unregistered callers.")
        if not self.is_key(given):
            raise _bad_key()

    def _refuse(self, step: Step, path: str) -> None:
        self.redirect(step, path)
        if step.name == "401":
            raise _bad_key()
        if step.name == "quota":
            raise _problem(402, "The billing account is closed.")
        if step.name in STATUSES:
            status = STATUSES[step.name]
            wait = step.retry_after or ("1" if status == 429 else "none")
            delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait}s"}
            raise _problem(status, f"The service answers {status}.", () if wait == "none" else (delay,))


def create_app(options: SimulatorOptions, workers: Workers, *, tokenizer: Tokenizer | None = None) -> ASGIApp:
    """Return the simulator as an ASGI application."""
    simulator = GeminiSimulator(options, workers, tokenizer or Tokenizer())
    place = "/models/{model}:generateContent"
    vertex = "/v1/projects/{project}/locations/{location}/publishers/google" + place
    return simulator.app(
        *(Route(path, simulator.serve, methods=["POST"]) for path in (place, "/v1beta" + place, vertex)),
        *(Route(path, simulator.models, methods=["GET"]) for path in ("/models", "/v1beta/models")),
    )


def _order(fields: Mapping[str, object], model: GeminiModel) -> _Order:
    """Return what a request asks for. Raises Refusal 400 that names the field."""
    _check_names(fields, ("contents", "generationConfig", "safetySettings"), "")
    match fields.get("contents"):
        case [{"parts": [*parts], **others}]:
            _check_names(others, ("role",), "contents[0]")
        case _:
            raise _problem(400, "contents: must hold one turn with parts.")
    prompt, references = _read_parts(parts)
    size, resolution = _size(fields.get("generationConfig"), model, references)
    return _Order(prompt, references, size, resolution)


def _read_parts(parts: list[Any]) -> tuple[str, tuple[bytes, ...]]:
    words: list[str] = []
    references: list[bytes] = []
    for place, part in enumerate(parts):
        match part:
            case {"text": str() as text} if len(part) == 1:
                words.append(text)
            case {"inlineData": {"mimeType": str() as media_type, "data": str() as data}} if len(part) == 1:
                references.append(_reference(media_type, data, place))
            case _:
                raise _problem(400, f"contents[0].parts[{place}]: must be text or inlineData with mimeType and data.")
    if not "".join(words).strip():
        raise _problem(400, "contents[0].parts: a text is required.")
    if len(references) > REFERENCES_MAX:
        raise _problem(400, f"contents[0].parts: at most {REFERENCES_MAX} images.")
    return "\n".join(words), tuple(references)


def _reference(media_type: str, data: str, place: int) -> bytes:
    picture = read_picture(data)
    if media_type not in _REFERENCE_TYPES:
        raise _problem(400, f"Unsupported MIME type: {media_type}")
    if picture is None or MEDIA_TYPES[inspect(picture).format] != media_type:
        raise _problem(400, f"Unable to process input image: contents[0].parts[{place}].")
    return picture


def _size(config: object, model: GeminiModel, references: tuple[bytes, ...]) -> tuple[tuple[int, int], str]:
    match config:
        case {"responseModalities": [*modalities], "imageConfig": dict() as image, **others}:
            _check_names(others, (), "generationConfig")
            _check_names(image, ("aspectRatio", "imageSize"), "generationConfig.imageConfig")
        case _:
            raise _problem(400, "generationConfig: responseModalities and imageConfig are required.")
    if "IMAGE" not in modalities or not set(modalities) <= {"IMAGE", "TEXT"}:
        raise _problem(400, "generationConfig.responseModalities: must hold IMAGE, and TEXT if wanted.")
    shape, resolution = image.get("aspectRatio"), image.get("imageSize", "1K")
    if resolution not in model.tokens:
        raise _problem(400, f"imageSize: must be one of {', '.join(model.tokens)}.")
    if shape is not None and shape not in SHAPES:
        raise _problem(400, f"aspectRatio: must be one of {', '.join(SHAPES)}.")
    scale = SCALES[resolution]
    if shape is None and references:
        return natural_size(inspect(references[0]), 1024 * 1024 * scale * scale, SIDE_MULTIPLE), resolution
    width, height = SHAPES[shape or "1:1"]
    return (width * scale, height * scale), resolution


def _candidate(data: bytes, model: GeminiModel, step: Step) -> Mapping[str, object]:
    media_type = MEDIA_TYPES["jpeg" if step.name == "jpeg" else model.format]
    picture = {"inlineData": {"mimeType": media_type, "data": encoded(data, step)}}
    parts: list[Mapping[str, object]] = [{"text": "Here is the picture."}, picture]
    if model.format == "jpeg":
        draft = {"mimeType": "image/png", "data": pybase64.b64encode_as_string(b"a draft")}
        parts = [{"text": "I think of the light.", "thought": True}, {"inlineData": draft, "thought": True}, *parts]
    return {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}


def _details(**counts: int) -> list[Mapping[str, object]]:
    return [{"modality": name, "tokenCount": count} for name, count in counts.items() if count]


def _check_names(names: Iterable[object], known: Iterable[object], place: str) -> None:
    for name in names:
        if name not in known:
            where = f" at '{place}'" if place else ""
            raise _problem(400, f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.')


def _bad_key() -> Refusal:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    return _problem(400, "API key not valid. Please pass a valid API key.", (info,))


def _problem(status: int, message: str, details: Iterable[Mapping[str, object]] = ()) -> Refusal:
    error: dict[str, object] = {"code": status, "message": message, "status": _STATUS_WORDS.get(status, "UNKNOWN")}
    if details := list(details):
        error["details"] = details
    return Refusal(status, {"error": error}, {"x-request-id": uuid.uuid4().hex})
