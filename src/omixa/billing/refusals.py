"""What refusals of providers cost the operator: free for the caller, so bounded for each account and UTC day.

The sum of the last day that had any stands on the account's row, which every hold reads and changes anyway: no hold costs a
statement more for it. It is what calls were thought to cost when they ended; what providers bill later does not change it.
Functions of an open transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import ColumnElement, bindparam, case, or_, select, update

from omixa.domain.money import PICO_PER_MICRO, format_usd
from omixa.domain.times import DAY_MS
from omixa.errors import RefusalLimit
from omixa.storage.database import Transaction
from omixa.storage.tables import account, request

# What refusals may cost where nothing bounds them: the largest amount that a column can hold.
NO_LIMIT = 2**63 - 1

_is_today = account.c.refusal_day_ms == bindparam("today")
_absorb = (
    update(account)
    .where(account.c.id.in_(select(request.c.account_id).where(request.c.id == bindparam("of_request"))))
    .values(
        refusal_cost_pico_usd=case((_is_today, account.c.refusal_cost_pico_usd), else_=0) + bindparam("cost"),
        refusal_day_ms=bindparam("today"),
    )
)
_absorbed = select(account.c.refusal_day_ms, account.c.refusal_cost_pico_usd).where(
    account.c.id == bindparam("of_account")
)


def within_limit() -> ColumnElement[bool]:
    """Return the condition on an account that admits a hold. It takes the parameters `today` and `refusal_limit`."""
    return or_(
        account.c.refusal_day_ms != bindparam("today"), account.c.refusal_cost_pico_usd < bindparam("refusal_limit")
    )


def day_of(at_ms: int) -> int:
    """Return the Unix milliseconds at which the UTC day of a time begins."""
    return at_ms - at_ms % DAY_MS


def absorb(tx: Transaction, costs: Iterable[tuple[str, int]]) -> None:
    """Count what refused calls of requests cost, in pico-USD. The transaction has changed the accounts' rows before."""
    sums: defaultdict[str, int] = defaultdict(int)
    for request_id, cost_pico_usd in costs:
        sums[request_id] += cost_pico_usd
    today = day_of(tx.now_ms())
    tx.execute_many(
        _absorb,
        [{"of_request": request_id, "cost": cost, "today": today} for request_id, cost in sums.items() if cost],
    )


def require_within(tx: Transaction, account_id: str, limit_pico_usd: int) -> None:
    """Raise RefusalLimit when an account's refusals have reached the limit of today. For words: only the hold decides."""
    now = tx.now_ms()
    row = tx.first(_absorbed, of_account=account_id)
    if row is None or row["refusal_day_ms"] != day_of(now) or row["refusal_cost_pico_usd"] < limit_pico_usd:
        return
    raise RefusalLimit(
        "Too much of what this workspace asked for today was refused by the providers' content filters, for which they charge"
        f" even so: the limit is ${format_usd(limit_pico_usd // PICO_PER_MICRO)} a day. It ends with the UTC day.",
        retry_after_s=-(-(day_of(now) + DAY_MS - now) // 1000),
    )
