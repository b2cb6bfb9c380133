"""GET /openapi.json: the whole API as OpenAPI 3.1, made from the table of operations, the shapes, the errors and the catalogue.

Nothing is listed here twice: what an endpoint takes and gives is read from the types that parse and build it, and what it can
refuse from the classes in errors.py.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from omixa import __version__
from omixa.access.roles import SCOPES
from omixa.access.signatures import SIGNATURE_HEADER, TIMESTAMP_HEADER
from omixa.api import shapes
from omixa.api.errors import error_body
from omixa.api.examples import REQUEST_ID, example_answer, example_edit, example_request, example_stream
from omixa.api.exchange import Exchange
from omixa.api.forms import FORM
from omixa.api.operation import Operation
from omixa.api.queries import Query, query_schemas
from omixa.catalogue.loader import Catalogue
from omixa.catalogue.schema import edit_schema, form_schema, json_schema
from omixa.domain.images import MEDIA_TYPES
from omixa.domain.models import Model
from omixa.errors import (
    Gone,
    InternalError,
    LedgerUnavailable,
    OmixaError,
    RateLimited,
    RoleForbidden,
    ScopeForbidden,
    Unauthenticated,
)
from omixa.gateway.idempotency import KEY_HEADER
from omixa.gateway.quotes import CAP_HEADER
from omixa.gateway.rehearsals import SIMULATE_HEADER, SIMULATE_MAX_CHARACTERS
from omixa.services import Services

Json = dict[str, Any]

DESCRIPTION = """
One request in, pictures and an exact receipt out. The paths below `/api/v1` answer as OpenAI's Images API does, so its clients
work unchanged; what is Omixa's own stands in the object `omixa` and in headers. Amounts of money are decimal strings in US
dollars. New fields may be added to answers at any time.
"""
KEY_DESCRIPTION = f"""
A test key runs the same path on the simulator and spends play money. A key made with --require-signature also needs the headers
{TIMESTAMP_HEADER}, Unix seconds, and {SIGNATURE_HEADER}, sha256= and the HMAC-SHA-256 of timestamp.METHOD.path.body.
"""
_REFERENCE = "#/components/schemas/{name}"
_JSON = "application/json"
_KEY = "apiKey"
_OPERATOR = "operatorToken"

_PATH_PARAMETERS: Mapping[str, str] = {
    "model": "The id of a model, in upper or lower case.",
    "request": "The id of a request: the header `x-request-id` of its answer.",
    "key": "The id of a key, as the request log has it.",
    "month": "A UTC month such as 2026-10.",
    "workspace": "The name of a workspace.",
    "account": "The name of a stored account at a provider.",
    "finding": "The id of a finding.",
    "name": "The name of a member, by which they sign in.",
    "picture": "A picture of the request, as its link names it.",
}
_HEADERS: Mapping[str, Json] = {
    "Idempotency-Replayed": {
        "description": "This is the stored answer of the first request with the same key. It was not charged again.",
        "schema": {"enum": ["true"]},
    },
    "Omixa-Joined": {
        "description": "A retry without a key got the answer of the request that it repeats. It was not charged again.",
        "schema": {"enum": ["true"]},
    },
    "x-request-id": {"description": "The id of the request.", "schema": {"type": "string"}, "required": True},
    "Omixa-Cost": {
        "description": "What was charged, in US dollars.",
        "schema": {"type": "string", "pattern": r"^\d+\.\d{6}$"},
        "example": "0.039000",
    },
    "Omixa-Mode": {"description": "The mode of the key.", "schema": {"enum": ["live", "test"]}},
    "Omixa-Route": {"description": "Which deployment made the first picture.", "schema": {"type": "string"}},
    "Omixa-Attempts": {"description": "How many calls of providers it took.", "schema": {"type": "integer"}},
    "Omixa-Ignored-Parameters": {
        "description": "Parameters that were given and have no effect on this model, separated by commas.",
        "schema": {"type": "string"},
    },
    "Server-Timing": {
        "description": "Where the time went, in milliseconds, and each call to a provider with its route and outcome.",
        "schema": {"type": "string"},
        "example": "hold;dur=2.1, provider;dur=9120.4, store;dur=3.0, capture;dur=2.4, total;dur=9131.0,"
        ' attempt-1;dur=9119.8;desc="west/MAI-Image-2.5 ok"',
    },
    "openai-processing-ms": {"description": "The whole time in milliseconds.", "schema": {"type": "integer"}},
    "Link": {
        "description": 'The next page, where there is one: `<address>; rel="next"`.',
        "schema": {"type": "string"},
    },
    "Content-Disposition": {"description": "A name for the file.", "schema": {"type": "string"}},
    "Content-Range": {
        "description": "Which bytes these are, where some were asked for.",
        "schema": {"type": "string", "pattern": r"^bytes \d+-\d+/\d+$"},
    },
    "Accept-Ranges": {"description": "One range of bytes may be asked for.", "schema": {"enum": ["bytes"]}},
    "ETag": {"description": "Names these bytes, for `If-None-Match` and `If-Range`.", "schema": {"type": "string"}},
    "X-Content-Type-Options": {"description": "Keeps browsers from guessing.", "schema": {"enum": ["nosniff"]}},
    "Content-Security-Policy": {
        "description": "Keeps browsers from running anything.",
        "schema": {"enum": ["default-src 'none'; sandbox"]},
    },
    "Cross-Origin-Resource-Policy": {
        "description": "Pages of others may show the picture.",
        "schema": {"enum": ["cross-origin"]},
    },
    "Access-Control-Allow-Origin": {"description": "Scripts of others may read it.", "schema": {"enum": ["*"]}},
    "Referrer-Policy": {
        "description": "Keeps the link out of other servers' logs.",
        "schema": {"enum": ["no-referrer"]},
    },
    "Retry-After": {
        "description": "Seconds to wait before another try, where waiting helps.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "retry-after-ms": {
        "description": "The same in milliseconds, where this key or its workspace has asked too often.",
        "schema": {"type": "integer", "minimum": 0},
    },
    **{
        f"x-ratelimit-{name}-{kind}": {"description": description.format(kind=kind), "schema": schema}
        for kind in ("requests", "images")
        for name, description, schema in (
            ("limit", "How many {kind} per minute are allowed, by the limit that is nearest.", {"type": "integer"}),
            ("remaining", "How many {kind} are left of them.", {"type": "integer", "minimum": 0}),
            (
                "reset",
                "How long it takes until all are there again.",
                {"type": "string", "pattern": r"^(\d+m)?\d+(\.\d+)?s$|^\d+ms$", "examples": ["8.64s"]},
            ),
        )
    },
    "RateLimit-Policy": {
        "description": "All limits of this key and its workspace, as a structured field: quota, unit and window in seconds.",
        "schema": {"type": "string"},
        "example": '"key-requests";q=60;w=60, "workspace-images";q=200;qu="images";w=60',
    },
    "RateLimit": {
        "description": "What is left of them, and in how many seconds there is more.",
        "schema": {"type": "string"},
        "example": '"key-requests";r=0;t=1, "workspace-images";r=180;t=1',
    },
    "Deprecation": {
        "description": "Since when the model is deprecated, as RFC 9745 writes it: @ and Unix seconds.",
        "schema": {"type": "string", "pattern": r"^@\d+$"},
        "example": "@1793491200",
    },
    "Sunset": {
        "description": "When the model retires, as RFC 8594 writes it; from then on it answers 404.",
        "schema": {"type": "string"},
        "example": "Tue, 01 Dec 2026 00:00:00 GMT",
    },
    "x-should-retry": {
        "description": "Whether the same request may succeed later. OpenAI's clients obey it.",
        "schema": {"enum": ["true", "false"]},
        "required": True,
    },
    "WWW-Authenticate": {"description": "How to send a key.", "schema": {"type": "string"}},
}
_REQUEST_HEADERS: Mapping[str, Json] = {
    CAP_HEADER: {
        "description": "The most that the request may cost, in US dollars. One that can cost more is refused before anything is"
        " held or sent.",
        "schema": {"type": "string", "pattern": r"^\d{1,12}(\.\d{1,6})?$"},
        "example": "0.05",
    },
}
_SPENDING_HEADERS: Mapping[str, Json] = {
    SIMULATE_HEADER: {
        "description": "With a test key, what the simulated provider does: steps such as `429x2, then ok`, then options such as"
        " `; latency=8s`. Each repeat of the request takes the next step. Refused with a live key.",
        "schema": {"type": "string", "maxLength": SIMULATE_MAX_CHARACTERS},
        "example": "429x2, then ok; latency=8s",
    },
    KEY_HEADER: {
        "description": "A key of the client's own for this request, 1 to 255 visible ASCII characters. The same request with the"
        " same key gets the same answer and is charged once, however often it is sent.",
        "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]{1,255}$"},
        "example": "order-4711-cover",
    },
    "x-stainless-retry-count": {
        "description": "How often the request was sent before; OpenAI's clients count. Above 0 and without a key, a request joins"
        " the one that asked for the same with the same API key, and is charged with it.",
        "schema": {"type": "string", "pattern": r"^\d+$"},
        "example": "0",
    },
}
_ANSWER_HEADERS = ("Omixa-Cost", "Omixa-Mode", "Omixa-Route", "Omixa-Attempts", "Omixa-Ignored-Parameters")
_RATE_HEADERS = tuple(name for name in _HEADERS if name.lower().startswith(("x-ratelimit", "ratelimit")))
_LIFECYCLE_HEADERS = ("Deprecation", "Sunset")
_TIMING_HEADERS = ("Server-Timing", "openai-processing-ms")
_SAFETY_HEADERS = (
    "X-Content-Type-Options",
    "Content-Security-Policy",
    "Cross-Origin-Resource-Policy",
    "Referrer-Policy",
)
_PICTURE_HEADERS = (
    "Content-Disposition",
    "Accept-Ranges",
    "Access-Control-Allow-Origin",
    "ETag",
    *_SAFETY_HEADERS,
)
_REPEAT_HEADERS = ("Idempotency-Replayed", "Omixa-Joined")

EDIT_DESCRIPTION = """
A form as OpenAI's clients send it: each picture is a file in the field `image`, also written `image[]`, and every other field is
text. Or JSON, with the pictures as data URLs in `images`; `file_id` is not supported, because no files are kept.
"""
STREAM_DESCRIPTION = """
With `stream: true`. Comment lines keep the connection alive while the model paints; previews come as a `PreviewEvent` where
the model makes any. Then one event comes for each picture, `image_generation.completed` or `image_edit.completed`, whose data
is an `ImageEvent`; the last one carries the receipt. A failure after the stream has begun is a last line `data:` with an
`Error`. Refusals before that are ordinary answers.
"""


def document_operation(operations: Sequence[Operation], catalogue: Catalogue) -> Operation:
    """Return the endpoint that serves the document of all operations and of itself. The bytes are made once, here."""

    async def get_document(exchange: Exchange, services: Services) -> None:
        await exchange.respond(200, b"application/json", body, [])

    document = Operation(
        "getDocument",
        "GET",
        "/openapi.json",
        get_document,
        "Return this document",
        None,
        "Service",
        authenticated=False,
    )
    body = msgspec.json.encode(openapi_document((*operations, document), catalogue))
    return document


def openapi_document(operations: Sequence[Operation], catalogue: Catalogue) -> Json:
    """Return the document as JSON values."""
    paths: dict[str, Json] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, catalogue)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Omixa",
            "version": __version__,
            "description": _one_line(DESCRIPTION),
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
        "paths": paths,
        "components": {
            "schemas": _answer_schemas(operations) | _request_schemas(catalogue),
            "headers": dict(_HEADERS),
            "securitySchemes": {
                _KEY: {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "omx_live_… or omx_test_…",
                    "description": _one_line(KEY_DESCRIPTION),
                },
                _OPERATOR: {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "omx_operator_…",
                    "description": "Made by the command line, where the gateway's pepper is. It lives for a minute.",
                },
            },
        },
    }


# ------------------------------------------------------------------------------------------------------------- operations


def _operation(operation: Operation, catalogue: Catalogue) -> Json:
    document: Json = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [
            *_path_parameters(operation.path),
            *_query_parameters(operation.query),
            *_header_parameters(operation),
        ],
        "responses": {"200": _success(operation, catalogue), **_failures(operation)},
        "security": [{scheme: []} for scheme in _schemes(operation)],
    }
    if operation.takes_images == "generation":
        document["requestBody"] = _request_body(catalogue)
    elif operation.takes_images == "edit":
        document["requestBody"] = _edit_body(catalogue)
    elif operation.body is not None:
        content = {_JSON: {"schema": _reference(operation.body.__name__)}}
        document["requestBody"] = {"required": True, "content": content}
    if operation.serves_pictures:
        document["responses"] |= _pictures()
    if operation.response is shapes.Readiness:
        document["responses"]["503"] = _answer("Requests are not admitted.", _schema(operation))
    return document


def _pictures() -> dict[str, Json]:
    """Return the answers of an operation that serves pictures."""
    content: Json = {media_type: {} for media_type in MEDIA_TYPES.values()}
    whole = _answer("A picture.", {}, _PICTURE_HEADERS) | {"content": content}
    part = _answer("A part of a picture.", {}, (*_PICTURE_HEADERS, "Content-Range")) | {"content": content}
    same = _answer("The client has the picture already.", {}, ("ETag", *_SAFETY_HEADERS))
    del same["content"]
    return {"200": whole, "206": part, "304": same}


def _makes_images(operation: Operation) -> bool:
    return operation.takes_images is not None and operation.response is shapes.ImageAnswer


def _path_parameters(path: str) -> Iterator[Json]:
    for name in re.findall(r"{(\w+)}", path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_PARAMETERS[name],
            "schema": {"type": "string"},
        }


def _query_parameters(query: type[Query] | None) -> Iterator[Json]:
    for name, schema in query_schemas(query).items() if query else ():
        description = schema.pop("description")
        yield {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _header_parameters(operation: Operation) -> Iterator[Json]:
    headers = dict(_REQUEST_HEADERS) if operation.takes_images else {}
    if _makes_images(operation):
        headers |= _SPENDING_HEADERS
    for name, header in headers.items():
        yield {"name": name, "in": "header", "required": False, **header}


def _success(operation: Operation, catalogue: Catalogue) -> Json:
    answer = _answer(_success_description(operation), _schema(operation), _success_headers(operation))
    for media_type in operation.further_types:
        answer["content"][media_type] = {"schema": {"type": "string"}}
    if operation.response is shapes.ImageAnswer:
        answer["content"][_JSON]["example"] = example_answer(catalogue)
    if _makes_images(operation):
        answer["content"]["text/event-stream"] = {
            "schema": {"type": "string", "description": _one_line(STREAM_DESCRIPTION)},
            "example": example_stream(catalogue),
        }
    return answer


def _success_description(operation: Operation) -> str:
    return "A JSON document." if operation.response is None else _sentence(operation.response)


def _tells_lifecycle(operation: Operation) -> bool:
    return operation.takes_images is not None or operation.response is shapes.Model


def _success_headers(operation: Operation) -> tuple[str, ...]:
    if operation.response is shapes.ImageAnswer:
        return _ANSWER_HEADERS + (
            (*_TIMING_HEADERS, *_RATE_HEADERS, *_REPEAT_HEADERS, *_LIFECYCLE_HEADERS)
            if _makes_images(operation)
            else ()
        )
    if _tells_lifecycle(operation):
        return _LIFECYCLE_HEADERS
    if operation.response is shapes.RequestDetails:
        return ("Server-Timing",)
    if operation.further_types:
        return ("Content-Disposition",)
    return ("Link",) if operation.response is shapes.RequestList else ()


def _schema(operation: Operation) -> Json:
    return {"type": "object"} if operation.response is None else _reference(operation.response.__name__)


def _answer(description: str, schema: Json, headers: Sequence[str] = ()) -> Json:
    return {
        "description": description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in ("x-request-id", *headers)},
        "content": {_JSON: {"schema": schema}},
    }


# ----------------------------------------------------------------------------------------------------------------- errors


def _failures(operation: Operation) -> dict[str, Json]:
    by_status: dict[int, list[type[OmixaError]]] = {}
    for error in _errors(operation):
        by_status.setdefault(error.status, []).append(error)
    further = (
        (*_RATE_HEADERS, *_TIMING_HEADERS)
        if _makes_images(operation)
        else _SAFETY_HEADERS
        if operation.serves_pictures
        else ()
    )
    further += _LIFECYCLE_HEADERS if _tells_lifecycle(operation) else ()
    return {str(status): _failure(errors, further) for status, errors in sorted(by_status.items())}


def _schemes(operation: Operation) -> list[str]:
    return [_KEY] * operation.authenticated + [_OPERATOR] * operation.for_operators


def _errors(operation: Operation) -> list[type[OmixaError]]:
    """Return every class that an operation can raise, each once, without those that only group others."""
    of_keys: tuple[type[OmixaError], ...] = (Unauthenticated, LedgerUnavailable) if operation.authenticated else ()
    if operation.action in SCOPES:
        of_keys += (ScopeForbidden, RoleForbidden)
    elif operation.action != "read":
        of_keys += (ScopeForbidden,)
    of_operators = (Unauthenticated,) if operation.for_operators else ()
    roots = (*operation.errors, *of_keys, *of_operators, InternalError)
    found = dict.fromkeys(error for root in roots for error in _tree(root))
    return [error for error in found if not (error.__base__ is OmixaError and error.__subclasses__())]


def _tree(root: type[OmixaError]) -> Iterator[type[OmixaError]]:
    # Other modules have errors of their own that no client ever sees.
    if root.__module__ == OmixaError.__module__:
        yield root
        for child in root.__subclasses__():
            yield from _tree(child)


def _failure(errors: Sequence[type[OmixaError]], further: Sequence[str]) -> Json:
    codes: dict[str, list[tuple[type[OmixaError], str]]] = {}
    for error in errors:
        for code, meaning in {error.default_code: _sentence(error), **error.further_codes}.items():
            codes.setdefault(code, []).append((error, meaning))
    lines, examples = [], {}
    for code, meanings in sorted(codes.items()):
        error, meaning = meanings[0]
        lines.append(f"- `{code}` ({error.type}): {' '.join(meaning for _, meaning in meanings)}")
        value = msgspec.json.decode(error_body(error(meaning, code=code), REQUEST_ID))
        examples[code] = {"summary": meaning, "value": value}
    headers = ["x-should-retry", "Retry-After", *further]
    headers += ["retry-after-ms"] * (RateLimited in errors) + ["WWW-Authenticate"] * (Unauthenticated in errors)
    headers += ["Omixa-Cost"] * (Gone in errors)
    if any(error.is_kept for error in errors):
        headers += _REPEAT_HEADERS
    answer = _answer("\n".join(lines), _reference("Error"), headers)
    answer["content"][_JSON]["examples"] = examples
    return answer


# ---------------------------------------------------------------------------------------------------------------- schemas


def _request_body(catalogue: Catalogue) -> Json:
    examples: dict[str, Json] = {}
    for model in _models(catalogue):
        if not model.needs_pictures:
            examples[model.id] = {"summary": f"{model.name}: from text", "value": dict(model.example)}
        if (edit := example_request(model)) != model.example:
            examples[f"{model.id}.edit"] = {"summary": f"{model.name}: with a reference picture", "value": edit}
    content = {_JSON: {"schema": _of_any_model("ImageRequest", catalogue), "examples": examples}}
    return {"required": True, "content": content}


def _edit_body(catalogue: Catalogue) -> Json:
    examples = {
        model.id: {"summary": f"{model.name}: with a picture", "value": example_edit(model)}
        for model in _models(catalogue)
        if model.takes_pictures
    }
    content = {
        FORM: {
            "schema": _of_any_model("ImageEditForm", catalogue),
            "encoding": {
                "image": {"contentType": ", ".join((*MEDIA_TYPES.values(), "image/avif"))},
                "mask": {"contentType": MEDIA_TYPES["png"]},
            },
        },
        _JSON: {"schema": _of_any_model("ImageEditRequest", catalogue), "examples": examples},
    }
    return {"required": True, "description": _one_line(EDIT_DESCRIPTION), "content": content}


def _of_any_model(prefix: str, catalogue: Catalogue) -> Json:
    """Return the schema of a body that is one model's or another's."""
    references = {model.id: _reference(_request_name(prefix, model.id)) for model in _models(catalogue)}
    if len(references) == 1:
        return next(iter(references.values()))
    mapping = {model: reference["$ref"] for model, reference in references.items()}
    return {"oneOf": list(references.values()), "discriminator": {"propertyName": "model", "mapping": mapping}}


def _models(catalogue: Catalogue) -> list[Model]:
    return [catalogue.resolve(name) for name in catalogue.model_ids]


def _request_name(prefix: str, model_id: str) -> str:
    # Names of components have a small alphabet.
    return f"{prefix}." + re.sub(r"[^A-Za-z0-9._-]", "-", model_id)


def _request_schemas(catalogue: Catalogue) -> Json:
    kinds = {"ImageRequest": json_schema, "ImageEditRequest": edit_schema, "ImageEditForm": form_schema}
    return {
        _request_name(prefix, model.id): schema_of(model)
        for prefix, schema_of in kinds.items()
        for model in _models(catalogue)
    }


def _answer_schemas(operations: Sequence[Operation]) -> Json:
    answers = dict.fromkeys(operation.response for operation in operations if operation.response is not None)
    bodies = [operation.body for operation in operations if operation.body is not None]
    types = [*answers, *bodies, shapes.PreviewEvent, shapes.ImageEvent, shapes.PartOfAnswer, shapes.Error]
    _, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    return components


def _reference(name: str) -> Json:
    return {"$ref": _REFERENCE.format(name=name)}


def _sentence(kind: type) -> str:
    return _one_line((inspect.getdoc(kind) or "").partition("\n\n")[0])


def _one_line(text: str) -> str:
    return " ".join(text.split())
