"""The first page of a workspace: what it has, what it spent, what happened last."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from omixa.access import store
from omixa.access.store import KeyRow
from omixa.billing import budgets, ledger
from omixa.billing.budgets import Budget
from omixa.billing.ledger import Balance
from omixa.domain.times import utc_date
from omixa.storage.database import Transaction
from omixa.usage import analytics
from omixa.usage.analytics import RequestSummary, Rollup
from omixa.web.console.charts import share
from omixa.web.console.keys import key_names
from omixa.web.console.requests import rows
from omixa.web.console.visit import Visit

_LAST_REQUESTS = 10


@dataclass(frozen=True, slots=True)
class _Read:
    balance: Balance
    suspended: bool
    budgets: Sequence[Budget]
    keys: Sequence[KeyRow]
    month: Rollup | None
    last: Sequence[RequestSummary]
    now_ms: int


async def show_overview(visit: Visit) -> None:
    """Send the page."""
    read = await visit.services.database.read(lambda tx: _read(visit, tx))
    month = f"{utc_date(read.now_ms):%Y-%m}"
    names = key_names(read.keys, visit.mode)
    await visit.send(
        "console/overview.html",
        "Overview",
        section="overview",
        balance=read.balance,
        suspended=read.suspended,
        month=month,
        spent=0 if read.month is None else read.month.spent_micro_usd,
        sums=read.month,
        budgets=[(one, share(one.spent_micro_usd, one.limit_micro_usd)) for one in read.budgets],
        key_names=names,
        has_keys=any(key.revoked_at_ms is None for key in read.keys),
        rows=rows(visit, read.last, names, now_ms=read.now_ms),
        calls=[
            visit.call("balance"),
            visit.call("budgets"),
            visit.call("usage/rollups", period_type="month", since=f"{month}-01"),
            visit.call("usage/requests", limit=_LAST_REQUESTS),
        ],
    )


def _read(visit: Visit, tx: Transaction) -> _Read:
    workspace_id, account_id = visit.member.workspace_id, visit.account_id(tx)
    today: datetime.date = utc_date(tx.now_ms())
    months = analytics.rollups(
        tx,
        workspace_id,
        visit.mode,
        period_type="month",
        since=today.replace(day=1).isoformat(),
        until=today.isoformat(),
    )
    return _Read(
        balance=ledger.balance(tx, account_id),
        suspended=store.is_suspended(tx, workspace_id),
        budgets=budgets.list_budgets(tx, account_id),
        keys=[key for key in store.list_keys(tx, visit.member.workspace) if key.mode == visit.mode],
        month=months[-1] if months else None,
        last=analytics.list_requests(tx, workspace_id, visit.mode, limit=_LAST_REQUESTS).requests,
        now_ms=tx.now_ms(),
    )
