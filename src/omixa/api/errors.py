"""Errors on the wire, in the shape of OpenAI's API. The only place where an error becomes HTTP."""

from __future__ import annotations

import msgspec

from omixa.errors import OmixaError, Unauthenticated

Headers = list[tuple[bytes, bytes]]


def error_body(error: OmixaError, request_id: str) -> bytes:
    """Return the JSON body of an error answer; the same object is the data of a streamed error."""
    return msgspec.json.encode(
        {
            "error": {
                "message": error.message,
                "type": error.type,
                "param": error.param,
                "code": error.code,
                "request_id": request_id,
            }
        }
    )


def error_headers(error: OmixaError) -> Headers:
    """Return what tells clients whether and when to try again. The official clients obey both headers."""
    headers: Headers = [(b"x-should-retry", b"true" if error.caller_may_retry else b"false")]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b'Bearer realm="omixa"'))
    return headers
