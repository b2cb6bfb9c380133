"""Budgets: what a key or a workspace may spend in a UTC day or month. Functions of an open transaction.

A budget counts in the transaction of the hold itself, by a guarded UPDATE, so that it cannot be overshot: what is spent and what
requests in progress hold never pass the limit together. A request counts in the window in which it was held, by the
database's clock, whenever it settles.

Every change happens under the lock of the account's row, which says whether there is any budget: who has none pays nothing.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import and_, bindparam, case, delete, exists, func, literal_column, or_, select, update

from omixa.domain.ids import first_id
from omixa.domain.money import format_usd
from omixa.domain.times import DAY_MS, iso_time, month_after, start_of, utc_date
from omixa.errors import BudgetExceeded
from omixa.storage.database import Row, Transaction
from omixa.storage.statements import insert_into
from omixa.storage.tables import account, budget, budget_window, request

Period = Literal["day", "month"]
PERIODS: tuple[Period, ...] = ("day", "month")

# An id begins with the time of the machine that made it, which may be this far from the database's.
_CLOCK_MARGIN_MS = DAY_MS


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose spending a budget limits: that of one key or, without one, of all keys of an account."""

    account_id: str
    key_id: str | None = None

    @property
    def id(self) -> str:
        """Return what the tables call it."""
        return self.key_id or self.account_id


@dataclass(frozen=True, slots=True)
class EndedHold:
    """A hold that is given back, and what was charged of it, 0 when it was released. Amounts are micro-USD."""

    key_id: str
    held_at_ms: int
    amount_micro_usd: int
    charged_micro_usd: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit and what counts against it in the present window. Amounts are micro-USD."""

    subject: Subject
    period: Period
    limit_micro_usd: int
    spent_micro_usd: int
    held_micro_usd: int
    resets_at_ms: int

    @property
    def available(self) -> int:
        """Return what a new request may hold; 0 also where the limit was lowered below what is spent."""
        return max(self.limit_micro_usd - self.spent_micro_usd - self.held_micro_usd, 0)


def window_of(period: Period, at_ms: int) -> tuple[int, int]:
    """Return the times in Unix milliseconds at which the window around a time begins and at which the next one does."""
    if period == "day":
        begins = at_ms - at_ms % DAY_MS
        return begins, begins + DAY_MS
    month: datetime.date = utc_date(at_ms).replace(day=1)
    return start_of(month), start_of(month_after(month))


# ------------------------------------------------------------------------------------------------------------ set and read

_in_window = or_(
    and_(budget_window.c.period == literal_column("'day'"), budget_window.c.starts_at_ms == bindparam("of_day")),
    and_(budget_window.c.period == literal_column("'month'"), budget_window.c.starts_at_ms == bindparam("of_month")),
)
_budgets = select(
    budget,
    budget_window.c.starts_at_ms,
    func.coalesce(budget_window.c.spent, 0).label("spent"),
    func.coalesce(budget_window.c.held, 0).label("held"),
).select_from(
    budget.outerjoin(
        budget_window,
        and_(
            budget_window.c.account_id == budget.c.account_id,
            budget_window.c.subject_id == budget.c.subject_id,
            budget_window.c.period == budget.c.period,
            _in_window,
        ),
    )
)
# A workspace's own come first.
_by_account = _budgets.where(budget.c.account_id == bindparam("of_account")).order_by(
    budget.c.subject_id != budget.c.account_id, budget.c.subject_id, budget.c.period
)
_of_payers = _by_account.where(budget.c.subject_id.in_([bindparam("of_account"), bindparam("of_key")]))

_this_budget = (
    budget.c.account_id == bindparam("of_account"),
    budget.c.subject_id == bindparam("of_subject"),
    budget.c.period == bindparam("of_period"),
)
_limit = select(budget.c.limit_amount).where(*_this_budget)
_change_limit = update(budget).where(*_this_budget).values(limit_amount=bindparam("limit"))
_delete_budget = delete(budget).where(*_this_budget)
_delete_windows = delete(budget_window).where(
    budget_window.c.account_id == bindparam("of_account"),
    budget_window.c.subject_id == bindparam("of_subject"),
    budget_window.c.period == bindparam("of_period"),
)
_insert_budget = insert_into(budget)
_insert_window = insert_into(budget_window)
_lock_account = update(account).where(account.c.id == bindparam("of_account")).values(has_budgets=1)
_mark_account = (
    update(account)
    .where(account.c.id == bindparam("of_account"))
    .values(has_budgets=case((exists().where(budget.c.account_id == bindparam("of_account")), 1), else_=0))
)
_is_held = request.c.state == literal_column("'held'")
_counted = (
    select(
        func.coalesce(func.sum(request.c.charge_amount), 0).label("spent"),
        func.coalesce(func.sum(case((_is_held, request.c.hold_amount), else_=0)), 0).label("held"),
    )
    .select_from(
        request.join(account, and_(account.c.workspace_id == request.c.workspace_id, account.c.mode == request.c.mode))
    )
    .where(
        account.c.id == bindparam("of_account"),
        request.c.id >= bindparam("first"),
        request.c.created_at_ms >= bindparam("begins"),
        request.c.created_at_ms < bindparam("ends"),
    )
)
_counted_of_key = _counted.where(request.c.key_id == bindparam("of_subject"))


def set_limit(tx: Transaction, subject: Subject, period: Period, limit_micro_usd: int | None) -> int | None:
    """Set a budget, or remove it with None, and return what its limit was.

    A new budget counts what the present window has seen before. A lower limit leaves requests in progress alone.
    """
    names = {"of_account": subject.account_id, "of_subject": subject.id, "of_period": period}
    # Holds and their ends take this lock before they look for budgets, so that each of them is counted once.
    tx.execute(_lock_account, of_account=subject.account_id)
    row = tx.first(_limit, **names)
    if limit_micro_usd is None:
        tx.execute(_delete_windows, **names)
        tx.execute(_delete_budget, **names)
    elif row is not None:
        tx.execute(_change_limit, limit=limit_micro_usd, **names)
    else:
        tx.execute(
            _insert_budget,
            account_id=subject.account_id,
            subject_id=subject.id,
            period=period,
            limit_amount=limit_micro_usd,
        )
        _open_first_window(tx, subject, period)
    tx.execute(_mark_account, of_account=subject.account_id)
    return None if row is None else int(row["limit_amount"])


def _open_first_window(tx: Transaction, subject: Subject, period: Period) -> None:
    begins, ends = window_of(period, tx.now_ms())
    window = {"of_account": subject.account_id, "begins": begins, "ends": ends}
    window["first"] = first_id("req", begins - _CLOCK_MARGIN_MS)
    if subject.key_id is None:
        counted = tx.first(_counted, **window)
    else:
        counted = tx.first(_counted_of_key, of_subject=subject.key_id, **window)
    assert counted is not None, "a sum without groups is one row"
    _open_window(tx, subject, period, begins, spent=counted["spent"], held=counted["held"])


def _open_window(
    tx: Transaction, subject: Subject, period: Period, begins: int, *, spent: int = 0, held: int = 0
) -> None:
    tx.execute(
        _insert_window,
        account_id=subject.account_id,
        subject_id=subject.id,
        period=period,
        starts_at_ms=begins,
        spent=spent,
        held=held,
    )


def list_budgets(tx: Transaction, account_id: str, key_id: str | None = None) -> list[Budget]:
    """Return the budgets of an account and of its keys; with a key, those that limit its requests. A workspace's come first."""
    now = tx.now_ms()
    if key_id is None:
        rows = tx.all(_by_account, of_account=account_id, **_windows(now))
    else:
        rows = tx.all(_of_payers, of_account=account_id, of_key=key_id, **_windows(now))
    return [_budget(row, now) for row in rows]


def _windows(at_ms: int) -> dict[str, int]:
    return {"of_day": window_of("day", at_ms)[0], "of_month": window_of("month", at_ms)[0]}


def _budget(row: Row, now_ms: int) -> Budget:
    of_key = row["subject_id"] != row["account_id"]
    period: Period = row["period"]
    return Budget(
        subject=Subject(row["account_id"], row["subject_id"] if of_key else None),
        period=period,
        limit_micro_usd=row["limit_amount"],
        spent_micro_usd=row["spent"],
        held_micro_usd=row["held"],
        resets_at_ms=window_of(period, now_ms)[1],
    )


# ---------------------------------------------------------------------------------------------------------- hold and settle

_of_this_window = (
    budget_window.c.account_id == bindparam("of_account"),
    budget_window.c.subject_id.in_([bindparam("of_account"), bindparam("of_key")]),
    _in_window,
)
_its_limit = (
    select(budget.c.limit_amount)
    .where(
        budget.c.account_id == budget_window.c.account_id,
        budget.c.subject_id == budget_window.c.subject_id,
        budget.c.period == budget_window.c.period,
    )
    .scalar_subquery()
)
_take = (
    update(budget_window)
    .where(*_of_this_window, budget_window.c.spent + budget_window.c.held + bindparam("amount") <= _its_limit)
    .values(held=budget_window.c.held + bindparam("amount"))
    .returning(budget_window.c.subject_id, budget_window.c.period)
)
_settle = (
    update(budget_window)
    .where(
        budget_window.c.account_id == bindparam("of_account"),
        budget_window.c.subject_id == bindparam("of_subject"),
        _in_window,
    )
    .values(held=budget_window.c.held - bindparam("amount"), spent=budget_window.c.spent + bindparam("charged"))
)
_give_back = (
    update(budget_window)
    .where(
        budget_window.c.account_id == bindparam("of_account"),
        budget_window.c.subject_id == bindparam("of_subject"),
        budget_window.c.period == bindparam("of_period"),
        budget_window.c.starts_at_ms == bindparam("begins"),
    )
    .values(held=budget_window.c.held - bindparam("amount"))
)


def take(tx: Transaction, account_id: str, key_id: str, amount_micro_usd: int) -> bool:
    """Hold an amount of every budget that limits a key. Returns False, with nothing held, when it does not fit into one.

    The transaction has changed the account's row before, so nobody else changes its budgets meanwhile.
    """
    now = tx.now_ms()
    limits = tx.all(_of_payers, of_account=account_id, of_key=key_id, **_windows(now))
    for row in limits:
        if row["starts_at_ms"] is None:
            limit = _budget(row, now)
            _open_window(tx, limit.subject, limit.period, window_of(limit.period, now)[0])
    if not limits:
        return True
    taken = tx.all(_take, of_account=account_id, of_key=key_id, amount=amount_micro_usd, **_windows(now))
    if len(taken) == len(limits):
        return True
    tx.execute_many(
        _give_back,
        [
            {
                "of_account": account_id,
                "of_subject": row["subject_id"],
                "of_period": row["period"],
                "begins": window_of(row["period"], now)[0],
                "amount": amount_micro_usd,
            }
            for row in taken
        ],
    )
    return False


def settle(tx: Transaction, account_id: str, ended: Iterable[EndedHold]) -> None:
    """Move what ended holds had taken of budgets to what is spent, or free it.

    The transaction has changed the account's row before. A window that has no budget any more is left out.
    """
    sums: defaultdict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])
    for one in ended:
        for subject_id in (account_id, one.key_id):
            sum_of_day = sums[subject_id, one.held_at_ms - one.held_at_ms % DAY_MS]
            sum_of_day[0] += one.amount_micro_usd
            sum_of_day[1] += one.charged_micro_usd
    tx.execute_many(
        _settle,
        [
            {"of_account": account_id, "of_subject": subject_id, "amount": held, "charged": charged, **_windows(day)}
            for (subject_id, day), (held, charged) in sorted(sums.items())
        ],
    )


# ------------------------------------------------------------------------------------------------------------------ refusals


def require_within(budgets: Sequence[Budget], amount_micro_usd: int) -> None:
    """Raise BudgetExceeded when an amount does not fit into one of the budgets. For estimates: only `take` decides."""
    for one in budgets:
        if amount_micro_usd > one.available:
            raise _exceeded(one, amount_micro_usd)


def _exceeded(one: Budget, amount_micro_usd: int) -> BudgetExceeded:
    owner = "workspace" if one.subject.key_id is None else "key"
    period = "daily" if one.period == "day" else "monthly"
    return BudgetExceeded(
        f"This request can cost up to ${format_usd(amount_micro_usd)}, more than is left of the {period} budget of this {owner}:"
        f" of ${format_usd(one.limit_micro_usd)}, ${format_usd(one.spent_micro_usd)} are spent and"
        f" ${format_usd(one.held_micro_usd)} held by requests in progress. It resets at {iso_time(one.resets_at_ms)}."
    )
