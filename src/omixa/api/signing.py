"""Where a signed request is checked: before its handler, for every operation, with nothing of its body parsed."""

from __future__ import annotations

import asyncio
import functools
import time

from omixa.access.signatures import SIGNATURE_HEADER, TIMESTAMP_HEADER, check_claim, read_claim
from omixa.api.exchange import Exchange
from omixa.api.intake import INLINE_BODY_BYTES
from omixa.errors import BadSignature
from omixa.services import Services


async def require_signature(exchange: Exchange, services: Services) -> None:
    """Read the body, within its bounds, and check the signature of the whole request. Raises BadSignature."""
    claim = read_claim(_only(exchange, TIMESTAMP_HEADER), _only(exchange, SIGNATURE_HEADER), now_s=int(time.time()))
    body = b""
    if not exchange.body_complete:
        settings = services.settings
        with services.body_bytes.lease() as lease:
            body = await exchange.read_body(
                limit=settings.max_body_bytes, timeout_s=settings.body_timeout_s, lease=lease
            )
        exchange.keep_body(body)
    secret = services.workspaces.signing_secret(exchange.principal.key_id)
    work = functools.partial(check_claim, claim, secret, exchange.scope["method"], exchange.target, body)
    if len(body) <= INLINE_BODY_BYTES:
        work()
    else:
        await asyncio.to_thread(work)


def _only(exchange: Exchange, name: str) -> str | None:
    """Return a header; given twice, it would be unclear which one was meant."""
    key = name.lower().encode()
    if sum(given == key for given, _ in exchange.scope["headers"]) > 1:
        raise BadSignature(f"{name} is given more than once.", param=name)
    return exchange.header(key)
