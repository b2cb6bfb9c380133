"""A request for pictures as it comes in: its body, checked against the model, and the price that its caller allows.

Making pictures and estimating their price begin here, so that both accept and refuse the same requests in the same words.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from omixa.api.exchange import Exchange
from omixa.api.models import allowed_model
from omixa.catalogue.validation import parse_body, requested_model, validate
from omixa.domain.images import ImageRequest
from omixa.domain.models import Model
from omixa.domain.money import parse_usd
from omixa.errors import InvalidRequest
from omixa.gateway.quotes import CAP_HEADER
from omixa.limits import ByteLease
from omixa.services import Services

# Bodies over this size are checked in a thread, so that a large picture or a long prompt does not hold up other requests.
INLINE_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked request, its model, the name by which the model was called, and the most that it may cost, if that is said."""

    request: ImageRequest
    model: Model
    requested_model: str
    cap_micro_usd: int | None


async def read_request(exchange: Exchange, services: Services, lease: ByteLease) -> Asked:
    """Read the body and check every field. Raises what reading a body, validation and a malformed cap can raise."""
    settings = services.settings
    cap = _cap(exchange)
    exchange.require_json()
    body = await exchange.read_body(limit=settings.max_body_bytes, timeout_s=settings.body_timeout_s, lease=lease)
    if len(body) <= INLINE_BODY_BYTES:
        return _checked(exchange, services, body, cap)
    return await asyncio.to_thread(_checked, exchange, services, body, cap)


def _checked(exchange: Exchange, services: Services, body: bytes, cap_micro_usd: int | None) -> Asked:
    fields = parse_body(body)
    name = requested_model(fields)
    model = allowed_model(exchange, services, name)
    return Asked(validate(fields, model, services.tokenizer), model, name, cap_micro_usd)


def _cap(exchange: Exchange) -> int | None:
    text = exchange.sole_header(CAP_HEADER)
    if text is None:
        return None
    try:
        return parse_usd(text)
    except ValueError:
        raise InvalidRequest(
            f"{CAP_HEADER} must be an amount in US dollars, digits with at most six after the point, for example 0.05;"
            f' got "{text[:40]}".',
            param=CAP_HEADER,
        ) from None
