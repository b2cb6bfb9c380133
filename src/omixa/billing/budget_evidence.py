"""What must be true of budgets: their counters are those of the requests themselves."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import case, func, literal_column, select

from omixa.billing.budgets import PERIODS, window_of
from omixa.billing.invariants import Checked, Snapshot, fault_unless
from omixa.domain.times import DAY_MS
from omixa.storage.tables import account, budget, budget_window, request

_day = (request.c.created_at_ms // literal_column(str(DAY_MS))).label("day")
_of_budgeted = (
    select(
        request.c.account_id,
        request.c.key_id,
        _day,
        func.coalesce(func.sum(request.c.charge_amount), 0).label("spent"),
        func.sum(case((request.c.state == literal_column("'held'"), request.c.hold_amount), else_=0)).label("held"),
    )
    .select_from(request.join(account, account.c.id == request.c.account_id))
    .where(account.c.has_budgets != literal_column("0"))
    .group_by(request.c.account_id, request.c.key_id, _day)
)
_windows = select(budget_window).order_by(*budget_window.primary_key.columns)
_marks = (
    select(account.c.id, account.c.has_budgets, func.count(budget.c.period).label("budgets"))
    .select_from(account.outerjoin(budget, budget.c.account_id == account.c.id))
    .group_by(account.c.id, account.c.has_budgets)
)

# An account, one of its keys or itself, the period and where it begins.
_Window = tuple[str, str, str, int]


def budgets_count_every_request(at: Snapshot) -> Checked:
    """Check that each window of a budget counts what its requests were charged and hold, and that no later one is missing."""
    expected = _sums(at)
    first: dict[tuple[str, ...], int] = {}
    for row in at.tx.each(_windows):
        window = (row["account_id"], row["subject_id"], row["period"], row["starts_at_ms"])
        first.setdefault(window[:3], window[3])
        actual, due = (row["spent"], row["held"]), expected.pop(window, (0, 0))
        yield _name(window), fault_unless(actual == due, f"spent and held are {actual}, its requests make {due}")
    for window in expected:
        if first.get(window[:3], window[3]) < window[3]:
            yield _name(window), "there are requests in a window that the budget does not count"
    for row in at.tx.each(_marks):
        right = row["has_budgets"] == (1 if row["budgets"] else 0)
        yield row["id"], fault_unless(right, f"marked {row['has_budgets']}, has {row['budgets']} budgets")


def _sums(at: Snapshot) -> dict[_Window, tuple[int, int]]:
    sums: defaultdict[_Window, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for row in at.tx.each(_of_budgeted):
        for subject_id in (row["account_id"], row["key_id"]):
            for period in PERIODS:
                window = (row["account_id"], subject_id, period, window_of(period, row["day"] * DAY_MS)[0])
                spent, held = sums[window]
                sums[window] = (spent + row["spent"], held + row["held"])
    return dict(sums)


def _name(window: _Window) -> str:
    _, subject_id, period, begins = window
    return f"{subject_id} {period} from {begins}"
