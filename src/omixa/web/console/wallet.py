"""The wallet: what is there, in which lots, how long it lasts, what moved in closed months, and how to buy more."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from omixa.access import store
from omixa.billing import alerts, ledger, lots, months
from omixa.billing.alerts import Threshold
from omixa.billing.ledger import Balance
from omixa.billing.lots import Lot
from omixa.billing.months import Statement
from omixa.domain.money import format_usd
from omixa.errors import InvalidRequest, OmixaError
from omixa.gateway.exports import csv_lines, direction
from omixa.gateway.outlook import Outlook, read_outlook
from omixa.gateway.topups import TopUpPage
from omixa.storage.database import Transaction
from omixa.web.console.visit import Visit, nothing_here

# Ten years.
_MAX_STATEMENTS = 120
_MONTH = re.compile(r"\d{4}-\d\d", re.ASCII)
_COLUMNS = ("month", "kind", "transfers", "direction", "amount")


@dataclass(frozen=True, slots=True)
class _Read:
    balance: Balance
    suspended: bool
    lots: Sequence[Lot]
    statements: Sequence[Statement]
    outlook: Outlook
    alert: Threshold


async def show_wallet(visit: Visit) -> None:
    """Send the page."""
    await _send(visit)


async def _send(
    visit: Visit, *, error: OmixaError | None = None, page: TopUpPage | None = None, alert_error: bool = False
) -> None:
    read = await visit.services.database.read(lambda tx: _read(visit, tx))
    settings = visit.services.settings.stripe
    await visit.send(
        "console/wallet.html",
        "Wallet",
        section="wallet",
        status=200 if error is None else error.status,
        balance=read.balance,
        suspended=read.suspended,
        lots=read.lots,
        statements=read.statements,
        outlook=read.outlook,
        alert=read.alert,
        sends_letters=bool(visit.services.settings.smtp.host),
        alert_given={name: visit.form.text(name) for name in ("below", "email")} if alert_error else None,
        # Play money is not for sale.
        sells=visit.services.topups is not None and visit.mode == "live" and visit.may("buy_credit"),
        least=settings.min_topup,
        most=settings.max_topup,
        amount=visit.form.text("amount"),
        error=error,
        page_to_pay=page,
        calls=[
            visit.call("balance"),
            visit.call("credit"),
            visit.call("usage/forecast"),
            visit.call("settings/alert"),
            *visit.change("manage_alerts", "PATCH", "settings/alert", below="5.00", email="ada@example.org"),
            visit.call("statements"),
            visit.call("usage/export", what="transfers", since=f"{read.outlook.month}-01"),
        ],
    )


def _read(visit: Visit, tx: Transaction) -> _Read:
    account_id = visit.account_id(tx)
    return _Read(
        ledger.balance(tx, account_id),
        store.is_suspended(tx, visit.member.workspace_id),
        lots.list_lots(tx, visit.member.workspace_id, visit.mode),
        months.list_statements(tx, account_id, limit=_MAX_STATEMENTS),
        read_outlook(tx, visit.member.workspace_id, visit.mode),
        alerts.read_threshold(tx, account_id),
    )


async def statement_csv(visit: Visit) -> None:
    """Send the lines of a closed month as a file, between what there was before and after."""
    month = visit.exchange.path_parameters["month"]
    if not _MONTH.fullmatch(month):
        raise nothing_here()
    found = await visit.services.database.read(lambda tx: months.find_statement(tx, visit.account_id(tx), month))
    if found is None:
        raise nothing_here()
    lines = [
        (month, "opening", 0, "", format_usd(found.opening)),
        *(
            (month, line.kind, line.transfers, direction(line.amount, "credit", "debit"), format_usd(abs(line.amount)))
            for line in found.lines
        ),
        (month, "closing", 0, "", format_usd(found.closing)),
    ]
    name = f"statement-{visit.member.workspace}-{visit.mode}-{month}.csv"
    await visit.send_csv(name, csv_lines([_COLUMNS, *lines]))


async def change_alert(visit: Visit) -> None:
    """Set below which balance somebody is told, or end that where nothing is written."""
    try:
        await visit.services.workspaces.set_alert(
            workspace=visit.member.workspace,
            mode=visit.mode,
            below_micro_usd=visit.form.usd("below"),
            email=visit.form.text("email") or None,
            actor=visit.member.person_id,
        )
    except InvalidRequest as error:
        await _send(visit, error=error, alert_error=True)
        return
    await visit.redirect(f"{visit.home}/wallet")


async def order_topup(visit: Visit) -> None:
    """Order credit and lead to the page of the payment provider: by a link, because forms lead nowhere else from here."""
    topups = visit.services.topups
    assert topups is not None, "without top-ups there is no route to this"
    try:
        if visit.mode != "live":
            raise InvalidRequest("Play money is not for sale: it is in the wallet from the start.", param="amount")
        amount = visit.form.usd("amount")
        if amount is None:
            raise InvalidRequest("Write how much credit to buy, for example 25.00.", param="amount")
        page = await topups.order_in_person(visit.member, amount)
    except OmixaError as error:
        await _send(visit, error=error)
        return
    await _send(visit, page=page)
