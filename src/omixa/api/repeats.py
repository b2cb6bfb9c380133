"""How a client says that it may send a request again, or that it does: by a key of its own, or by counting its tries."""

from __future__ import annotations

import re
from collections.abc import Mapping

from blake3 import blake3

from omixa.api.exchange import Exchange
from omixa.catalogue.bodies import Body
from omixa.errors import InvalidRequest
from omixa.gateway.idempotency import KEY_HEADER, RequestIdentity

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
# Headers in which clients count, and what they say of the first try: OpenAI's own clients, and Envoy in front of any client.
RETRY_HEADERS: Mapping[str, int] = {"x-stainless-retry-count": 0, "x-envoy-attempt-count": 1}
_COUNT = re.compile(r"\d{1,6}")


def fingerprint(exchange: Exchange, body: Body, key: bytes) -> str | None:
    """Return the BLAKE3 digest of method, path and body, in hexadecimal; white space and the order of fields do not matter.

    It is kept, and prompts are short: the server's `key` goes into it, so that nobody finds out by trying what was asked. There
    is none for a client that neither sends a key nor counts its tries: no repeat of its requests can be known for one.
    """
    headers = (KEY_HEADER, *RETRY_HEADERS)
    if all(exchange.header(header.lower().encode()) is None for header in headers):
        return None
    return body_digest(exchange, body, key)


def body_digest(exchange: Exchange, body: Body, key: bytes) -> str:
    """Return the digest that a fingerprint is, whether or not a repeat can be known by it."""
    digest = blake3(f"{exchange.scope['method']} {_endpoint(exchange)}\n".encode(), key=key)
    for piece in body.canonical():
        digest.update(piece)
    return digest.hexdigest()


def request_identity(exchange: Exchange, fingerprint: str | None, retention_ms: int) -> RequestIdentity | None:
    """Return by what a repeat of a request is recognised, if one can be. Raises InvalidRequest for a key that cannot be one."""
    if fingerprint is None:
        return None
    return RequestIdentity(
        endpoint=_endpoint(exchange),
        fingerprint=fingerprint,
        key=idempotency_key(exchange),
        is_retry=any(_count(exchange, header) > first for header, first in RETRY_HEADERS.items()),
        retention_ms=retention_ms,
    )


def idempotency_key(exchange: Exchange) -> str | None:
    """Return the client's key, if it sent one. Raises InvalidRequest for one that cannot be used."""
    key = exchange.sole_header(KEY_HEADER)
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidRequest(
            f"{KEY_HEADER} must be 1 to 255 visible ASCII characters without spaces; got {len(key)} characters.",
            param=KEY_HEADER,
        )
    return key


def _endpoint(exchange: Exchange) -> str:
    """Return the path, which is the same below /api/v1 and /v1."""
    path: str = exchange.scope["path"]
    return path.removeprefix("/api")


def _count(exchange: Exchange, header: str) -> int:
    text = exchange.header(header.encode()) or ""
    # Proxies write what they like; only a number is a count.
    return int(text) if _COUNT.fullmatch(text) else 0
