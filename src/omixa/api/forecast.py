"""GET /usage/forecast: what will have been spent, and until when credit and budgets last."""

from __future__ import annotations

from omixa.api import shapes
from omixa.api.exchange import Exchange
from omixa.billing.ledger import CURRENCY
from omixa.domain.money import format_usd
from omixa.domain.times import iso_time, iso_time_or_none
from omixa.gateway.outlook import BudgetOutlook, read_outlook
from omixa.services import Services


async def get_forecast(exchange: Exchange, services: Services) -> None:
    """Send the forecast of the key's workspace in the mode of the key."""
    principal = exchange.principal
    found = await services.database.read(lambda tx: read_outlook(tx, principal.workspace_id, principal.mode))
    await exchange.respond_json(
        shapes.Forecast(
            as_of=iso_time(found.as_of_ms),
            currency=CURRENCY,
            average_day_amount=format_usd(found.per_day_micro_usd),
            month=found.month,
            month_spent_amount=format_usd(found.month_spent_micro_usd),
            month_expected_amount=format_usd(found.month_expected_micro_usd),
            available=format_usd(found.available_micro_usd),
            runway_days=found.runway_days,
            lasts_until=iso_time_or_none(found.lasts_until_ms),
            budgets=[_budget(one) for one in found.budgets],
        )
    )


def _budget(one: BudgetOutlook) -> shapes.BudgetForecast:
    budget = one.budget
    return shapes.BudgetForecast(
        scope="workspace" if budget.subject.key_id is None else "key",
        key_id=budget.subject.key_id,
        period=budget.period,
        limit=format_usd(budget.limit_micro_usd),
        spent=format_usd(budget.spent_micro_usd),
        held=format_usd(budget.held_micro_usd),
        expected=format_usd(one.expected_micro_usd),
        exhausted_at=iso_time_or_none(one.exhausted_at_ms),
        resets_at=iso_time(budget.resets_at_ms),
    )
