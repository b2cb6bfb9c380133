"""GET /credit and /settings/alert: in which lots the credit is, and when somebody is told that it runs low.

An alert is changed by people, in the console or on the command line: a key in the wrong hands must not be able to silence it.
"""

from __future__ import annotations

from omixa.api import shapes
from omixa.api.exchange import Exchange
from omixa.billing import alerts, lots
from omixa.billing.ledger import CURRENCY
from omixa.billing.lots import Lot
from omixa.domain.money import format_usd
from omixa.domain.times import iso_time
from omixa.services import Services


async def list_credit(exchange: Exchange, services: Services) -> None:
    """Send the lots that have something left, in the order in which they burn."""
    principal = exchange.principal
    found = await services.database.read(lambda tx: lots.list_lots(tx, principal.workspace_id, principal.mode))
    await exchange.respond_json(shapes.CreditList(currency=CURRENCY, data=[_lot(one) for one in found]))


def _lot(one: Lot) -> shapes.Credit:
    expires_at_ms = one.terms.expires_at_ms
    return shapes.Credit(
        id=one.id,
        kind=one.terms.kind,
        granted=format_usd(one.amount),
        held=format_usd(one.pinned),
        remaining=format_usd(one.remaining),
        priority=one.terms.priority,
        effective_at=iso_time(one.effective_at_ms),
        expires_at=None if expires_at_ms is None else iso_time(expires_at_ms),
    )


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
