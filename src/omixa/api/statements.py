"""GET /statements and /statements/{month}: months that are closed."""

from __future__ import annotations

from omixa.api import shapes
from omixa.api.exchange import Exchange
from omixa.billing import months
from omixa.billing.ledger import CURRENCY
from omixa.billing.months import Statement
from omixa.domain.access import Mode
from omixa.domain.money import format_usd
from omixa.domain.times import iso_time
from omixa.errors import StatementNotFound
from omixa.services import Services

# Ten years.
MAX_STATEMENTS = 120


async def list_statements(exchange: Exchange, services: Services) -> None:
    """Send the statements of the key's workspace, newest first."""
    principal = exchange.principal
    found = await services.database.read(
        lambda tx: months.list_statements(tx, principal.account_id, limit=MAX_STATEMENTS)
    )
    data = [statement_shape(one, principal.workspace, principal.mode) for one in found]
    await exchange.respond_json(shapes.StatementList(data=data))


async def get_statement(exchange: Exchange, services: Services) -> None:
    """Send the statement of one month."""
    month, principal = exchange.path_parameters["month"], exchange.principal
    found = await services.database.read(lambda tx: months.find_statement(tx, principal.account_id, month))
    if found is None:
        raise StatementNotFound(
            f'There is no statement of "{month[:20]}". A month such as 2026-10 is closed soon after it is over.',
            param="month",
        )
    await exchange.respond_json(statement_shape(found, principal.workspace, principal.mode))


def statement_shape(one: Statement, workspace: str, mode: Mode) -> shapes.Statement:
    """Return a statement as it is sent."""
    return shapes.Statement(
        month=one.month,
        workspace=workspace,
        mode=mode,
        currency=CURRENCY,
        opening=format_usd(one.opening),
        lines=[
            shapes.StatementLine(kind=line.kind, transfers=line.transfers, amount=format_usd(line.amount))
            for line in one.lines
        ],
        closing=format_usd(one.closing),
        closed=iso_time(one.closed_at_ms),
        last_transfer=one.last_seq,
        last_hash=one.last_hash,
    )
