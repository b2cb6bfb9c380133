"""GET /budgets: what the key may still spend in the present day and month."""

from __future__ import annotations

from omixa.api import shapes
from omixa.api.exchange import Exchange
from omixa.billing.budgets import Budget
from omixa.billing.ledger import CURRENCY
from omixa.domain.money import format_usd
from omixa.domain.times import iso_time
from omixa.services import Services


async def list_budgets(exchange: Exchange, services: Services) -> None:
    """Send the budgets that limit the key's requests, its workspace's first."""
    found = await services.allowances.of(exchange.principal)
    await exchange.respond_json(shapes.BudgetList(currency=CURRENCY, data=[budget_shape(one) for one in found]))


def budget_shape(one: Budget) -> shapes.Budget:
    """Return a budget as it is sent."""
    return shapes.Budget(
        scope="workspace" if one.subject.key_id is None else "key",
        period=one.period,
        limit=format_usd(one.limit_micro_usd),
        spent=format_usd(one.spent_micro_usd),
        held=format_usd(one.held_micro_usd),
        available=format_usd(one.available),
        resets_at=iso_time(one.resets_at_ms),
    )
