"""POST /images/estimate: what a request would cost and whether it would be admitted, before it is made. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from omixa.api import shapes
from omixa.api.account import balance_shape
from omixa.api.exchange import Exchange
from omixa.api.intake import Asked, read_request
from omixa.api.lifecycle import lifecycle_headers
from omixa.billing.budgets import Budget, require_within
from omixa.billing.ledger import Balance, require_available, suspended
from omixa.billing.pricing import Charge, Terms
from omixa.domain.money import format_usd
from omixa.errors import OmixaError
from omixa.gateway import quotes
from omixa.gateway.receipt import format_exact, line_item_json
from omixa.gateway.run import wanted
from omixa.services import Services


async def estimate_image(exchange: Exchange, services: Services) -> None:
    """Check the request as if it were to be made, and send its price and the balance that it would be held from."""
    with services.body_bytes.lease() as lease:
        asked = await read_request(exchange, services, lease)
    exchange.further_headers = lambda: lifecycle_headers(asked.model)
    principal = exchange.principal
    balance = await services.workspaces.balance(principal)
    limits = await services.allowances.of(principal)
    terms = services.pipeline.terms(principal, asked.model)
    highest = quotes.ceiling(asked.request, asked.model, terms)
    expected, refusal = _verdict(exchange, services, asked, terms, highest, balance, limits)
    if refusal is None and await services.workspaces.is_suspended(principal):
        refusal = suspended()
    refusal = refusal or await services.allowances.refusal(principal, services.pipeline.refusal_limit_pico_usd)
    prices = terms.prices
    await exchange.respond_json(
        shapes.Estimate(
            model=asked.model.id,
            requested_model=asked.requested_model,
            operation=asked.request.operation,
            mode=principal.mode,
            price_version=prices.version,
            currency=prices.currency,
            markup_ppm=terms.markup_ppm,
            rounded_to=format_usd(prices.rounding.unit_micro_usd),
            rounding=prices.rounding.direction,
            ceiling=_quote(highest),
            expected=None if expected is None else _quote(expected),
            balance=balance_shape(principal, balance),
            admitted=refusal is None,
            refusal=None if refusal is None else shapes.Refusal(code=refusal.code, message=refusal.message),
        )
    )


def _verdict(
    exchange: Exchange,
    services: Services,
    asked: Asked,
    terms: Terms,
    highest: Charge,
    balance: Balance,
    limits: Sequence[Budget],
) -> tuple[Charge | None, OmixaError | None]:
    """Return the expected charge, and what making the request now would be refused with, by the checks that refuse it."""
    expected, mode = None, exchange.principal.mode
    choice = wanted(exchange.principal, asked.request)
    try:
        first, *_ = services.router.configured(asked.model, mode, choice)
        offer = services.catalogue.offer(first.provider, asked.model.id)
        expected = quotes.expected(asked.request, asked.model, offer, terms)
        services.router.plan(asked.model, mode, choice)
        services.fail_stop.check()
        services.runs.require_room()
        services.rates.of(exchange.principal).require_images(asked.request.n)
        quotes.require_within(asked.cap_micro_usd, highest)
        require_available(balance, highest.amount_micro_usd, mode)
        require_within(limits, highest.amount_micro_usd)
    except OmixaError as error:
        return expected, error
    return expected, None


def _quote(charge: Charge) -> shapes.Quote:
    return shapes.Quote(
        amount=format_usd(charge.amount_micro_usd),
        exact_amount=format_exact(charge.exact_pico_usd),
        line_items=[msgspec.convert(line_item_json(item), shapes.LineItem) for item in charge.items],
    )
