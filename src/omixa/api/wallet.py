"""GET /credit, GET and PATCH /settings/alert: in which lots the credit is, and when somebody is told that it runs low.

An alert is changed with a key that has the scope for it: one that makes pictures must not be able to silence it.
"""

from __future__ import annotations

from omixa.api import shapes
from omixa.api.exchange import Exchange
from omixa.api.fields import read_fields, read_usd
from omixa.billing import alerts, lots
from omixa.billing.ledger import CURRENCY
from omixa.billing.lots import Lot
from omixa.domain.money import format_usd
from omixa.domain.times import iso_time, iso_time_or_none
from omixa.services import Services


async def list_credit(exchange: Exchange, services: Services) -> None:
    """Send the lots that have something left, in the order in which they burn."""
    principal = exchange.principal
    found = await services.database.read(lambda tx: lots.list_lots(tx, principal.workspace_id, principal.mode))
    await exchange.respond_json(shapes.CreditList(currency=CURRENCY, data=[credit_shape(one) for one in found]))


def credit_shape(one: Lot) -> shapes.Credit:
    """Return a lot as it is sent."""
    expires_at_ms = one.terms.expires_at_ms
    return shapes.Credit(
        id=one.id,
        kind=one.terms.kind,
        granted=format_usd(one.amount),
        held=format_usd(one.pinned),
        remaining=format_usd(one.remaining),
        priority=one.terms.priority,
        effective_at=iso_time(one.effective_at_ms),
        expires_at=iso_time_or_none(expires_at_ms),
    )


async def change_alert(exchange: Exchange, services: Services) -> None:
    """Set below which balance of the key's mode somebody is told, or end that. Raises InvalidRequest."""
    given = await read_fields(exchange, services, shapes.AlertSettingsChange)
    await services.workspaces.set_alert(
        workspace=exchange.principal.workspace,
        mode=exchange.principal.mode,
        below_micro_usd=None if given.below is None else read_usd(given.below, "below"),
        email=given.email or None,
        actor=exchange.member.actor,
    )
    await get_alert(exchange, services)


async def get_alert(exchange: Exchange, services: Services) -> None:
    """Send below which balance somebody is told."""
    principal = exchange.principal
    found = await services.database.read(lambda tx: alerts.read_threshold(tx, principal.account_id))
    below = found.below_micro_usd
    await exchange.respond_json(
        shapes.AlertSettings(
            below=None if below is None else format_usd(below), email=found.email, is_low=found.is_alerted
        )
    )
