"""POST /topups and the payment provider's webhook."""

from __future__ import annotations

from omixa.api import shapes
from omixa.api.exchange import Exchange
from omixa.api.intake import JSON
from omixa.catalogue.validation import parse_body
from omixa.domain.money import format_usd, parse_usd
from omixa.errors import InvalidRequest
from omixa.gateway.topups import TopUps
from omixa.services import Services

MAX_BODY_BYTES = 16 * 1024
# Events carry whole objects of the payment provider.
MAX_EVENT_BYTES = 1024 * 1024


def are_offered(services: Services) -> bool:
    """Tell whether there are top-ups; their paths do not exist otherwise."""
    return services.topups is not None


async def create_topup(exchange: Exchange, services: Services) -> None:
    """Open a page on which credit is bought, and send its address."""
    exchange.require_media_type(JSON)
    with services.body_bytes.lease() as lease:
        body = await exchange.read_body(limit=MAX_BODY_BYTES, timeout_s=services.settings.body_timeout_s, lease=lease)
        amount = _amount(body)
    page = await _topups(services).order(exchange.principal, amount)
    await exchange.respond_json(
        shapes.TopUp(id=page.order_id, amount=format_usd(page.amount_micro_usd), currency="USD", url=page.url)
    )


def _amount(body: bytes) -> int:
    given = parse_body(body)
    for name in given.fields:
        if name != "amount":
            raise InvalidRequest(
                f'There is no field "{name[:80]}"; this takes amount.', code="unknown_parameter", param=name[:80]
            )
    if not given.given("amount"):
        raise InvalidRequest("amount is missing.", code="missing_required_parameter", param="amount")
    text = given.value("amount")
    if not isinstance(text, str):
        raise InvalidRequest('amount is text, for example "25.00".', code="invalid_type", param="amount")
    try:
        return parse_usd(text)
    except ValueError as error:
        raise InvalidRequest(f"amount: {error}", param="amount") from error


async def receive_event(exchange: Exchange, services: Services) -> None:
    """Take an event of the payment provider. Any answer but 200 makes it come again."""
    with services.body_bytes.lease() as lease:
        body = await exchange.read_body(limit=MAX_EVENT_BYTES, timeout_s=services.settings.body_timeout_s, lease=lease)
        await _topups(services).receive(body, exchange.sole_header("Stripe-Signature"))
    await exchange.respond_json(shapes.EventReceived(received=True))


def _topups(services: Services) -> TopUps:
    assert services.topups is not None, "without top-ups there is no route to this"
    return services.topups
