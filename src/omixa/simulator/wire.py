"""The service's error shape, and request bodies read within a limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from omixa.simulator.multipart import Part, parse_multipart

JSON_BODY_MAX_BYTES = 2 * 1024 * 1024
# Of services that take pictures in JSON.
LARGE_JSON_BODY_MAX_BYTES = 64 * 1024 * 1024
MULTIPART_BODY_MAX_BYTES = 64 * 1024 * 1024


class ServiceError(Exception):
    """A refusal in the service's own words; becomes `{"error": {"code", "message", "details"?}}`."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.headers = headers or {}

    def response(self, request_id: str) -> Response:
        """Return the error as the client sees it."""
        error = {"code": self.code, "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        return json_response({"error": error}, request_id, self.status, self.headers)


def unsupported(message: str) -> ServiceError:
    """Return the refusal of a field or value that the model does not take."""
    return ServiceError(400, "unsupported_request_value", message)


def invalid(message: str) -> ServiceError:
    """Return the refusal of a request that is incomplete or malformed."""
    return ServiceError(400, "invalid_request", message)


def json_response(
    content: object, request_id: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a JSON answer that names the request."""
    return Response(
        msgspec.json.encode(content),
        status,
        {"x-ms-request-id": request_id, **(headers or {})},
        media_type="application/json",
    )


@dataclass(frozen=True, slots=True)
class Form:
    """A request body: fields with the types they were sent in, and file parts in their order."""

    fields: Mapping[str, object]
    files: tuple[Part, ...] = ()


async def read_json(request: Request, limit_bytes: int = JSON_BODY_MAX_BYTES) -> Form:
    """Read a JSON object. Raises ServiceError 400, 413 or 415."""
    _require_media_type(request, "application/json")
    body = await read_body(request, limit_bytes)
    try:
        return Form(msgspec.json.decode(body, type=dict[str, object]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"The body is not a JSON object: {error}.") from error


async def read_multipart(request: Request) -> Form:
    """Read multipart/form-data; text fields are strings. Raises ServiceError 400, 413 or 415."""
    _require_media_type(request, "multipart/form-data")
    body = await read_body(request, MULTIPART_BODY_MAX_BYTES)
    try:
        parts = parse_multipart(body, request.headers["content-type"])
        texts = [(part.name, part.data.decode()) for part in parts if part.filename is None]
    except ValueError as error:
        raise invalid(f"The body is not valid multipart/form-data: {error}.") from error
    fields = dict(texts)
    if len(fields) < len(texts):
        raise invalid("A text field was sent twice.")
    return Form(fields, tuple(part for part in parts if part.filename is not None))


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """Read a whole body. Raises ServiceError 413 as soon as it is over the limit."""
    too_large = ServiceError(413, "RequestEntityTooLarge", f"The body is larger than {limit_bytes} bytes.")
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > limit_bytes:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit_bytes:
                raise too_large
    except ClientDisconnect as error:
        raise invalid("The client left before its body was complete.") from error
    return bytes(body)


def _require_media_type(request: Request, media_type: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise ServiceError(415, "UnsupportedMediaType", f"Content-Type must be {media_type}.")
