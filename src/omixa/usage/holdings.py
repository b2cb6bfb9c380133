"""What workspaces have and spend, as operators see it: a page of them, however many there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Integer, bindparam, func, literal_column, select

from omixa.domain.times import utc_date
from omixa.storage.database import Row, Transaction
from omixa.storage.tables import account, correction_day, usage_day, workspace


@dataclass(frozen=True, slots=True)
class Holding:
    """A workspace, its live balance, and what live requests cost since the UTC month began. Amounts are micro-USD."""

    id: str
    name: str
    markup_ppm: int
    suspended_at_ms: int | None
    created_at_ms: int
    posted_micro_usd: int
    held_micro_usd: int
    spent_micro_usd: int
    requests: int

    @property
    def available_micro_usd(self) -> int:
        """Return what new requests can use."""
        return self.posted_micro_usd - self.held_micro_usd


@dataclass(frozen=True, slots=True)
class HoldingPage:
    """Workspaces in the order of the alphabet. `next_first` is where the following page begins, None on the last one."""

    holdings: tuple[Holding, ...]
    next_first: str | None


_live: ColumnElement[str] = literal_column("'live'")
_page = (
    select(workspace, account.c.posted, account.c.held)
    .select_from(workspace)
    .join(account, (account.c.workspace_id == workspace.c.id) & (account.c.mode == _live))
    .where(workspace.c.name >= bindparam("first"))
    .order_by(workspace.c.name)
    .limit(bindparam("limit", type_=Integer))
)
# Few rows of few days for each workspace of a page: they begin with it, the mode and the day.
_spent = select(
    func.coalesce(func.sum(usage_day.c.requests), 0).label("requests"),
    func.coalesce(func.sum(usage_day.c.amount), 0).label("amount"),
).where(
    usage_day.c.workspace_id == bindparam("workspace_id"),
    usage_day.c.mode == _live,
    usage_day.c.day >= bindparam("since"),
)
_corrected = select(
    func.coalesce(func.sum(correction_day.c.adjusted - correction_day.c.refunded), 0).label("amount")
).where(
    correction_day.c.workspace_id == bindparam("workspace_id"),
    correction_day.c.mode == _live,
    correction_day.c.day >= bindparam("since"),
)
_suspended = select(func.count().label("suspended")).where(workspace.c.suspended_at_ms.is_not(None))


def list_holdings(tx: Transaction, *, limit: int, first: str = "") -> HoldingPage:
    """Return up to `limit` workspaces from a name on."""
    # One more than asked for tells where the next page begins.
    rows = tx.all(_page, limit=limit + 1, first=first)
    since = utc_date(tx.now_ms()).replace(day=1).isoformat()
    found = tuple(_holding(tx, row, since) for row in rows[:limit])
    return HoldingPage(found, rows[limit]["name"] if len(rows) > limit else None)


def count_suspended(tx: Transaction) -> int:
    """Return how many workspaces may not spend."""
    return int(_sole(tx, _suspended)["suspended"])


def _holding(tx: Transaction, row: Row, since: str) -> Holding:
    spent = _sole(tx, _spent, workspace_id=row["id"], since=since)
    corrected = _sole(tx, _corrected, workspace_id=row["id"], since=since)
    return Holding(
        id=row["id"],
        name=row["name"],
        markup_ppm=row["markup_ppm"],
        suspended_at_ms=row["suspended_at_ms"],
        created_at_ms=row["created_at_ms"],
        posted_micro_usd=row["posted"],
        held_micro_usd=row["held"],
        spent_micro_usd=int(spent["amount"]) + int(corrected["amount"]),
        requests=int(spent["requests"]),
    )


def _sole(tx: Transaction, query: Any, **parameters: object) -> Mapping[str, Any]:
    row = tx.first(query, **parameters)
    assert row is not None, "an aggregate has a row"
    return row
