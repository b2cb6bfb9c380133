"""What a workspace will have spent, and until when its credit and its budgets last, if it goes on as in the last days."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from omixa.billing import budgets, ledger
from omixa.billing.budgets import Budget
from omixa.domain.access import Mode
from omixa.domain.times import DAY_MS, month_after, start_of, utc_date
from omixa.storage.database import Transaction
from omixa.usage import analytics
from omixa.usage.analytics import Grouping
from omixa.usage.pace import WINDOW_DAYS, Pace, recent_pace


@dataclass(frozen=True, slots=True)
class BudgetOutlook:
    """A budget, what will count against it when its window ends, and when it is used up, if that is before.

    The amount is micro-USD and may be above the limit: that is what would be asked for.
    """

    budget: Budget
    expected_micro_usd: int
    exhausted_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """A forecast. Amounts are micro-USD, refunds taken off; `lasts_until_ms` is None where the credit lasts ten years or nothing
    is spent.
    """

    as_of_ms: int
    per_day_micro_usd: int
    month: str
    month_spent_micro_usd: int
    month_expected_micro_usd: int
    available_micro_usd: int
    lasts_until_ms: int | None
    budgets: Sequence[BudgetOutlook]

    @property
    def runway_days(self) -> int | None:
        """Return for how many whole days the credit lasts."""
        return None if self.lasts_until_ms is None else (self.lasts_until_ms - self.as_of_ms) // DAY_MS


def read_outlook(tx: Transaction, workspace_id: str, mode: Mode) -> Outlook:
    """Work out the forecast of a workspace and of every budget that it and its keys have."""
    now_ms = tx.now_ms()
    today = utc_date(now_ms)
    month: datetime.date = today.replace(day=1)
    since = min(month, today - datetime.timedelta(days=WINDOW_DAYS - 1))
    account_id = ledger.workspace_account(tx, workspace_id, mode)
    limits = budgets.list_budgets(tx, account_id)
    # Keys are told apart for their budgets alone.
    by: frozenset[Grouping] = frozenset({"key"}) if any(one.subject.key_id for one in limits) else frozenset()
    sums = analytics.rollups(
        tx,
        workspace_id,
        mode,
        period_type="day",
        since=since.isoformat(),
        until=today.isoformat(),
        by=by,
    )
    everything: Counter[str] = Counter()
    by_key: dict[str, Counter[str]] = {}
    for one in sums:
        everything[one.period] += one.spent_micro_usd
        by_key.setdefault(one.key_id or "", Counter())[one.period] += one.spent_micro_usd
    pace = recent_pace(everything, now_ms)
    paces = {key_id: recent_pace(days, now_ms) for key_id, days in by_key.items()}
    available = ledger.balance(tx, account_id).available
    lasts_ms = pace.reaches(available)
    spent = sum(amount for day, amount in everything.items() if day >= month.isoformat())
    return Outlook(
        as_of_ms=now_ms,
        per_day_micro_usd=pace.per_day,
        month=f"{month:%Y-%m}",
        month_spent_micro_usd=spent,
        month_expected_micro_usd=spent + pace.within(start_of(month_after(month)) - now_ms),
        available_micro_usd=available,
        lasts_until_ms=None if lasts_ms is None else now_ms + lasts_ms,
        budgets=[
            _of_budget(one, pace if one.subject.key_id is None else paces.get(one.subject.key_id, Pace(0, 1)), now_ms)
            for one in limits
        ],
    )


def _of_budget(one: Budget, pace: Pace, now_ms: int) -> BudgetOutlook:
    lasts_ms = pace.reaches(one.available)
    ends_ms = None if lasts_ms is None or now_ms + lasts_ms >= one.resets_at_ms else now_ms + lasts_ms
    return BudgetOutlook(one, one.spent_micro_usd + pace.within(max(one.resets_at_ms - now_ms, 0)), ends_ms)
