"""Errors on the wire, in the shape of OpenAI's API. The only place where an error becomes HTTP."""

from __future__ import annotations

import msgspec

from omixa.domain.money import format_usd
from omixa.errors import Gone, OmixaError, RateLimited, Unauthenticated

# The official clients wait no longer than this; whoever would have to is told not to try again.
MAX_RETRY_AFTER_S = 120

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
    """Return what tells clients whether and when to try again. The official clients obey all three headers."""
    too_long = (error.retry_after_s or 0) > MAX_RETRY_AFTER_S
    headers: Headers = [(b"x-should-retry", b"true" if error.caller_may_retry and not too_long else b"false")]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if isinstance(error, RateLimited):
        headers.append((b"retry-after-ms", str(error.retry_after_ms).encode()))
    if isinstance(error, Gone) and error.billed_micro_usd is not None:
        headers.append((b"omixa-cost", format_usd(error.billed_micro_usd).encode()))
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b'Bearer realm="omixa"'))
    return headers
